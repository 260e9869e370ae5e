"""The farm as a planning problem, and a plan's assignments back as work.

Pure. The planner knows builds with counts, parts and machines with types and setups; this module
is the only one that knows how jobs, queued builds and machines become those, and what their
ids mean: `J-7` stands for plates still to be made up for a job, `B-12` for a build that is queued
already, `J-7/3` for the third missing powder part of a job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farmd.daemon.rules import can_make, demand_of, fitness, wants_work
from farmd.daemon.shop import Shop, family, satisfies
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Machine, MachineSpec
from farmd.model.work import PRINT, Build, Job, Run
from farmd.planner import problem as p

STATION_SETUP = "station"
DAY_S = 86400.0
BACKLOG_FACTOR = 1.5
"""How much more work than the horizon holds is planned; the rest waits in order of due date."""
MIN_HORIZON_S = 14 * DAY_S


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A problem, when its clock was zero, and what was left out of it, by job id, with the reason."""

    problem: p.Problem
    origin_s: float
    revision: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self.problem.builds and not self.problem.parts


def take_snapshot(
    farm: Farm, shop: Shop, now_s: float, announced: Iterable[tuple[str, str, float]] = ()
) -> Snapshot:
    """What there is to make, on what, by whom and when. `announced` are (id, machine, start UTC)."""
    # Due dates may lie in the past; the problem's clock has no negative times.
    origin_s = min([now_s, *(job.due_at for job in farm.jobs.values() if job.due_at is not None)])
    machines = {name: machine for name, machine in farm.machines.items() if _usable(farm, machine)}
    specs = {name: shop.specs[name] for name in machines if name in shop.specs}
    left_out: dict[str, str] = {}
    builds: list[p.Build] = []
    parts: list[p.Part] = []
    loaded = Counter(machine.material for machine in machines.values() if machine.material)
    backlog_s = BACKLOG_FACTOR * shop.horizon_s * max(1, len(specs))
    for build in farm.builds.values():
        if build.state is BuildState.QUEUED:
            _add_queued(farm, shop, specs, build, loaded, origin_s, builds, left_out)
    for job in sorted(farm.jobs.values(), key=_urgency):
        if wants_work(job):
            continue
        if backlog_s <= 0:
            left_out[job.id] = "later: earlier work fills the planning horizon"
            continue
        fitting = [spec for spec in can_make(demand_of(farm, job), shop) if spec.name in specs]
        if not fitting:
            left_out[job.id] = "no machine that can make it is available"
            continue
        backlog_s -= _add_job(job, fitting, loaded, origin_s, builds, parts)
    problem = p.Problem(
        now_s=now_s - origin_s,
        objective="weighted_tardiness",
        windows={
            name: tuple((max(a, now_s) - origin_s, b - origin_s) for a, b in spans)
            for name, spans in shop.windows(now_s, now_s + max(MIN_HORIZON_S, 4 * shop.horizon_s)).items()
        },
        crews=tuple(p.Crew(name, name, people) for name, people in shop.people.items()),
        clear_s=shop.clear_s,
        changeover_s=_changeovers(shop, specs.values(), builds),
        machines=tuple(_machine(farm, shop, machines[name], spec, origin_s) for name, spec in specs.items()),
        builds=tuple(builds),
        parts=tuple(parts),
        announced=tuple(
            p.Announced(run, machine, max(0.0, start - origin_s))
            for run, machine, start in announced
            if machine in specs
        ),
        operator_price=shop.operator_price,
    )
    return Snapshot(problem, origin_s, farm.revision, left_out)


def _urgency(job: Job) -> tuple[bool, float, float, float]:
    return (job.due_at is None, job.due_at or 0.0, -job.priority, job.submitted_at)


def _usable(farm: Farm, machine: Machine) -> bool:
    """Whether work may be planned on a machine: not while it needs a person or has no link."""
    run = farm.runs.get(machine.run_id or "")
    if run is not None and run.state is RunState.UNCERTAIN:
        return False
    away = (MachineState.OFFLINE, MachineState.FAULT, MachineState.FOREIGN)
    return machine.held is None and machine.state not in away


def machine_type(spec: MachineSpec) -> str:
    """Machines of one type are the same to the planner: equal in all that decides what they can make."""
    if spec.chamber is not None or spec.is_station:
        return spec.name
    volume = "x".join(f"{side:g}" for side in spec.volume_mm)
    limits = f"{spec.max_nozzle_c:g}/{spec.max_bed_c:g}/{spec.max_chamber_c:g}"
    return f"{spec.group}:{spec.driver}:{volume}:{limits}"


def setup_name(material: str | None, nozzle_mm: float | None) -> str:
    return f"{material or '-'}|{nozzle_mm:g}" if nozzle_mm is not None else (material or "-")


def _resolve(material: str | None, fitting: Iterable[MachineSpec], loaded: Counter[str]) -> str | None:
    """A family, or no wish at all, is planned as the material that most machines have loaded now."""
    if material is not None and (material in loaded or material != family(material)):
        return material
    best = max(
        (name for name in loaded if satisfies(name, material)), key=lambda n: (loaded[n], n), default=None
    )
    return best or material


def _add_queued(
    farm: Farm,
    shop: Shop,
    specs: Mapping[str, MachineSpec],
    build: Build,
    loaded: Counter[str],
    origin_s: float,
    builds: list[p.Build],
    left_out: dict[str, str],
) -> None:
    jobs = [farm.jobs[item.job_id] for item in build.items]
    if any(job.state is JobState.HELD for job in jobs):
        return
    demands = [demand_of(farm, job, build.operation) for job in jobs]
    fitting = [spec for spec in specs.values() if all(fitness(d, spec, shop) is None for d in demands)]
    if not fitting:
        left_out.update({job.id: f"no machine for {build.operation} is available" for job in jobs})
        return
    if build.operation == PRINT:
        setup = setup_name(_resolve(build.material, fitting, loaded), build.nozzle_mm)
    else:
        setup = STATION_SETUP
    durations = {
        machine_type(spec): spec.operation_s if spec.is_station else build.duration_s for spec in fitting
    }
    dues = [job.due_at for job in jobs if job.due_at is not None]
    builds.append(
        p.Build(
            id=build.id,
            setup=setup if fitting[0].chamber is None else (fitting[0].material or "-"),
            duration_s=durations,
            release_s=0.0,
            due_s=min(dues) - origin_s if dues else None,
            weight=max(job.priority for job in jobs),
            count=1,
        )
    )


def _add_job(
    job: Job,
    fitting: list[MachineSpec],
    loaded: Counter[str],
    origin_s: float,
    builds: list[p.Build],
    parts: list[p.Part],
) -> float:
    """Adds a job's missing parts and returns the machine time they take, in seconds."""
    due_s = None if job.due_at is None else job.due_at - origin_s
    if job.shape is None:
        count = -(-job.missing // job.parts_per_plate)
        types = {machine_type(spec): job.duration_s for spec in fitting}
        setup = setup_name(_resolve(job.material, fitting, loaded), job.nozzle_mm)
        builds.append(p.Build(job.id, setup, types, 0.0, due_s, job.priority, count))
        return count * job.duration_s
    setup = fitting[0].material or "-"
    shape = job.shape
    for number in range(1, job.missing + 1):
        parts.append(
            p.Part(
                id=f"{job.id}/{number}",
                setup=setup,
                volume_mm3=shape.volume_mm3,
                height_mm=shape.height_mm,
                area_mm2=shape.area_mm2,
                precision=shape.precision,
                release_s=0.0,
                due_s=due_s,
                weight=job.priority,
            )
        )
    chamber = fitting[0].chamber
    return 0.0 if chamber is None else job.missing * shape.volume_mm3 * chamber.s_per_mm3


def _machine(farm: Farm, shop: Shop, machine: Machine, spec: MachineSpec, origin_s: float) -> p.Machine:
    chamber = spec.chamber
    if spec.is_station:
        setup: str | None = STATION_SETUP
    elif chamber is not None:
        setup = spec.material or "-"
    else:
        setup = setup_name(machine.material, machine.nozzle_mm)
    return p.Machine(
        name=spec.name,
        type=machine_type(spec),
        process=spec.process,
        available_s=max(0.0, free_at(farm, machine, spec) - origin_s),
        setup=setup,
        chamber=None
        if chamber is None
        else p.Chamber(
            setup_s=chamber.setup_s,
            s_per_mm3=chamber.s_per_mm3,
            s_per_mm=chamber.s_per_mm,
            area_mm2=chamber.area_mm2,
            height_mm=chamber.height_mm,
            precision=chamber.precision,
            cooldown_s=chamber.cooldown_s,
            crewed=True,
        ),
    )


def free_at(farm: Farm, machine: Machine, spec: MachineSpec) -> float:
    """When the machine may be opened or cleared, as far as is known; UTC seconds."""
    run = farm.runs.get(machine.run_id or "")
    if run is None:
        return machine.ready_at
    build = farm.builds.get(run.build_id)
    cooldown_s = spec.chamber.cooldown_s if spec.chamber else 0.0
    return expected_end(run, build) + cooldown_s


def expected_end(run: Run, build: Build | None) -> float:
    """When an open run should end by its build's estimate; UTC seconds."""
    return (run.started_at or run.intent_at) + (build.duration_s if build else 0.0)


def _changeovers(shop: Shop, specs: Iterable[MachineSpec], builds: list[p.Build]) -> p.Changeover:
    """The configured pairs of materials, for every nozzle in use; the same setup costs nothing."""
    if not shop.changeovers:
        return p.Changeover(shop.changeover_s)
    nozzles = {build.setup.rpartition("|")[2] for build in builds if "|" in build.setup}
    pairs = tuple(
        (f"{before}|{nozzle}", f"{after}|{nozzle}", seconds)
        for before, after, seconds in shop.changeovers
        for nozzle in sorted(nozzles)
    ) + tuple((before, after, seconds) for before, after, seconds in shop.changeovers)
    return p.Changeover(shop.changeover_s, pairs)


# --- a plan's ids back ------------------------------------------------------------------------


def job_of_part(part_id: str) -> str:
    return part_id.partition("/")[0]


def work_of_run(run_name: str) -> str:
    """`J-7#2` and `B-12#1` to the job or build they stand for."""
    return run_name.partition("#")[0]
