"""What maintenance, shared power and short lots mean: for the plan, and for what may start now.

Pure. The planner is told the same of them that dispatch and `farmctl why` ask here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Protocol, TypeVar

from farmd.daemon.planned_names import job_of_part
from farmd.daemon.rules import NeedsSetup, Obstacle
from farmd.daemon.shop import PowerGroup, Shop
from farmd.daemon.usage import NO_USE, Use
from farmd.model.farm import Farm
from farmd.model.machine import Machine
from farmd.model.work import Lot
from farmd.planner import problem as p

MOST_GRAMS = 1e6
Made = TypeVar("Made", p.Build, p.Part)


class Wanted(NeedsSetup, Protocol):
    """A job or a build, by how long one run of it takes and how many grams."""

    @property
    def duration_s(self) -> float: ...
    @property
    def mass_g(self) -> float: ...


def not_now(
    farm: Farm, shop: Shop, machine: Machine, wanted: Wanted, now_s: float, starting: Collection[str] = ()
) -> Obstacle | None:
    """The first of these rules by which it may not start on the machine now; `starting` are machines that start too."""
    return (
        _maintenance(shop, machine, wanted.duration_s, now_s)
        or _power(farm, shop, machine, now_s, starting)
        or short_lot(farm, shop, machine, wanted)
    )


def _maintenance(shop: Shop, machine: Machine, duration_s: float, now_s: float) -> Obstacle | None:
    """Nothing runs into a time in which its machine is shut."""
    for begin, end in shop.shut.get(machine.name, ()):
        if begin < now_s + duration_s and now_s < end:
            what = (
                "it is shut for maintenance" if begin <= now_s else "it would not end before its maintenance"
            )
            return Obstacle("maintenance", what, "it starts by itself after the maintenance")
    return None


def _power(
    farm: Farm, shop: Shop, machine: Machine, now_s: float, starting: Collection[str]
) -> Obstacle | None:
    """No more machines of a power group warm up at once than may."""
    for group in shop.power_groups:
        if machine.name in group.machines:
            warm = [
                name for name in group.machines if name in starting or _is_warming(farm, name, group, now_s)
            ]
            if len(warm) >= group.at_once:
                warms = "warms up" if len(warm) == 1 else "warm up"
                what = f"{', '.join(warm)} {warms}; {group.name} has power for {group.at_once} at once"
                return Obstacle("power", what, "it starts by itself")
    return None


def _is_warming(farm: Farm, name: str, group: PowerGroup, now_s: float) -> bool:
    machine = farm.machines.get(name)
    run = farm.runs.get(machine.run_id or "") if machine is not None else None
    return run is not None and now_s < (run.started_at or run.intent_at) + group.warm_up_s


def short_lot(farm: Farm, shop: Shop, machine: Machine, wanted: Wanted) -> Obstacle | None:
    """What is left of the lot on the machine must be enough for a run, where the shop looks at it."""
    lot = _loaded(farm, shop, machine)
    if lot is None or math.ceil(wanted.mass_g) <= math.floor(lot.grams_left):
        return None
    what = f"{lot.id} has {math.floor(lot.grams_left)} g left, a run takes {math.ceil(wanted.mass_g)} g"
    return Obstacle("short-lot", what, f"`farmctl load {machine.name} {lot.material!r} --lot NEW --grams G`")


def _loaded(farm: Farm, shop: Shop, machine: Machine) -> Lot | None:
    spec = shop.specs.get(machine.name)
    if not shop.spool_change_s or spec is None or spec.chamber is not None or spec.is_station:
        return None
    return farm.lots.get(machine.lot_id or "")


def with_limits(problem: p.Problem, farm: Farm, shop: Shop, origin_s: float, use: Use = NO_USE) -> p.Problem:
    """The problem with the shop's maintenance, power groups, what is left of its lots, and what was used lately."""
    groups = _groups(problem, shop)
    if use.weights:
        problem = replace(
            problem,
            builds=tuple(_weighed(build, _owner(farm, build.id), use) for build in problem.builds),
            parts=tuple(_weighed(part, _owner(farm, job_of_part(part.id)), use) for part in problem.parts),
        )
    if not shop.shut and not shop.spool_change_s and not groups and not use.wear:
        return problem
    machines = tuple(
        replace(
            machine,
            shut=_shut(shop, machine.name, problem.now_s, origin_s),
            grams_left=_grams_left(farm, shop, machine.name),
            wear_price=use.wear.get(machine.name, 0.0),
        )
        for machine in problem.machines
    )
    stations = tuple(
        replace(station, shut=_shut(shop, station.name, problem.now_s, origin_s))
        for station in problem.stations
    )
    builds = problem.builds
    if any(machine.grams_left is not None for machine in machines):
        builds = tuple(replace(build, grams=_grams(farm, build.id)) for build in builds)
    return replace(
        problem,
        machines=machines,
        stations=stations,
        builds=builds,
        power_groups=groups,
        spool_change_s=shop.spool_change_s,
    )


def _weighed(made: Made, owner: str, use: Use) -> Made:
    """A build or part with its owner, and the weight that is fair."""
    if not owner:
        return made
    return replace(made, owner=owner, weight=made.weight * use.weights.get(owner, 1.0))


def _owner(farm: Farm, work: str) -> str:
    """Of a job, or of a queued build's first job; empty for nobody's."""
    build = farm.builds.get(work)
    job = farm.jobs.get(work if build is None else build.items[0].job_id)
    return job.owner if job is not None else ""


def _groups(problem: p.Problem, shop: Shop) -> tuple[p.PowerGroup, ...]:
    there = {machine.name for machine in problem.machines}
    members = (
        (group, tuple(name for name in group.machines if name in there)) for group in shop.power_groups
    )
    return tuple(
        p.PowerGroup(group.name, names, group.at_once, group.warm_up_s) for group, names in members if names
    )


def _shut(shop: Shop, name: str, now_s: float, origin_s: float) -> tuple[tuple[float, float], ...]:
    """What is still ahead, on the problem's clock."""
    spans = ((begin - origin_s, end - origin_s) for begin, end in shop.shut.get(name, ()))
    return tuple((max(begin, now_s), end) for begin, end in spans if end > now_s)


def _grams_left(farm: Farm, shop: Shop, name: str) -> float | None:
    """Of the lot on the machine, when what runs there now is done."""
    machine = farm.machines[name]
    lot = _loaded(farm, shop, machine)
    if lot is None:
        return None
    run = farm.runs.get(machine.run_id or "")
    build = farm.builds.get(run.build_id) if run is not None else None
    return min(MOST_GRAMS, max(0.0, lot.grams_left - (build.mass_g if build is not None else 0.0)))


def _grams(farm: Farm, work: str) -> float:
    """Of one run of a job, or of a queued build."""
    made = farm.builds.get(work) or farm.jobs.get(work)
    return min(MOST_GRAMS, made.mass_g) if made is not None else 0.0
