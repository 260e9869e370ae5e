"""The farm as a planning problem.

Pure. Jobs, queued builds and machines become a problem's here alone; what their ids mean is `planned_names`.
Identical parts are planned in bundles: 80 of the same clip are not 80 strangers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from farmd.daemon.able import Able, Ables
from farmd.daemon.bundles import block_mm, bundle_of
from farmd.daemon.estimates import Learnt, kind_of
from farmd.daemon.finishing import Finisher
from farmd.daemon.known_builds import KnownBuilds
from farmd.daemon.limits import with_limits
from farmd.daemon.rules import can_make, demand_of, load_of, unwanted, wants_work
from farmd.daemon.setups import changeovers, likely_setup, setup_name
from farmd.daemon.shop import Shop
from farmd.daemon.tail import Later
from farmd.daemon.usage import NO_USE, Use
from farmd.daemon.wishes import FLOW_PRICE, aged, waited_days, with_wishes
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Machine, MachineSpec
from farmd.model.work import Build, Job, Run
from farmd.planner import problem as p

DAY_S = 86400.0
BACKLOG_FACTOR = 1.5
"""How much more work than the horizon holds is planned; the rest waits in order of due date."""
MIN_HORIZON_S = 14 * DAY_S
MOST_OF_A_JOB = 1000
"""Runs or powder parts of one job in one problem."""
NOTHING_LEARNT = Learnt()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A problem, when its clock was zero, and what was left out of it, by job id, with the reason.

    `later` is what was left out because it is beyond the horizon, in the order of its turn.
    """

    problem: p.Problem
    origin_s: float
    revision: int
    left_out: Mapping[str, str] = field(default_factory=dict)
    at_stations: frozenset[str] = frozenset()
    """The queued builds of which the first operation of their route is the one that can be begun."""
    later: tuple[Later, ...] = ()
    learnt: Learnt = NOTHING_LEARNT
    use: Use = NO_USE

    @property
    def is_empty(self) -> bool:
        return not self.problem.builds and not self.problem.parts and not self.problem.routes


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
    known: KnownBuilds | None = None,
    use: Use = NO_USE,
) -> Snapshot:
    """What there is to make, on what, by whom and when.

    `announced` are (id, machine, start UTC). `without` are jobs and queued builds to leave out, with
    the reason; `backlog_share` below 1 plans that much less far ahead. Durations and the room before
    due dates follow what was `learnt`. What is `known` from the snapshots before is not made anew.
    """
    # Due dates may lie in the past; the problem's clock has no negative times.
    known = KnownBuilds() if known is None else known
    earliest_s = min([now_s, *(job.due_at for job in farm.jobs.values() if job.due_at is not None)])
    origin_s = known.begin(earliest_s, learnt)
    machines = {name: machine for name, machine in farm.machines.items() if _usable(farm, machine)}
    specs = {name: shop.specs[name] for name in machines if name in shop.specs}
    left_out: dict[str, str] = {}
    ables = Ables(specs)
    work = list(_queued(farm, shop, ables, without, left_out))
    later: list[Later] = []
    backlog_s = BACKLOG_FACTOR * shop.horizon_s * max(1, len(specs)) * backlog_share
    for job in _by_urgency(farm.jobs.values()):
        if wants_work(job):
            continue
        able = ables.of(can_make(demand_of(farm, job), shop))
        if job.id in without:
            left_out[job.id] = without[job.id]
        elif not able.specs:
            left_out[job.id] = "no machine that can make it is available"
        elif backlog_s <= 0:
            left_out[job.id] = "later: earlier work fills the planning horizon"
            runs, each_s = _amount(job, able.specs, math.inf)
            later.append(Later(job.id, runs, each_s, able.names))
        else:
            count, each_s = _amount(job, able.specs, backlog_s)
            backlog_s -= count * each_s
            work.append(_Work(job.id, (job,), able, count))
    types = _types(specs, work, learnt)
    setups: dict[tuple[Hashable, ...], str] = {}
    beds = [spec for spec in specs.values() if spec.chamber is not None]
    batched = [_of_parts(each, beds) for each in work]
    of_parts = [each for each, parts in zip(work, batched, strict=True) if parts]
    whole = [each for each, parts in zip(work, batched, strict=True) if not parts]
    waiting = [each for each in whole if each.fitting[0].is_station]
    whole = [each for each in whole if not each.fitting[0].is_station]
    builds = tuple(_build(each, _setup_of(each, machines, setups), now_s, origin_s, known) for each in whole)
    known.end({each.id for each in whole})
    free_s = {
        name: max(0.0, free_at(farm, machines[name], spec, learnt.ratio(kind_of(spec))) - origin_s)
        for name, spec in specs.items()
    }
    finishing = Finisher(farm, shop, specs, types, free_s, learnt).planned(
        waiting, zip(whole, builds, strict=True), free_at, origin_s
    )
    problem = p.Problem(
        now_s=now_s - origin_s,
        objective="weighted_tardiness",
        windows={
            name: tuple((max(a, now_s) - origin_s, b - origin_s) for a, b in spans)
            for name, spans in shop.windows(now_s, now_s + max(MIN_HORIZON_S, 4 * shop.horizon_s)).items()
        },
        crews=tuple(p.Crew(name, name, people) for name, people in shop.people.items()),
        clear_s=shop.clear_s,
        changeover_s=changeovers(shop, builds),
        machines=tuple(
            _machine(machines[name], spec, types[name], free_s[name])
            for name, spec in specs.items()
            if not spec.is_station
        ),
        builds=finishing.builds,
        parts=tuple(part for each in of_parts for part in _parts(each, origin_s)),
        operator_price=shop.operator_price,
        buffers=learnt.buffers(shop.due_buffers),
        flow_price=FLOW_PRICE,
        stations=finishing.stations,
        routes=finishing.routes,
    )
    problem = with_limits(with_wishes(problem, announced, origin_s), farm, shop, origin_s, use)
    begun_at = finishing.waiting
    return Snapshot(problem, origin_s, farm.revision, left_out, begun_at, tuple(later), learnt, use)


def _by_urgency(jobs: Iterable[Job]) -> list[Job]:
    """By due date, those without one last; then by priority; then as they came.

    Sorted by one number after another: with tuples all other threads would wait ten times as long.
    """
    ordered = sorted(jobs, key=lambda job: job.submitted_at)
    ordered.sort(key=lambda job: -job.priority)
    ordered.sort(key=lambda job: math.inf if job.due_at is None else job.due_at)
    return ordered


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
    chambers = [spec.chamber for spec in work.fitting if spec.chamber is not None]
    bundle = bundle_of(shape, work.count, chambers)
    for number, first in enumerate(range(0, work.count, bundle), 1):
        pieces = min(bundle, work.count - first)
        yield p.Part(
            id=f"{job.id}/{number}x{pieces}",
            setup=work.fitting[0].material or "-",
            volume_mm3=shape.volume_mm3 * pieces,
            height_mm=shape.height_mm,
            area_mm2=shape.area_mm2 * pieces,
            size_mm=block_mm(shape, pieces),
            outline_mm=shape.outline_mm if pieces == 1 else None,
            precision=shape.precision,
            release_s=0.0,
            due_s=None if job.due_at is None else job.due_at - origin_s,
            weight=job.priority,
        )


def _setup_of(work: _Work, machines: Mapping[str, Machine], setups: dict[tuple[Hashable, ...], str]) -> str:
    """The setup to plan with; `setups` are those found so far."""
    made: Build | Job = work.build or work.jobs[0]
    first = work.fitting[0]
    if first.chamber is not None:
        return first.material or "-"
    key = (made.material, made.nozzle_mm, work.able)
    if key not in setups:
        setups[key] = likely_setup(made.material, made.nozzle_mm, [machines[s.name] for s in work.fitting])
    return setups[key]


def _build(work: _Work, setup: str, now_s: float, origin_s: float, known: KnownBuilds) -> p.Build:
    """The work as a build; of a job's that has not changed the one that is known."""
    job, waited = work.jobs[0], waited_days(now_s - work.jobs[0].submitted_at)
    key = (setup, work.count, waited if job.due_at is None else 0, *work.able.of_type)
    build = known.get(job, key) if work.build is None else None
    if build is None:
        build = aged(_made(work, setup, origin_s), waited)
        if work.build is None:
            known.keep(job, key, build)
    return build


def _made(work: _Work, setup: str, origin_s: float) -> p.Build:
    dues = [job.due_at for job in work.jobs if job.due_at is not None]
    count, parts = _loads(work)
    return p.Build(
        id=work.id,
        setup=setup,
        duration_s={
            kind: _duration_s(work, spec, parts) * work.able.ratio_of[kind]
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
    if work.build is not None or shape is None or chamber is None:
        return (work.build or work.jobs[0]).duration_s
    return chamber.load_s(shape.volume_mm3 * parts, shape.height_mm)


# --- machines -------------------------------------------------------------------------------


def _types(specs: Mapping[str, MachineSpec], work: Iterable[_Work], learnt: Learnt) -> dict[str, str]:
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
        each.ratio_of = {kind: learnt.ratio(kind_of(spec)) for kind, spec in each.of_type.items()}
    return types


def _machine(machine: Machine, spec: MachineSpec, type_: str, free_s: float) -> p.Machine:
    chamber = spec.chamber
    if chamber is not None:
        setup: str | None = spec.material or "-"
    else:
        setup = setup_name(machine.material, machine.nozzle_mm)
    return p.Machine(
        name=spec.name,
        type=type_,
        process=spec.process,
        available_s=free_s,
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
            size_mm=chamber.size_mm,
            packing_density=chamber.packing_density,
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
