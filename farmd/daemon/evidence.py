"""What a driver's event means for the record: pure functions from state and event to facts.

This is where a start is settled. A run of ours that the machine shows is adopted; one that its
history tells of has ended; one that an authority on its own history neither shows nor remembers
did not start, and its build is queued again. Everything else is doubt, and a person says which. A
machine that is fed by the daemon cannot have gone on without it: there the run has failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from farmd.daemon.blame import DRIVER_BUG
from farmd.daemon.ids import IdSource
from farmd.daemon.onward import next_builds
from farmd.driver import (
    Activity,
    Capabilities,
    Ended,
    Event,
    Faulted,
    Finished,
    ForeignEnded,
    ForeignStarted,
    Observed,
    Paused,
    Rebooted,
    Recovered,
    Resumed,
    Started,
)
from farmd.model import facts as f
from farmd.model.apply_safety import RESTORED_REASON
from farmd.model.farm import Farm
from farmd.model.lifecycle import MachineState, RunState
from farmd.model.machine import Fault, Machine
from farmd.model.work import Outcome, Run

NOT_KNOWN_FAULT = Fault("machine-fault", "the machine reports a fault", "look at the machine")


@dataclass(frozen=True, slots=True)
class Situation:
    """What an event is judged against."""

    farm: Farm
    machine: Machine
    capabilities: Capabilities
    out_of_sight_s: float
    now_s: float
    starting: bool = False
    """The start of the open run is being handed over this moment: not to be seen yet proves nothing."""
    cooldown_s: float = 0.0
    """What a run that ended unseen is given to cool down, from now on."""

    @property
    def run(self) -> Run | None:
        return self.farm.runs.get(self.machine.run_id or "")

    @property
    def actor(self) -> str:
        return f"machine:{self.machine.name}"

    def parts_of(self, run: Run) -> int:
        return self.farm.builds[run.build_id].parts


def facts_of(event: Event, now: Situation) -> list[f.Fact]:
    """The facts that an event adds. Events that add nothing new (told twice, telemetry) give none."""
    match event:
        case Observed():
            return _observed(event, now)
        case Started(run_id, evidence):
            return _started(run_id, evidence, now)
        case Ended():
            return _ended(event, now)
        case Paused(run_id, reason) if now.run is not None and now.run.id == run_id:
            return _adopt(now.run, Activity.PAUSED, now, reason)
        case Resumed(run_id) if now.run is not None and now.run.id == run_id:
            return _adopt(now.run, Activity.RUNNING, now)
        case Faulted(fault):
            return [_faulted(fault, now)] if now.machine.fault != fault or not _in_fault(now) else []
        case Recovered() if _in_fault(now):
            return [f.MachineRecovered(at=now.now_s, actor=now.actor, machine=now.machine.name)]
        case Rebooted(what):
            return _void(now, f"the machine restarted {what}".strip())
        case ForeignStarted(name):
            return _foreign(name, now)
        case ForeignEnded() if now.machine.state is MachineState.FOREIGN:
            return [f.ForeignRunEnded(at=now.now_s, actor=now.actor, machine=now.machine.name)]
        case _:
            return []


def _in_fault(now: Situation) -> bool:
    return now.machine.state is MachineState.FAULT


def _foreign(name: str, now: Situation) -> list[f.Fact]:
    name = name or "unnamed"
    if now.machine.state is MachineState.FOREIGN and now.machine.foreign == name:
        return []
    return [f.ForeignRunStarted(at=now.now_s, actor=now.actor, machine=now.machine.name, name=name)]


def _faulted(fault: Fault, now: Situation) -> f.Fact:
    return f.MachineFaulted(at=now.now_s, actor=now.actor, machine=now.machine.name, fault=fault)


def _void(now: Situation, reason: str) -> list[f.Fact]:
    if now.machine.permit is None:
        return []
    return [f.PermitVoided(at=now.now_s, actor=now.actor, machine=now.machine.name, reason=reason)]


def _started(run_id: str, evidence: str, now: Situation) -> list[f.Fact]:
    run = now.run
    if run is None or run.id != run_id:
        return _foreign(run_id, now)
    if run.state in (RunState.RUNNING, RunState.PAUSED):
        return []
    return [f.RunStarted(at=now.now_s, actor=now.actor, run_id=run_id, evidence=evidence)]


def _ended(event: Ended, now: Situation) -> list[f.Fact]:
    run = now.run
    if run is None or run.id != event.run_id:
        return []
    ready_at = now.now_s + event.ready_in_s if event.ready_in_s else 0.0
    finished = Finished(event.run_id, event.outcome, event.reason, event.place, event.used_g)
    return [_end(run, finished, now, ready_at)]


def _end(run: Run, finished: Finished, now: Situation, ready_at: float = 0.0) -> f.Fact:
    ok = finished.outcome is Outcome.OK
    return f.RunEnded(
        at=now.now_s,
        actor=now.actor,
        run_id=run.id,
        outcome=finished.outcome,
        reason=finished.reason,
        place=finished.place,
        made=now.parts_of(run) if ok else 0,
        used_g=finished.used_g,
        ready_at=ready_at,
    )


# --- after a connect ------------------------------------------------------------------------


def _observed(seen: Observed, now: Situation) -> list[f.Fact]:
    facts = _permit_after(seen, now)
    facts += _run_after(seen, now)
    run = now.run
    shows_other = seen.run_id is not None or seen.activity in (Activity.RUNNING, Activity.PAUSED)
    foreign = shows_other and not _shows(seen, run) and seen.activity is not Activity.IDLE
    last: list[f.Fact] = []
    if seen.activity is Activity.FAULT:
        look, last = "fault", [_faulted(seen.fault or NOT_KNOWN_FAULT, now)]
    elif foreign:
        look, last = "foreign", _foreign(seen.run_id or "", now)
    elif now.machine.fault is not None and now.machine.fault.code == DRIVER_BUG.name:
        # The machine knows nothing of its driver's bug; a person says when to go on.
        look, last = "fault", [_faulted(now.machine.fault, now)]
    else:
        look = "busy" if _shows(seen, run) else "idle"
    connected = f.MachineConnected(
        at=now.now_s, actor=now.actor, machine=now.machine.name, seen=look, firmware=seen.firmware
    )
    return [connected, *facts, *last]


def _permit_after(seen: Observed, now: Situation) -> list[f.Fact]:
    """An unspent permit is void when something may have run, unknown to us, since it was given."""
    if seen.rebooted:
        return _void(now, "the machine restarted")
    if seen.unseen_start:
        return _void(now, "something may have run while the link was away")
    if seen.activity is Activity.FAULT and seen.run_id is not None and not _shows(seen, now.run):
        return _void(now, f"it stopped with {seen.run_id}")
    # A fault may have been what ended the link.
    unseen = now.machine.state in (MachineState.OFFLINE, MachineState.FAULT)
    away_s = now.now_s - now.machine.since if unseen else 0.0
    if away_s > now.out_of_sight_s and not now.capabilities.history_authoritative:
        return _void(now, f"out of sight for {away_s:.0f} s")
    return []


def _run_after(seen: Observed, now: Situation) -> list[f.Fact]:
    """What became of the run that was open here."""
    run = now.run
    if run is None:
        return []
    if _shows(seen, run):
        return _adopt(run, seen.activity, now)
    if now.starting:
        return []
    finished = next((item for item in reversed(seen.history) if item.run_id == run.id), None)
    if finished is not None:
        ready_at = now.now_s + now.cooldown_s if now.cooldown_s else 0.0
        return [_end(run, finished, now, ready_at)]
    # Shown at rest, it has been there; and what moves without a name may be it.
    nameless = seen.run_id is None and seen.activity in (Activity.RUNNING, Activity.PAUSED)
    may_be_it = seen.run_id == run.id or nameless or seen.activity is Activity.FAULT
    # After a restored back-up a history may have forgotten what is older than it: a person says.
    is_sure = now.capabilities.history_authoritative and run.reason != RESTORED_REASON
    if run.started_at is None and is_sure and not may_be_it:
        reason = "the machine neither shows nor remembers it"
        return [_end(run, Finished(run.id, Outcome.NOT_STARTED, reason), now)]
    if not now.capabilities.adopts:
        reason = "the daemon or the link ended while the machine was being fed"
        return [_end(run, Finished(run.id, Outcome.FAILED, reason), now)]
    if run.state is RunState.UNCERTAIN:
        return []
    reason = "the machine neither shows this run nor tells what became of it"
    return [f.RunDoubted(at=now.now_s, actor=now.actor, run_id=run.id, reason=reason)]


def _shows(seen: Observed, run: Run | None) -> bool:
    """Whether the machine shows the run as not over: moving, paused, or stopped by a fault."""
    return run is not None and seen.run_id == run.id and seen.activity is not Activity.IDLE


def _adopt(run: Run, activity: Activity, now: Situation, reason: str = "seen paused") -> list[f.Fact]:
    facts: list[f.Fact] = []
    state = run.state
    if state not in (RunState.RUNNING, RunState.PAUSED):
        evidence = "the machine shows this run id"
        facts.append(f.RunStarted(at=now.now_s, actor=now.actor, run_id=run.id, evidence=evidence))
        state = RunState.RUNNING
    if activity is Activity.PAUSED and state is RunState.RUNNING:
        facts.append(f.RunPaused(at=now.now_s, actor=now.actor, run_id=run.id, reason=reason))
    if activity is Activity.RUNNING and state is RunState.PAUSED:
        facts.append(f.RunResumed(at=now.now_s, actor=now.actor, run_id=run.id))
    return facts


def permit_of(now: Situation, ids: IdSource) -> list[f.Fact]:
    """An ejector's word for a clear bed counts all parts of an ok run as good, and gives a permit."""
    machine, run = now.machine, now.farm.runs.get(now.machine.uncleared_run_id or "")
    if machine.permit is not None or machine.run_id is not None:
        return []
    counts: tuple[f.ItemCount, ...] = ()
    onward: list[f.BuildQueued] = []
    if run is not None:
        ok = run.outcome is Outcome.OK
        build = now.farm.builds[run.build_id]
        counts = tuple(
            f.ItemCount(item.job_id, item.parts if ok else 0, 0 if ok else item.parts) for item in build.items
        )
        onward = next_builds(now.farm, build, counts, at=now.now_s, actor=now.actor, new_id=ids.build)
    cleared = f.MachineCleared(
        at=now.now_s,
        actor=now.actor,
        machine=machine.name,
        permit_id=ids.permit(),
        run_id=machine.uncleared_run_id,
        counts=counts,
        reason="ejected",
    )
    return [cleared, *onward]
