"""Builds put off, so that what must follow them soon can: each machine keeps its order, people keep their windows.

Knows a finished plan of builds. Knows no search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from farmd.planner.people import NOBODY, People
from farmd.planner.plans import Assignment, Plan
from farmd.planner.problem import Machine, Problem
from farmd.planner.schedule import MISSED_S

INFINITY = float("inf")


def put_off(problem: Problem, builds: Plan, needs: Mapping[str, float]) -> Plan | None:
    """The plan with each run or part of `needs` made by so many seconds later at least.

    None where no time is left, or a deadline is in the way. Nothing is made sooner than before. The value is left
    as it was: only times change.
    """
    people = People(problem)
    machines = {machine.name: machine for machine in problem.machines}
    latest = {run: b.deadline_s for b in problem.builds for run in b.run_ids()}
    latest |= {part.id: part.deadline_s for part in problem.parts}
    free: dict[str, float] = {}
    moved = []
    for a in sorted(builds.assignments, key=lambda a: (_begins_s(a), a.start_s, a.machine)):
        names = (a.build,) if a.build else a.parts
        need = max((needs.get(name, 0.0) for name in names), default=0.0)
        machine, begin = machines[a.machine], _begins_s(a)
        at = max(begin + need, free.get(a.machine, 0.0))
        work, crew = a.start_s - begin, NOBODY
        while True:
            at = _open_from(machine, at, a.end_s - begin)
            if a.crew is None:
                break
            then, crew = people.earliest(at, work)
            if then == INFINITY:
                return None
            if then <= at:
                break
            at = then
        people.take(crew, at, work)
        later = at - begin
        deadlines = [last for name in names if (last := latest.get(name)) is not None]
        if deadlines and a.end_s + later > min(deadlines) + MISSED_S:
            return None
        moved.append(
            replace(
                a,
                start_s=a.start_s + later,
                end_s=a.end_s + later,
                crew=people.names[crew] if crew != NOBODY else a.crew,
                operator_start_s=None if a.operator_start_s is None else at,
            )
        )
        cooling = machine.chamber.cooldown_s if machine.chamber is not None else 0.0
        free[a.machine] = a.end_s + later + cooling
    return replace(builds, assignments=tuple(moved), bound=None, status="feasible")


def _begins_s(a: Assignment) -> float:
    return a.start_s if a.operator_start_s is None else a.operator_start_s


def _open_from(machine: Machine, at: float, seconds: float) -> float:
    """The first time from `at` on from which the machine is not shut for so long."""
    for start, end in sorted(machine.shut):
        if at < end and at + seconds > start:
            at = end
    return at
