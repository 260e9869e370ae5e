"""What one step of a plan would cost on another machine, or earlier on its own, with all other work where it is.

Works on chains and the rota of a finished plan. Knows nothing of how plans are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from farmd.planner.chains import TOLERANCE_S, Chains, Link, loaded_g, taken
from farmd.planner.problem import Chamber, Machine, Problem
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


def wear_s(problem: Problem, machine: Machine, duration_s: float) -> float:
    """What running the machine so long costs by the problem's objective."""
    return 0.0 if problem.objective == "makespan" else machine.wear_price * duration_s


def alternatives_to(chains: Chains, link: Link, rota: Rota) -> tuple[Alternative, ...]:
    """The other machines that could take a step, the cheapest first. `rota` is of all other work."""
    problem = chains.problem
    own = cost_s(problem, link, link.assignment.end_s, link.work_s) + wear_s(
        problem, link.machine, link.duration_s
    )
    found = []
    for machine in problem.machines:
        duration = duration_on(link, machine)
        if machine.name != link.machine.name and duration is not None:
            start, work = _first_gap(chains, link, machine, duration, rota)
            cost = cost_s(problem, link, start + duration, work) + wear_s(problem, machine, duration)
            found.append(Alternative(machine.name, start, start + duration, work, cost, cost - own))
    return tuple(sorted(found, key=lambda a: (a.cost_s, a.end_s, a.machine)))


def duration_on(link: Link, machine: Machine) -> float | None:
    """How long the step would take there; None where it cannot go. A batch goes as it is, to a plate as large."""
    if link.build is not None:
        return link.build.duration_s[machine.type] if link.build.runs_on(machine) else None
    chamber, own = machine.chamber, link.machine.chamber
    if chamber is None or own is None or not all(part.fits(machine) for part in link.parts):
        return None
    if chamber.packing_density is None and not _side_by_side(link, chamber, own):
        return None
    volume, height = sum(p.volume_mm3 for p in link.parts), max(p.height_mm for p in link.parts)
    if volume > chamber.most_volume_mm3:
        return None
    height = max(height, volume * chamber.mm_per_mm3)
    return chamber.setup_s + chamber.s_per_mm3 * volume + chamber.s_per_mm * height


def _side_by_side(link: Link, chamber: Chamber, own: Chamber) -> bool:
    """Whether a batch goes onto the plate of a chamber as it lies in its own."""
    if sum(part.area_mm2 for part in link.parts) > chamber.area_mm2:
        return False
    if chamber.size_mm is None:
        return True
    if own.size_mm is None or own.packing_density is not None:
        return False
    return not any(a < b for a, b in zip(chamber.size_mm, own.size_mm, strict=True))


def _first_gap(
    chains: Chains, link: Link, machine: Machine, duration: float, rota: Rota
) -> tuple[float, float]:
    """The earliest start on a machine that leaves its own steps where they are, and a person's work before it.

    A gap counts where the changeover to the step behind it still fits before that one's start.
    """
    chain = chains.by_machine[machine.name]
    free, setup, left = max(chains.problem.now_s, machine.available_s), machine.setup, loaded_g(machine)
    cooldown = machine.chamber.cooldown_s if machine.chamber is not None else 0.0
    for behind in (*chain, None):
        at = max(free, link.release_s)
        until = math.inf if behind is None else behind.begins_s
        if at + duration <= until and _follows(chains, link, behind, left):
            start, work = begin(chains, link, machine, (setup, left), at, rota, duration)
            if start + duration + cooldown <= until + TOLERANCE_S:
                return start, work
        if behind is not None:
            free, setup, left = behind.free_s, behind.setup, behind.left_g
    return math.inf, 0.0


def _follows(chains: Chains, link: Link, behind: Link | None, left_g: int | None) -> bool:
    """Whether the step behind keeps its times when this one comes before it, and takes none of its material."""
    if behind is None or behind.build is None or not behind.attended:
        return True
    if left_g is not None and link.build is not None and link.build.grams and link.setup == behind.before:
        return False
    work = behind.clear_s + chains.changeover_s(_left_by(link, behind.before), behind.setup)
    return work <= behind.assignment.start_s - behind.begins_s + TOLERANCE_S


def _left_by(link: Link, setup: str | None) -> str | None:
    return setup if link.build is None else link.build.setup


def begin(
    chains: Chains,
    link: Link,
    machine: Machine,
    loaded: tuple[str | None, int | None],
    at: float,
    rota: Rota,
    duration: float,
) -> tuple[float, float]:
    """When the step can start on a machine that is free at `at`, and the work before it; power is left out of account.

    `loaded` is the setup there, with the grams that are left.
    """
    setup, left = loaded
    work, attended = chains.problem.clear_s, True
    if link.build is not None:
        work += chains.changeover_s(setup, link.build.setup)
        short, _ = taken(left, link.build, changed=setup != link.build.setup)
        work += chains.problem.spool_change_s if short else 0.0
    elif machine.chamber is None or not machine.chamber.crewed:
        work, attended = 0.0, False
    while True:
        at = rota.earliest(at, work) if attended else at
        again = opens_s(machine, at, at + work + duration)
        if again <= at:
            return at + work, work
        at = again


def opens_s(machine: Machine, begin_s: float, end_s: float) -> float:
    """When the machine is open again where it is shut between the two; else `begin_s`."""
    return max([begin_s, *(end for start, end in machine.shut if start < end_s and end > begin_s)])


def alone_end_s(chains: Chains, link: Link, rota: Rota) -> float:
    """When it would end on its best machine with nothing else planned. `rota` is of no work."""
    ends = []
    for machine in chains.problem.machines:
        duration = duration_on(link, machine)
        if duration is not None:
            at = max(chains.problem.now_s, machine.available_s, link.release_s)
            loaded = (machine.setup, loaded_g(machine))
            ends.append(begin(chains, link, machine, loaded, at, rota, duration)[0] + duration)
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
    free, setup, left = max(chains.problem.now_s, machine.available_s), machine.setup, loaded_g(machine)
    if first:
        free, setup, left = chain[first - 1].free_s, chain[first - 1].setup, chain[first - 1].left_g
    total = 0.0
    for link in row:
        at = max(free, link.release_s)
        start, work = begin(chains, link, machine, (setup, left), at, rota, link.duration_s)
        end = start + link.duration_s
        total += cost_s(chains.problem, link, end, work)
        if link.build is not None:
            _, left = taken(left, link.build, changed=setup != link.setup)
        free, setup = end + link.cooldown_s, _left_by(link, setup)
    return total
