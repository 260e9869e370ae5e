"""Why a job waits: machine by machine, the first rule that fails and what would free it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from farmd.daemon.rules import Obstacle, builds_of, demand_of, fitness, readiness, wants_work, wrong_setup
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.shop import Shop
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState
from farmd.model.work import PRINT, Build, Job


@dataclass(frozen=True, slots=True)
class MachineAnswer:
    """What stands between the job and this machine; `rule` is "planned" where nothing does but time."""

    machine: str
    rule: str
    what: str
    remedy: str


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


def why(farm: Farm, schedule: Schedule, shop: Shop, job: Job) -> Why:
    """Why the job's missing parts are not being made this moment."""
    steps = sorted(steps_for(farm, schedule, job), key=lambda step: step.start_at)
    first = steps[0] if steps else None
    own = wants_work(job)
    if own is not None and not _queued(farm, job):
        answer = own
    elif first is not None:
        answer = Obstacle(
            "planned", f"planned on {first.machine}", "see `farmctl next` for what people must do"
        )
    else:
        reason = schedule.left_out.get(job.id)
        answer = Obstacle("not-planned", reason or "the plan does not have it yet", "see the machines below")
    operation = next((b.operation for b in _queued(farm, job)), PRINT)
    return Why(
        job_id=job.id,
        state=job.state.value,
        what=answer.what,
        remedy=answer.remedy,
        start_at=first.start_at if first else None,
        end_at=max((step.end_at for step in steps), default=None),
        machine=first.machine if first else None,
        machines=tuple(
            _answer(farm, schedule, shop, job, name, operation)
            for name in sorted(farm.machines)
            if name in shop.specs
        ),
    )


def _queued(farm: Farm, job: Job) -> list[Build]:
    return [build for build in builds_of(farm, job.id) if build.state is BuildState.QUEUED]


def steps_for(farm: Farm, schedule: Schedule, job: Job) -> list[Step]:
    """The plan's steps that make parts of a job, or go on with them."""
    mine = _works(farm, job)
    return [step for steps in schedule.steps.values() for step in steps if _makes(step, job, mine)]


def _works(farm: Farm, job: Job) -> set[str]:
    """What stands for the job in a plan: itself while it wants parts, and its builds that are queued."""
    itself = {job.id} if job.state in (JobState.OPEN, JobState.HELD) else set()
    return itself | {build.id for build in _queued(farm, job)}


def _makes(step: Step, job: Job, mine: set[str]) -> bool:
    return step.work in mine or (job.id in mine and any(job_id == job.id for job_id, _ in step.items))


def _answer(farm: Farm, schedule: Schedule, shop: Shop, job: Job, name: str, operation: str) -> MachineAnswer:
    spec, machine = shop.specs[name], farm.machines[name]
    obstacle = fitness(demand_of(farm, job, operation), spec, shop) or readiness(machine, farm)
    obstacle = obstacle or wrong_setup(machine, spec, job)
    if obstacle is None:
        obstacle = _queue(farm, schedule, job, name)
    return MachineAnswer(name, obstacle.rule, obstacle.what, obstacle.remedy)


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
