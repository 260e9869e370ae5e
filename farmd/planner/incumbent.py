"""A plan made before, carried over to the problem as it is now.

Knows names: which runs and machines of the old plan are still there. Its orders are kept, what is done or gone
is dropped, and what is new goes where it costs least. Knows no rule and no annealing.
"""

from __future__ import annotations

from random import Random

import numpy as np

from farmd.planner import kernel
from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled, Jobs
from farmd.planner.kernel_arrays import draft_of, shop_of, state_in_order, timed
from farmd.planner.kernel_data import Shop, State
from farmd.planner.plans import Plan
from farmd.planner.schedule import Schedule

INSERTIONS_PER_UNIT = 50
"""Of a counted budget: places tried for a new job that cost about as much as a unit elsewhere."""
MOST_SHARE = 0.3
"""Of the budget; what is still to go in then goes to the end of a row."""


def orders(c: Compiled, jobs: Jobs, plan: Plan) -> list[tuple[int, int]]:
    """The (job, machine) of the plan that are still there, in the order in which their works begin."""
    job_of = {name: j for j, name in enumerate(c.run_name)}
    machine_of = {machine.name: m for m, machine in enumerate(c.problem.machines)}
    kept = []
    for a in plan.assignments:
        job, m = job_of.pop(a.build or "", -1), machine_of.get(a.machine, -1)
        if job >= 0 and m >= 0 and jobs.durations[job][c.class_of[m]] < INFINITY:
            begins = a.start_s if a.operator_start_s is None else a.operator_start_s
            kept.append((begins, a.start_s, job, m))
    kept.sort()
    return [entry[2:] for entry in kept]


def carried_over(c: Compiled, jobs: Jobs, plan: Plan, meter: Meter) -> Schedule | None:
    """The schedule of the old orders and all new jobs; None where the people's time does not hold it."""
    rows = carried_rows(c, jobs, plan, meter)
    return None if rows is None else timed(c, jobs, *rows)


def carried_rows(c: Compiled, jobs: Jobs, plan: Plan, meter: Meter) -> tuple[Shop, State] | None:
    """The same as rows that are not on the clock yet, with the arrays that they belong to."""
    kept = orders(c, jobs, plan)
    if not kept:
        return None
    shop = shop_of(c, jobs)
    there = {job for job, _ in kept}
    new = sorted(
        (j for j in range(len(jobs.release)) if j not in there),
        key=lambda j: (min((due for due, _ in jobs.dues[j]), default=INFINITY), j),
    )
    state = state_in_order(c, shop, kept, len(new))
    if state is None:
        return None
    draft = draft_of(state, Random(0))
    meter = meter.share(MOST_SHARE)
    reach = len(jobs.release)
    units = 1 + len(kept) // INSERTIONS_PER_UNIT
    for job in new:
        if reach and not meter.spend(units):
            reach = 0
        if kernel.insert(shop, state, draft, job, reach) == np.inf:
            return None
    return shop, state
