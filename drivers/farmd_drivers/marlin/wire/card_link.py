"""What a card changes in how a link is spoken on: between the run's `Dialogue` and the bytes.

While a file may be open for writing, everything with a number ends up in it. So it is closed before anything else
is said: in the greeting, at a stop, at an emergency stop; temperatures are not asked for, and the machine's own
wishes are not heeded. In the handshake it is asked what the machine prints by itself; only where it prints
nothing are heaters switched off that an earlier run may have left on. `perform` has commands executed between
runs, for `card_talk`. Knows no loop, clock, file or device.
"""

from __future__ import annotations

import math

from farmd_drivers.marlin.wire import card, replies, states
from farmd_drivers.marlin.wire.dialogue import Dialogue
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.replies import Kind
from farmd_drivers.marlin.wire.states import Phase

_MAY_SPEAK_OF_CARD = frozenset({Kind.TEXT, Kind.ERROR, Kind.BUSY})


class CardLink(Dialogue):
    """A `Dialogue` with a machine that may have a card; `card` is what is known of it."""

    def __init__(self, now: float, *, banner_s: float = states.BANNER_S, cold: bool = False) -> None:
        super().__init__(now, banner_s=banner_s, cold=cold)
        self.card = card.CardState()
        self._performing = False
        """Something was asked to be performed, and is not known to be yet."""
        self._is_cooled = False
        """The heaters were switched off in this handshake."""

    @property
    def has_card(self) -> bool:
        return "SDCARD" in self.firmware.has

    @property
    def may_be_silent(self) -> bool:
        """Temperatures may stay away for long, and nothing is wrong: what asks for them waits its turn."""
        return self.card.saving or (self.card.in_print and not self._heat.by_itself)

    @property
    def may_type(self) -> bool:
        """As ever; but what is sent to an open file ends up in it, and nothing comes between commands to a card."""
        return super().may_type and not self.card.saving and not self._performing

    # What the caller asks for.

    def perform(self, *commands: bytes) -> None:
        """Have the machine execute these between runs, and prove it; `Performed` follows.

        Only in phase IDLE, one call at a time. Leaving that phase first drops the proof.
        """
        self._performing = True
        self._plain = False
        self._out.host.extend((*commands, SYNC))

    def print_by_itself(self, prints: bool) -> None:
        """Whether the machine prints from its card, as far as is known."""
        self.card.in_print = self._line.patience.is_behind = prints

    def is_past(self, command: bytes) -> bool:
        """Whether that one of those to be performed was sent, and accepted."""
        waits = command in self._out.host or bool(self._out.replay)
        return not waits and command not in self._out.open_commands(self._line.outstanding)

    def nudge(self) -> None:
        """End whatever a print from the card waits for, where the firmware hears that."""
        if "EMERGENCY_PARSER" in self.firmware.has:
            self._line.urgent += self.firmware.dialect.breaks_wait

    def cancel(self, reason: str) -> None:
        before = self.phase
        super().cancel(reason)
        if self.card.saving and self.phase is not before:
            self._out.host.appendleft(card.CLOSE_FILE)

    def estop(self, now: float, why: str = "emergency stop") -> bytes:
        stop = super().estop(now, why)
        return b"\n" + card.CLOSE_FILE + stop if self.card.saving else stop

    # What lines come to.

    def _accepted(self, now: float, *, proof: bool) -> None:
        super()._accepted(now, proof=proof)
        if not self._performing or self._out.host or self._out.replay:
            return
        if not proof and (self._line.proves or self._line.inline is None):
            self._unproven += 1
            if self._line.proves or self._unproven == 1:
                self._out.host.append(SYNC)
                return
            self._line.inline = False
        self._performing = False
        self._events.append(states.Performed())

    def _hear_card(self, kind: Kind, line: bytes, now: float) -> None:
        """A reply that may speak of the card, or of what is executed from it."""
        if kind is Kind.TEMPERATURES and self.card.in_print and replies.is_heat_wait(line):
            self._line.since = now  # what is outstanding waits behind that
        if kind not in _MAY_SPEAK_OF_CARD:
            return
        if kind is Kind.BUSY:
            if self.phase is Phase.IDLE:
                self._events.append(card.CardBusy(b"paused for" in line))
        elif (event := card.heard(line)) is not None:
            self.card.note(event)
            self._events.append(event)

    def _action(self, action: str, now: float) -> None:
        if self.card.saving and action != "poweroff":
            return
        if self.phase is Phase.IDLE:
            self._events.append(states.Acted(action))
        super()._action(action, now)

    # The handshake.

    def _identified(self) -> None:
        self.card.saving = False
        cold = self._cold
        self._cold = cold and not self.has_card
        super()._identified()
        self._cold = cold

    def _ask_reports(self) -> bool:
        asked = super()._ask_reports()
        return self._ask_card() or asked

    def _ask_card(self) -> bool:
        """Go on asking of the card, and then of heaters left on; whether there was anything."""
        if not self.has_card:
            return False
        commands = self.card.questions()
        if not commands and self._cold and not self._is_cooled:
            self._is_cooled = True
            prints = self.card.status is not None and self.card.status.printing
            commands = () if prints else self.firmware.heaters_off()
        self._out.host.extend(commands)
        return bool(commands)

    def _restarted(self, now: float) -> None:
        if self.card.in_print:
            self._opened_at = -math.inf  # what has printed until now was no board that has just begun
        super()._restarted(now)
        self.card.saving = False
        self.card.restarted = True

    def _enter_halt(self, now: float, tell_after_s: float) -> None:
        self._cold = self._cold or self.card.in_print
        super()._enter_halt(now, tell_after_s)

    def _go(self, event: str) -> None:
        before = self.phase
        super()._go(event)
        if self.phase is not Phase.IDLE:
            self._performing = False
        if self.phase is Phase.GREETING:
            self.card.forget()
            self._is_cooled = False
        elif before is Phase.GREETING and self.phase is Phase.IDENTIFYING and self.card.saving:
            self._out.host.appendleft(card.CLOSE_FILE)
        self._line.patience.stores = self.card.saving and self.in_run
        if self.card.saving and self.phase is Phase.STREAMING:
            self._heat.stop()
        elif self.card.saving and self.phase is Phase.IDLE:
            self.card.saving = False
            self._heat.ask_again(self._line.since)
