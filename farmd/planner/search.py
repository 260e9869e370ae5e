"""Search on the orders of the machines: the kernel's annealing, driven for as long as the budget lasts.

Knows temperatures, how long a stretch of moves may be, and how what was found becomes a schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from time import perf_counter

from farmd.planner import kernel
from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled, Jobs
from farmd.planner.kernel import GRAINS, Shop, State
from farmd.planner.kernel_arrays import draft_of, like, placed_of, rows_of, shop_of, state_of, tightened
from farmd.planner.schedule import Placed, Schedule, replay, valued

STRETCH_S = 0.02
"""Wall time of one stretch of moves: how finely the budget is kept."""
FIRST_MOVES = 2_000
MOVES_PER_UNIT = 50
"""Of a counted budget: what costs about as much as a unit elsewhere."""
HOT, COLD = 0.2, 2e-4
"""Temperatures, as shares of the mean cost of a job."""
TIGHTEN_EVERY = 0.02
"""Share of the budget."""


def improve(c: Compiled, schedule: Schedule, meter: Meter, rng: Random, goal: float) -> Schedule:
    """The best schedule found until the meter ends or the cost is down to `goal`; never a worse one."""
    jobs = schedule.jobs
    if meter.progress() >= 1.0 or len(jobs.release) < 2:
        return schedule
    shop = shop_of(c, jobs)
    state = state_of(c, shop, schedule.placed, rng)
    if state is None:
        return schedule
    best = _anneal(shop, state, meter, 0.0 if c.makespan else goal)
    found = schedule
    for placed in _timed(c, jobs, shop, best):
        tried = None if placed is None else valued(c, jobs, placed)
        if tried is not None and tried.rank < found.rank:
            found = tried
    return found


def _anneal(shop: Shop, state: State, meter: Meter, goal: float) -> State:
    """The best rows found."""
    best, draft = like(state), draft_of(state)
    cost = best_cost = float(state.times[range(len(state.length)), state.length, kernel.COST].sum())
    unit = max(cost, 1e-9) / len(shop.job_s)
    moves, last_tightened = FIRST_MOVES, 0.0
    while best_cost > goal:
        progress = meter.progress()
        if meter.counted:
            moves = MOVES_PER_UNIT * max(1, min(FIRST_MOVES // MOVES_PER_UNIT, meter.units_left()))
        if progress >= 1.0 or not meter.spend(moves // MOVES_PER_UNIT):
            break
        heat = unit * HOT * (COLD / HOT) ** progress
        began = perf_counter()
        cost, best_cost = kernel.anneal(shop, state, best, draft, best_cost, moves, heat)
        if not meter.counted:
            moves = max(64, int(moves * min(4.0, max(0.25, STRETCH_S / (perf_counter() - began + 1e-9)))))
        if shop.terms[kernel.MODE] == GRAINS and progress >= last_tightened + TIGHTEN_EVERY:
            last_tightened = progress
            spare, tighter = tightened(shop, state)
            if tighter < cost:
                kernel.copy(spare, state)
                cost = tighter
        if cost < best_cost:
            kernel.copy(state, best)
            best_cost = cost
    return best


def _timed(c: Compiled, jobs: Jobs, shop: Shop, state: State) -> Iterator[list[Placed] | None]:
    """The rows on the clock: each work as early as the people allow, and just as the kernel laid it."""
    yield replay(c, jobs, rows_of(state))
    if shop.terms[kernel.MODE] == GRAINS:
        yield placed_of(c, jobs, shop, state)
        spare, cost = tightened(shop, state)
        if cost < INFINITY:
            yield placed_of(c, jobs, shop, spare)
