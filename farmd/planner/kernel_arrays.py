"""A compiled problem as the arrays of the search kernel, and what the kernel found as placements.

Knows the layout of `kernel.Shop` and `kernel.State`. Knows no move and no acceptance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np

from farmd.planner import kernel
from farmd.planner.compiled import INFINITY, Compiled, Jobs
from farmd.planner.kernel import FREE, GRAINS, WINDOWS, Draft, Floats, Ints, Shop, State
from farmd.planner.people import EPSILON_S, NOBODY
from farmd.planner.schedule import Placed

FINEST_S, COARSEST_S = 30.0, 300.0
"""Between these, a grain of the people's time is what divides all work."""
EVERYBODY = 30_000
FLOW_PRICE = 1e-5
"""Weighted seconds of tardiness that a second of earlier end is worth in the search: it breaks ties."""


def shop_of(c: Compiled, jobs: Jobs) -> Shop:
    """The arrays of a problem and its jobs (batches behind the runs)."""
    mode, windows, people, next_open, last_open, origin, grain_s = _people(c)
    machines = range(len(c.ready))
    firsts = np.cumsum([0, *(len(of_job) for of_job in jobs.dues)])
    batches = jobs.batch
    setups = [s if b is None else -1 for s, b in zip(jobs.setup, batches, strict=True)]
    only = [-1 if b is None else b.machine for b in batches]
    wishes = [c.wish[j] if b is None else -1 for j, b in enumerate(batches)]
    elsewhere = [c.stability_price_s if b is None else b.moved for b in batches]
    flow = 0.0 if c.makespan else FLOW_PRICE
    norm_s = _norm_s(c, jobs) if c.makespan else 0.0
    return Shop(
        mach=np.array([c.ready, c.cooldown], dtype=float).T.copy(),
        kind=np.array([(c.class_of[m], c.crewed(m), c.setup0[m]) for m in machines], dtype=np.int32),
        job_s=np.array([jobs.release, elsewhere], dtype=float).T.copy(),
        job_is=np.array([setups, only, wishes, firsts[:-1], firsts[1:]], dtype=np.int32).T.copy(),
        duration=np.array(jobs.durations, dtype=float).reshape(len(batches), -1),
        change=np.array(c.change, dtype=float).reshape(len(c.change), -1),
        dues=np.array([due for of_job in jobs.dues for due in of_job], dtype=float).reshape(-1, 2),
        windows=windows,
        people=people,
        next_open=next_open,
        last_open=last_open,
        terms=np.array([mode, c.clear, c.price, flow, norm_s, origin, grain_s], dtype=float),
    )


def _norm_s(c: Compiled, jobs: Jobs) -> float:
    """About the makespan: the unit in which its norm is taken."""
    work = sum(min(row) + c.clear for row in jobs.durations)
    return max(c.ready, default=0.0) + work / max(1, len(c.ready)) + 1.0


def _people(c: Compiled) -> tuple[int, Floats, Ints, Ints, Ints, float, float]:
    """The mode; the windows; people, next_open and last_open by crew; the origin and length of grains."""
    crews = c.people.crews
    spans = sorted((start, end) for crew in crews for start, end in zip(crew.starts, crew.ends, strict=True))
    windows = np.array([[s for s, _ in spans], [e for _, e in spans], [e for _, e in spans]], dtype=float)
    windows[kernel.REACH] = np.maximum.accumulate(windows[kernel.CLOSE])
    if not c.people.limited:
        none = np.zeros((0, 1), np.int32)
        return FREE if c.people.free else WINDOWS, windows, none[:, 0], none, none, 0.0, 1.0
    grain_s = _grain_s(c)
    origin = spans[0][0] if spans else 0.0
    count = int((float(windows[kernel.REACH, -1]) - origin) / grain_s) + 1 if spans else 1
    next_open = np.full((len(crews), count + 1), count, dtype=np.int32)
    last_open = np.full((len(crews), count + 1), -1, dtype=np.int32)
    for i, crew in enumerate(crews):
        taken = 0
        for start, end in zip(crew.starts, crew.ends, strict=True):
            # Of windows that overlap, the later one begins where the earlier ends: no work lies across.
            first = max(taken, math.ceil((start - origin) / grain_s - 1e-9))
            last = math.floor((end - origin) / grain_s + 1e-9) - 1
            if last >= first:
                last_open[i, first : last + 1] = last
                taken = last + 1
        following = count
        for k in range(count - 1, -1, -1):
            following = k if last_open[i, k] >= 0 else following
            next_open[i, k] = following
    people = np.array([EVERYBODY if crew.people is None else crew.people for crew in crews], dtype=np.int32)
    return GRAINS, windows, people, next_open, last_open, origin, grain_s


def _grain_s(c: Compiled) -> float:
    """A grain that divides all work where it can, else of a minute."""
    works = {round(c.clear + change) for row in c.change for change in row}
    if any(abs(c.clear + change - round(c.clear + change)) > EPSILON_S for row in c.change for change in row):
        return 60.0
    common = float(math.gcd(*works)) if works else 60.0
    if common < FINEST_S:
        return 60.0
    return common / math.ceil(common / COARSEST_S) if common > COARSEST_S else common


def state_of(c: Compiled, shop: Shop, placed: Sequence[Placed], rng: Random) -> State | None:
    """The rows of a schedule; None where the people's time in grains does not hold it."""
    state = _blank(shop, len(c.ready), _room(c, placed), rng)
    in_time = sorted(placed, key=lambda p: (p.work_at, p.start))
    jobs = np.array([p.job for p in in_time], dtype=np.int32)
    machines = np.array([p.machine for p in in_time], dtype=np.int32)
    return None if kernel.lay(shop, state, jobs, machines) == INFINITY else state


def tightened(shop: Shop, state: State) -> tuple[State, float]:
    """The rows laid anew, works in the order of time, and their cost (infinite where it does not go): a work
    that somebody else's has kept late moves up when that one is gone."""
    spare = like(state)
    jobs = _in_time(shop, state)
    return spare, kernel.lay(shop, spare, jobs, state.where[jobs, kernel.MACHINE].copy())


def _in_time(shop: Shop, state: State) -> Ints:
    """All jobs in the order in which their works, or they themselves, begin; a row's own order among equals."""
    machines, places = state.where[:, kernel.MACHINE], state.where[:, kernel.PLACE]
    terms, row = shop.terms, state.row[machines, places]
    alone = np.maximum(state.times[machines, places, kernel.FREE_AT], shop.job_s[:, kernel.RELEASE])
    crewed = terms[kernel.ORIGIN] + row[:, kernel.FIRST] * terms[kernel.GRAIN]
    begins = np.where(row[:, kernel.CREW] >= 0, crewed, alone)
    return np.lexsort((places, begins)).astype(np.int32)


def _room(c: Compiled, placed: Sequence[Placed]) -> int:
    """How long a row may grow."""
    longest = max(np.bincount([p.machine for p in placed], minlength=1), default=0)
    return min(len(placed), 2 * int(longest) + 4 * len(placed) // max(1, len(c.ready)) + 16)


def _blank(shop: Shop, machines: int, cap: int, rng: Random) -> State:
    return State(
        row=np.zeros((machines, cap, 4), np.int32),
        times=np.zeros((machines, cap + 1, 2)),
        setup=np.zeros((machines, cap + 1), np.int32),
        length=np.zeros(machines, np.int32),
        used=np.zeros((len(shop.people), shop.next_open.shape[1]), np.int32),
        where=np.zeros((len(shop.job_s), 2), np.int32),
        random=np.array([rng.getrandbits(63) | 1], dtype=np.uint64),
    )


def like(state: State) -> State:
    """A state of the same size, with everything copied."""
    return State._make(array.copy() for array in state)


def draft_of(state: State) -> Draft:
    cap = state.row.shape[1]
    return Draft(np.zeros((2, cap, 4), np.int32), np.zeros((2, cap + 1, 2)), np.zeros((2, cap + 1), np.int32))


def rows_of(state: State) -> list[list[int]]:
    """The jobs of each machine in order."""
    jobs = state.row[:, :, kernel.JOB]
    return [row[:n].tolist() for row, n in zip(jobs, state.length, strict=True)]


def placed_of(c: Compiled, jobs: Jobs, shop: Shop, state: State) -> list[Placed] | None:
    """The placements exactly as the kernel has them, where people are grains."""
    placed = []
    origin, grain_s = float(shop.terms[kernel.ORIGIN]), float(shop.terms[kernel.GRAIN])
    for m, row in enumerate(rows_of(state)):
        setup, free = c.setup0[m], c.ready[m]
        for i, job in enumerate(row):
            at = max(free, jobs.release[job])
            work, crew = 0.0, NOBODY
            batch = jobs.batch[job]
            if batch is None or c.crewed(m):
                work = c.clear
                if batch is None:
                    work += c.change[setup][jobs.setup[job]]
                    setup = jobs.setup[job]
                crew = int(state.row[m, i, kernel.CREW])
                if crew < 0:
                    return None
                at = max(at, origin + int(state.row[m, i, kernel.FIRST]) * grain_s)
            start = at + work
            end = start + jobs.durations[job][c.class_of[m]]
            if end == INFINITY:
                return None
            placed.append(Placed(job, m, crew, at, start, end))
            free = end + c.cooldown[m]
    return placed
