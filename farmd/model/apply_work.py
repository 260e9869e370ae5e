"""What facts about the daemon, demand, builds and runs change; asked by `apply` alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from farmd.model import facts as f
from farmd.model.apply_safety import require_normal
from farmd.model.errors import Refused
from farmd.model.farm import Counter, Entity, Farm
from farmd.model.lifecycle import BUILD, JOB, RUN, BuildState, JobState, MachineState, step
from farmd.model.lookup import (
    BAD_COUNT,
    BAD_ROUTE,
    NOT_CONTINUABLE,
    NOT_STARTABLE,
    STALE_FENCE,
    UNKNOWN_JOB,
    find_build,
    find_job,
    find_machine,
    find_run,
)
from farmd.model.turn import fulfilled, turn
from farmd.model.work import PRINT, Build, BuildItem, Job, Outcome, Run


def number(entity_id: str) -> int:
    return int(entity_id.rpartition("-")[2])


# --- the daemon and demand ------------------------------------------------------------------


def daemon_started(farm: Farm, fact: f.DaemonStarted) -> Iterable[Entity]:
    if fact.fence <= farm.counters.get("fence", 0):
        raise Refused(STALE_FENCE, f"fence {fact.fence} is not above {farm.counters.get('fence', 0)}")
    linked = [m for m in farm.machines.values() if m.state is not MachineState.OFFLINE]
    unseen = [turn(machine, "lose", fact.last_seen_at or fact.at) for machine in linked]
    return [Counter("fence", fact.fence), *unseen]


def daemon_stopped(farm: Farm, fact: f.DaemonStopped) -> Iterable[Entity]:
    return []


def file_stored(farm: Farm, fact: f.FileStored) -> Iterable[Entity]:
    return [fact.file]


def job_submitted(farm: Farm, fact: f.JobSubmitted) -> Iterable[Entity]:
    if fact.job.id in farm.jobs:
        raise Refused(BAD_COUNT, "this job id is taken", where=fact.job.id)
    if fact.job.quantity < 1 or fact.job.parts_per_plate < 1:
        raise Refused(BAD_COUNT, "quantity and parts per plate are at least 1", where=fact.job.id)
    if fact.job.route[:1] != (PRINT,):
        raise Refused(BAD_ROUTE, where=fact.job.id)
    if fact.job.state is not JobState.OPEN or fact.job.in_work or fact.job.open_builds or fact.job.made:
        raise Refused(BAD_COUNT, "a new job is open and nothing of it is made", where=fact.job.id)
    return [fact.job, Counter("job", max(farm.counters.get("job", 0), number(fact.job.id)))]


def job_edited(farm: Farm, fact: f.JobEdited) -> Iterable[Entity]:
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
    return [fulfilled(job, fact.at)]


def job_held(farm: Farm, fact: f.JobHeld) -> Iterable[Entity]:
    job = find_job(farm, fact.job_id)
    return [replace(job, state=step(JOB, job.state, "hold", where=job.id))]


def job_released(farm: Farm, fact: f.JobReleased) -> Iterable[Entity]:
    job = find_job(farm, fact.job_id)
    return [replace(job, state=step(JOB, job.state, "release", where=job.id))]


def job_cancelled(farm: Farm, fact: f.JobCancelled) -> Iterable[Entity]:
    job = find_job(farm, fact.job_id)
    return [replace(job, state=step(JOB, job.state, "cancel", where=job.id), closed_at=fact.at)]


# --- builds and runs ------------------------------------------------------------------------


def build_queued(farm: Farm, fact: f.BuildQueued) -> Iterable[Entity]:
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
    return [*jobs, build, Counter("build", max(farm.counters.get("build", 0), number(build.id)))]


def _waiting(farm: Farm, job: Job) -> int:
    """Parts of a job between two operations: cleared from one, in no build of the next."""
    builds = (b for b in farm.builds.values() if b.state is not BuildState.FAILED)
    return job.in_work - sum(item.parts for b in builds for item in b.items if item.job_id == job.id)


def build_withdrawn(farm: Farm, fact: f.BuildWithdrawn) -> Iterable[Entity]:
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


def run_intended(farm: Farm, fact: f.RunIntended) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    build = find_build(farm, fact.build_id)
    _check_new(farm, fact)
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


def run_continued(farm: Farm, fact: f.RunContinued) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    before = find_run(farm, fact.continues)
    build = find_build(farm, before.build_id)
    _check_new(farm, fact)
    if machine.state is not MachineState.IDLE or machine.run_id or machine.held:
        raise Refused(NOT_STARTABLE, f"the machine is {machine.state.value} or held", where=machine.name)
    if machine.uncleared_run_id != before.id or fact.build_id != build.id or before.place is None:
        raise Refused(NOT_CONTINUABLE, where=before.id)
    if before.file_sha256 is None or fact.file_sha256 != before.file_sha256:
        raise Refused(NOT_CONTINUABLE, "its file is another or unknown", where=before.id)
    run = Run(
        id=fact.run_id,
        build_id=build.id,
        machine=machine.name,
        permit_id=fact.permit_id,
        fence=fact.fence,
        intent_at=fact.at,
        file_sha256=fact.file_sha256,
        place=before.place,
        continues=before.id,
    )
    build = replace(build, state=step(BUILD, build.state, "go-on", where=build.id))
    jobs = [find_job(farm, item.job_id) for item in build.items]
    jobs = [
        replace(job, in_work=job.in_work + item.parts) for job, item in zip(jobs, build.items, strict=True)
    ]
    on = replace(machine, run_id=run.id, uncleared_run_id=None, permit=None, ready_at=0.0)
    return [*jobs, replace(before, cleared=True), run, build, on]


def _check_new(farm: Farm, fact: f.RunIntended | f.RunContinued) -> None:
    """Refuse a run in safe mode, of a daemon that has lost the farm, or one that was there before."""
    require_normal(farm)
    if fact.fence != farm.counters.get("fence", 0):
        raise Refused(STALE_FENCE, where=fact.run_id)
    if fact.run_id in farm.runs:
        raise Refused(NOT_STARTABLE, "this run id is taken", where=fact.run_id)


def run_sent(farm: Farm, fact: f.RunSent) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "send", where=run.id), sent_at=fact.at)]


def run_started(farm: Farm, fact: f.RunStarted) -> Iterable[Entity]:
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
    return [run] if offline else [run, turn(machine, "see-busy", fact.at)]


def run_paused(farm: Farm, fact: f.RunPaused) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "pause", where=run.id), reason=fact.reason)]


def run_resumed(farm: Farm, fact: f.RunResumed) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "resume", where=run.id), reason="")]


def run_doubted(farm: Farm, fact: f.RunDoubted) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    return [replace(run, state=step(RUN, run.state, "doubt", where=run.id), reason=fact.reason)]


def run_ended(farm: Farm, fact: f.RunEnded) -> Iterable[Entity]:
    run = find_run(farm, fact.run_id)
    build = find_build(farm, run.build_id)
    machine = find_machine(farm, run.machine)
    ok = fact.outcome is Outcome.OK
    if fact.made != (build.parts if ok else 0):
        raise Refused(BAD_COUNT, f"{fact.made} parts made of {build.parts}", where=run.id)
    not_started = fact.outcome is Outcome.NOT_STARTED
    # What an earlier run made lies on the machine still.
    goes_back = not_started and run.continues is None
    run = replace(
        run,
        state=step(RUN, run.state, "end", where=run.id),
        ended_at=fact.at,
        outcome=fact.outcome,
        reason=fact.reason,
        place=run.place if not_started else fact.place,
        used_g=fact.used_g,
        cleared=goes_back,
    )
    changed: list[Entity] = [run]
    if goes_back:
        build = replace(build, state=step(BUILD, build.state, "requeue", where=build.id), machine=None)
    else:
        build = replace(build, state=step(BUILD, build.state, "finish" if ok else "fail", where=build.id))
        changed += [_after_run(find_job(farm, item.job_id), build, item.parts) for item in build.items]
    busy = machine.state is MachineState.BUSY
    machine = turn(machine, "see-idle", fact.at) if busy else machine
    uncleared = None if goes_back else run.id
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
