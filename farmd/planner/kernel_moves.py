"""What a move is: some neighbours of one row exchanged for some, or none, of another place or row.

So one job is moved, or a few of one setup together, two are swapped, blocks change places, or two machines
exchange the rest of their rows. Compiled into the loop of `kernel.py`; knows how the places are drawn, and
nothing of what a move costs.
"""

from __future__ import annotations

import math

import numpy as np

from farmd.planner import kernel_data as k
from farmd.planner.jit import Ints, inlined
from farmd.planner.kernel_data import Draft, Shop, State
from farmd.planner.kernel_put import chance

NOTHING = -1
DEARER = 0.3
"""How often the job that costs more of two is moved."""
SAME_ROW = 0.25
SWAP, BLOCK, CROSS = 0.35, 0.6, 0.75
"""Up to where in [0, 1) a draw swaps two jobs, moves one block, exchanges two; above, the rest of two rows."""
LONGEST = 4
"""The most neighbours that are moved as one."""
ANYWHERE = 0.15
BY_DUE = 0.1
"""How often the other place is drawn before the job's due date rather than about its present start."""
SAME_SETUP = 0.5
AWAY = 2.5
"""Mean distance, in jobs, of the place drawn from the one that the time says."""


@inlined
def runs_on(shop: Shop, job: int, m: int) -> bool:
    """Whether the machine can do the job."""
    only = shop.job_is[job, k.ONLY]
    able = only == m
    if only < 0:
        able = shop.job_s[job, k.DURATION + shop.kind[m, k.CLASS]] < np.inf
    return bool(able)


@inlined
def _place(shop: Shop, state: State, draft: Draft, job: int, at: float, t: int, most: int) -> int:
    """A place in row `t`, 0 to `most`."""
    times, random = state.times, draft.random
    draw = chance(random)
    place = int(chance(random) * (most + 1))
    if draw >= ANYWHERE:
        if draw < ANYWHERE + BY_DUE:
            last = min(shop.job_s[job, k.DUE], times[t, state.length[t], k.FREE_AT])
            last -= shop.job_s[job, k.DURATION + shop.kind[t, k.CLASS]]
            first = max(times[t, 0, k.FREE_AT], shop.job_s[job, k.RELEASE])
            at = last - max(0.0, last - first) * chance(random)
        low, high = 0, most
        while low < high:
            middle = (low + high) // 2
            if times[t, middle, k.FREE_AT] < at:
                low = middle + 1
            else:
                high = middle
        beside_same = chance(random) < SAME_SETUP
        for _ in range(4):
            away = int(-math.log(1.0 - chance(random)) * AWAY)
            place = min(max(low + away if chance(random) < 0.5 else low - away, 0), most)
            if not beside_same or state.setup[t, place] & k.SETUP_MASK == shop.job_is[job, k.SETUP]:
                break
    return place


@inlined
def _piece(piece: Ints, d: int, s: int, m: int, begin: int, end: int) -> None:
    piece[d, s, 0], piece[d, s, 1], piece[d, s, 2] = m, begin, end


@inlined
def _between(shop: Shop, state: State, draft: Draft, m: int, i: int, a: int, t: int, j: int, b: int) -> bool:
    """The pieces of two rows that exchange `a` jobs from place `i` for `b` from `j`; False where that cannot be."""
    row, length, piece = state.row, state.length, draft.piece
    fits = length[m] + b - a <= row.shape[1] and length[t] + a - b <= row.shape[1]
    if a == 1 and b == 1:
        first, other = row[m, i, k.JOB], row[t, j, k.JOB]
        fits = fits and shop.job_is[first, k.ALIKE] != shop.job_is[other, k.ALIKE]
    for x in range(i + 1, i + a):
        fits = fits and runs_on(shop, row[m, x, k.JOB], t)
    for x in range(j, j + b):
        fits = fits and runs_on(shop, row[t, x, k.JOB], m)
    if fits:
        _piece(piece, 0, 0, t, j, j + b)
        _piece(piece, 0, 1, m, i + a, int(length[m]))
        _piece(piece, 1, 0, m, i, i + a)
        _piece(piece, 1, 1, t, j + b, int(length[t]))
    return bool(fits)


@inlined
def _within(state: State, draft: Draft, m: int, i: int, a: int, j: int, b: int) -> int:
    """The pieces of one row where `a` jobs from `i` and `b` from `j` change places; the first place that changes."""
    piece = draft.piece
    first, size, second, size2 = i, a, j, b
    if j < i:
        first, size, second, size2 = j, min(b, i - j), i, a
    _piece(piece, 0, 0, m, second, second + size2)
    _piece(piece, 0, 1, m, first + size, second)
    _piece(piece, 0, 2, m, first, first + size)
    _piece(piece, 0, 3, m, second + size2, int(state.length[m]))
    return first


@inlined
def propose(shop: Shop, state: State, draft: Draft, crowd: Ints, longest: int) -> tuple[int, int, int, int]:
    """A move within these machines, in `draft.piece`: machines `m` and `t`, and the first place of each that changes.

    `m` is `NOTHING` where the draw made none.
    """
    row, times, length, random = state.row, state.times, state.length, draft.random
    m = int(crowd[int(chance(random) * len(crowd))])
    i = int(chance(random) * longest)
    if chance(random) < DEARER:
        m2 = int(crowd[int(chance(random) * len(crowd))])
        i2 = int(chance(random) * longest)
        if i2 < length[m2] and (
            i >= length[m]
            or times[m2, i2 + 1, k.COST] - times[m2, i2, k.COST]
            > times[m, i + 1, k.COST] - times[m, i, k.COST]
        ):
            m, i = m2, i2
    t, kept, kept2 = m, i, 0
    good = i < length[m]
    if good:
        job = int(row[m, i, k.JOB])
        if chance(random) > SAME_ROW and shop.job_is[job, k.ONLY] < 0:
            t = int(crowd[int(chance(random) * len(crowd))])
            good = runs_on(shop, job, t)
        draw = chance(random)
        a, b = 1, 0
        if draw < SWAP:
            b = 1
        elif draw < BLOCK:
            a = 1 + int(chance(random) * LONGEST)
        elif draw < CROSS:
            a, b = 1 + int(chance(random) * (LONGEST - 1)), 1 + int(chance(random) * (LONGEST - 1))
        elif t != m:
            a = b = row.shape[1]
        a = min(a, int(length[m]) - i)
        most = int(length[t]) - (1 if b > 0 and a < row.shape[1] else 0)
        if good and most >= 0:
            j = _place(shop, state, draft, job, times[m, i, k.FREE_AT], t, most)
            b = min(b, int(length[t]) - j)
            if t != m:
                good = _between(shop, state, draft, m, i, a, t, j, b)
                kept2 = j
            else:
                good = j < i or j > i + a
                if good and a == 1 and b == 1:
                    good = shop.job_is[job, k.ALIKE] != shop.job_is[row[m, j, k.JOB], k.ALIKE]
                kept = _within(state, draft, m, i, a, j, b)
        else:
            good = False
    return m if good else NOTHING, t, kept, kept2
