"""A compiled problem as the arrays of the search kernel, and what the kernel found as placements.

Knows the layout of `kernel_data.py`. Knows no move and no acceptance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np

from farmd.planner import kernel, kernel_data
from farmd.planner.compiled import INFINITY, PLENTY, Compiled, Jobs
from farmd.planner.jit import Floats, Ints
from farmd.planner.kernel_data import FREE, GRAINS, WINDOWS, Draft, Shop, State
from farmd.planner.people import EPSILON_S, NOBODY
from farmd.planner.schedule import Placed, Schedule, replay, valued

FINEST_S, COARSEST_S = 30.0, 300.0
"""Between these, a grain of the people's time is what divides all work."""
EVERYBODY = 30_000
MOST_GRAINS = 2_000_000
"""Of all crews together; whoever is asked later than that, the search does not ask."""
TIE_PRICE = 1e-5
"""Weighted seconds of tardiness that a second of earlier end is worth in the search: it breaks ties."""
FIRST_NORM = 12.0
SLOT_S, MOST_SLOTS = 1800.0, 8192
"""Slots of time, by which the window that comes next is looked up."""


def shop_of(c: Compiled, jobs: Jobs) -> Shop:
    """The arrays of a problem and its jobs (batches behind the runs)."""
    mode, windows, people, next_open, last_open, origin, grain_s = _people(c)
    machines = range(len(c.ready))
    slots, first_slot, slots_per_s = _slots(windows)
    job_s, job_is, dues = _jobs(c, jobs)
    flow = 0.0 if c.makespan else TIE_PRICE
    norm_s = _norm_s(c, jobs) if c.makespan else 0.0
    terms = [mode, c.clear, c.price, flow, norm_s, FIRST_NORM, origin, grain_s, first_slot, slots_per_s]
    terms.append(c.spool)
    shut_end = np.cumsum([0, *(len(spans) for spans in c.terms.shut)])
    return Shop(
        mach=np.array([c.ready, c.cooldown, c.wear], dtype=float).T.copy(),
        kind=np.array(
            [(c.class_of[m], c.crewed(m), _loaded(c, m), shut_end[m], shut_end[m + 1]) for m in machines],
            dtype=np.int32,
        ),
        job_s=job_s,
        job_is=job_is,
        change=np.array(c.change, dtype=float).reshape(len(c.change), -1),
        dues=dues,
        shut=np.array([span for spans in c.terms.shut for span in spans], dtype=float).reshape(-1, 2),
        windows=windows,
        slots=slots,
        people=people,
        next_open=next_open,
        last_open=last_open,
        terms=np.array(terms, dtype=float),
    )


def _loaded(c: Compiled, m: int) -> int:
    """The setup on a machine at first, with the grams that are left."""
    setup = c.setup0[m] if c.setup0[m] >= 0 else len(c.setups)
    left = c.left0[m]
    return setup if left == PLENTY else setup | (left + 1) << kernel_data.SETUP_BITS


def _jobs(c: Compiled, jobs: Jobs) -> tuple[Floats, Ints, Floats]:
    """`job_s`, `job_is` and `dues`."""
    batches = jobs.batch
    first_due = [dues[0] if dues else (INFINITY, 0.0) for dues in jobs.dues]
    # Beside the makespan nothing is a cost: there what remains, a deadline, is a wall.
    others = [() if c.makespan else dues[1:] for dues in jobs.dues]
    if c.has_deadlines:
        late = [() if at == INFINITY else ((at, c.deadline_price),) for at in jobs.deadline]
        others = [dues + more for dues, more in zip(others, late, strict=True)]
    firsts = np.cumsum([0, *map(len, others)])
    elsewhere = [c.wish_price[j] if b is None else b.moved for j, b in enumerate(batches)]
    times = np.array([jobs.release, elsewhere], dtype=float).T
    durations = np.array(jobs.durations, dtype=float).reshape(len(batches), -1)
    setups = [s if b is None else -1 for s, b in zip(jobs.setup, batches, strict=True)]
    only = [-1 if b is None else b.machine for b in batches]
    wishes = [c.wish[j] if b is None else -1 for j, b in enumerate(batches)]
    builds = len(c.first_run)
    alike = [c.build_of[j] if b is None and c.wish[j] < 0 else builds + j for j, b in enumerate(batches)]
    grams = [c.grams[j] if b is None else 0 for j, b in enumerate(batches)]
    return (
        np.concatenate([times, np.array(first_due, dtype=float).reshape(-1, 2), durations], axis=1),
        np.array([setups, only, wishes, firsts[:-1], firsts[1:], alike, grams], dtype=np.int32).T.copy(),
        np.array([due for dues in others for due in dues], dtype=float).reshape(-1, 2),
    )


def _slots(windows: Floats) -> tuple[Ints, float, float]:
    """Of each slot the first window that reaches to its begin; the begin of the first, and slots in a second."""
    if not len(windows):
        return np.zeros(1, np.int32), 0.0, 0.0
    first, last = float(windows[0, kernel_data.OPEN]), float(windows[-1, kernel_data.REACH])
    count = max(1, min(MOST_SLOTS, int((last - first) / SLOT_S)))
    begins = np.linspace(first, last, count + 1)
    slots = np.searchsorted(windows[:, kernel_data.REACH], begins, side="left").astype(np.int32)
    return np.maximum(slots - 1, 0).astype(np.int32), first, count / max(last - first, 1e-9)


def _norm_s(c: Compiled, jobs: Jobs) -> float:
    """About the makespan: the unit in which its norm is taken."""
    work = sum(min(row) + c.clear for row in jobs.durations)
    return max(c.ready, default=0.0) + work / max(1, len(c.ready)) + 1.0


def _people(c: Compiled) -> tuple[int, Floats, Ints, Ints, Ints, float, float]:
    """The mode; the windows; people, next_open and last_open by crew; the origin and length of grains."""
    crews = c.people.crews
    spans = sorted((start, end) for crew in crews for start, end in zip(crew.starts, crew.ends, strict=True))
    windows = np.array([(s, e, e) for s, e in spans], dtype=float).reshape(-1, 3)
    windows[:, kernel_data.REACH] = np.maximum.accumulate(windows[:, kernel_data.CLOSE])
    if not c.people.limited:
        none = np.zeros((0, 1), np.int32)
        return FREE if c.people.free else WINDOWS, windows, none[:, 0], none, none, 0.0, 1.0
    grain_s = _grain_s(c)
    origin, count = 0.0, 1
    if spans:
        # On the grid of the first window, from when a machine is first free.
        origin = spans[0][0]
        origin += grain_s * max(0, math.floor((min(c.ready) - origin) / grain_s))
        wanted = int((float(windows[-1, kernel_data.REACH]) - origin) / grain_s) + 1
        count = max(1, min(wanted, MOST_GRAINS // len(crews)))
    next_open = np.full((len(crews), count + 1), count, dtype=np.int32)
    last_open = np.full((len(crews), count + 1), -1, dtype=np.int32)
    for i, crew in enumerate(crews):
        taken = 0
        for start, end in zip(crew.starts, crew.ends, strict=True):
            # Of windows that overlap, the later one begins where the earlier ends: no work lies across.
            first = max(taken, math.ceil((start - origin) / grain_s - 1e-9))
            last = min(count, math.floor((end - origin) / grain_s + 1e-9)) - 1
            if last >= first:
                last_open[i, first : last + 1] = last
                taken = last + 1
        following = np.where(last_open[i, :count] >= 0, np.arange(count, dtype=np.int32), count)
        next_open[i, :count] = np.minimum.accumulate(following[::-1])[::-1]
    heads = [EVERYBODY if crew.people is None else min(crew.people, EVERYBODY) for crew in crews]
    people = np.array(heads, dtype=np.int32)
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


def state_of(c: Compiled, shop: Shop, placed: Sequence[Placed]) -> State | None:
    """The rows of a schedule; None where the people's time in grains does not hold it."""
    in_time = sorted(placed, key=lambda p: (p.work_at, p.start))
    return state_in_order(c, shop, [(p.job, p.machine) for p in in_time])


def state_in_order(c: Compiled, shop: Shop, order: Sequence[tuple[int, int]], more: int = 0) -> State | None:
    """The rows of these (job, machine), with room for some more jobs; None where people's time does not hold them."""
    pairs = np.array(order, dtype=np.int32).reshape(-1, 2)
    longest = int(np.bincount(pairs[:, 1], minlength=1).max())
    cap = 2 * longest + 4 * (len(pairs) + more) // max(1, len(c.ready)) + 16
    state = blank(shop, len(c.ready), cap)
    laid = kernel.lay(shop, state, pairs[:, 0].copy(), pairs[:, 1].copy())
    return None if laid == INFINITY else state


def tightened(shop: Shop, state: State) -> tuple[State, float]:
    """The rows laid anew, works in the order of time, and their cost (infinite where it does not go): a work
    that somebody else's has kept late moves up when that one is gone."""
    spare = like(state)
    jobs = _in_time(shop, state)
    return spare, kernel.lay(shop, spare, jobs, state.where[jobs, kernel_data.MACHINE].copy())


def _in_time(shop: Shop, state: State) -> Ints:
    """All jobs in the order in which their works, or they themselves, begin; a row's own order among equals."""
    machines, places = state.where[:, kernel_data.MACHINE], state.where[:, kernel_data.PLACE]
    terms, row = shop.terms, state.row[machines, places]
    alone = np.maximum(state.times[machines, places, kernel_data.FREE_AT], shop.job_s[:, kernel_data.RELEASE])
    crewed = terms[kernel_data.ORIGIN] + row[:, kernel_data.FIRST] * terms[kernel_data.GRAIN]
    begins = np.where(row[:, kernel_data.CREW] >= 0, crewed, alone)
    return np.lexsort((places, begins)).astype(np.int32)


def blank(shop: Shop, machines: int, cap: int) -> State:
    """Empty rows of at most `cap` jobs."""
    return State(
        row=np.zeros((machines, cap, 4), np.int32),
        times=np.zeros((machines, cap + 1, 2)),
        setup=np.zeros((machines, cap + 1), np.int32),
        length=np.zeros(machines, np.int32),
        used=np.zeros((len(shop.people), shop.next_open.shape[1]), np.int32),
        where=np.zeros((len(shop.job_s), 2), np.int32),
    )


def like(state: State) -> State:
    """A state of the same size, with everything copied."""
    return State._make(array.copy() for array in state)


def draft_of(state: State, rng: Random) -> Draft:
    """Room for two rows, and a word of chance."""
    cap = state.row.shape[1]
    return Draft(
        piece=np.zeros((2, 4, 3), np.int32),
        row=np.zeros((2, cap, 4), np.int32),
        times=np.zeros((2, cap + 1, 2)),
        setup=np.zeros((2, cap + 1), np.int32),
        random=np.array([rng.getrandbits(63) | 1], dtype=np.uint64),
    )


def cost_of(state: State) -> float:
    return float(state.times[np.arange(len(state.length)), state.length, kernel_data.COST].sum())


def work_of(shop: Shop, state: State) -> float:
    """Seconds of people's work on builds in all rows."""
    before = state.setup[state.where[:, kernel_data.MACHINE], state.where[:, kernel_data.PLACE]]
    builds = shop.job_is[:, kernel_data.SETUP] >= 0
    changes = shop.change[before[builds] & kernel_data.SETUP_MASK, shop.job_is[builds, kernel_data.SETUP]]
    return float(changes.sum() + shop.terms[kernel_data.CLEAR] * builds.sum())


def rows_of(state: State) -> list[list[int]]:
    """The jobs of each machine in order."""
    jobs = state.row[:, :, kernel_data.JOB]
    return [row[:n].tolist() for row, n in zip(jobs, state.length, strict=True)]


def placed_of(c: Compiled, jobs: Jobs, shop: Shop, state: State) -> list[Placed] | None:
    """The placements exactly as the kernel has them, where people are grains."""
    placed = []
    origin, grain_s = float(shop.terms[kernel_data.ORIGIN]), float(shop.terms[kernel_data.GRAIN])
    for m, row in enumerate(rows_of(state)):
        setup, left, free = c.setup0[m], list(c.left0), c.ready[m]
        out: dict[int, list[float]] = {}
        for i, job in enumerate(row):
            at = max(free, jobs.release[job])
            work, crew = 0.0, NOBODY
            takes = jobs.durations[job][c.class_of[m]]
            batch = jobs.batch[job]
            if batch is None or c.crewed(m):
                work = c.clear
                if batch is None:
                    work += c.change[setup][jobs.setup[job]]
                    work += c.spool_s(left, m, job, changed=setup != jobs.setup[job])
                    setup = jobs.setup[job]
                crew = int(state.row[m, i, kernel_data.CREW])
                if crew < 0:
                    return None
                at = max(at, origin + int(state.row[m, i, kernel_data.FIRST]) * grain_s)
            else:
                at = c.terms.begin(c.people, m, at, 0.0, takes, attended=False)[0]
            start = at + work
            end = start + takes
            if end == INFINITY:
                return None
            placed.append(Placed(job, m, crew, at, start, end))
            free = c.free_again(m, end, out)
    return placed


def timed(c: Compiled, jobs: Jobs, shop: Shop, state: State) -> Schedule | None:
    """The best schedule of the rows: each work as early as the people allow, or just as the kernel laid it."""
    tries = [replay(c, jobs, rows_of(state))]
    # A start that waits for power is later than the kernel has it: only a replay holds then.
    if shop.terms[kernel_data.MODE] == GRAINS and not c.terms.power:
        tries.append(placed_of(c, jobs, shop, state))
        spare, cost = tightened(shop, state)
        if cost < INFINITY:
            tries.append(placed_of(c, jobs, shop, spare))
    found = [valued(c, jobs, placed) for placed in tries if placed is not None]
    return min(found, key=lambda schedule: schedule.rank, default=None)
