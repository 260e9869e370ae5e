"""What people were told comes next, as wishes of the next problem, and what each may cost the shop.

Pure. People have laid material ready for what was announced, so to move it has a price. But that price never holds
work back from a machine that stands idle: what waits behind something else, while a machine that could make it has
nothing to do, may go there for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from farmd.planner.problem import Announced, Build, Problem

FLOW_PRICE = 0.01
"""Of a job's weight, for each second until a run of it ends: enough that what could be made now is made now, too
little to make anything late."""
DAY_S = 86400.0
OLDEST_DAYS = 30


def with_wishes(problem: Problem, told: Iterable[tuple[str, str, float]], origin_s: float) -> Problem:
    """The problem with what was announced: (run, machine, start UTC); of a machine in order of time."""
    known = {machine.name for machine in problem.machines}
    wishes = [Announced(run, name, max(0.0, at - origin_s)) for run, name, at in told if name in known]
    busy = {wish.machine for wish in wishes}
    busy |= {machine.name for machine in problem.machines if machine.available_s > problem.now_s}
    idle = [machine for machine in problem.machines if machine.name not in busy]
    if idle and wishes:
        builds = {run: build for build in problem.builds for run in build.run_ids()}
        free_now = {machine.name for machine in problem.machines if machine.available_s <= problem.now_s}
        elsewhere: dict[tuple[str, str], bool] = {}
        told_first: set[str] = set()
        for i, wish in enumerate(wishes):
            waits = wish.machine in told_first or wish.machine not in free_now
            told_first.add(wish.machine)
            build = builds.get(wish.id)
            if waits and build is not None:
                key = (build.setup, " ".join(build.duration_s))
                if key not in elsewhere:
                    elsewhere[key] = any(build.runs_on(machine) for machine in idle)
                if elsewhere[key]:
                    wishes[i] = replace(wish, share=0.0)
    return replace(problem, announced=tuple(wishes))


def waited_days(waited_s: float) -> int:
    """Whole days, as far as they count."""
    return min(OLDEST_DAYS, int(max(0.0, waited_s) // DAY_S))


def aged(build: Build, days: int) -> Build:
    """A build without a due date counts for more from day to day that it has waited, squared.

    So no stream of short work, which by its flow goes first, keeps a long one waiting for ever.
    """
    if build.due_s is not None or days == 0:
        return build
    return replace(build, weight=build.weight * (1 + days) ** 2)
