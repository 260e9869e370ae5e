"""Why a job waits: by the plan, step by step, and machine by machine, with what would free it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from farmd.daemon.limits import not_now
from farmd.daemon.rules import (
    Obstacle,
    builds_of,
    demand_of,
    fitness,
    readiness,
    safe_mode,
    wants_work,
    wrong_setup,
)
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.shop import Shop
from farmd.daemon.waits import NOTHING_TOLD, Passed, Reason, Told, reasons_of
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState
from farmd.model.work import PRINT, Build, Job


@dataclass(frozen=True, slots=True)
class MachineAnswer:
    """What stands between the job and this machine; `rule` is "planned" where nothing does but time.

    `end_at` is when the job's next step would end there with all else as planned, UTC; None where it cannot.
    """

    machine: str
    rule: str
    what: str
    remedy: str
    end_at: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something of the job that waits: its plates (`work` is the job's id), or a queued build of its parts.

    Of several planned steps the first is told, and `more` is the number of the others. `waits` lie end to end.
    `late_s` is by how much this step ends after its due date, `alone_end_at` when it would end if nothing else
    were planned, `passed` what is before it on its machine.
    """

    work: str
    operation: str
    what: str
    machine: str | None = None
    start_at: float | None = None
    end_at: float | None = None
    more: int = 0
    waits: tuple[Reason, ...] = ()
    late_s: float = 0.0
    alone_end_at: float | None = None
    passed: tuple[Passed, ...] = ()


@dataclass(frozen=True, slots=True)
class Why:
    """The answer for one job. `start_at` is when the plan starts its next build, UTC, or None."""

    job_id: str
    state: str
    what: str
    remedy: str
    start_at: float | None
    end_at: float | None
    machine: str | None
    machines: tuple[MachineAnswer, ...]
    waiting: tuple[Waiting, ...] = ()


def why(
    farm: Farm,
    schedule: Schedule,
    shop: Shop,
    job: Job,
    told: Told = NOTHING_TOLD,
    now_s: float | None = None,
) -> Why:
    """Why the job's missing parts are not being made this moment. `told` is of `next_steps`.

    With `now_s`, machines also tell what keeps it from starting there just now.
    """
    steps = steps_for(farm, schedule, job)
    first = steps[0] if steps else None
    own, queued = wants_work(job), _queued(farm, job)
    waiting = _waiting(farm, schedule, job, steps, told)
    if (unsafe := safe_mode(farm)) is not None:
        answer = unsafe
    elif own is not None and not queued:
        answer = own
    elif first is not None:
        kept = [
            wait.what
            for wait in _of(first, waiting).waits
            if wait.kind not in ("clear", "changeover", "spool")
        ]
        because = f": {', then '.join(kept)}" if kept else ""
        answer = Obstacle(
            "planned", f"planned on {first.machine}{because}", "see `farmctl next` for what people must do"
        )
    else:
        reason = schedule.left_out.get(job.id)
        answer = Obstacle("not-planned", reason or "the plan does not have it yet", "see the machines below")
    wanted = [build.operation for build in queued] + ([PRINT] if own is None else [])
    ends = told.ends(first) if first is not None else {}
    return Why(
        job_id=job.id,
        state=job.state.value,
        what=answer.what + _weighed(job, told),
        remedy=answer.remedy,
        start_at=first.start_at if first else None,
        end_at=max((step.end_at for step in steps), default=None),
        machine=first.machine if first else None,
        machines=tuple(
            _answer(farm, schedule, shop, job, name, wanted or [PRINT], ends.get(name), now_s)
            for name in sorted(farm.machines)
            if name in shop.specs
        ),
        waiting=waiting,
    )


def _weighed(job: Job, told: Told) -> str:
    """That the plan weighs the job by another factor than its priority says, and why."""
    factor = told.weights.get(job.owner, 1.0)
    if factor == 1.0:
        return ""
    had = "less" if factor > 1.0 else "more"
    because = f"{job.owner} had {had} of the machines lately than others"
    return f"; it weighs {factor:.3g} times its priority, since {because}"


def next_steps(farm: Farm, schedule: Schedule, job: Job) -> list[Step]:
    """The first planned step of each thing of the job that waits, the earliest first."""
    first: dict[str, Step] = {}
    for step in steps_for(farm, schedule, job):
        first.setdefault(step.work or job.id, step)
    return list(first.values())


def _waiting(farm: Farm, schedule: Schedule, job: Job, steps: list[Step], told: Told) -> tuple[Waiting, ...]:
    found = []
    operations = {build.id: build.operation for build in _queued(farm, job)}
    of_work: dict[str, list[Step]] = {}
    for step in steps:
        of_work.setdefault(step.work or job.id, []).append(step)
    for work, mine in of_work.items():
        first = mine[0]
        seen = told.step(first)
        found.append(
            Waiting(
                work=work,
                operation=operations.get(work, PRINT),
                what=f"planned on {first.machine}",
                machine=first.machine,
                start_at=first.start_at,
                end_at=first.end_at,
                more=len(mine) - 1,
                waits=reasons_of(farm, schedule, first, told),
                late_s=seen.late.late_s if seen is not None and seen.late is not None else 0.0,
                alone_end_at=told.alone_end_at(first),
                passed=told.passed(first),
            )
        )
    reason = schedule.left_out.get(job.id) or "the plan does not have it yet"
    open_works = {**({job.id: PRINT} if wants_work(job) is None else {}), **operations}
    found += [Waiting(work, op, reason) for work, op in open_works.items() if work not in of_work]
    return tuple(found)


def _of(step: Step, waiting: tuple[Waiting, ...]) -> Waiting:
    return next(each for each in waiting if (each.machine, each.start_at) == (step.machine, step.start_at))


def _queued(farm: Farm, job: Job) -> list[Build]:
    return [build for build in builds_of(farm, job.id) if build.state is BuildState.QUEUED]


def steps_for(farm: Farm, schedule: Schedule, job: Job) -> list[Step]:
    """The plan's steps that make parts of a job, or go on with them, by time."""
    mine = _works(farm, job)
    steps = (step for steps in schedule.steps.values() for step in steps if _makes(step, job, mine))
    return sorted(steps, key=lambda step: step.start_at)


def _works(farm: Farm, job: Job) -> set[str]:
    """What stands for the job in a plan: itself while it wants parts, and its builds that are queued."""
    itself = {job.id} if job.state in (JobState.OPEN, JobState.HELD) else set()
    return itself | {build.id for build in _queued(farm, job)}


def _makes(step: Step, job: Job, mine: set[str]) -> bool:
    return step.work in mine or (job.id in mine and any(job_id == job.id for job_id, _ in step.items))


def _answer(
    farm: Farm,
    schedule: Schedule,
    shop: Shop,
    job: Job,
    name: str,
    wanted: list[str],
    end_at: float | None,
    now_s: float | None,
) -> MachineAnswer:
    """Of what the job wants done, the machine is asked for what it does; for the first where it does nothing of it."""
    spec, machine = shop.specs[name], farm.machines[name]
    operation = next((each for each in wanted if each in spec.operations), wanted[0])
    obstacle = fitness(demand_of(farm, job, operation), spec, shop) or readiness(machine, farm)
    obstacle = obstacle or wrong_setup(machine, spec, job)
    if obstacle is None and now_s is not None:
        obstacle = not_now(farm, shop, machine, job, now_s)
    if obstacle is None:
        obstacle = _queue(farm, schedule, job, name)
    known = end_at if end_at is not None and math.isfinite(end_at) else None
    return MachineAnswer(name, obstacle.rule, obstacle.what, obstacle.remedy, known)


def _queue(farm: Farm, schedule: Schedule, job: Job, name: str) -> Obstacle:
    mine = _works(farm, job)
    for step in schedule.steps.get(name, ()):
        if _makes(step, job, mine):
            return Obstacle("planned", "it is next in the plan here", "it starts by itself")
        what = step.work or ", ".join(job_id for job_id, _ in step.items)
        return Obstacle(
            "behind", f"the plan has {what} first here", "raise the job's priority with `farmctl edit`"
        )
    return Obstacle("not-planned", "ready, but the plan uses it for nothing", "wait for the next plan")
