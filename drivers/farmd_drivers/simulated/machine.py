"""The simulated machine: what time and commands make of its `Truth`, by the table in `state`. Pure.

`advance(now)` lets everything happen that was due by then, each at its own time, and returns the
events; the same inputs give the same states however often it is called between. One table serves
the three kinds of machine, which differ in their `Nature` only:

- a filament printer: the START is shown after a moment, it warms up, makes layers, ends;
- a powder-bed machine: the same, and its cool-down begins when the build time is over: the run
  has `Ended` then, with `ready_in_s` the cool-down, during which it takes no START;
- a finishing station: a fixed time, no warm-up, no noise, no material.

Warm-up is part of the run's duration. What is drawn for a run is drawn when it is received
(`chance`). Knows no clock, file, cable or driver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from farmd.driver import (
    NOT_SUPPORTED,
    Activity,
    BedCleared,
    Ended,
    Event,
    Faulted,
    Finished,
    ForeignEnded,
    ForeignStarted,
    Observed,
    Paused,
    Progressed,
    Rebooted,
    Recovered,
    Resumed,
    Started,
    StartOrder,
)
from farmd.model.errors import Refused
from farmd.model.lifecycle import step
from farmd.model.machine import Fault
from farmd.model.work import Outcome, Place

from .chance import Odds, drops_start, fate, gap_s
from .state import TABLE, Answer, Nature, Phase, SimulatedRun, Truth

HISTORY = 50
"""How many past runs the machine remembers."""
PANEL_RUN_S = 3600.0
FIRMWARE = "farmd simulated machine"

EMERGENCY_STOP = Fault(
    "emergency-stop", "the emergency stop was pressed", "make sure that it is safe, then recover the machine"
)
BREAKDOWN = Fault("breakdown", "the machine broke down", "mend the machine, then recover it")


_ACTIVITY: Mapping[Phase, Activity] = {
    Phase.IDLE: Activity.IDLE,
    Phase.STARTING: Activity.RUNNING,
    Phase.WARMING: Activity.RUNNING,
    Phase.MAKING: Activity.RUNNING,
    Phase.PAUSED: Activity.PAUSED,
    Phase.RESTING: Activity.IDLE,
    Phase.FAULT: Activity.FAULT,
}


class SimulatedMachine:
    """A `Truth` and what moves it. Every method takes the wall time in seconds since the epoch."""

    def __init__(self, nature: Nature, odds: Odds, *, born_at: float) -> None:
        self.nature = nature
        self.odds = odds
        self.truth = Truth(at=born_at)
        self._change(
            next_panel_at=self._next("panel", 0, odds.panel_every_h, born_at),
            next_reboot_at=self._next("reboot", 0, odds.reboot_every_h, born_at),
        )

    # Time

    def next_at(self) -> float:
        """When something happens next by itself; infinite when nothing will."""
        return self._due()[0]

    def advance(self, now: float) -> tuple[Event, ...]:
        """Everything that was due by `now`. A clock that went back changes nothing."""
        events: list[Event] = []
        while (due := self._due())[0] <= now:
            at = max(due[0], self.truth.at)
            self._move(at)
            events += self._happen(due[1], at)
        self._move(now)
        return tuple(events)

    def _due(self) -> tuple[float, str]:
        truth = self.truth
        dues = [(truth.next_panel_at or math.inf, "panel"), (truth.next_reboot_at or math.inf, "reboot")]
        run = truth.run
        if truth.phase is Phase.STARTING and run is not None:
            dues.append((run.received_at + self.nature.start_delay_s, "show"))
        if truth.phase is Phase.WARMING and run is not None:
            dues.append((run.due(run.warm_s), "warm"))
        if truth.phase in (Phase.WARMING, Phase.MAKING) and run is not None:
            dues.append((run.due(run.end_s), "end"))
        if truth.phase is Phase.RESTING:
            dues.append((truth.ready_at, "rested"))
        return min(dues)

    def _happen(self, what: str, at: float) -> tuple[Event, ...]:
        truth, run = self.truth, self.truth.run
        if what == "panel":
            count = truth.panels + 1
            self._change(panels=count, next_panel_at=self._next("panel", count, self.odds.panel_every_h, at))
            return self.panel_start(f"panel-{count}", PANEL_RUN_S, at)
        if what == "reboot":
            count = truth.reboots + 1
            self._change(
                reboots=count, next_reboot_at=self._next("reboot", count, self.odds.reboot_every_h, at)
            )
            return self.reboot(at)
        if what == "end" and run is not None:
            if run.breaks:
                return self.break_down(BREAKDOWN, run.reason, at)
            return self._end(Outcome.FAILED if run.reason else Outcome.OK, run.reason, at)
        self._step(what)
        if what == "show" and run is not None:
            self._change(run=replace(run, since=at))
            return (Started(run.run_id, "the machine shows the run id and counts its progress"),)
        if what == "rested" and self.nature.ejects and not truth.bed_clear and self._last_was_ok():
            self._change(bed_clear=True)
            return (BedCleared(),)
        return ()

    # Commands

    def receive(self, order: StartOrder, now: float) -> Answer:
        """A START has arrived. It is taken only by an idle machine."""
        if self.truth.phase is not Phase.IDLE:
            return Answer.BUSY
        if drops_start(self.odds, order.run_id):
            return Answer.DROPPED
        self._step("receive")
        duration_s = self.nature.operation_s or order.duration_s
        self._change(run=self._new_run(order.run_id, duration_s, order.mass_g, now), bed_clear=False)
        return Answer.TAKEN

    def panel_start(self, name: str, duration_s: float, now: float) -> tuple[Event, ...]:
        """Somebody starts a run of their own at the machine, if it is idle."""
        if self.truth.phase is not Phase.IDLE:
            return ()
        self._step("panel")
        run = self._new_run(name, duration_s, 0.0, now)
        self._change(run=replace(run, foreign=True, since=now), bed_clear=False, unseen_start=True)
        return (ForeignStarted(name),)

    def pause(self, now: float) -> tuple[Event, ...]:
        if self.truth.phase is Phase.PAUSED:
            return ()
        run = self._own_run("pause")
        self._change(run=replace(run, done_s=run.done_at(now), since=None))
        return (Paused(run.run_id),)

    def resume(self, now: float) -> tuple[Event, ...]:
        if self.truth.phase in (Phase.WARMING, Phase.MAKING):
            return ()
        run = self._own_run("resume")
        self._change(run=replace(run, since=now))
        return (Resumed(run.run_id),)

    def stop(self, now: float) -> tuple[Event, ...]:
        """Cancels a run of ours; does nothing when none runs."""
        run = self.truth.run
        if run is None:
            return ()
        if run.foreign:
            raise Refused(NOT_SUPPORTED, f"{run.run_id} was not started by farmd")
        return self._end(Outcome.CANCELLED, "stopped", now)

    def fail(self, reason: str, now: float) -> tuple[Event, ...]:
        """The present run fails; the machine itself is well."""
        return () if self.truth.run is None else self._end(Outcome.FAILED, reason, now)

    def break_down(self, fault: Fault, reason: str, now: float) -> tuple[Event, ...]:
        """The machine stops, everything off, and needs a person."""
        if self.truth.phase is Phase.FAULT:
            return ()
        events = self._end(Outcome.FAILED, reason, now) if self.truth.run is not None else ()
        self._step("break")
        self._change(fault=fault)
        return (*events, Faulted(fault))

    def recover(self, now: float) -> tuple[Event, ...]:
        if self.truth.phase is not Phase.FAULT:
            return ()
        self._step("recover")
        self._change(fault=None, ready_at=max(self.truth.ready_at, now))
        return (Recovered(),)

    def reboot(self, now: float) -> tuple[Event, ...]:
        """The machine restarts: its run is lost, and so is its fault."""
        events: tuple[Event, ...] = ()
        if self.truth.run is not None:
            events = self._end(Outcome.FAILED, "the machine restarted", now)
        mended: tuple[Event, ...] = (Recovered(),) if self.truth.phase is Phase.FAULT else ()
        self._step("reboot")
        self._change(fault=None, unseen_reboot=True, ready_at=max(self.truth.ready_at, now))
        return (*events, Rebooted(), *mended)

    # Being looked at

    def observe(self) -> Observed:
        """The full state. A START that was taken is shown from its arrival on."""
        truth, run = self.truth, self.truth.run
        return Observed(
            _ACTIVITY[truth.phase],
            run_id=None if run is None else run.run_id,
            fraction=None if run is None else self._fraction(run, truth.at),
            history=truth.history,
            fault=truth.fault,
            rebooted=truth.unseen_reboot,
            unseen_start=truth.unseen_start,
            firmware=FIRMWARE,
        )

    def told(self) -> None:
        """A driver has been told of everything so far."""
        if self.truth.unseen_start or self.truth.unseen_reboot:
            self._change(unseen_start=False, unseen_reboot=False)

    def progress(self) -> Progressed | None:
        """How far a run of ours is; None when none moves."""
        run, at = self.truth.run, self.truth.at
        if run is None or run.foreign or run.since is None:
            return None
        left_s = max(0.0, run.length_s - run.done_at(at))
        return Progressed(run.run_id, self._fraction(run, at), self._layer(run, at), left_s)

    # Inside

    def _new_run(self, run_id: str, duration_s: float, mass_g: float, now: float) -> SimulatedRun:
        drawn = fate(self.odds, run_id, duration_s)
        station = self.nature.operation_s is not None
        length_s = duration_s if station else duration_s * drawn.length
        return SimulatedRun(
            run_id=run_id,
            foreign=False,
            received_at=now,
            length_s=length_s,
            end_s=length_s * drawn.share,
            reason=drawn.reason,
            breaks=drawn.breaks,
            warm_s=0.0 if station else min(self.nature.warmup_s, length_s / 2),
            mass_g=0.0 if station else mass_g,
        )

    def _end(self, outcome: Outcome, reason: str, now: float) -> tuple[Event, ...]:
        run = self.truth.run
        assert run is not None
        ok = outcome is Outcome.OK
        fraction = 1.0 if ok else self._fraction(run, now)
        place = None if ok else Place(layer=self._layer(run, now), fraction=fraction)
        finished = Finished(run.run_id, outcome, reason, place, run.mass_g * fraction)
        rest_s = self.nature.rest_s if run.since is not None or run.done_s > 0.0 else 0.0
        self._step("end")
        self._change(run=None, history=(*self.truth.history, finished)[-HISTORY:], ready_at=now + rest_s)
        if run.foreign:
            return (ForeignEnded(),)
        return (Ended(run.run_id, outcome, reason, place, finished.used_g, rest_s),)

    def _own_run(self, command: str) -> SimulatedRun:
        run = self.truth.run
        if run is not None and run.foreign:
            raise Refused(NOT_SUPPORTED, f"{run.run_id} was not started by farmd", where=self.odds.machine)
        self._step(command)
        assert run is not None
        return run

    def _fraction(self, run: SimulatedRun, now: float) -> float:
        return min(1.0, run.done_at(now) / run.length_s) if run.length_s > 0.0 else 1.0

    def _layer(self, run: SimulatedRun, now: float) -> int | None:
        if self.nature.operation_s is not None:
            return None
        return int(max(0.0, run.done_at(now) - run.warm_s) // self.nature.layer_s)

    def _last_was_ok(self) -> bool:
        return bool(self.truth.history) and self.truth.history[-1].outcome is Outcome.OK

    def _next(self, kind: str, count: int, every_h: float, at: float) -> float | None:
        gap = gap_s(self.odds, kind, count, every_h)
        return None if gap == math.inf else at + gap

    def _step(self, what: str) -> None:
        self._change(phase=step(TABLE, self.truth.phase, what, where=self.odds.machine))

    def _move(self, now: float) -> None:
        if now > self.truth.at:
            self._change(at=now)

    def _change(self, **changes: object) -> None:
        self.truth = replace(self.truth, **changes)  # type: ignore[arg-type]
