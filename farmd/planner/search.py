"""Search on the orders of the machines: the kernel's annealing, driven for as long as the budget lasts.

Knows temperatures, how long a stretch of moves may be, and how what was found becomes a schedule.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor, wait
from random import Random
from time import perf_counter

import numpy as np

from farmd.planner import kernel
from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.kernel_arrays import (
    TIE_PRICE,
    cost_of,
    draft_of,
    like,
    shop_of,
    state_of,
    tightened,
    timed,
    work_of,
)
from farmd.planner.kernel_data import FLOW, GRAIN, GRAINS, MODE, NORM, NORM_S, PRICE, WEIGHT, Shop, State
from farmd.planner.schedule import Schedule

STRETCH_S = 0.02
"""Wall time of one stretch of moves: how finely the budget is kept."""
FIRST_MOVES = 2_000
GUESSED_MOVES_PER_S = 2e6
MOVES_PER_UNIT = 50
"""Of a counted budget: what costs about as much as a unit elsewhere."""
HOTTEST, COLDEST, COLD = 0.3, 4e-4, 2e-4
"""Temperatures at first, at most and at least, and in the end, as shares of the mean cost of a job."""
HOT_MOVES = 15_000.0
"""Moves for each job with which a search may begin at its hottest; with fewer it stays near its start."""
WORK_PRICE, LEAST_WORK_PRICE = 6.0, 0.01
"""What a second of people's work costs while searching, in seconds of tardiness of a job of the mean weight:
whoever changes setups less leaves more of people's and machines' time for the jobs. The least stays to the end."""
WORK_SHARE, HONEST_SHARE = 0.2, 0.02
"""All work costs at most this share of all tardiness: where hardly anything is late, work is no reason to be. The
other share holds in the end, when work only decides between plans that are as good but for a few thousandths."""
STAGES = 33
"""How often the price of work is set anew; in the last stage hardly anything counts but the problem's own objective."""
SHARP_FROM, SHARP_NORM = 0.4, 60.0
"""From this share on the makespan is sought as a norm so high that nearly nothing but the latest end counts."""
LEAST_JOBS_FOR_THREADS = 100
MOST_THREADS = 2
TURN_S = 7200.0
"""An odd person who is free is one thread's for so long, then the next one's."""
TIGHTEN_EVERY = 0.02
"""Share of the budget."""


def improve(
    c: Compiled, schedule: Schedule, meter: Meter, rng: Random, goal: float, *, late_only: bool = False
) -> Schedule:
    """The best schedule found until the meter ends or the cost is down to `goal`; never a worse one.

    `late_only` is for a makespan whose deadlines do not hold yet: only they, and the sum of ends, are sought.
    """
    jobs = schedule.jobs
    if meter.progress() >= 1.0 or len(jobs.release) < 2:
        return schedule
    shop = shop_of(c, jobs)
    if late_only:
        shop.terms[NORM_S], shop.terms[FLOW] = 0.0, TIE_PRICE
        shop.job_s[:, WEIGHT] = 0.0
    state = state_of(c, shop, schedule.placed)
    if state is None:
        return schedule
    best = _anneal(shop, state, rng, meter, 0.0 if c.makespan else goal)
    found = timed(c, jobs, shop, best)
    return schedule if found is None or found.rank >= schedule.rank else found


def better_rows(shop: Shop, state: State, meter: Meter, rng: Random) -> State:
    """The best rows found until the meter ends, or those given; by cost alone, none of them on the clock."""
    if meter.progress() >= 1.0 or len(shop.job_s) < 2:
        return state
    terms, given = shop.terms.copy(), like(state)
    best = _anneal(shop, state, rng, meter, 0.0)
    shop.terms[:] = terms
    (found, cost), (_, before) = tightened(shop, best), tightened(shop, given)
    return found if cost < before else given


def _anneal(shop: Shop, state: State, rng: Random, meter: Meter, goal: float) -> State:
    """The best rows found."""
    best = like(state)
    cost = best_cost = cost_of(state)
    unit, stage = _unit(shop, cost), -1
    own_price = float(shop.terms[PRICE])
    threads = _threads(shop, meter)
    drafts = [draft_of(state, rng) for _ in range(threads)]
    moves, done_moves, last_tightened = FIRST_MOVES, 0, 0.0
    with ThreadPoolExecutor(threads) as pool:
        while best_cost > goal:
            progress = meter.progress()
            if meter.counted:
                moves = MOVES_PER_UNIT * max(1, min(FIRST_MOVES // MOVES_PER_UNIT, meter.units_left()))
            if progress >= 1.0 or not meter.spend(moves // MOVES_PER_UNIT):
                break
            if int(progress * STAGES) != stage:
                stage = int(progress * STAGES)
                best_cost = _next_stage(shop, state, best, own_price, stage)
                unit = _unit(shop, best_cost) if shop.terms[NORM_S] > 0.0 else unit
            hot = _hot(shop, meter, done_moves, progress, threads)
            heat = unit * hot * (COLD / hot) ** progress
            began = perf_counter()
            done_moves += moves * threads
            machines = list(range(len(state.length)))
            if threads > 1:
                rng.shuffle(machines)
            crowds = [np.array(machines[i::threads], dtype=np.int32) for i in range(threads)]
            shares = shares_of(shop, state, rng, threads)
            done = [
                pool.submit(kernel.anneal, shop, share, draft, crowd, moves, heat)
                for share, draft, crowd in zip(shares[1:], drafts[1:], crowds[1:], strict=True)
            ]
            kernel.anneal(shop, shares[0], drafts[0], crowds[0], moves, heat)
            wait(done)
            gather(shop, state, shares)
            cost = cost_of(state)
            if not meter.counted:
                moves = max(64, int(moves * min(4.0, max(0.25, STRETCH_S / (perf_counter() - began + 1e-9)))))
            if shop.terms[MODE] == GRAINS and progress >= last_tightened + TIGHTEN_EVERY:
                last_tightened = progress
                spare, tighter = tightened(shop, state)
                if tighter < cost:
                    kernel.copy(spare, state)
                    cost = tighter
            if cost < best_cost:
                kernel.copy(state, best)
                best_cost = cost
    return best


def _unit(shop: Shop, cost: float) -> float:
    """The mean cost of a job; of a norm, what it changes by when half a job's time goes to another row."""
    share = float(shop.terms[NORM]) / 2.0 if shop.terms[NORM_S] > 0.0 else 1.0
    return share * max(cost, 1e-9) / len(shop.job_s)


def _hot(shop: Shop, meter: Meter, done: int, progress: float, threads: int) -> float:
    """The temperature to begin with, by how many moves there will be for each job."""
    if meter.counted:
        moves = float(done + MOVES_PER_UNIT * meter.units_left())
    else:
        moves = (
            done / progress
            if done and progress > 0.0
            else meter.seconds_left() * GUESSED_MOVES_PER_S * threads
        )
    return min(HOTTEST, max(COLDEST, HOTTEST * math.pow(moves / len(shop.job_s) / HOT_MOVES, 1.5)))


def _next_stage(shop: Shop, state: State, best: State, own_price: float, stage: int) -> float:
    """Set the price of work and the norm's power for what follows, and lay the rows anew; the cost of `best`."""
    before = shop.terms.copy()
    if shop.terms[NORM_S] > 0.0:
        shop.terms[NORM] = SHARP_NORM if stage >= SHARP_FROM * STAGES else shop.terms[NORM]
    else:
        work_s = max(work_of(shop, best), 1e-9)
        late = max(0.0, cost_of(best) - float(shop.terms[PRICE]) * work_s)
        weight = float(shop.job_s[:, WEIGHT].mean())
        share = WORK_SHARE if stage < STAGES - 1 else HONEST_SHARE
        price = max(LEAST_WORK_PRICE * weight, min(WORK_PRICE * weight, share * late / work_s))
        shop.terms[PRICE] = own_price + price
    (now, cost), (then, best_cost) = (tightened(shop, rows) for rows in (state, best))
    if cost == INFINITY and best_cost == INFINITY:
        shop.terms[:] = before
        return cost_of(best)
    kernel.copy(now if cost < INFINITY else then, state)
    kernel.copy(then if best_cost < cost else now, best)
    return min(cost, best_cost)


def shares_of(shop: Shop, state: State, rng: Random, threads: int) -> list[State]:
    """The same rows for each thread; and each has a share of the people who are not at work, for itself alone."""
    if threads == 1 or shop.terms[MODE] != GRAINS:
        return [state] * threads
    everybody = shop.people[:, None]
    span = max(1, round(TURN_S / float(shop.terms[GRAIN])))
    turn = (np.arange(state.used.shape[1]) + rng.randrange(span * threads)) // span
    shares = [(everybody - state.used + (turn + i) % threads) // threads for i in range(threads)]
    return [state._replace(used=(everybody - share).astype(np.int32)) for share in shares]


def gather(shop: Shop, state: State, shares: list[State]) -> None:
    """Who is at work after what the threads did; each counted as at work whom it had not."""
    if shares[0] is not state:
        state.used[:] = sum(share.used for share in shares) - (len(shares) - 1) * shop.people[:, None]


def _threads(shop: Shop, meter: Meter) -> int:
    """Rows of different machines have nothing in common but people: they are sought in two threads."""
    alone = meter.counted or len(shop.job_s) < LEAST_JOBS_FOR_THREADS
    return 1 if alone else min(MOST_THREADS, os.cpu_count() or 1, len(shop.mach) // 2)
