"""What one step of a plan would cost on another machine, or earlier on its own, with all other work where it is.

Works on chains and the rota of a finished plan. Knows nothing of how plans are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from farmd.planner.chains import TOLERANCE_S, Chains, Link
from farmd.planner.problem import Machine, Problem
from farmd.planner.rota import Rota, Work

MOST_AHEAD = 8
"""So many of the steps before a late one are asked about, the nearest first."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another machine: the earliest start and end there in a gap that the plan leaves, or behind everything.

    `cost_s` is what the step would cost there by the problem's objective, `more_s` by how much that is more
    than in the plan; infinite where it never gets its person.
    """

    machine: str
    start_s: float
    end_s: float
    work_s: float
    cost_s: float
    more_s: float


@dataclass(frozen=True, slots=True)
class Ahead:
    """A step before a late one on its machine. `more_s` is what the machine's steps would cost more if the late
    one came before it and the rest followed as they are; below 0 the plan would be better so."""

    name: str
    weight: float
    due_s: float | None
    end_s: float
    more_s: float


def cost_s(problem: Problem, link: Link, end_s: float, work_s: float) -> float:
    """What a step costs by the problem's objective if it ends then; the makespan is nobody's alone."""
    if problem.objective == "makespan":
        return 0.0
    return link.tardiness_s(end_s) + problem.operator_price * work_s


def alternatives_to(chains: Chains, link: Link, rota: Rota) -> tuple[Alternative, ...]:
    """The other machines that could take a step, the cheapest first. `rota` is of all other work."""
    problem = chains.problem
    own = cost_s(problem, link, link.assignment.end_s, link.work_s)
    found = []
    for machine in problem.machines:
        duration = duration_on(link, machine)
        if machine.name != link.machine.name and duration is not None:
            start, work = _first_gap(chains, link, machine, duration, rota)
            cost = cost_s(problem, link, start + duration, work)
            found.append(Alternative(machine.name, start, start + duration, work, cost, cost - own))
    return tuple(sorted(found, key=lambda a: (a.cost_s, a.end_s, a.machine)))


def duration_on(link: Link, machine: Machine) -> float | None:
    """How long the step would take there; None where it cannot go. A batch goes as it is, to a plate as large."""
    if link.build is not None:
        return link.build.duration_s[machine.type] if link.build.runs_on(machine) else None
    chamber, own = machine.chamber, link.machine.chamber
    if chamber is None or own is None or not all(part.fits(machine) for part in link.parts):
        return None
    if sum(part.area_mm2 for part in link.parts) > chamber.area_mm2:
        return None
    if chamber.size_mm is not None and (
        own.size_mm is None or any(a < b for a, b in zip(chamber.size_mm, own.size_mm, strict=True))
    ):
        return None
    volume, height = sum(p.volume_mm3 for p in link.parts), max(p.height_mm for p in link.parts)
    return chamber.setup_s + chamber.s_per_mm3 * volume + chamber.s_per_mm * height


def _first_gap(
    chains: Chains, link: Link, machine: Machine, duration: float, rota: Rota
) -> tuple[float, float]:
    """The earliest start on a machine that leaves its own steps where they are, and a person's work before it.

    A gap counts where the changeover to the step behind it still fits before that one's start.
    """
    chain = chains.by_machine[machine.name]
    free, setup = max(chains.problem.now_s, machine.available_s), machine.setup
    cooldown = machine.chamber.cooldown_s if machine.chamber is not None else 0.0
    for behind in (*chain, None):
        at = max(free, link.release_s)
        until = math.inf if behind is None else behind.begins_s
        if at + duration <= until and _follows(chains, link, behind):
            start, work = begin(chains, link, machine, setup, at, rota)
            if start + duration + cooldown <= until + TOLERANCE_S:
                return start, work
        if behind is not None:
            free, setup = behind.free_s, behind.setup
    return math.inf, 0.0


def _follows(chains: Chains, link: Link, behind: Link | None) -> bool:
    """Whether the step behind keeps its times when this one comes before it."""
    if behind is None or behind.build is None or not behind.attended:
        return True
    work = behind.clear_s + chains.changeover_s(_left_by(link, behind.before), behind.setup)
    return work <= behind.assignment.start_s - behind.begins_s + TOLERANCE_S


def _left_by(link: Link, setup: str | None) -> str | None:
    return setup if link.build is None else link.build.setup


def begin(
    chains: Chains, link: Link, machine: Machine, setup: str | None, at: float, rota: Rota
) -> tuple[float, float]:
    """When the step can start on a machine that is free at `at` with this setup, and the work before it."""
    if link.build is not None:
        work = chains.problem.clear_s + chains.changeover_s(setup, link.build.setup)
    elif machine.chamber is not None and machine.chamber.crewed:
        work = chains.problem.clear_s
    else:
        return at, 0.0
    return rota.earliest(at, work) + work, work


def alone_end_s(chains: Chains, link: Link, rota: Rota) -> float:
    """When it would end on its best machine with nothing else planned. `rota` is of no work."""
    ends = []
    for machine in chains.problem.machines:
        duration = duration_on(link, machine)
        if duration is not None:
            at = max(chains.problem.now_s, machine.available_s, link.release_s)
            ends.append(begin(chains, link, machine, machine.setup, at, rota)[0] + duration)
    return min(ends, default=math.inf)


def ahead_of(chains: Chains, link: Link, works: Mapping[str, Work]) -> tuple[Ahead, ...]:
    """The steps before a late one on its machine, the nearest first, with what passing each would cost."""
    chain = chains.by_machine[link.machine.name]
    found = []
    for to in range(link.position - 1, max(-1, link.position - 1 - MOST_AHEAD), -1):
        moved = (link, *chain[to : link.position], *chain[link.position + 1 :])
        now = sum(cost_s(chains.problem, x, x.assignment.end_s, x.work_s) for x in chain[to:])
        passed = chain[to]
        found.append(
            Ahead(
                name=passed.name,
                weight=passed.weight,
                due_s=min((due.due_s for due in passed.dues), default=None),
                end_s=passed.assignment.end_s,
                more_s=_replayed(chains, link.machine, to, moved, works) - now,
            )
        )
    return tuple(found)


def _replayed(
    chains: Chains, machine: Machine, first: int, row: tuple[Link, ...], works: Mapping[str, Work]
) -> float:
    """What these steps cost one after another on a machine, from its position `first` on, each as early as it can.

    Other machines keep their work and their people; the row's own people are one after another by nature.
    """
    names = {link.name for link in row}
    rota = Rota(chains.problem, (work for name, work in works.items() if name not in names))
    chain = chains.by_machine[machine.name]
    free, setup = max(chains.problem.now_s, machine.available_s), machine.setup
    if first:
        free, setup = chain[first - 1].free_s, chain[first - 1].setup
    total = 0.0
    for link in row:
        start, work = begin(chains, link, machine, setup, max(free, link.release_s), rota)
        end = start + link.duration_s
        total += cost_s(chains.problem, link, end, work)
        free, setup = end + link.cooldown_s, _left_by(link, setup)
    return total
