"""What to start now: a pure function of state, plan and time.

On every machine that is ready, the first thing that the plan has for it and that the state still
allows. It asks the same rules as submission and `farmctl why`, and never starts what they refuse,
however old the plan is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farmd.daemon.limits import not_now
from farmd.daemon.rules import demand_of, fitness, load_of, readiness, unwanted, wrong_setup
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.shop import Shop
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState
from farmd.model.machine import Machine, MachineSpec
from farmd.model.work import PRINT, Build, Job

BATCH_GRACE_S = 60.0
"""A powder batch may start this long before its planned time; earlier, its parts may not be complete."""


@dataclass(frozen=True, slots=True)
class NewBuild:
    """A build to be made up: what it makes, for which jobs, and how long it should take."""

    operation: str
    items: tuple[tuple[str, int], ...]
    duration_s: float
    material: str | None
    nozzle_mm: float | None
    file_sha256: str | None
    mass_g: float


@dataclass(frozen=True, slots=True)
class Start:
    """Start this on that machine: a queued build by id, or one to be made up first."""

    machine: str
    permit_id: str
    build: NewBuild | str
    step: Step
    """The step of the plan that this begins."""


def dispatch(farm: Farm, schedule: Schedule, shop: Shop, now_s: float) -> list[Start]:
    """The starts to be made now, at most one a machine, and no more of a job than is missing."""
    starts: list[Start] = []
    taken: dict[str, int] = {}
    taken_builds: set[str] = set()
    for name, machine in farm.machines.items():
        spec = shop.specs.get(name)
        if spec is None or machine.permit is None or readiness(machine, farm) is not None:
            continue
        found = _first_startable(farm, schedule, shop, machine, spec, now_s, taken, taken_builds)
        if found is None:
            continue
        step, work = found
        wanted = farm.builds[work] if isinstance(work, str) else work
        if not_now(farm, shop, machine, wanted, now_s, {start.machine for start in starts}) is not None:
            continue
        starts.append(Start(name, machine.permit.id, work, step))
        if isinstance(work, str):
            taken_builds.add(work)
        else:
            for job_id, parts in work.items:
                taken[job_id] = taken.get(job_id, 0) + parts
    return starts


def _first_startable(
    farm: Farm,
    schedule: Schedule,
    shop: Shop,
    machine: Machine,
    spec: MachineSpec,
    now_s: float,
    taken: Mapping[str, int],
    taken_builds: set[str],
) -> tuple[Step, NewBuild | str] | None:
    for step in schedule.steps.get(machine.name, ()):
        found = still_wanted(farm, shop, spec, step, taken, taken_builds)
        if found is None:
            continue
        # The first step that is still wanted decides; what comes later in the plan stays later.
        wanted = farm.builds[found] if isinstance(found, str) else found
        if spec.chamber is not None and now_s < step.start_at - BATCH_GRACE_S:
            return None
        return None if wrong_setup(machine, spec, wanted) else (step, found)
    return None


def still_wanted(
    farm: Farm, shop: Shop, spec: MachineSpec, step: Step, taken: Mapping[str, int], taken_builds: set[str]
) -> NewBuild | str | None:
    """The work of a step as the state allows it now: a queued build's id, a build to be made up, or None."""
    if step.work is not None and step.work in farm.builds:
        build = farm.builds[step.work]
        if build.state is not BuildState.QUEUED or build.id in taken_builds:
            return None
        return build.id if _goes_on(farm, shop, spec, build) else None
    items = step.items if step.work is None else ((step.work, 0),)
    fitting: list[tuple[Job, int]] = []
    for job_id, parts in items:
        job = farm.jobs.get(job_id)
        if job is None or job.state is not JobState.OPEN:
            continue
        if fitness(demand_of(farm, job), spec, shop) is not None:
            continue
        missing = job.missing - taken.get(job_id, 0)
        # A plate always makes all its parts; of powder parts no more than are missing go in.
        if job.shape is not None and spec.chamber is not None and step.work is not None:
            share = min(load_of(job.shape, spec.chamber), missing)
        else:
            share = job.parts_per_plate if step.work is not None else min(parts, missing)
        if missing > 0 and share > 0:
            fitting.append((job, share))
    return _made_up(spec, fitting) if fitting else None


def _goes_on(farm: Farm, shop: Shop, spec: MachineSpec, build: Build) -> bool:
    """Whether a queued build may go on here. Whose parts are in it are made together: nobody may hold it."""
    jobs = [farm.jobs[item.job_id] for item in build.items]
    if unwanted(farm, build) or any(job.state is JobState.HELD for job in jobs):
        return False
    return all(fitness(demand_of(farm, job, build.operation), spec, shop) is None for job in jobs)


def _made_up(spec: MachineSpec, share: list[tuple[Job, int]]) -> NewBuild:
    items = tuple((job.id, parts) for job, parts in share)
    first = share[0][0]
    if spec.chamber is None:
        return NewBuild(
            PRINT, items, first.duration_s, first.material, first.nozzle_mm, first.file_sha256, first.mass_g
        )
    volume = sum(job.shape.volume_mm3 * parts for job, parts in share if job.shape)
    height = max(job.shape.height_mm for job, _ in share if job.shape)
    duration_s = spec.chamber.load_s(volume, height)
    mass_g = sum(job.mass_g * parts for job, parts in share)
    return NewBuild(PRINT, items, duration_s, spec.material, None, None, mass_g)
