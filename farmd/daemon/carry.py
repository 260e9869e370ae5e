"""What is still ahead of a published plan, under the names of the next problem.

Pure. A job's plates are alike, and their names are a count: when one has begun, `J-7#3` of the last plan is
`J-7#2` of the next problem. Plates keep their machines and their order in time.
"""

from __future__ import annotations

from dataclasses import dataclass

from farmd.daemon.planned_names import work_of_run
from farmd.daemon.schedule import Schedule
from farmd.planner.plans import Assignment, Plan, Value
from farmd.planner.problem import Problem

NEXT = 2
"""How many steps of each machine people are told of: what they are on, and what to lay ready behind it."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Assignments by time on a clock with its zero at `origin_s` UTC, each with the name of its run now."""

    origin_s: float = 0.0
    steps: tuple[tuple[Assignment, str | None], ...] = ()


def ahead(plan: Plan, schedule: Schedule, origin_s: float) -> Ahead:
    """The assignments that are still in the schedule, their runs numbered anew."""
    names = {step.run_name for steps in schedule.steps.values() for step in steps}
    left = [a for a in plan.assignments if (a.build or a.parts[0]) in names]
    # One key after the other: sorting pairs keeps all other threads waiting ten times as long.
    left.sort(key=lambda a: a.machine)
    left.sort(key=lambda a: a.start_s)
    counts: dict[str, int] = {}
    found = []
    for a in left:
        name = a.build
        if name is not None:
            work = work_of_run(name)
            counts[work] = counts.get(work, 0) + 1
            name = f"{work}#{counts[work]}"
        found.append((a, name))
    return Ahead(origin_s, tuple(found))


def announced(left: Ahead) -> list[tuple[str, str, float]]:
    """The next steps of each machine as people were told: (run, machine, start UTC)."""
    told: dict[str, int] = {}
    found = []
    for a, name in left.steps:
        told[a.machine] = told.get(a.machine, 0) + 1
        if name is not None and told[a.machine] <= NEXT:
            found.append((name, a.machine, a.start_s + left.origin_s))
    return found


def carried(left: Ahead, problem: Problem, origin_s: float) -> Plan | None:
    """What of the steps the problem still asks for, as a plan to begin from; None where that is nothing.

    It need not hold any more: times are the old ones, and new work is not in it.
    """
    machines = {machine.name for machine in problem.machines}
    runs = {run for build in problem.builds for run in build.run_ids()}
    parts = {part.id for part in problem.parts}
    kept = []
    shift_s = left.origin_s - origin_s
    for a, name in left.steps:
        members = tuple(part for part in a.parts if part in parts)
        if a.machine not in machines or not (members or name in runs):
            continue
        if shift_s or name != a.build or members != a.parts:
            operator_s = None if a.operator_start_s is None else a.operator_start_s + shift_s
            a = Assignment(
                machine=a.machine,
                start_s=a.start_s + shift_s,
                end_s=a.end_s + shift_s,
                build=name,
                parts=members,
                crew=a.crew,
                operator_start_s=operator_s,
                placements=a.placements if members == a.parts else (),
            )
        kept.append(a)
    if not kept:
        return None
    return Plan("feasible", None, Value(0.0, problem.now_s, 0, 0.0), tuple(kept))
