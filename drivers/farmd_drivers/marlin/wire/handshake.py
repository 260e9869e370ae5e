"""How a link is made, and how it ends: the greeting, a restart, a halt, silence.

Walks the part of the table `PHASE` of `states` that is not about a run; `dialogue` walks the rest. Here is
also what all of these do to a run that is open: it fails, with its place. Knows no loop, clock, file or device.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from farmd_drivers.marlin.wire import replies, states
from farmd_drivers.marlin.wire.counters import Counters
from farmd_drivers.marlin.wire.dialects import UNKNOWN
from farmd_drivers.marlin.wire.discipline import Discipline
from farmd_drivers.marlin.wire.firmware import ASK_REPORTS, ASK_WHO, AUTO, Firmware
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.replies import Kind
from farmd_drivers.marlin.wire.states import PHASE, RUN_PHASES, Link, Phase, WireEvent
from farmd_drivers.marlin.wire.thermometer import Thermometer

_MAKING = frozenset({Phase.GREETING, Phase.IDENTIFYING, Phase.SETTING_UP})
_ENDING = frozenset({Phase.CANCELLING, Phase.LEAVING})
_FRAIL = frozenset({Phase.PREPARING, Phase.RETURNING, Phase.PAUSING, Phase.CLOSING})
"""Phases of a run whose own commands must not be refused."""


@dataclass(slots=True)
class _LastWords:
    """What halted firmware has said so far. `accepted` is set when a run died of it."""

    accepted: int | None = None
    confirmed: bool = False
    text: list[str] = field(default_factory=list)
    again: bytes = b""
    """The emergency stop once more: what was on its way may have made the firmware flush the first."""
    is_told: bool = False
    has_asked: bool = False
    """It was asked for its reason."""


class Handshake:
    """One link to one machine, above its lines, besides the run.

    `now` is the time of the opening; `banner_s` how long a banner is waited for; `cold` says that the
    heaters are to be switched off in the handshake, because a run was left when they may have been on.
    """

    def __init__(self, now: float, *, banner_s: float = states.BANNER_S, cold: bool = False) -> None:
        self.firmware = Firmware()
        self.phase = Phase.LISTENING
        self._line = Discipline(now)
        self._out = self._line.out
        self._heat = Thermometer()
        self._events: deque[WireEvent] = deque()
        self._opened_at = now
        self._banner_s = banner_s
        self._cold = cold
        self._plain = False
        """STREAMING, and nothing but lines of the job outstanding and waiting."""
        self._phase_due = now + banner_s
        self._last_words = _LastWords()
        self._asked_who = 0
        self._starting_until = math.inf
        """Firmware that says it is starting still is believed until then."""

    @property
    def counters(self) -> Counters:
        return self._line.counters

    @property
    def link(self) -> Link:
        return self._line.link

    @property
    def is_slow(self) -> bool:
        """A command that may rightly take minutes has not been answered yet."""
        return any(map(replies.is_long, self._out.open_commands(self._line.outstanding)))

    @property
    def in_run(self) -> bool:
        return self.phase in RUN_PHASES

    @property
    def lines_accepted(self) -> int:
        """Lines of the present job that the firmware has taken, in order from its first.

        Each of them was answered with ok, or lies before a line that the firmware has asked for. Lines on
        their way do not count, though some may be queued in the machine already. An ok that noise has doubled
        counts for one line too many, and a lost one in a window for one too few, until the next proof: the
        number in an ok, a Resend, or the answer to M105.
        """
        return self._out.lines_accepted(self._line.outstanding)

    # What the caller asks for.

    def fail(self, reason: str, now: float) -> None:
        """End the run as failed, heaters off, and shake hands again. No run open: nothing."""
        if self.in_run:
            self._fail_run(reason)
            self._line.urgent += self.firmware.farewell()
            self._listen(now, states.BANNER_SETTLE_S)

    def estop(self, now: float, why: str = "emergency stop") -> bytes:
        """The bytes of an emergency stop, to be written at once. Halted follows within 1 s."""
        # Unnumbered it is heard early; numbered it is heard where unnumbered lines are not.
        early = b"\n" + self.firmware.dialect.stop_byte + b"M112\n"
        stop = early + replies.encode(self._out.sent + 1, b"M112") + self.firmware.unnumbered_off()
        self._line.urgent = b""
        if self.phase is not Phase.DEAD:
            self._fail_run(why)
            self._enter_halt(now, states.STOP_AGAIN_S)
            self._last_words.again = stop
        return stop

    def recover(self, now: float) -> None:
        """Try to leave HALTED: M999 or the like, then shake hands; Ready, Halted or LinkDead follows."""
        if self.phase is Phase.HALTED:
            self._line.urgent += b"\n" + self.firmware.dialect.restart_command + b"\n"
            self._listen(now, self._banner_s)

    # The greeting.

    def _greet(self, now: float) -> None:
        """Number anew from 0. The hello is repeated until it is answered; nothing is at stake before."""
        self._line.hello(now, greeting=self.phase is Phase.GREETING)
        self._plain = False

    def _identified(self) -> None:
        """The firmware has said what it is, or nothing that is understood, however often it was asked."""
        if self.firmware.dialect is UNKNOWN and self._asked_who < states.ASK_WHO:
            self._asked_who += 1
            self._out.host.append(ASK_WHO)
            return
        self._asked_who = 0
        self._go("scripted")
        if self.firmware.dialect is UNKNOWN:
            # A question with a number that is not due: who counts lines refuses it, and that shows it.
            self._line.urgent += replies.encode(self._out.sent + 2, SYNC)
        self._out.host.extend(self.firmware.questions())
        self._ask_reports()
        if self._cold:
            self._out.host.extend(self.firmware.heaters_off())
        self._out.host.append(SYNC)

    def _ask_reports(self) -> bool:
        """Ask for automatic reports where the firmware has them, once; whether that was asked now."""
        ask = not self._heat.by_itself and self.firmware.can_report
        if ask:
            self._heat.by_itself = True
            self._out.host.append(ASK_REPORTS)
        return ask

    def _set_up(self) -> None:
        if self.firmware.keeps_alive:
            self._line.keeps_alive()
        self._cold = False
        self._starting_until = math.inf
        self._heat.ask_again(self._line.since)
        self._events.append(states.Ready(self.firmware.name, self.firmware.has))

    def speak(self, dialect: str = AUTO) -> None:
        """Speak that row of `DIALECTS`, or the one that the firmware shows to be its own. Before the first byte."""
        self.firmware = Firmware(dialect)
        self._line.speak(self.firmware.dialect)

    def _named(self, line: bytes, now: float) -> None:
        """The firmware has said who it is."""
        before = self.firmware.dialect
        self.firmware.hear(Kind.FIRMWARE, line)
        self._line.speak(self.firmware.dialect)
        if self.firmware.dialect is not before and self.phase in (Phase.SETTING_UP, Phase.IDLE):
            self._go("greet")  # it came late, after an ok too many, and was set up as another
            self._greet(now)

    # What happens to the machine.

    def _refused(self, text: str, now: float) -> None:
        """The oldest outstanding command was refused, and counts as not executed; its ok follows."""
        dialect = self.firmware.dialect
        if self.phase is Phase.HALTED:
            self._halted(text, now)
        elif self.phase in _FRAIL or (
            self.in_run and self.phase not in _ENDING and not self._out.is_host_last
        ):
            self.fail(text, now)
        elif dialect.state_command and self.phase in _MAKING:
            if any(words in text for words in dialect.not_yet) and now < self._starting_until:
                self._starting_until = min(self._starting_until, now + states.STARTING_S)
                self._listen(now, states.BANNER_S)
            else:
                self._halted(text, now)
        else:
            self._events.append(states.Noted(text))

    def _unsure(self, now: float) -> None:
        """A reply or a line was lost, and nothing tells which."""
        self.fail(
            "a line or its answer was lost; this firmware does not count lines, so none is sent again", now
        )

    def _restarted(self, now: float) -> None:
        if self.phase is Phase.HALTED and not self._last_words.is_told:
            # Prusa's MK3 restarts when it has said why it was killed, Repetier instead of saying it.
            self._last_words.confirmed, self._last_words.again = True, b""
            self._halt_due(now)
        young = self.phase is Phase.IDLE and now < self._opened_at + states.SPURIOUS_START_S
        if not young and (self.in_run or self.phase in (Phase.IDLE, Phase.HALTED)):
            self._fail_run("the machine restarted")
            self._events.append(states.Restarted())
        self._listen(now, states.BANNER_SETTLE_S)

    def _halted(self, text: str, now: float) -> None:
        if self.phase is not Phase.HALTED:
            accepted = self.lines_accepted if self.in_run else None
            asks = self.firmware.dialect.state_command
            self._enter_halt(now, states.HALT_ANSWER_S if asks else states.HALT_TEXT_S)
            self._last_words.accepted = accepted
        words = self._last_words
        words.confirmed = True
        if text not in words.text:
            words.text.append(text)
        if self.firmware.dialect.state_command and not words.has_asked:
            words.has_asked = True
            self._line.urgent += self.firmware.dialect.state_command + b"\n"

    def _halt_due(self, now: float) -> None:
        """The firmware has had its time to say more, or to hear the emergency stop."""
        words = self._last_words
        if words.again and not words.confirmed:
            self._line.urgent += words.again
            words.again = b""
            self._phase_due = now + states.KILL_ANSWER_S - states.STOP_AGAIN_S
            return
        words.is_told = True
        text = "; ".join(words.text)
        if words.accepted is not None:
            self._events.append(states.RunFailed(text, words.accepted))
        self._events.append(states.Halted(text, words.confirmed))

    def _count_lost(self, now: float) -> None:
        if "greet" in PHASE[self.phase]:
            if self.phase is Phase.IDLE:
                self._events.append(states.Restarted())
            self._go("greet")  # nothing but questions has been sent since the hello
            self._greet(now)
        else:
            asked, sent = self._line.asked_number, self._out.sent
            self._give_up(f"the machine lost count: it asked for line {asked} after {sent}", now)

    def _give_up(self, reason: str, now: float) -> None:
        if self.in_run:
            self.fail(reason, now)
        else:
            self._die(reason)

    # Where it leads.

    def _listen(self, now: float, wait_s: float) -> None:
        self._go("listen")
        self._line.go("clear")
        self._out.host.clear()
        self._out.replay.clear()
        self._plain = False
        self._heat.stop(forget=True)
        self._phase_due = now + wait_s

    def _enter_halt(self, now: float, tell_after_s: float) -> None:
        self._cold = self._cold or self.in_run
        self._go("halt")
        self._line.go("halt")
        self._out.drop_unsent()
        self._out.host.clear()
        self._out.replay.clear()
        self._last_words = _LastWords()
        self._plain = False
        self._heat.stop()
        self._phase_due = now + tell_after_s

    def _die(self, reason: str) -> None:
        if self.in_run:
            self._line.urgent += self.firmware.farewell()
        self._fail_run(reason)
        self._events.append(states.LinkDead(reason))
        self._go("die")
        self._line.go("die")
        self._heat.stop()
        self._phase_due = math.inf
        self._plain = False

    def _fail_run(self, reason: str) -> None:
        if self.in_run:
            self._cold = True
            self._events.append(states.RunFailed(reason, self.lines_accepted))
            self._out.drop_unsent()

    def _go(self, event: str) -> None:
        self.phase = PHASE[self.phase][event]
