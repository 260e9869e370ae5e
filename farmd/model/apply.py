"""`apply(farm, fact)`: what a fact changes. The only place that derives state from facts.

Pure: reads the farm, returns the changed entities, changes nothing itself and never looks at a
clock. A fact that does not follow from the state is refused with its reason. The ledger applies
facts when they happen; `farmd verify` applies them again from the journal and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from farmd.model import facts as f
from farmd.model.errors import ErrorCode, Refused
from farmd.model.farm import Counter, Entity, Farm, Gone
from farmd.model.lifecycle import BUILD, JOB, MACHINE, RUN, BuildState, JobState, MachineState, RunState, step
from farmd.model.machine import Machine, Permit
from farmd.model.work import PRINT, Build, BuildItem, Job, Lot, Outcome, Run

UNKNOWN_JOB = ErrorCode("unknown-job", "there is no open job of this id", "list them with `farmctl jobs`")
UNKNOWN_BUILD = ErrorCode(
    "unknown-build", "there is no open build of this id", "list jobs with `farmctl jobs`"
)
UNKNOWN_RUN = ErrorCode(
    "unknown-run", "there is no open run of this id", "list machines with `farmctl machines`"
)
UNKNOWN_MACHINE = ErrorCode(
    "unknown-machine", "there is no machine of this name", "list them with `farmctl machines`"
)
NOT_STARTABLE = ErrorCode(
    "not-startable",
    "the machine may not be started now",
    "see what it waits for with `farmctl next`",
)
STALE_FENCE = ErrorCode(
    "stale-fence",
    "another daemon has taken the farm since",
    "stop this daemon; only the newest may start machines",
)
NOT_CLEARABLE = ErrorCode(
    "not-clearable",
    "the machine cannot be cleared now",
    "wait for its run to end, or stop it first (`farmctl stop NAME`)",
)
ALREADY_CLEAR = ErrorCode(
    "already-clear", "the machine is clear and has a permit already", "nothing needs to be done"
)
BAD_COUNT = ErrorCode(
    "bad-count",
    "the numbers of parts do not fit what was on the machine",
    "see how many parts the build has with `farmctl machine NAME`",
)
RUN_OPEN = ErrorCode(
    "run-open", "a run is still open on this machine", "stop it or wait for its end, then try again"
)
MACHINE_KNOWN = ErrorCode(
    "machine-known", "there is a machine of this name already", "give the new machine another name"
)
BAD_ROUTE = ErrorCode(
    "bad-route",
    "the operation does not fit the route of the parts",
    "a route begins with print; see the job's own with `farmctl job ID`",
)


def apply(farm: Farm, fact: f.Fact) -> tuple[Entity, ...]:
    """The entities that `fact` changes, as they are after it. Raises `Refused` and changes nothing."""
    return tuple(_RULES[type(fact)](farm, fact))


# --- looking things up ----------------------------------------------------------------------


def find_job(farm: Farm, job_id: str) -> Job:
    if (job := farm.jobs.get(job_id)) is None:
        raise Refused(UNKNOWN_JOB, where=job_id)
    return job


def find_build(farm: Farm, build_id: str) -> Build:
    if (build := farm.builds.get(build_id)) is None:
        raise Refused(UNKNOWN_BUILD, where=build_id)
    return build


def find_run(farm: Farm, run_id: str) -> Run:
    if (run := farm.runs.get(run_id)) is None:
        raise Refused(UNKNOWN_RUN, where=run_id)
    return run


def find_machine(farm: Farm, name: str) -> Machine:
    if (machine := farm.machines.get(name)) is None:
        raise Refused(UNKNOWN_MACHINE, where=name)
    return machine


def _turn(machine: Machine, event: str, at: float, **changes: Any) -> Machine:
    state = step(MACHINE, machine.state, event, where=machine.name)
    since = machine.since if state is machine.state else at
    return replace(machine, state=state, since=since, **changes)


def _number(entity_id: str) -> int:
    return int(entity_id.rpartition("-")[2])


# --- the daemon and demand ------------------------------------------------------------------


def _daemon_started(farm: Farm, fact: f.DaemonStarted) -> Iterable[Entity]:
    if fact.fence <= farm.counters.get("fence", 0):
        raise Refused(STALE_FENCE, f"fence {fact.fence} is not above {farm.counters.get('fence', 0)}")
    linked = [m for m in farm.machines.values() if m.state is not MachineState.OFFLINE]
    unseen = [_turn(machine, "lose", fact.last_seen_at or fact.at) for machine in linked]
    return [Counter("fence", fact.fence), *unseen]


def _daemon_stopped(farm: Farm, fact: f.DaemonStopped) -> Iterable[Entity]:
    return []


def _file_stored(farm: Farm, fact: f.FileStored) -> Iterable[Entity]:
    return [fact.file]


def _job_submitted(farm: Farm, fact: f.JobSubmitted) -> Iterable[Entity]:
    if fact.job.id in farm.jobs:
        raise Refused(BAD_COUNT, "this job id is taken", where=fact.job.id)
    if fact.job.quantity < 1 or fact.job.parts_per_plate < 1:
        raise Refused(BAD_COUNT, "quantity and parts per plate are at least 1", where=fact.job.id)
    if fact.job.route[:1] != (PRINT,):
        raise Refused(BAD_ROUTE, where=fact.job.id)
    if fact.job.state is not JobState.OPEN or fact.job.in_work or fact.job.open_builds or fact.job.made:
        raise Refused(BAD_COUNT, "a new job is open and nothing of it is made", where=fact.job.id)
    return [fact.job, Counter("job", max(farm.counters.get("job", 0), _number(fact.job.id)))]


def _job_edited(farm: Farm, fact: f.JobEdited) -> Iterable[Entity]:
    job = find_job(farm, fact.job_id)
    if fact.quantity is not None and fact.quantity < 1:
        raise Refused(BAD_COUNT, "quantity is at least 1", where=job.id)
    due_at = None if fact.clear_due else (fact.due_at if fact.due_at is not None else job.due_at)
    job = replace(
        job,
        due_at=due_at,
        priority=job.priority if fact.priority is None else fact.priority,
        quantity=job.quantity if fact.quantity is None else fact.quantity,
    )
    if job.state is JobState.DONE and job.good < job.quantity:
        job = replace(job, state=step(JOB, job.state, "reopen", where=job.id), closed_at=None)
    return [_fulfilled(job, fact.at)]


def _fulfilled(job: Job, at: float) -> Job:
    if job.good >= job.quantity and (job.state, "fulfil") in JOB:
        return replace(job, state=JOB[job.state, "fulfil"], closed_at=at)
    return job


def _job_held(farm: Farm, fact: f.JobHeld) -> Iterable[Entity]:
    job = find_job(farm, fact.job_id)
    return [replace(job, state=step(JOB, job.state, "hold", where=job.id))]


def _job_released(farm: Farm, fact: f.JobReleased) -> Iterable[Entity]:
    job = find_job(farm, fact.job_id)
    return [replace(job, state=step(JOB, job.state, "release", where=job.id))]


def _job_cancelled(farm: Farm, fact: f.JobCancelled) -> Iterable[Entity]:
    job = find_job(farm, fact.job_id)
    return [replace(job, state=step(JOB, job.state, "cancel", where=job.id), closed_at=fact.at)]


# --- builds and runs ------------------------------------------------------------------------


def _build_queued(farm: Farm, fact: f.BuildQueued) -> Iterable[Entity]:
    items = tuple(BuildItem(job_id, parts) for job_id, parts in fact.items)
    if not items or min(item.parts for item in items) < 1 or len({i.job_id for i in items}) < len(items):
        raise Refused(BAD_COUNT, "a build has parts, each job named once", where=fact.build_id)
    if fact.build_id in farm.builds:
        raise Refused(BAD_COUNT, "this build id is taken", where=fact.build_id)
    build = Build(
        id=fact.build_id,
        operation=fact.operation,
        items=items,
        created_at=fact.at,
        duration_s=fact.duration_s,
        material=fact.material,
        nozzle_mm=fact.nozzle_mm,
        file_sha256=fact.file_sha256,
        mass_g=fact.mass_g,
        follows=fact.follows,
    )
    jobs = [find_job(farm, item.job_id) for item in items]
    if (fact.operation == PRINT) is (fact.follows is not None):
        raise Refused(BAD_ROUTE, "printing follows no build, everything else does", where=build.id)
    for job, item in zip(jobs, items, strict=True):
        if fact.operation not in job.route:
            raise Refused(BAD_ROUTE, f"{fact.operation} is no step of {', '.join(job.route)}", where=job.id)
        if fact.operation == PRINT and job.state is JobState.CANCELLED:
            raise Refused(UNKNOWN_JOB, "the job is cancelled; nothing more is made for it", where=job.id)
        if fact.follows and item.parts > (waiting := _waiting(farm, job)):
            raise Refused(BAD_COUNT, f"{item.parts} parts, {waiting} wait for an operation", where=job.id)
    # The parts of a build that follows another have been in work all along.
    new = 0 if fact.follows else 1
    jobs = [
        replace(job, in_work=job.in_work + new * item.parts, open_builds=job.open_builds + 1)
        for job, item in zip(jobs, items, strict=True)
    ]
    return [*jobs, build, Counter("build", max(farm.counters.get("build", 0), _number(build.id)))]


def _waiting(farm: Farm, job: Job) -> int:
    """Parts of a job between two operations: cleared from one, in no build of the next."""
    builds = (b for b in farm.builds.values() if b.state is not BuildState.FAILED)
    return job.in_work - sum(item.parts for b in builds for item in b.items if item.job_id == job.id)


def _build_withdrawn(farm: Farm, fact: f.BuildWithdrawn) -> Iterable[Entity]:
    build = find_build(farm, fact.build_id)
    build = replace(build, state=step(BUILD, build.state, "withdraw", where=build.id))
    jobs = []
    for item in build.items:
        job = find_job(farm, item.job_id)
        # Parts that are made already and will not be finished are kept as surplus.
        surplus = job.surplus + (item.parts if build.follows else 0)
        in_work, open_builds = job.in_work - item.parts, job.open_builds - 1
        jobs.append(replace(job, in_work=in_work, open_builds=open_builds, surplus=surplus))
    return [*jobs, build]


def _run_intended(farm: Farm, fact: f.RunIntended) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    build = find_build(farm, fact.build_id)
    if fact.fence != farm.counters.get("fence", 0):
        raise Refused(STALE_FENCE, where=fact.run_id)
    if fact.run_id in farm.runs:
        raise Refused(NOT_STARTABLE, "this run id is taken", where=fact.run_id)
    if machine.state is not MachineState.IDLE or machine.run_id or machine.uncleared_run_id or machine.held:
        raise Refused(NOT_STARTABLE, f"the machine is {machine.state.value} or not clear", where=machine.name)
    if machine.permit is None or machine.permit.id != fact.permit_id:
        raise Refused(NOT_STARTABLE, "there is no such permit for it", where=machine.name)
    run = Run(
        id=fact.run_id,
        build_id=build.id,
        machine=machine.name,
        permit_id=fact.permit_id,
        fence=fact.fence,
        intent_at=fact.at,
        file_sha256=fact.file_sha256,
    )
    build = replace(build, state=step(BUILD, build.state, "assign", where=build.id), machine=machine.name)
    return [run, build, replace(machine, run_id=run.id, permit=None)]


def _run_sent(farm: Farm, fact: f.RunSent) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "send", where=run.id), sent_at=fact.at)]


def _run_started(farm: Farm, fact: f.RunStarted) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    machine = find_machine(farm, run.machine)
    started_at = fact.at if run.started_at is None else run.started_at
    run = replace(
        run,
        state=step(RUN, run.state, "start", where=run.id),
        started_at=started_at,
        evidence=run.evidence or fact.evidence,
        reason="",
    )
    # Without a link it was a person who said so; what the machine does is told by its link alone.
    offline = machine.state is MachineState.OFFLINE
    return [run] if offline else [run, _turn(machine, "see-busy", fact.at)]


def _run_paused(farm: Farm, fact: f.RunPaused) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "pause", where=run.id), reason=fact.reason)]


def _run_resumed(farm: Farm, fact: f.RunResumed) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "resume", where=run.id), reason="")]


def _run_doubted(farm: Farm, fact: f.RunDoubted) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "doubt", where=run.id), reason=fact.reason)]


def _run_ended(farm: Farm, fact: f.RunEnded) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    build = find_build(farm, run.build_id)
    machine = find_machine(farm, run.machine)
    ok = fact.outcome is Outcome.OK
    if fact.made != (build.parts if ok else 0):
        raise Refused(BAD_COUNT, f"{fact.made} parts made of {build.parts}", where=run.id)
    not_started = fact.outcome is Outcome.NOT_STARTED
    run = replace(
        run,
        state=step(RUN, run.state, "end", where=run.id),
        ended_at=fact.at,
        outcome=fact.outcome,
        reason=fact.reason,
        place=fact.place,
        used_g=fact.used_g,
        cleared=not_started,
    )
    changed: list[Entity] = [run]
    if not_started:
        build = replace(build, state=step(BUILD, build.state, "requeue", where=build.id), machine=None)
    else:
        build = replace(build, state=step(BUILD, build.state, "finish" if ok else "fail", where=build.id))
        changed += [_after_run(find_job(farm, item.job_id), build, item.parts) for item in build.items]
    busy = machine.state is MachineState.BUSY
    machine = _turn(machine, "see-idle", fact.at) if busy else machine
    uncleared = None if not_started else run.id
    changed += [build, replace(machine, run_id=None, uncleared_run_id=uncleared, ready_at=fact.ready_at)]
    if fact.used_g and machine.lot_id in farm.lots:
        lot = farm.lots[machine.lot_id]
        changed.append(
            replace(lot, grams_left=lot.grams_left - fact.used_g, grams_used=lot.grams_used + fact.used_g)
        )
    return changed


def _after_run(job: Job, build: Build, parts: int) -> Job:
    if build.state is BuildState.FAILED:
        return replace(job, in_work=job.in_work - parts)
    return replace(job, made=job.made + (parts if build.operation == PRINT else 0))


# --- machines -------------------------------------------------------------------------------


def _machine_added(farm: Farm, fact: f.MachineAdded) -> Iterable[Entity]:
    if fact.machine in farm.machines:
        raise Refused(MACHINE_KNOWN, where=fact.machine)
    return [Machine(fact.machine, since=fact.at, material=fact.material, nozzle_mm=fact.nozzle_mm)]


def _machine_removed(farm: Farm, fact: f.MachineRemoved) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    if machine.run_id or machine.uncleared_run_id:
        raise Refused(RUN_OPEN, where=machine.name)
    return [Gone(machine.name)]


def _machine_connected(farm: Farm, fact: f.MachineConnected) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    event = "fault" if fact.seen == "fault" else f"see-{fact.seen}"
    fault = machine.fault if fact.seen == "fault" else None
    if fact.seen == "foreign":
        # Whatever was clear is not any more.
        return [_turn(machine, event, fact.at, fault=None, foreign=machine.foreign or "unnamed", permit=None)]
    return [_turn(machine, event, fact.at, fault=fault, foreign=None)]


def _machine_lost(farm: Farm, fact: f.MachineLost) -> Iterable[Entity]:
    return [_turn(find_machine(farm, fact.machine), "lose", fact.at)]


def _machine_faulted(farm: Farm, fact: f.MachineFaulted) -> Iterable[Entity]:
    return [_turn(find_machine(farm, fact.machine), "fault", fact.at, fault=fact.fault)]


def _machine_recovered(farm: Farm, fact: f.MachineRecovered) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    event = "see-busy" if machine.run_id in farm.runs and _moving(farm, machine) else "see-idle"
    return [_turn(machine, event, fact.at, fault=None)]


def _moving(farm: Farm, machine: Machine) -> bool:
    run = farm.runs[machine.run_id or ""]
    return run.state in (RunState.RUNNING, RunState.PAUSED)


def _machine_held(farm: Farm, fact: f.MachineHeld) -> Iterable[Entity]:
    return [replace(find_machine(farm, fact.machine), held=fact.reason or "held")]


def _machine_released(farm: Farm, fact: f.MachineReleased) -> Iterable[Entity]:
    return [replace(find_machine(farm, fact.machine), held=None)]


def _foreign_started(farm: Farm, fact: f.ForeignRunStarted) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    return [_turn(machine, "see-foreign", fact.at, permit=None, foreign=fact.name or "unnamed")]


def _foreign_ended(farm: Farm, fact: f.ForeignRunEnded) -> Iterable[Entity]:
    return [_turn(find_machine(farm, fact.machine), "see-idle", fact.at, permit=None, foreign=None)]


def _permit_voided(farm: Farm, fact: f.PermitVoided) -> Iterable[Entity]:
    return [replace(find_machine(farm, fact.machine), permit=None)]


def _machine_cleared(farm: Farm, fact: f.MachineCleared) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    if machine.run_id or machine.state in (MachineState.BUSY, MachineState.FOREIGN):
        raise Refused(NOT_CLEARABLE, "something is running on it", where=machine.name)
    if machine.permit is not None:
        raise Refused(ALREADY_CLEAR, where=machine.name)
    if fact.run_id != machine.uncleared_run_id:
        raise Refused(BAD_COUNT, f"what lies on it is {machine.uncleared_run_id}", where=machine.name)
    permit = Permit(fact.permit_id, fact.at, fact.actor)
    cleared = replace(machine, permit=permit, uncleared_run_id=None, ready_at=0.0)
    if fact.run_id is None:
        return [cleared]
    run = replace(find_run(farm, fact.run_id), cleared=True)
    build = replace(find_build(farm, run.build_id), cleared=True)
    counts = {count.job_id: count for count in fact.counts}
    if len(counts) != len(fact.counts) or counts.keys() != {item.job_id for item in build.items}:
        raise Refused(BAD_COUNT, "each job of the build is counted once", where=machine.name)
    jobs = [
        _counted(find_job(farm, i.job_id), build, i.parts, counts[i.job_id], fact.at) for i in build.items
    ]
    return [*jobs, build, run, cleared]


def _counted(job: Job, build: Build, parts: int, count: f.ItemCount, at: float) -> Job:
    """The job after its share of a build was counted."""
    failed = build.state is BuildState.FAILED
    found = count.good + count.scrap
    may_be_fewer = failed and build.operation == PRINT
    if count.good < 0 or count.scrap < 0 or found > parts or (found < parts and not may_be_fewer):
        raise Refused(BAD_COUNT, f"{count.good} good and {count.scrap} scrap of {parts}", where=job.id)
    if failed:
        made = job.made + (found if build.operation == PRINT else 0)
        job = replace(job, made=made)
    else:
        job = replace(job, in_work=job.in_work - parts)
    job = replace(job, scrap=job.scrap + count.scrap, open_builds=job.open_builds - 1)
    if build.operation != job.route[-1]:
        return replace(job, in_work=job.in_work + count.good)
    wanted = 0 if job.state is JobState.CANCELLED else max(0, job.quantity - job.good)
    good = min(count.good, wanted)
    return _fulfilled(replace(job, good=job.good + good, surplus=job.surplus + count.good - good), at)


def _material_loaded(farm: Farm, fact: f.MaterialLoaded) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    if machine.run_id:
        raise Refused(RUN_OPEN, where=machine.name)
    nozzle_mm = machine.nozzle_mm if fact.nozzle_mm is None else fact.nozzle_mm
    machine = replace(machine, material=fact.material, lot_id=fact.lot_id, nozzle_mm=nozzle_mm)
    if fact.lot_id is None:
        return [machine]
    lot = farm.lots.get(fact.lot_id) or Lot(fact.lot_id, fact.material or "", 0.0)
    if fact.grams is not None:
        lot = replace(lot, grams_left=fact.grams)
    return [machine, lot]


_RULES: dict[type[f.Fact], Callable[[Farm, Any], Iterable[Entity]]] = {
    f.DaemonStarted: _daemon_started,
    f.DaemonStopped: _daemon_stopped,
    f.FileStored: _file_stored,
    f.JobSubmitted: _job_submitted,
    f.JobEdited: _job_edited,
    f.JobHeld: _job_held,
    f.JobReleased: _job_released,
    f.JobCancelled: _job_cancelled,
    f.BuildQueued: _build_queued,
    f.BuildWithdrawn: _build_withdrawn,
    f.RunIntended: _run_intended,
    f.RunSent: _run_sent,
    f.RunStarted: _run_started,
    f.RunPaused: _run_paused,
    f.RunResumed: _run_resumed,
    f.RunDoubted: _run_doubted,
    f.RunEnded: _run_ended,
    f.MachineAdded: _machine_added,
    f.MachineRemoved: _machine_removed,
    f.MachineConnected: _machine_connected,
    f.MachineLost: _machine_lost,
    f.MachineFaulted: _machine_faulted,
    f.MachineRecovered: _machine_recovered,
    f.MachineHeld: _machine_held,
    f.MachineReleased: _machine_released,
    f.ForeignRunStarted: _foreign_started,
    f.ForeignRunEnded: _foreign_ended,
    f.PermitVoided: _permit_voided,
    f.MachineCleared: _machine_cleared,
    f.MaterialLoaded: _material_loaded,
}
