"""What is still ahead of a published plan, under the names of the next problem.

Pure. A job's plates are alike, and their names are a count: when one has begun, `J-7#3` of the last plan is
`J-7#2` of the next problem. Plates keep their machines and their order in time.
"""

from __future__ import annotations

from dataclasses import replace

from farmd.daemon.planned_names import work_of_run
from farmd.daemon.schedule import Schedule
from farmd.planner.plans import Assignment, Plan, Value
from farmd.planner.problem import Problem

NEXT = 2
"""How many steps of each machine people are told of: what they are on, and what to lay ready behind it."""


def ahead(plan: Plan, schedule: Schedule, origin_s: float) -> tuple[Assignment, ...]:
    """The assignments that are still in the schedule, by time in UTC, their runs numbered anew."""
    names = {step.run_name for steps in schedule.steps.values() for step in steps}
    left = (a for a in plan.assignments if (a.build or a.parts[0]) in names)
    counts: dict[str, int] = {}
    found = []
    for a in sorted(left, key=lambda a: (a.start_s, a.machine)):
        name = a.build
        if name is not None:
            work = work_of_run(name)
            counts[work] = counts.get(work, 0) + 1
            name = f"{work}#{counts[work]}"
        operator_s = None if a.operator_start_s is None else a.operator_start_s + origin_s
        found.append(
            replace(
                a,
                build=name,
                start_s=a.start_s + origin_s,
                end_s=a.end_s + origin_s,
                operator_start_s=operator_s,
            )
        )
    return tuple(found)


def announced(steps: tuple[Assignment, ...]) -> list[tuple[str, str, float]]:
    """The next steps of each machine as people were told: (run, machine, start UTC)."""
    told: dict[str, int] = {}
    found = []
    for a in steps:
        told[a.machine] = told.get(a.machine, 0) + 1
        if a.build is not None and told[a.machine] <= NEXT:
            found.append((a.build, a.machine, a.start_s))
    return found


def carried(steps: tuple[Assignment, ...], problem: Problem, origin_s: float) -> Plan | None:
    """What of the steps the problem still asks for, as a plan to begin from; None where that is nothing.

    It need not hold any more: times are the old ones, and new work is not in it.
    """
    machines = {machine.name for machine in problem.machines}
    runs = {run for build in problem.builds for run in build.run_ids()}
    parts = {part.id for part in problem.parts}
    kept = []
    for a in steps:
        members = tuple(part for part in a.parts if part in parts)
        if a.machine not in machines or not (members or a.build in runs):
            continue
        operator_s = None if a.operator_start_s is None else a.operator_start_s - origin_s
        kept.append(
            replace(
                a,
                parts=members,
                placements=a.placements if members == a.parts else (),
                start_s=a.start_s - origin_s,
                end_s=a.end_s - origin_s,
                operator_start_s=operator_s,
            )
        )
    if not kept:
        return None
    return Plan("feasible", None, Value(0.0, problem.now_s, 0, 0.0), tuple(kept))
