"""The compiled inner loop of the search over orders: simulated annealing on flat arrays.

A *row* is one machine's jobs in order. Beside each row its state before every job is kept (when the machine
is free, its setup, the cost so far), so a move costs what comes after it in two rows, and less where the new
state meets the old one again (a night, a release). People without limit are their windows; people with a
limit are time cut into grains, and how many of a crew are at work in each: a moved job takes the first grains
that are left by everybody else's. What does not fit the grain is rounded up, so what is found always holds.

Compiled by numba at first use and kept on disk. Knows arrays only: no problem, no clock, no plan.
"""

from __future__ import annotations

import math

import numpy as np

from farmd.planner import kernel_data as k
from farmd.planner.jit import Floats as Floats
from farmd.planner.jit import Ints as Ints
from farmd.planner.jit import Words as Words
from farmd.planner.jit import compiled as compiled
from farmd.planner.jit import inlined as inlined
from farmd.planner.kernel_data import Draft, Shop, State
from farmd.planner.kernel_moves import NOTHING, propose, runs_on
from farmd.planner.kernel_put import chance, put, take

SAME_S = 1e-6


@compiled
def lay(shop: Shop, state: State, jobs: Ints, machines: Ints) -> float:
    """Fill empty rows with jobs in this order, each on its machine. The cost; infinite where it does not go."""
    row, times, setups, length, used, where = state
    for c in range(used.shape[0]):
        for x in range(used.shape[1]):
            used[c, x] = 0
    for m in range(len(length)):
        length[m] = 0
        times[m, 0, k.FREE_AT], times[m, 0, k.COST] = shop.mach[m, k.READY], 0.0
        setups[m, 0] = shop.kind[m, k.SETUP0]
    for q in range(len(jobs)):
        m, job = machines[q], jobs[q]
        i = length[m]
        free, setup, cost, crew, first, count = put(
            shop, used, m, job, times[m, i, k.FREE_AT], setups[m, i], times[m, i, k.COST]
        )
        if free == np.inf:
            return np.inf
        row[m, i, k.JOB], row[m, i, k.CREW], row[m, i, k.FIRST], row[m, i, k.COUNT] = job, crew, first, count
        times[m, i + 1, k.FREE_AT], times[m, i + 1, k.COST], setups[m, i + 1] = free, cost, setup
        length[m] = i + 1
        where[job, k.MACHINE], where[job, k.PLACE] = m, i
    total = 0.0
    for m in range(len(length)):
        total += times[m, length[m], k.COST]
    return total


@inlined
def _people_of(row: Ints, used: Ints, m: int, begin: int, end: int, by: int) -> None:
    """Let the people of the works from place `begin` to `end` go (-1) or come (1)."""
    for x in range(begin, end):
        take(used, row[m, x, k.CREW], row[m, x, k.FIRST], row[m, x, k.COUNT], by)


@inlined
def _return(shop: Shop, row: Ints, used: Ints, m: int, begin: int, end: int) -> bool:
    """Let the people of these works come again where all of them are still free; else nothing."""
    back = end
    for x in range(begin, end):
        crew, first = row[m, x, k.CREW], row[m, x, k.FIRST]
        last = first + row[m, x, k.COUNT] - 1
        if crew >= 0:
            while last >= first and used[crew, last] < shop.people[crew]:
                last -= 1
            if last >= first:
                back = x
                break
            take(used, crew, first, row[m, x, k.COUNT], 1)
    if back < end:
        _people_of(row, used, m, begin, back, -1)
    return back == end


@inlined
def _adopt(
    state: State, draft: Draft, d: int, m: int, kept: int, met: int, shift: int, n: int, norm: bool
) -> None:
    """Make draft row `d`, of `n` jobs, the row of machine `m`.

    From place `met` on its jobs and times are those of the old row, `shift` places further.
    """
    row, times, setups, where = state.row, state.times, state.setup, state.where
    more = 0.0
    if met < n and not norm:
        more = (draft.times[d, met, k.COST] if met > kept else times[m, met, k.COST]) - times[
            m, met + shift, k.COST
        ]
    for z in range(n - met):
        x = met + z if shift >= 0 else n - 1 - z
        y = x + shift
        times[m, x + 1, k.COST] = times[m, y + 1, k.COST] + more
        if shift != 0:
            for q in range(4):
                row[m, x, q] = row[m, y, q]
            times[m, x + 1, k.FREE_AT], setups[m, x + 1] = times[m, y + 1, k.FREE_AT], setups[m, y + 1]
            where[row[m, x, k.JOB], k.PLACE] = x
    for x in range(kept, met):
        job = draft.row[d, x, k.JOB]
        where[job, k.MACHINE], where[job, k.PLACE] = m, x
        for q in range(4):
            row[m, x, q] = draft.row[d, x, q]
        times[m, x + 1, k.FREE_AT] = draft.times[d, x + 1, k.FREE_AT]
        times[m, x + 1, k.COST] = draft.times[d, x + 1, k.COST]
        setups[m, x + 1] = draft.setup[d, x + 1]
    state.length[m] = n


@inlined
def _draw(
    shop: Shop, state: State, draft: Draft, d: int, m: int, kept: int, pieces: int, limit: float
) -> tuple[float, int, int, int]:
    """Lay draft row `d` of machine `m` from place `kept` on: its cost, infinite where that passes `limit`.

    With it the place from which on everything is as in the old row, how much further that is there, and the
    number of jobs; the place is the number where the rows do not meet.
    """
    row, times, setups = state.row, state.times, state.setup
    x, old, grains = kept, int(state.length[m]), shop.terms[k.MODE] == k.GRAINS
    free, setup, cost = times[m, x, k.FREE_AT], setups[m, x], times[m, x, k.COST]
    met, further = -1, 0
    for s in range(pieces):
        source, begin, end = draft.piece[d, s, 0], draft.piece[d, s, 1], draft.piece[d, s, 2]
        for y in range(begin, end):
            if s == pieces - 1:
                late = free - times[m, y, k.FREE_AT]
                if late > -SAME_S and setup == setups[m, y]:
                    # Who begins no sooner than before ends no sooner: the rest costs what it cost at least.
                    least = times[m, old, k.COST]
                    if shop.terms[k.NORM_S] == 0.0:
                        least += cost - times[m, y, k.COST]
                    if least > limit:
                        cost = np.inf
                        break
                    if late < SAME_S and (not grains or _return(shop, row, state.used, m, y, end)):
                        met, further, cost = x, y - x, least
                        break
            job = row[source, y, k.JOB]
            free, setup, cost, crew, first, count = put(shop, state.used, m, job, free, setup, cost)
            draft.row[d, x, k.JOB], draft.row[d, x, k.CREW] = job, crew
            draft.row[d, x, k.FIRST], draft.row[d, x, k.COUNT] = first, count
            x += 1
            draft.times[d, x, k.FREE_AT], draft.times[d, x, k.COST], draft.setup[d, x] = free, cost, setup
            if cost > limit:
                cost = np.inf
                break
        if met >= 0 or cost == np.inf:
            break
    return cost, x, further, x if met < 0 else old - further


@inlined
def _undo(state: State, draft: Draft, d: int, m: int, kept: int, met: int, further: int, n: int) -> None:
    """The people of draft row `d` go, those of the old row come back; where the rows met, the rest is back already."""
    old = int(state.length[m])
    _people_of(draft.row, state.used, d, kept, met, -1)
    _people_of(state.row, state.used, m, kept, met + further if met < n else old, 1)


@compiled
def anneal(shop: Shop, state: State, draft: Draft, crowd: Ints, moves: int, heat: float) -> float:
    """Try so many moves within these machines at the temperature `heat`; by how much the cost has changed."""
    row, times, used, length, random = state.row, state.times, state.used, state.length, draft.random
    grains, norm = shop.terms[k.MODE] == k.GRAINS, shop.terms[k.NORM_S] > 0.0
    longest, changed = 0, 0.0
    for m in crowd:
        longest = max(longest, int(length[m]))
    for _ in range(moves):
        m, t, kept, kept2 = propose(shop, state, draft, crowd, longest)
        if m == NOTHING:
            continue
        old = times[m, length[m], k.COST]
        if t != m:
            old += times[t, length[t], k.COST]
        limit = old - heat * math.log(1.0 - chance(random))
        if grains:
            _people_of(row, used, m, kept, length[m], -1)
            if t != m:
                _people_of(row, used, t, kept2, length[t], -1)
        total, laid = 0.0, 0
        met, further, n = 0, 0, 0
        met2, further2, n2 = 0, 0, 0
        while laid < (1 if t == m else 2) and total <= limit:
            at, place = (m, kept) if laid == 0 else (t, kept2)
            cost, x, more, size = _draw(
                shop, state, draft, laid, at, place, 4 if t == m else 2, limit - total
            )
            if laid == 0:
                met, further, n = x, more, size
            else:
                met2, further2, n2 = x, more, size
            total += cost
            laid += 1
        if total <= limit:
            changed += total - old
            _adopt(state, draft, 0, m, kept, met, further, n, norm)
            if t != m:
                _adopt(state, draft, 1, t, kept2, met2, further2, n2, norm)
                longest = max(longest, n, n2)
        elif grains:
            _undo(state, draft, 0, m, kept, met, further, n)
            if laid == 2:
                _undo(state, draft, 1, t, kept2, met2, further2, n2)
            elif t != m:
                _people_of(row, used, t, kept2, length[t], 1)
    return changed


@compiled
def insert(shop: Shop, state: State, draft: Draft, job: int, reach: int) -> float:
    """Put one job more where it costs least, at most `reach` jobs before the end of a row; what it costs.

    Infinite where it goes nowhere. Rows have room for two more jobs than they hold.
    """
    row, times, used, length, piece = state.row, state.times, state.used, state.length, draft.piece
    grains, norm = shop.terms[k.MODE] == k.GRAINS, shop.terms[k.NORM_S] > 0.0
    spare = row.shape[1] - 1
    best, best_m, best_at = np.inf, NOTHING, NOTHING
    for done in range(2):
        for m in range(len(length)):
            old = int(length[m])
            if old + 1 >= row.shape[1] or (done == 1 and m != best_m) or not runs_on(shop, job, m):
                continue
            row[m, spare, k.JOB] = job
            for at in range(max(0, old - reach), old + 1):
                if done == 1 and at != best_at:
                    continue
                piece[0, 0, 0], piece[0, 0, 1], piece[0, 0, 2] = m, spare, spare + 1
                piece[0, 1, 0], piece[0, 1, 1], piece[0, 1, 2] = m, at, old
                if grains:
                    _people_of(row, used, m, at, old, -1)
                before = times[m, old, k.COST]
                cost, met, further, n = _draw(
                    shop, state, draft, 0, m, at, 2, np.inf if done else before + best
                )
                if done == 1:
                    _adopt(state, draft, 0, m, at, met, further, n, norm)
                    return best
                if grains:
                    _undo(state, draft, 0, m, at, met, further, n)
                if cost - before < best:
                    best, best_m, best_at = cost - before, m, at
    return best


@compiled
def copy(source: State, target: State) -> None:
    """Make `target` what `source` is."""
    for m in range(len(source.length)):
        n = source.length[m]
        target.length[m] = n
        for i in range(n):
            for q in range(4):
                target.row[m, i, q] = source.row[m, i, q]
        for i in range(n + 1):
            target.times[m, i, k.FREE_AT] = source.times[m, i, k.FREE_AT]
            target.times[m, i, k.COST] = source.times[m, i, k.COST]
            target.setup[m, i] = source.setup[m, i]
    for job in range(len(source.where)):
        target.where[job, k.MACHINE] = source.where[job, k.MACHINE]
        target.where[job, k.PLACE] = source.where[job, k.PLACE]
    for crew in range(source.used.shape[0]):
        for x in range(source.used.shape[1]):
            target.used[crew, x] = source.used[crew, x]
