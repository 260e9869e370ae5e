"""What is said to the machine and why: the phases of a link, the run in it, and what may befall both.

Walks the table `PHASE` of `states`. Bytes are `wire`'s business, lost lines are `discipline`'s; here a
verdict on lines and a happening at the machine become the next phase, commands of the host, and events.
Knows no loop, clock, file or device.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from farmd_drivers.marlin.wire import replies, states
from farmd_drivers.marlin.wire.discipline import Counters, Discipline, Verdict
from farmd_drivers.marlin.wire.firmware import ASK_KEEPALIVE, ASK_REPORTS, BREAK_WAIT, Firmware
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.states import PHASE, RUN_PHASES, Link, Phase, WireEvent
from farmd_drivers.marlin.wire.thermometer import Thermometer

DRAIN = (b"M400", SYNC)
"""Ends every part of a run: wait until motion is over, then the proof."""


@dataclass(slots=True)
class _LastWords:
    """What halted firmware has said so far. `accepted` is set when a run died of it."""

    accepted: int | None = None
    confirmed: bool = False
    text: list[str] = field(default_factory=list)
    again: bytes = b""
    """The emergency stop once more: what was on its way may have made the firmware flush the first."""


class Dialogue:
    """One link to one machine, above its lines.

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
        self._began = False
        self._reason = ""
        """Why the run is being paused or cancelled."""
        self._pause_wanted: str | None = None
        """Why the run is to pause as soon as it streams."""
        self._phase_due = now + banner_s
        self._unproven = 0
        self._last_words = _LastWords()

    # What the caller asks for.

    @property
    def counters(self) -> Counters:
        return self._line.counters

    @property
    def link(self) -> Link:
        return self._line.link

    @property
    def in_run(self) -> bool:
        return self.phase in RUN_PHASES

    @property
    def lines_accepted(self) -> int:
        """Lines of the present job that were answered with ok, in order from its first."""
        return self._out.lines_accepted(self._line.outstanding)

    def begin(self, now: float) -> None:
        """Begin a run; its lines come by `feed`. Only in phase IDLE."""
        self._out.clear_job()
        self._began = False
        self._pause_wanted = None
        self._go("begin")
        self._out.host.clear()
        if self.link is Link.CLEAR:
            self._greet(now)

    def feed(self, commands: list[bytes], pause: str | None = None) -> None:
        """The next commands of the job; with `pause`, the run pauses after them for that reason."""
        self._out.batches.append((commands, pause))

    def end_of_job(self) -> None:
        """All commands of the job have been fed."""
        self._out.all_fed = True

    def pause(self, reason: str) -> None:
        """Stop feeding at the next line; RunPaused follows when motion is over. Not printing: nothing."""
        if self.phase in (Phase.RENUMBERING, Phase.PREPARING):
            self._pause_wanted = reason
        elif self.phase is Phase.STREAMING:
            self._go("pause")
            self._reason = reason
            self._out.host.extend(DRAIN)
            self._plain = False

    def resume(self) -> None:
        """Go on exactly behind the last line accepted. Not paused: nothing."""
        self._pause_wanted = None
        if self.phase is Phase.PAUSED:
            self._events.append(states.RunResumed())
        if "resume" in PHASE[self.phase]:
            self._go("resume")
            self._replan()

    def cancel(self, reason: str) -> None:
        """Stop feeding, end a heat wait, heaters off; RunCancelled follows. No run open: nothing."""
        if "cancel" not in PHASE[self.phase]:
            return
        if self.link is not Link.CLEAR and replies.is_long(self._out.last_command):
            self._line.urgent += BREAK_WAIT
        self._go("cancel")
        self._reason = reason
        self._out.drop_unsent()
        self._out.host.clear()
        self._out.host.extend((*self.firmware.heaters_off(), *DRAIN))
        self._plain = False

    def fail(self, reason: str, now: float) -> None:
        """End the run as failed, heaters off, and shake hands again. No run open: nothing."""
        if self.in_run:
            self._fail_run(reason)
            self._line.urgent += self.firmware.farewell()
            self._listen(now, states.BANNER_SETTLE_S)

    def estop(self, now: float) -> bytes:
        """The bytes of an emergency stop, to be written at once. Halted follows within 1 s."""
        # Unnumbered it is heard early; numbered it is heard where unnumbered lines are not.
        stop = b"\nM112\n" + replies.encode(self._out.sent + 1, b"M112") + self.firmware.unnumbered_off()
        self._line.urgent = b""
        if self.phase is not Phase.DEAD:
            self._fail_run("emergency stop")
            self._enter_halt(now, states.STOP_AGAIN_S)
            self._last_words.again = stop
        return stop

    def recover(self, now: float) -> None:
        """Try to leave HALTED: M999 for stopped firmware, then shake hands; Ready or LinkDead follows."""
        if self.phase is Phase.HALTED:
            self._line.urgent += b"\nM999\n"
            self._listen(now, self._banner_s)

    # What lines come to.

    def _act(self, verdict: Verdict, now: float) -> None:
        match verdict:
            case Verdict.NOTHING:
                if self._line.link not in (Link.CLEAR, Link.AWAIT_OK):
                    self._plain = False
            case Verdict.ACCEPTED | Verdict.PROVEN:
                self._accepted(now, proof=verdict is Verdict.PROVEN)
            case Verdict.COUNT_LOST:
                self._count_lost(now)
            case Verdict.STUCK:
                self._give_up("communication stuck: the same line was asked for again and again", now)
            case Verdict.DEAD:
                self._die("no answer")

    def _accepted(self, now: float, *, proof: bool) -> None:
        """Lines up to the last sent have been accepted; go on with what waited for them."""
        out = self._out
        if self.phase is Phase.RENUMBERING and out.sent > 0:
            self._greet(now)  # a question was outstanding when the run began
            return
        if out.sent == 0 and "greeted" in PHASE[self.phase]:
            out.host.append(b"M115" if self.phase is Phase.GREETING else SYNC)
            self._go("greeted")
            self._line.greeted()
        elif self.phase is Phase.STREAMING and not self._began and self.lines_accepted:
            self._began = True
            self._events.append(states.RunBegan())
        elif "scripted" in PHASE[self.phase] and not out.host and not out.replay:
            self._script_ended(proof)
        self._replan()

    def _script_ended(self, proof: bool) -> None:
        phase = self.phase
        if phase is Phase.IDENTIFYING:
            self._go("scripted")
            self._out.host.append(ASK_KEEPALIVE)
            self._ask_reports()
            if self._cold:
                self._out.host.extend(self.firmware.heaters_off())
            self._out.host.append(SYNC)
            return
        if not proof and self._line.inline is not False:
            self._unproven += 1
            if self._line.inline or self._unproven == 1:
                self._out.host.append(SYNC)
                return
            self._line.inline = False  # answered twice in some other way: this firmware has no `ok T:`
        if phase is Phase.SETTING_UP and self._ask_reports():
            self._out.host.append(SYNC)
            return
        self._go("scripted")
        if phase is Phase.SETTING_UP:
            self._set_up()
        elif phase is Phase.PREPARING:
            if self._pause_wanted is not None:
                self.pause(self._pause_wanted)
        elif phase is Phase.PAUSING:
            self._events.append(states.RunPaused(self._reason))
        elif phase is Phase.CLOSING:
            self._events.append(states.RunDone())
        else:
            self._events.append(states.RunCancelled(self._reason, self.lines_accepted))

    def _set_up(self) -> None:
        if self.firmware.keeps_alive:
            self._line.keeps_alive()
        self._cold = False
        self._heat.ask_again(self._line.since)
        self._events.append(states.Ready(self.firmware.name, self.firmware.has))

    def _ask_reports(self) -> bool:
        """Ask for automatic reports where the firmware has them, once; whether that was asked now."""
        ask = not self._heat.by_itself and self.firmware.capabilities.get("AUTOREPORT_TEMP", False)
        if ask:
            self._heat.by_itself = True
            self._out.host.append(ASK_REPORTS)
        return ask

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

    # What happens to the machine.

    def _restarted(self, now: float) -> None:
        young = self.phase is Phase.IDLE and now < self._opened_at + states.SPURIOUS_START_S
        if not young and (self.in_run or self.phase in (Phase.IDLE, Phase.HALTED)):
            self._fail_run("the machine restarted")
            self._events.append(states.Restarted())
        self._listen(now, states.BANNER_SETTLE_S)

    def _halted(self, text: str, now: float) -> None:
        if self.phase is not Phase.HALTED:
            accepted = self.lines_accepted if self.in_run else None
            self._enter_halt(now, states.HALT_TEXT_S)
            self._last_words.accepted = accepted
        self._last_words.confirmed = True
        self._last_words.text.append(text)

    def _halt_due(self, now: float) -> None:
        """The firmware has had its time to say more, or to hear the emergency stop."""
        words = self._last_words
        if words.again and not words.confirmed:
            self._line.urgent += words.again
            words.again = b""
            self._phase_due = now + states.KILL_ANSWER_S - states.STOP_AGAIN_S
            return
        text = "; ".join(words.text)
        if words.accepted is not None:
            self._events.append(states.RunFailed(text, words.accepted))
        self._events.append(states.Halted(text, words.confirmed))

    def _action(self, action: str, now: float) -> None:
        if action == "pause":
            self.pause("asked for by the machine")
        elif action == "paused" and self.phase is Phase.STREAMING:
            self._go("hold")
            self._plain = False
            self._events.append(states.RunPaused("paused at the machine"))
        elif action in ("resume", "resumed"):
            self.resume()
        elif action == "cancel":
            self.cancel("cancelled at the machine")
        elif action == "poweroff" and self.phase is not Phase.HALTED:
            self._halted("the machine asked to be switched off", now)

    # Where all of it leads.

    def _greet(self, now: float) -> None:
        """Number anew from 0. The hello is repeated until it is answered; nothing is at stake before."""
        self._line.hello(now, greeting=self.phase is Phase.GREETING)
        self._plain = False

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

    def _replan(self) -> None:
        """See whether the fast way may be taken."""
        out = self._out
        self._plain = (
            self.phase is Phase.STREAMING
            and self._began
            and not out.host
            and not out.replay
            and not self._line.urgent
            and (self.link is Link.CLEAR or not out.is_host_last)
        )
