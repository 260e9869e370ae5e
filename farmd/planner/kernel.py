"""The compiled inner loop of the search over orders: simulated annealing on flat arrays.

A *row* is one machine's jobs in order. Beside each row its state before every job is kept (when the machine
is free, its setup, the cost so far), so a move costs what comes after it in two rows, and less where the new
state meets the old one again (a night, a release). People without limit are their windows; people with a
limit are time cut into grains, and how many of a crew are at work in each: a moved job takes the first grains
that are left by everybody else's. What does not fit the grain is rounded up, so what is found always holds.

Compiled by numba at first use and cached on disk. Knows arrays only: no problem, no clock, no plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Words = NDArray[np.uint64]

FREE, WINDOWS, GRAINS = 0, 1, 2
"""How people are limited: not at all, to their windows, or in their number too."""
NORM = 12.0
"""The makespan is sought as a high norm of the machines' ends: the greatest alone gives no way down."""
SAME_S = 1e-6
BLOCK = 4
"""The longest run of neighbours that is moved as one."""

READY, COOLDOWN = 0, 1
CLASS, CREWED, SETUP0 = 0, 1, 2
RELEASE, ELSEWHERE = 0, 1
SETUP, ONLY, WISH, DUES, DUES_END = 0, 1, 2, 3, 4
DUE, WEIGHT = 0, 1
OPEN, CLOSE, REACH = 0, 1, 2
MODE, CLEAR, PRICE, FLOW, NORM_S, ORIGIN, GRAIN = 0, 1, 2, 3, 4, 5, 6
JOB, CREW, FIRST, COUNT = 0, 1, 2, 3
FREE_AT, COST = 0, 1
MACHINE, PLACE = 0, 1

_U7, _U11, _U13, _U17 = np.uint64(7), np.uint64(11), np.uint64(13), np.uint64(17)


def compiled(function: F) -> F:
    """numba's `njit`, cached, as a typed decorator.

    Without numba's runtime, which counts references of arrays at every call: measured, that was nine tenths of
    the time. Nothing in here makes an array.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
    return cast(F, njit(**options)(function))


class Shop(NamedTuple):
    """What never changes, times in seconds; the columns are named above.

    `mach` (READY, COOLDOWN) and `kind` (CLASS, CREWED, SETUP0) by machine; `job_s` (RELEASE, ELSEWHERE: what it
    costs on another machine than WISH) and `job_is` (SETUP, -1 for a batch; ONLY, a batch's machine; WISH; its
    rows of `dues`) by job; `duration` by job and machine class, infinite where it cannot run; `change` by setup
    before and after; `dues` (DUE, WEIGHT); `windows` (OPEN, CLOSE, REACH: the greatest CLOSE so far) in order;
    by crew, `people` and by grain the `next_open` one and the `last_open` one of its window, -1 outside;
    `terms` (MODE, CLEAR, PRICE of work, FLOW: of ends, NORM_S: the makespan's unit or 0, ORIGIN and GRAIN).
    """

    mach: Floats
    kind: Ints
    job_s: Floats
    job_is: Ints
    duration: Floats
    change: Floats
    dues: Floats
    windows: Floats
    people: Ints
    next_open: Ints
    last_open: Ints
    terms: Floats


class State(NamedTuple):
    """The rows as they are.

    `row` by machine and place (JOB, and its work's CREW, FIRST grain and COUNT of grains); before each place and
    after the last, `times` (FREE_AT, COST) and `setup`; `length` by machine; `used` people by crew and grain;
    `where` (MACHINE, PLACE) by job; `random` is one word.
    """

    row: Ints
    times: Floats
    setup: Ints
    length: Ints
    used: Ints
    where: Ints
    random: Words


class Draft(NamedTuple):
    """Two rows as they might be: `row`, `times` and `setup` as in `State`."""

    row: Ints
    times: Floats
    setup: Ints


@compiled
def _random(random: Words) -> float:
    x = random[0]
    x ^= x << _U13
    x ^= x >> _U7
    x ^= x << _U17
    random[0] = x
    return float((x >> _U11) * 1.1102230246251565e-16)


@compiled
def _gap(
    people: int, next_open: Ints, last_open: Ints, used: Ints, crew: int, first: int, count: int, before: int
) -> int:
    """The first grain from `first` on, below `before`, from which on one of the crew is free; else `before`."""
    n = next_open.shape[1] - 1
    at = first
    while at < n:
        at = int(next_open[crew, at])
        if at + count > n or at >= before:
            return before
        last = at + count - 1
        if last > last_open[crew, at]:
            at = int(last_open[crew, at]) + 1
            continue
        k = last
        while k >= at and used[crew, k] < people:
            k -= 1
        if k < at:
            return at
        at = k + 1
    return before


@compiled
def _in_window(windows: Floats, at: float, work: float) -> float:
    """The first start from `at` on of work inside one window; infinity for none."""
    low, high = 0, windows.shape[1]
    while low < high:
        middle = (low + high) // 2
        if windows[REACH, middle] < at + work:
            low = middle + 1
        else:
            high = middle
    best = np.inf
    for i in range(low, windows.shape[1]):
        if windows[OPEN, i] >= best:
            break
        begin = max(at, windows[OPEN, i])
        if begin + work <= windows[CLOSE, i] and begin < best:
            best = begin
    return best


@compiled
def _take(used: Ints, crew: int, first: int, count: int, by: int) -> None:
    if crew >= 0:
        for k in range(first, first + count):
            used[crew, k] += by


@compiled
def _end_cost(dues: Floats, first: int, last: int, end: float) -> float:
    cost = 0.0
    for i in range(first, last):
        if end > dues[i, DUE]:
            cost += dues[i, WEIGHT] * (end - dues[i, DUE])
    return cost


@compiled
def _put(
    mach: Floats, kind: Ints, job_s: Floats, job_is: Ints, duration: Floats, change: Floats, dues: Floats,
    windows: Floats, people: Ints, next_open: Ints, last_open: Ints, terms: Floats, used: Ints,
    m: int, job: int, free: float, setup: int, cost: float,
) -> tuple[float, int, float, int, int, int]:
    """One job more at the end of a row: free, setup and cost after it; and its work's crew, grain and count."""
    at = max(free, job_s[job, RELEASE])
    crew, first, count = -1, 0, 0
    work = 0.0
    batch = job_is[job, ONLY] >= 0
    if not batch or kind[m, CREWED]:
        work = terms[CLEAR]
        if not batch:
            work += change[setup, job_is[job, SETUP]]
            setup = int(job_is[job, SETUP])
        mode = int(terms[MODE])
        if mode == WINDOWS:
            at = _in_window(windows, at, work)
        elif mode == GRAINS:
            n = next_open.shape[1] - 1
            count = max(1, math.ceil(work / terms[GRAIN] - 1e-9))
            earliest = max(0, math.ceil((at - terms[ORIGIN]) / terms[GRAIN] - 1e-9))
            first = n
            if earliest < n:
                for c in range(len(people)):
                    start = _gap(people[c], next_open, last_open, used, c, earliest, count, first)
                    if start < first:
                        first, crew = start, c
            if crew < 0:
                return np.inf, setup, np.inf, -1, 0, 0
            _take(used, crew, first, count, 1)
            at = max(at, terms[ORIGIN] + first * terms[GRAIN])
        if at == np.inf:
            return np.inf, setup, np.inf, -1, 0, 0
    end = at + work + duration[job, kind[m, CLASS]]
    if terms[NORM_S] > 0.0:
        cost = (end / terms[NORM_S]) ** NORM
    else:
        cost += terms[PRICE] * work + terms[FLOW] * end
        cost += _end_cost(dues, job_is[job, DUES], job_is[job, DUES_END], end)
    if batch or (job_is[job, WISH] >= 0 and job_is[job, WISH] != m):
        cost += job_s[job, ELSEWHERE]
    return end + mach[m, COOLDOWN], setup, cost, crew, first, count


@compiled
def _append(
    mach: Floats, kind: Ints, job_s: Floats, job_is: Ints, duration: Floats, change: Floats, dues: Floats,
    windows: Floats, people: Ints, next_open: Ints, last_open: Ints, terms: Floats,
    row: Ints, times: Floats, setups: Ints, length: Ints, used: Ints, where: Ints, m: int, job: int,
) -> bool:
    """Put a job at the end of a machine's row; False when the people's time does not reach."""
    i = length[m]
    free, setup, cost, crew, first, count = _put(
        mach, kind, job_s, job_is, duration, change, dues, windows, people, next_open, last_open, terms, used,
        m, job, times[m, i, FREE_AT], setups[m, i], times[m, i, COST],
    )
    if free == np.inf:
        return False
    row[m, i, JOB], row[m, i, CREW], row[m, i, FIRST], row[m, i, COUNT] = job, crew, first, count
    times[m, i + 1, FREE_AT], times[m, i + 1, COST], setups[m, i + 1] = free, cost, setup
    length[m] = i + 1
    where[job, MACHINE], where[job, PLACE] = m, i
    return True


@compiled
def lay(shop: Shop, state: State, jobs: Ints, machines: Ints) -> float:
    """Fill empty rows with jobs in this order, each on its machine. The cost; infinite where it does not go."""
    mach, kind, job_s, job_is, duration, change, dues, windows, people, next_open, last_open, terms = shop
    row, times, setups, length, used, where, _ = state
    used[:] = 0
    for m in range(len(length)):
        length[m] = 0
        times[m, 0, FREE_AT], times[m, 0, COST], setups[m, 0] = mach[m, READY], 0.0, kind[m, SETUP0]
    for i in range(len(jobs)):
        if not _append(
            mach, kind, job_s, job_is, duration, change, dues, windows, people, next_open, last_open, terms,
            row, times, setups, length, used, where, machines[i], jobs[i],
        ):
            return np.inf
    return _total(times, length)


@compiled
def _total(times: Floats, length: Ints) -> float:
    cost = 0.0
    for m in range(len(length)):
        cost += times[m, length[m], COST]
    return cost


@compiled
def _draw(
    mach: Floats, kind: Ints, job_s: Floats, job_is: Ints, duration: Floats, change: Floats, dues: Floats,
    windows: Floats, people: Ints, next_open: Ints, last_open: Ints, terms: Floats,
    times: Floats, setups: Ints, length: Ints, used: Ints,
    new_row: Ints, new_times: Floats, new_setups: Ints,
    d: int, m: int, n: int, kept: int, same: int, shift: int, limit: float,
) -> tuple[float, int]:
    """Lay draft row `d`, of `n` jobs, on machine `m` from place `kept` on.

    From place `same` on its jobs are those of the old row `shift` places further. Returns the row's cost,
    infinite when it passes `limit`, and the place from which on everything is as in the old row (`n`: nowhere).
    """
    free, setup, cost = times[m, kept, FREE_AT], setups[m, kept], times[m, kept, COST]
    old = length[m]
    meets = terms[MODE] != GRAINS
    for x in range(kept, n):
        free, setup, cost, crew, first, count = _put(
            mach, kind, job_s, job_is, duration, change, dues, windows, people, next_open, last_open, terms,
            used, m, new_row[d, x, JOB], free, setup, cost,
        )
        new_times[d, x + 1, FREE_AT], new_times[d, x + 1, COST], new_setups[d, x + 1] = free, cost, setup
        new_row[d, x, CREW], new_row[d, x, FIRST], new_row[d, x, COUNT] = crew, first, count
        if cost > limit:
            return np.inf, x + 1
        if same <= x + 1 < n:
            y = x + 1 + shift
            late = free - times[m, y, FREE_AT]
            if late > -SAME_S and setup == setups[m, y]:
                # Who begins no sooner than before ends no sooner, so the rest costs at least what it cost.
                whole = times[m, old, COST]
                if terms[NORM_S] == 0.0:
                    whole += cost - times[m, y, COST]
                if whole > limit:
                    return np.inf, x + 1
                if meets and late < SAME_S:
                    return whole, x + 1
    return cost, n


@compiled
def _people_of(row: Ints, used: Ints, m: int, begin: int, end: int, by: int) -> None:
    """Let the people of the works from place `begin` to `end` go (-1) or come (1)."""
    for x in range(begin, end):
        _take(used, row[m, x, CREW], row[m, x, FIRST], row[m, x, COUNT], by)


@compiled
def _adopt(
    row: Ints, times: Floats, setups: Ints, length: Ints, where: Ints,
    new_row: Ints, new_times: Floats, new_setups: Ints,
    d: int, m: int, n: int, kept: int, met: int, shift: int,
) -> None:
    """Make draft row `d` the row of machine `m`; from place `met` on its times are those of the old row."""
    if met < n:
        more = new_times[d, met, COST] - times[m, met + shift, COST]
        for x in range(met, n):
            y = x + shift
            new_times[d, x + 1, FREE_AT] = times[m, y + 1, FREE_AT]
            new_times[d, x + 1, COST] = times[m, y + 1, COST] + more
            new_setups[d, x + 1] = setups[m, y + 1]
            new_row[d, x, CREW], new_row[d, x, FIRST], new_row[d, x, COUNT] = -1, 0, 0
    for x in range(kept, n):
        job = new_row[d, x, JOB]
        where[job, MACHINE], where[job, PLACE] = m, x
        for k in range(4):
            row[m, x, k] = new_row[d, x, k]
        times[m, x + 1, FREE_AT], times[m, x + 1, COST] = new_times[d, x + 1, FREE_AT], new_times[d, x + 1, COST]
        setups[m, x + 1] = new_setups[d, x + 1]
    length[m] = n


@compiled
def _runs_on(kind: Ints, job_is: Ints, duration: Floats, job: int, m: int) -> bool:
    if job_is[job, ONLY] >= 0:
        return bool(job_is[job, ONLY] == m)
    return bool(duration[job, kind[m, CLASS]] < np.inf)


@compiled
def _near(times: Floats, setups: Ints, random: Words, t: int, setup: int, at: float, most: int) -> int:
    """A place in row `t`, 0 to `most`: mostly about the time `at`, and rather beside a job of the same setup."""
    draw = _random(random)
    if draw < 0.15:
        return int(_random(random) * (most + 1))
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if times[t, middle, FREE_AT] < at:
            low = middle + 1
        else:
            high = middle
    place = low
    for _ in range(4):
        away = int(-math.log(1.0 - _random(random)) * 2.5)
        place = low + away if _random(random) < 0.5 else low - away
        place = min(max(place, 0), most)
        if draw < 0.5 or setups[t, place] == setup:
            break
    return place


@compiled
def _rotate(row: Ints, new_row: Ints, m: int, i: int, size: int, k: int, n: int) -> int:
    """Draft row 0: the `size` jobs from place `i` before place `k` of the same row. The first place changed."""
    kept = min(i, k)
    out = kept
    if k > i:
        for x in range(i + size, k):
            new_row[0, out, JOB] = row[m, x, JOB]
            out += 1
    for x in range(i, i + size):
        new_row[0, out, JOB] = row[m, x, JOB]
        out += 1
    for x in range(k, i):
        new_row[0, out, JOB] = row[m, x, JOB]
        out += 1
    for x in range(out, n):
        new_row[0, x, JOB] = row[m, x, JOB]
    return kept


@compiled
def anneal(
    shop: Shop, state: State, best: State, draft: Draft, best_cost: float, moves: int, heat: float
) -> tuple[float, float]:
    """Try so many moves at the temperature `heat`; the cost of `state` afterwards, and that of `best`.

    `best` gets the rows before they become worse than they were at their best, so that afterwards the better one
    of `best` and `state` is the best found.
    """
    mach, kind, job_s, job_is, duration, change, dues, windows, people, next_open, last_open, terms = shop
    row, times, setups, length, used, where, random = state
    new_row, new_times, new_setups = draft
    jobs, machines, cap = len(job_s), len(length), row.shape[1]
    grains = terms[MODE] == GRAINS
    cost = _total(times, length)
    for _ in range(moves):
        job = int(_random(random) * jobs)
        m, i = int(where[job, MACHINE]), int(where[job, PLACE])
        t = m
        if _random(random) > 0.25 and job_is[job, ONLY] < 0:
            t = int(_random(random) * machines)
            if not _runs_on(kind, job_is, duration, job, t):
                continue
        draw = _random(random)
        swap = draw < 0.35
        size = 1
        if draw > 0.75:
            size = min(2 + int(_random(random) * (BLOCK - 1)), int(length[m]) - i)
            fits = True
            if t != m:
                for x in range(i + 1, i + size):
                    fits = fits and _runs_on(kind, job_is, duration, row[m, x, JOB], t)
            if not fits:
                continue
        n, n2, kept2, same2, shift2 = int(length[m]), 0, 0, 0, 0
        most = int(length[t]) - (1 if swap else 0)
        if most < 0:
            continue
        k = _near(times, setups, random, t, job_is[job, SETUP], times[m, i, FREE_AT], most)
        if swap:
            other = int(row[t, k, JOB])
            if other == job or not _runs_on(kind, job_is, duration, other, m):
                continue
            kept, same, shift = i, i + 1, 0
            if t == m:
                kept, same = min(i, k), max(i, k) + 1
            for x in range(kept, n):
                new_row[0, x, JOB] = row[m, x, JOB]
            new_row[0, i, JOB] = other
            if t == m:
                new_row[0, k, JOB] = job
            else:
                n2, kept2, same2 = int(length[t]), k, k + 1
                for x in range(kept2, n2):
                    new_row[1, x, JOB] = row[t, x, JOB]
                new_row[1, k, JOB] = job
        elif t == m:
            if i <= k <= i + size:
                continue
            kept, same, shift = _rotate(row, new_row, m, i, size, k, n), max(i + size, k), 0
        else:
            if length[t] + size > cap:
                continue
            n -= size
            kept, same, shift = i, i, size
            for x in range(i, n):
                new_row[0, x, JOB] = row[m, x + size, JOB]
            n2, kept2, same2, shift2 = int(length[t]) + size, k, k + size, -size
            for x in range(size):
                new_row[1, k + x, JOB] = row[m, i + x, JOB]
            for x in range(k, int(length[t])):
                new_row[1, x + size, JOB] = row[t, x, JOB]
        old = times[m, length[m], COST]
        if t != m:
            old += times[t, length[t], COST]
        limit = old - heat * math.log(1.0 - _random(random))
        if grains:
            _people_of(row, used, m, kept, length[m], -1)
            if t != m:
                _people_of(row, used, t, kept2, length[t], -1)
        new, met = _draw(
            mach, kind, job_s, job_is, duration, change, dues, windows, people, next_open, last_open, terms,
            times, setups, length, used, new_row, new_times, new_setups, 0, m, n, kept, same, shift, limit,
        )
        new2, met2 = 0.0, kept2
        if t != m and new < np.inf:
            new2, met2 = _draw(
                mach, kind, job_s, job_is, duration, change, dues, windows, people, next_open, last_open, terms,
                times, setups, length, used, new_row, new_times, new_setups,
                1, t, n2, kept2, same2, shift2, limit - new,
            )
        if not new + new2 <= limit:
            if grains:
                _people_of(new_row, used, 0, kept, met, -1)
                _people_of(row, used, m, kept, length[m], 1)
                if t != m:
                    _people_of(new_row, used, 1, kept2, met2, -1)
                    _people_of(row, used, t, kept2, length[t], 1)
            continue
        if new + new2 > old and cost < best_cost - 1e-9:
            copy(state, best)
            best_cost = cost
        _adopt(
            row, times, setups, length, where, new_row, new_times, new_setups, 0, m, n, kept, met, shift
        )
        if t != m:
            _adopt(
                row, times, setups, length, where, new_row, new_times, new_setups, 1, t, n2, kept2, met2, shift2
            )
        cost += new + new2 - old
    return cost, best_cost


@compiled
def copy(source: State, target: State) -> None:
    """Make `target` what `source` is, the random word apart."""
    for m in range(len(source.length)):
        n = source.length[m]
        target.length[m] = n
        for i in range(n):
            for k in range(4):
                target.row[m, i, k] = source.row[m, i, k]
        for i in range(n + 1):
            target.times[m, i, FREE_AT] = source.times[m, i, FREE_AT]
            target.times[m, i, COST] = source.times[m, i, COST]
            target.setup[m, i] = source.setup[m, i]
    for job in range(len(source.where)):
        target.where[job, MACHINE] = source.where[job, MACHINE]
        target.where[job, PLACE] = source.where[job, PLACE]
    for crew in range(source.used.shape[0]):
        for k in range(source.used.shape[1]):
            target.used[crew, k] = source.used[crew, k]
