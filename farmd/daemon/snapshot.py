"""The farm as a planning problem.

Pure. Jobs, queued builds and machines become a problem's here alone; what their ids mean is `planned_names`.
Identical parts are planned in bundles: 80 of the same clip are not 80 strangers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from farmd.daemon.able import Able, Ables
from farmd.daemon.estimates import Learnt, kind_of
from farmd.daemon.rules import can_make, demand_of, load_of, unwanted, wants_work
from farmd.daemon.shop import Shop, satisfies
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Machine, MachineSpec
from farmd.model.work import Build, Job, Run
from farmd.planner import problem as p

STATION_SETUP = "station"
DAY_S = 86400.0
BACKLOG_FACTOR = 1.5
"""How much more work than the horizon holds is planned; the rest waits in order of due date."""
MIN_HORIZON_S = 14 * DAY_S
BUNDLES_PER_PLATE = 10
"""A bundle of identical powder parts fills at most this part of the smallest plate; finer packs better."""
BUNDLES_PER_JOB = 4
"""A job is cut into at least so many bundles, so that it can be shared out to chambers."""
MOST_OF_A_JOB = 1000
"""Runs or powder parts of one job in one problem."""
NOTHING_LEARNT = Learnt()


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


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be planned: a queued build, or the missing parts of a job, and who can make it.

    `count` is of runs, or of powder parts.
    """

    id: str
    jobs: tuple[Job, ...]
    able: Able
    count: int = 1
    build: Build | None = None

    @property
    def fitting(self) -> tuple[MachineSpec, ...]:
        return self.able.specs


def take_snapshot(
    farm: Farm,
    shop: Shop,
    now_s: float,
    announced: Iterable[tuple[str, str, float]] = (),
    *,
    backlog_share: float = 1.0,
    without: Mapping[str, str] = MappingProxyType({}),
    learnt: Learnt = NOTHING_LEARNT,
) -> Snapshot:
    """What there is to make, on what, by whom and when.

    `announced` are (id, machine, start UTC). `without` are jobs and queued builds to leave out, with
    the reason; `backlog_share` below 1 plans that much less far ahead. Durations and the room before
    due dates follow what was `learnt`.
    """
    # Due dates may lie in the past; the problem's clock has no negative times.
    origin_s = min([now_s, *(job.due_at for job in farm.jobs.values() if job.due_at is not None)])
    machines = {name: machine for name, machine in farm.machines.items() if _usable(farm, machine)}
    specs = {name: shop.specs[name] for name in machines if name in shop.specs}
    left_out: dict[str, str] = {}
    ables = Ables(specs)
    work = list(_queued(farm, shop, ables, without, left_out))
    backlog_s = BACKLOG_FACTOR * shop.horizon_s * max(1, len(specs)) * backlog_share
    for job in sorted(farm.jobs.values(), key=_urgency):
        if wants_work(job):
            continue
        able = ables.of(can_make(demand_of(farm, job), shop))
        if job.id in without:
            left_out[job.id] = without[job.id]
        elif not able.specs:
            left_out[job.id] = "no machine that can make it is available"
        elif backlog_s <= 0:
            left_out[job.id] = "later: earlier work fills the planning horizon"
        else:
            count, each_s = _amount(job, able.specs, backlog_s)
            backlog_s -= count * each_s
            work.append(_Work(job.id, (job,), able, count))
    types = _types(specs, work)
    setups: dict[tuple[Hashable, ...], str] = {}
    beds = [spec for spec in specs.values() if spec.chamber is not None]
    batched = [_of_parts(each, beds) for each in work]
    of_parts = [each for each, parts in zip(work, batched, strict=True) if parts]
    whole = [each for each, parts in zip(work, batched, strict=True) if not parts]
    builds = tuple(_build(each, machines, setups, origin_s, learnt) for each in whole)
    problem = p.Problem(
        now_s=now_s - origin_s,
        objective="weighted_tardiness",
        windows={
            name: tuple((max(a, now_s) - origin_s, b - origin_s) for a, b in spans)
            for name, spans in shop.windows(now_s, now_s + max(MIN_HORIZON_S, 4 * shop.horizon_s)).items()
        },
        crews=tuple(p.Crew(name, name, people) for name, people in shop.people.items()),
        clear_s=shop.clear_s,
        changeover_s=_changeovers(shop, builds),
        machines=tuple(
            _machine(farm, machines[name], spec, types, origin_s, learnt) for name, spec in specs.items()
        ),
        builds=builds,
        parts=tuple(part for each in of_parts for part in _parts(each, origin_s)),
        announced=tuple(
            p.Announced(run, machine, max(0.0, start - origin_s))
            for run, machine, start in announced
            if machine in specs
        ),
        operator_price=shop.operator_price,
        buffers=learnt.buffers(shop.due_buffers),
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


# --- work -----------------------------------------------------------------------------------


def _queued(
    farm: Farm,
    shop: Shop,
    ables: Ables,
    without: Mapping[str, str],
    left_out: dict[str, str],
) -> Iterator[_Work]:
    """The queued builds that may go on; of the others, `left_out` is told why."""
    for build in farm.builds.values():
        if build.state is not BuildState.QUEUED or unwanted(farm, build):
            continue
        jobs = tuple(farm.jobs[item.job_id] for item in build.items)
        held = [job.id for job in jobs if job.state is JobState.HELD]
        found = [can_make(demand_of(farm, job, build.operation), shop) for job in jobs]
        if len(found) > 1:
            others = [{spec.name for spec in each} for each in found[1:]]
            found[0] = tuple(spec for spec in found[0] if all(spec.name in names for names in others))
        able = ables.of(found[0])
        if held:
            reason = f"{held[0]}, whose parts are in {build.id}, is held"
        elif build.id in without:
            reason = without[build.id]
        elif not able.specs:
            reason = f"no machine for {build.operation} is available"
        else:
            yield _Work(build.id, jobs, able, build=build)
            continue
        left_out.update({job.id: reason for job in jobs})


def _amount(job: Job, fitting: tuple[MachineSpec, ...], backlog_s: float) -> tuple[int, float]:
    """How much of a job is planned now: runs or powder parts, and the machine time of each in seconds.

    The rest of a very large job waits for a later plan.
    """
    if job.shape is None:
        wanted, each_s = -(-job.missing // job.parts_per_plate), job.duration_s
    else:
        chamber = fitting[0].chamber
        wanted, each_s = job.missing, job.shape.volume_mm3 * chamber.s_per_mm3 if chamber else 0.0
    within = math.ceil(backlog_s / each_s) if each_s > backlog_s / MOST_OF_A_JOB else MOST_OF_A_JOB
    return min(wanted, within), each_s


def _of_parts(work: _Work, beds: Iterable[MachineSpec]) -> bool:
    """Powder parts that the planner may put into any chamber of their powder, and batches itself.

    A job that asks for some of these chambers only is planned in loads of its own: the planner knows
    chambers by their powder, not by name.
    """
    if work.build is not None or work.jobs[0].shape is None:
        return False
    setup = work.fitting[0].material
    return all(spec.name in work.able.names for spec in beds if spec.material == setup)


def _parts(work: _Work, origin_s: float) -> Iterator[p.Part]:
    job, shape = work.jobs[0], work.jobs[0].shape
    assert shape is not None
    bundle = _bundle(work)
    for number, first in enumerate(range(0, work.count, bundle), 1):
        pieces = min(bundle, work.count - first)
        yield p.Part(
            id=f"{job.id}/{number}x{pieces}",
            setup=work.fitting[0].material or "-",
            volume_mm3=shape.volume_mm3 * pieces,
            height_mm=shape.height_mm,
            area_mm2=shape.area_mm2 * pieces,
            precision=shape.precision,
            release_s=0.0,
            due_s=None if job.due_at is None else job.due_at - origin_s,
            weight=job.priority,
        )


def _bundle(work: _Work) -> int:
    """How many of a job's powder parts are planned as one."""
    shape = work.jobs[0].shape
    plates = [spec.chamber.area_mm2 for spec in work.fitting if spec.chamber is not None]
    if shape is None or not plates:
        return 1
    by_plate = int(min(plates) / BUNDLES_PER_PLATE / shape.area_mm2)
    return max(1, min(by_plate, -(-work.count // BUNDLES_PER_JOB)))


def _build(
    work: _Work,
    machines: Mapping[str, Machine],
    setups: dict[tuple[Hashable, ...], str],
    origin_s: float,
    learnt: Learnt,
) -> p.Build:
    made: Build | Job = work.build or work.jobs[0]
    first = work.fitting[0]
    if first.is_station:
        setup = STATION_SETUP
    elif first.chamber is not None:
        setup = first.material or "-"
    else:
        key = (made.material, made.nozzle_mm, work.able)
        if key not in setups:
            setups[key] = _setup(made.material, made.nozzle_mm, [machines[s.name] for s in work.fitting])
        setup = setups[key]
    dues = [job.due_at for job in work.jobs if job.due_at is not None]
    count, parts = _loads(work)
    return p.Build(
        id=work.id,
        setup=setup,
        duration_s={
            kind: _duration_s(work, spec, parts) * learnt.ratio(kind_of(spec))
            for kind, spec in work.able.of_type.items()
        },
        release_s=0.0,
        due_s=min(dues) - origin_s if dues else None,
        weight=max(job.priority for job in work.jobs),
        count=count,
    )


def _loads(work: _Work) -> tuple[int, int]:
    """How many runs, and of powder parts how many in each."""
    shape = work.jobs[0].shape
    chambers = [spec.chamber for spec in work.fitting if spec.chamber is not None]
    if work.build is not None or shape is None or not chambers:
        return work.count, 0
    parts = min(work.count, *(load_of(shape, chamber) for chamber in chambers))
    return -(-work.count // parts), parts


def _duration_s(work: _Work, spec: MachineSpec, parts: int) -> float:
    """Of one run, with `parts` powder parts where it is a load that is still to be made up."""
    shape, chamber = work.jobs[0].shape, spec.chamber
    if spec.is_station:
        return spec.operation_s
    if work.build is not None or shape is None or chamber is None:
        return (work.build or work.jobs[0]).duration_s
    volume_mm3 = shape.volume_mm3 * parts
    return chamber.setup_s + chamber.s_per_mm3 * volume_mm3 + chamber.s_per_mm * shape.height_mm


def _setup(material: str | None, nozzle_mm: float | None, machines: Iterable[Machine]) -> str:
    """The setup to plan with. A family, or no wish at all, is what most of the machines have loaded now."""
    loaded = Counter(
        (machine.material, machine.nozzle_mm)
        for machine in machines
        if machine.material is not None and satisfies(machine.material, material)
    )
    mounted = {pair: count for pair, count in loaded.items() if nozzle_mm in (None, pair[1])}
    best = max(mounted or loaded, key=lambda pair: (loaded[pair], setup_name(*pair)), default=None)
    if best is None:
        return setup_name(material, nozzle_mm)
    return setup_name(best[0], best[1] if nozzle_mm is None else nozzle_mm)


def setup_name(material: str | None, nozzle_mm: float | None) -> str:
    return f"{material or '-'}|{nozzle_mm:g}" if nozzle_mm is not None else (material or "-")


# --- machines -------------------------------------------------------------------------------


def _types(specs: Mapping[str, MachineSpec], work: Iterable[_Work]) -> dict[str, str]:
    """Machines of one type are the same to the planner: alike, and able to make the very same work."""
    ables = list(dict.fromkeys(each.able for each in work))
    able: dict[str, list[int]] = {name: [] for name in specs}
    for number, each in enumerate(ables):
        for spec in each.specs:
            able[spec.name].append(number)
    kinds: dict[str, dict[tuple[int, ...], str]] = {}
    types: dict[str, str] = {}
    for name, spec in specs.items():
        alike = kind_of(spec)
        known = kinds.setdefault(alike, {})
        types[name] = known.setdefault(tuple(able[name]), f"{alike}~{len(known)}" if known else alike)
    for each in ables:
        each.of_type = {types[spec.name]: spec for spec in reversed(each.specs)}
    return types


def _machine(
    farm: Farm,
    machine: Machine,
    spec: MachineSpec,
    types: Mapping[str, str],
    origin_s: float,
    learnt: Learnt,
) -> p.Machine:
    chamber = spec.chamber
    if spec.is_station:
        setup: str | None = STATION_SETUP
    elif chamber is not None:
        setup = spec.material or "-"
    else:
        setup = setup_name(machine.material, machine.nozzle_mm)
    return p.Machine(
        name=spec.name,
        type=types[spec.name],
        process=spec.process,
        available_s=max(0.0, free_at(farm, machine, spec, learnt.ratio(kind_of(spec))) - origin_s),
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


def free_at(farm: Farm, machine: Machine, spec: MachineSpec, ratio: float = 1.0) -> float:
    """When the machine may be opened or cleared, as far as is known; UTC seconds.

    `ratio` is how much longer its runs are than their estimates.
    """
    run = farm.runs.get(machine.run_id or "")
    if run is None:
        return machine.ready_at
    cooldown_s = spec.chamber.cooldown_s if spec.chamber else 0.0
    return expected_end(run, farm.builds.get(run.build_id), ratio) + cooldown_s


def expected_end(run: Run, build: Build | None, ratio: float = 1.0) -> float:
    """When an open run should end by its build's estimate; UTC seconds."""
    return (run.started_at or run.intent_at) + (build.duration_s * ratio if build else 0.0)


def _changeovers(shop: Shop, builds: Iterable[p.Build]) -> p.Changeover:
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
