"""A plan made anew at once from the orders of the last one, for whoever checks it himself.

Knows how little is needed when something has happened: what is gone is dropped, what is new goes where it costs
least, and what time is left goes into the search. Proves nothing, asks no rule, and looks at no plan twice.
"""

from __future__ import annotations

from random import Random

from farmd.planner.budget import Budget, Meter
from farmd.planner.compiled import Compiled
from farmd.planner.incumbent import carried_rows
from farmd.planner.kernel_arrays import timed
from farmd.planner.plans import Placement, Plan
from farmd.planner.problem import Problem
from farmd.planner.schedule import to_plan
from farmd.planner.search import better_rows

INSERTING_S = 0.1
"""Wall time of which a share may go into places for what is new; the rest of it then goes to the ends of rows."""


def renewed(
    problem: Problem, last: Plan, *, budget: Budget, seed: int, stability_price_s: float
) -> Plan | None:
    """The orders of the last plan on today's clock, a little improved; None where that takes the whole planner.

    That is where parts are to be batched, routes to be followed, or a deadline or somebody's window does not
    hold it. The plan is unchecked.
    """
    if problem.parts or problem.routes or not problem.builds:
        return None
    meter = Meter(budget)
    c = Compiled(problem, stability_price_s=stability_price_s)
    inserting = Meter(budget if meter.counted else Budget(INSERTING_S, stopped=budget.stopped))
    rows = carried_rows(c, c.jobs, last, inserting)
    if rows is None:
        return None
    shop, state = rows
    schedule = timed(c, c.jobs, shop, better_rows(shop, state, meter, Random(seed)))
    if schedule is None or schedule.missed_s:
        return None
    return to_plan(c, schedule, "feasible", None, _no_parts)


def _no_parts(machine: int, parts: tuple[int, ...]) -> tuple[Placement, ...]:
    return ()
