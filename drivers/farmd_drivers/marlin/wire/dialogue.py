"""The run: what is said to the machine and why, from the first line of a job to its end.

Walks the part of the table `PHASE` of `states` that is about a run; `handshake` has the rest of it. Bytes
are `core`'s business, lost lines are `discipline`'s; here a verdict on lines, a wish of a person and an
action of the machine become the next phase, commands of the host, and events. Where the head is put at a
pause, and how it comes back, are scripts that are handed in (`park` has them). Knows no loop, clock,
file or device.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Sequence

from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.discipline import Verdict
from farmd_drivers.marlin.wire.handshake import Handshake
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.park import STAY, Parking, Script
from farmd_drivers.marlin.wire.states import PHASE, Link, Phase
from farmd_drivers.marlin.wire.typed import TYPING_PHASES, Typed

_HOME_FIRST = re.compile(rb"\bhome\b.*\bfirst\b", re.IGNORECASE)
DRAIN = (b"M400", SYNC)
"""Ends every part of a run: wait until motion is over, then the proof."""


class Dialogue(Handshake):
    """One link to one machine, above its lines; see `Handshake` for what it is made with."""

    def __init__(self, now: float, *, banner_s: float = states.BANNER_S, cold: bool = False) -> None:
        super().__init__(now, banner_s=banner_s, cold=cold)
        self._began = False
        self._reason = ""
        """Why the run is being paused or cancelled."""
        self._pause_wanted: str | None = None
        """Why the run is to pause as soon as it streams."""
        self._unproven = 0
        self._asks = False
        """`Drained` is told, and answered."""
        self._is_asking = False
        """It was told, and not yet answered."""
        self._resume_wanted = False
        """To resume as soon as the head is parked."""
        self._approach: deque[Script] = deque()
        self._is_placed = True
        """The machine's coordinates are those of the file."""
        self._parking = STAY
        """How the head is taken away, and how it comes back."""
        self._is_parked = False
        self.typed = Typed(self._line)

    # What the caller asks for.

    def begin(self, now: float, *, asks: bool = False, approach: Sequence[Script] = ()) -> None:
        """Begin a run; its lines come by `feed`. Only in phase IDLE.

        With `asks`, `Drained` is told at a pause and at a stop, and `park` must answer it. The scripts of
        `approach` lead to a place in the middle of a file, before the first line; none begins before the
        motion of the one before it is over.
        """
        self._out.clear_job()
        self._began = False
        self._pause_wanted = None
        self._asks, self._is_asking, self._resume_wanted = asks, False, False
        self._approach = deque(approach)
        self._is_placed = not approach
        self._parking, self._is_parked = STAY, False
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
        self._resume_wanted = False
        if self.phase in (Phase.RENUMBERING, Phase.PREPARING, Phase.RETURNING):
            self._pause_wanted = reason
        elif self.phase is Phase.STREAMING:
            self._go("pause")
            self._reason = reason
            self._out.host.extend(DRAIN)
            self._plain = False

    def park(self, parking: Parking) -> None:
        """Answer `Drained`. An answer that nobody waits for any more: nothing."""
        if self._is_asking:
            self._is_asking = False
            self._parking = parking
            self._out.host.extend((*parking.away, *DRAIN))

    def resume(self) -> None:
        """Go on exactly behind the last line accepted, the head being brought back. Not paused: nothing."""
        self._pause_wanted = None
        if self.phase is Phase.PARKING:
            self._resume_wanted = True
        elif self.phase is Phase.PAUSED and self._parking.back:
            self._phase_due = math.inf
            self._is_parked = False
            self._go("return")
            self._out.host.extend((*self._parking.back, SYNC))
        elif "resume" in PHASE[self.phase]:
            if self.phase is Phase.PAUSED:
                self._events.append(states.RunResumed())
            self._go("resume")
            self._replan()

    def cancel(self, reason: str) -> None:
        """Stop feeding, end a heat wait, heaters off; RunCancelled follows. No run open: nothing."""
        if "cancel" not in PHASE[self.phase]:
            return
        if self.is_slow:
            self._line.urgent += self.firmware.dialect.breaks_wait
        self._phase_due = math.inf
        self._is_asking = False
        self._go("cancel")
        self._reason = reason
        self._out.drop_unsent()
        self._out.host.clear()
        self._out.host.extend((*self.firmware.heaters_off(), *DRAIN))
        self._plain = False

    @property
    def may_type(self) -> bool:
        """Whether a person's command may be sent now."""
        return self.phase in TYPING_PHASES and not self.typed.is_open

    def type_command(self, command: bytes) -> None:
        """Send a person's command before the next line of the job; `Answered` follows. Only with `may_type`."""
        self.typed.put(command)
        self._plain = False

    # What lines come to.

    def _act(self, verdict: Verdict, now: float) -> None:
        match verdict:
            case Verdict.NOTHING:
                if self._line.link not in (Link.CLEAR, Link.AWAIT_OK):
                    self._plain = False
            case Verdict.UNSURE if self.in_run:
                self._unsure(now)
            case Verdict.UNSURE:
                self._line.believe(now)
                self._accepted(now, proof=True)
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
        if self.typed.is_open and (answered := self.typed.accepted()) is not None:
            self._events.append(answered)
        if not self._began and self._has_begun():
            self._began = True
            self._events.append(states.RunBegan())
        if self.phase is Phase.RENUMBERING and out.sent > 0:
            self._greet(now)  # a question was outstanding when the run began
            return
        if out.sent == 0 and "greeted" in PHASE[self.phase]:
            out.host.append(b"M115" if self.phase is Phase.GREETING else SYNC)
            self._go("greeted")
            self._line.greeted()
        elif "scripted" in PHASE[self.phase] and not (out.host or out.replay or self._is_asking):
            self._script_ended(proof, now)
        self._replan()

    def _has_begun(self) -> bool:
        """The machine has taken a first line of the job, or of what leads to it."""
        return self.phase is Phase.RETURNING or (self.phase is Phase.STREAMING and self.lines_accepted > 0)

    def _script_ended(self, proof: bool, now: float) -> None:
        phase = self.phase
        if phase is Phase.IDENTIFYING:
            self._identified()
            return
        if not proof and (self._line.proves or self._line.inline is None):
            self._unproven += 1
            if self._line.proves or self._unproven == 1:
                self._out.host.append(SYNC)
                return
            self._line.inline = False  # answered twice in some other way: this firmware has no `ok T:`
        if phase is Phase.SETTING_UP and self._ask_reports():
            self._out.host.append(SYNC)
        elif phase is Phase.PREPARING and self._approach:
            self._go("return")
            self._out.host.extend((*self._approach.popleft(), *DRAIN))
        elif phase is Phase.RETURNING and self._approach:
            self._out.host.extend((*self._approach.popleft(), *DRAIN))
        elif phase in (Phase.PAUSING, Phase.CANCELLING) and self._asks:
            self._go("drained")
            self._ask(stopping=phase is Phase.CANCELLING)
        else:
            self._go("scripted")
            self._follow(phase, now)

    def _follow(self, phase: Phase, now: float) -> None:
        """The script of a phase has ended."""
        match phase:
            case Phase.SETTING_UP:
                self._set_up()
            case Phase.PREPARING:
                self._pause_if_wanted()
            case Phase.PAUSING | Phase.PARKING:
                self._parked(now)
            case Phase.RETURNING:
                self._returned()
            case Phase.CLOSING:
                self._events.append(states.RunDone())
            case _:
                self._events.append(states.RunCancelled(self._reason, self.lines_accepted))

    def _ask(self, *, stopping: bool) -> None:
        self._events.append(states.Drained(self.lines_accepted, stopping, self._is_parked, self._is_placed))
        self._is_asking = True

    def _parked(self, now: float) -> None:
        self._is_parked = bool(self._parking.away)
        self._phase_due = now + self._parking.standby_after_s
        self._events.append(states.RunPaused(self._reason))
        if self._resume_wanted:
            self.resume()

    def _returned(self) -> None:
        self._parking = STAY
        self._events.append(states.Arrived())
        if self._is_placed:
            self._events.append(states.RunResumed())
        self._is_placed = True
        self._pause_if_wanted()

    def _pause_if_wanted(self) -> None:
        if self._pause_wanted is not None:
            self.pause(self._pause_wanted)

    def _standby_due(self) -> None:
        """The head has been parked for so long that its nozzle may cool."""
        self._out.host.extend(self._parking.standby)
        self._plain = False

    # What the machine does of its own accord.

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

    def _heard(self, line: bytes, now: float) -> None:
        """Words. A machine that will not move before it is homed must not home with its nozzle in the part."""
        if self.phase is Phase.RETURNING and not self._is_placed and _HOME_FIRST.search(line):
            self.fail(line.decode("latin-1"), now)

    # Where all of it leads.

    def _go(self, event: str) -> None:
        super()._go(event)
        self._is_asking = False

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
