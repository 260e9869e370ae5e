"""What is told of the machine: from events of the link to events of the machine, and to the record.

Holds what the telling needs to remember: the open run, the fault, and whether this connection has told its
`Observed`. Knows no port and no loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from farmd.driver import (
    Activity,
    Attention,
    Ended,
    Event,
    Faulted,
    ForeignStarted,
    Observed,
    Paused,
    Progressed,
    Rebooted,
    Recovered,
    Report,
    Resumed,
    Started,
    Temperatures,
)
from farmd.driver.heat_guard import HEAT_GUARD
from farmd.model.errors import ErrorCode
from farmd.model.machine import Fault
from farmd.model.work import Outcome
from farmd_drivers.marlin.job import JobFile
from farmd_drivers.marlin.runlog import RunLog
from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.replies import Heat

NOTES_PER_RUN = 20
"""Firmware messages told per run; noise can make any number of them."""
EVIDENCE = "the machine accepted the first line of the file, after it had answered to M105"
EVIDENCE_GOING_ON = (
    "the machine accepted the first command that leads to the place, after it had answered to M105"
)
EVIDENCE_AT_REST = "the machine answered to M105 and M400 and stands still before the first line of the file"

FIRMWARE_HALTED = ErrorCode(
    "firmware-halted",
    "the firmware has stopped the machine to protect it",
    "find out why, let it cool, then switch it off and on and say `farmctl release`",
)
EMERGENCY_STOP = ErrorCode(
    "emergency-stop",
    "the machine was stopped as an emergency",
    "make it safe, switch it off and on, then say `farmctl release`",
)


@dataclass(slots=True)
class FedRun:
    """The run that is being fed."""

    id: str
    job: JobFile
    mass_g: float
    started: bool = False
    all_read: bool = False
    told: int = -1
    notes: int = 0


class Account:
    """One machine's account, from connection to connection."""

    def __init__(self, log: RunLog) -> None:
        self.run: FedRun | None = None
        self.fault: Fault | None = None
        self.is_observed = False
        """This connection has told the machine's state."""
        self._log = log
        self._report: Report = _nobody
        self._recovering = False
        self._restarted = False
        self._unseen = False
        self.on_card: tuple[Activity, str | None, float | None] | None = None
        """What the machine prints by itself: what it does, the name that it shows, and how far it is."""

    def connect(self, report: Report, *, unseen: bool) -> None:
        """A new connection; its first `Observed` comes next, which tells of an `unseen` start."""
        self._report = report
        self._unseen = unseen
        self.is_observed = self._recovering = self._restarted = False

    def leave(self) -> None:
        """Nobody listens any more."""
        self._report = _unheard

    def tell(self, event: Event) -> None:
        """Report; before the connection's first `Observed`, only a fault is, and as that."""
        if isinstance(event, ForeignStarted):
            self._log.overrun()
        if not self.is_observed:
            if isinstance(event, Faulted):
                event = self._observed(event.fault)
            if not isinstance(event, Observed):
                return
            self.is_observed = True
        self._report(event)

    def tell_progress(self, accepted: int) -> None:
        """How far the run is, if that is new; `accepted` lines of its file were."""
        run = self.run
        if run is not None and run.started and accepted != run.told:
            run.told = accepted
            self.tell(Progressed(run.id, run.job.fraction(accepted), run.job.layer(accepted)))

    def _observed(self, fault: Fault | None, firmware: str = "") -> Observed:
        rebooted, self._restarted = self._restarted, False
        unseen, self._unseen = self._unseen, False
        activity, run_id, fraction = self.on_card or (Activity.IDLE, None, None)
        return Observed(
            activity if fault is None else Activity.FAULT,
            run_id,
            fraction,
            history=self._log.history,
            fault=fault,
            rebooted=rebooted,
            unseen_start=unseen,
            firmware=firmware,
        )

    def note_restart(self) -> None:
        """The machine has restarted, which its next `Observed` tells."""
        self._restarted = True

    # The fault.

    def set_fault(self, code: ErrorCode, what: str) -> None:
        self.fault = Fault(code.name, what, code.remedy)
        self._recovering = False
        self.tell(Faulted(self.fault))

    def recover(self, *, tried: bool) -> None:
        """The fault is gone; `tried`: it will be, when the machine answers, and stays when it does not."""
        self._recovering = tried
        if not tried:
            self.fault = None
            self.tell(Recovered())

    def link_died(self) -> None:
        if self._recovering and self.fault is not None:
            self.tell(Faulted(self.fault))

    # Events of the link.

    def on_ready(self, event: states.Ready) -> None:
        """The machine answers and is at rest."""
        if self.on_card is None:
            self._log.cooled()
        recovered, self._recovering = self._recovering, False
        if recovered:
            self.fault = None
        self.tell(self._observed(self.fault, event.firmware))
        if recovered:
            self.tell(Recovered())
        if "THERMAL_PROTECTION" not in event.capabilities:
            what = "the firmware does not say that it watches its heaters (THERMAL_PROTECTION)"
            self.tell(Attention("no-thermal-protection", what))

    def on_halted(self, event: states.Halted, *, pulsed: bool) -> None:
        """`pulsed`: the reset line was pulled, because nothing confirmed the emergency stop."""
        if self.fault is None or self.fault.code not in (EMERGENCY_STOP.name, HEAT_GUARD.name):
            self.set_fault(FIRMWARE_HALTED, event.text)
        elif not event.confirmed:
            more = "its reset line was pulled" if pulsed else "its port has no reset line: cut the power"
            code = EMERGENCY_STOP if self.fault.code == EMERGENCY_STOP.name else HEAT_GUARD
            told = "" if code is EMERGENCY_STOP else f"{self.fault.what}; "
            self.set_fault(code, f"{told}the firmware did not confirm the emergency stop; {more}")

    def on_event(self, event: states.WireEvent) -> None:
        """Any other event."""
        match event:
            case Heat():
                self.tell(Temperatures(event.actual_c, event.target_c))
            case states.Restarted():
                self._restarted = True
                self.tell(Rebooted("the firmware said `start`"))
            case states.Noted():
                self._on_note(event.text)
            case _:
                if self.run is not None:
                    self._on_run_event(event, self.run)

    def _on_run_event(self, event: states.WireEvent, run: FedRun) -> None:
        if isinstance(event, states.RunBegan | states.RunPaused | states.RunDone) and not run.started:
            run.started = True
            began = EVIDENCE if run.job.at_break is None else EVIDENCE_GOING_ON
            self.tell(Started(run.id, began if isinstance(event, states.RunBegan) else EVIDENCE_AT_REST))
        match event:
            case states.RunPaused():
                self._log.displace()  # by the firmware, or by whoever has paused it
                self.tell(Paused(run.id, event.reason))
            case states.Arrived():
                self._log.arrive()
            case states.RunResumed():
                self._log.arrive()
                self.tell(Resumed(run.id))
            case states.RunDone():
                self._end(run, Outcome.OK)
            case states.RunCancelled():
                self._end(run, Outcome.CANCELLED, event.reason, event.lines_accepted)
            case states.RunFailed():
                self._end(run, Outcome.FAILED, event.reason, event.lines_accepted)
            case _:
                pass

    def _end(self, run: FedRun, outcome: Outcome, reason: str = "", accepted: int | None = None) -> None:
        self.run = None
        run.job.close()
        place = None if accepted is None else run.job.place(accepted)
        share = 1.0 if outcome is Outcome.OK else (place and place.fraction) or 0.0
        used_g = run.mass_g * max(0.0, share - run.job.fraction(0))
        self._log.end(outcome, reason, place, used_g)
        self.tell(Ended(run.id, outcome, reason, place, used_g))

    def _on_note(self, text: str) -> None:
        if self.run is not None:
            self.run.notes += 1
            if self.run.notes > NOTES_PER_RUN:
                return
        self.tell(Attention("firmware-message", text))


def _nobody(event: object) -> None:
    raise RuntimeError(f"an event before anybody serves this machine: {event}")


def _unheard(event: object) -> None:
    return
