"""The moves of the annealing of batches, compiled: which ones there are, and when one is taken.

Knows the arrays of `kernel.py` and nothing else.
"""

from __future__ import annotations

import math

import numpy as np

from farmd.planner.jit import Floats, Ints, compiled
from farmd.planner.powder.board import (
    AREA_ONLY,
    OUTLINES,
    Ground,
    Lying,
    alike,
    copy_board,
    lift,
    settle,
)
from farmd.planner.powder.chain import copy, gather, latest, link, take_sums, unlink
from farmd.planner.powder.data import (
    AND,
    AREA,
    AT_RANK,
    BATCH,
    COST,
    COUNT,
    FIRST,
    HEAD,
    HERE,
    LAST,
    MACHINE,
    MOVED,
    NEXT,
    NONE,
    NORM,
    NORM_S,
    OF,
    OUT_TOO,
    PLATE,
    RANK,
    Beds,
    Draft,
    State,
)  # fmt: skip
from farmd.planner.powder.kernel import (
    able,
    adopt,
    chance,
    compose,
    draw,
    holds,
    joined,
    moved,
    power,
    recipe,
    tally,
)

PART, SWAP, SHIFT, MERGE, TRADE = 0, 1, 2, 3, 4
"""A part into another batch, two parts against each other, a batch elsewhere, into another one, two batches."""
TWO_SHARE, BOTH_SHARE = 0.3, 0.5
"""Of the exchanges: those that take two parts of the other batch; and of these, those that give two."""
NEAR = 16
"""Parts are exchanged with those that are no further off by rank of area."""
PART_SHARE, SWAP_SHARE, SHIFT_SHARE, MERGE_SHARE = 0.5, 0.9, 0.94, 0.97
"""Up to which draw each kind of move is tried."""


@compiled
def beside(batch_is: Ints, chain: Ints, b: int, p: int) -> int:
    """Another part of the batch, the one behind `p` in its chain."""
    after = int(chain[p, NEXT])
    return after if after != NONE else int(batch_is[b, HEAD])


@compiled
def nests(
    ground: Ground,
    lying: Lying,
    state: State,
    draft: Draft,
    bed: Floats,
    d: int,
    m: int,
    was: int,
    luck: float,
) -> bool:
    """Whether the parts of spare batch `d`, which lay on machine `was`, find places on machine `m`; see `settle`."""
    made_of, slot = draft.made_of, len(state.batch) - 2 + d
    kept, count = gather(state.batch_is, state.chain, lying.members, made_of, d)
    board = int(made_of[d, AND] if made_of[d, AND] != NONE else made_of[d, OF])
    if was != m and not alike(ground, m, was):
        kept = 0
    density = state.batch[slot, AREA] / bed[m, PLATE]
    return bool(settle(ground, lying, state.lies, slot, board, m, kept, made_of, d, count, density, luck))


@compiled
def keep(lying: Lying, lies: Ints, batch_is: Ints, chain: Ints, slot: int, b: int) -> None:
    """Make the board that was drawn up the batch's own."""
    copy_board(lying.boards, slot, b)
    p = int(batch_is[b, HEAD])
    while p != NONE:
        for k in range(3):
            lies[p, k] = lying.drawn[p, k]
        p = int(chain[p, NEXT])


@compiled
def anneal(
    beds: Beds,
    ground: Ground,
    state: State,
    best: State,
    draft: Draft,
    lying: Lying,
    best_score: float,
    moves: int,
    heat: float,
) -> tuple[float, float]:
    """Try so many moves at the temperature `heat`; the score of `state` afterwards, and of the best found.

    The score is the cost, or the makespan. `best` gets the batches before they are changed after their best, so
    that afterwards the better one of `best` and `state` is the best found.
    """  # fmt: skip
    part, part_is, fits, can, bed, windows, terms = beds
    row, times, length, batch, batch_is, chain, spare, random, lies = state
    new_row, new_times, made_of = draft
    parts, one = len(chain), len(batch) - 2
    two = one + 1
    cap = row.shape[1]
    makespan = terms[NORM_S] > 0.0
    total = 0.0
    for m in range(len(length)):
        total += times[m, length[m], COST]
    nested = ground.how[0] != AREA_ONLY
    boards = ground.how[0] == OUTLINES
    unsaved = False
    score = latest(times, length) if makespan else total
    norm = total ** (1.0 / NORM) * terms[NORM_S]
    for _ in range(moves):
        p = int(chance(random) * parts)
        a = int(chain[p, BATCH])
        m = int(batch_is[a, MACHINE])
        luck = chance(random)
        q, b, t = NONE, NONE, m
        gone2, new1, new2, at1, at2 = NONE, one, two, HERE, HERE
        if luck < PART_SHARE:
            kind = PART
            t = int(fits[part_is[p, FIRST] + int(chance(random) * (part_is[p, LAST] - part_is[p, FIRST]))])
            k = int(chance(random) * (length[t] + 1))
            if k < length[t]:
                gone2 = b = int(row[t, k])
                if a == b:
                    continue
            elif (t == m and batch_is[a, COUNT] == 1) or length[t] == cap:
                continue
            else:
                at2 = int(chance(random) * (length[t] + 1))
            recipe(made_of, 1, b, NONE, NONE, p, NONE)
            tally(part, part_is, batch, batch_is, chain, made_of, 1, two, t)
            if not holds(bed, batch, two, t):
                continue
            recipe(made_of, 0, a, p, NONE, NONE, NONE)
            if batch_is[a, COUNT] == 1:
                new1 = NONE
            else:
                tally(part, part_is, batch, batch_is, chain, made_of, 0, one, m)
        elif luck < SWAP_SHARE:
            kind = SWAP
            away = 1 + int(chance(random) * NEAR)
            q = int(part_is[p, RANK]) + (away if chance(random) < 0.5 else -away)
            if q < 0 or q >= parts:
                continue
            q = int(part_is[q, AT_RANK])
            gone2 = b = int(chain[q, BATCH])
            t = int(batch_is[b, MACHINE])
            if a == b or not can[p, t] or not can[q, m]:
                continue
            s, r = NONE, NONE
            if batch_is[b, COUNT] > 1 and chance(random) < TWO_SHARE:
                r = beside(batch_is, chain, b, q)
                if not can[r, m]:
                    continue
                if batch_is[a, COUNT] > 1 and chance(random) < BOTH_SHARE:
                    s = beside(batch_is, chain, a, p)
                    if not can[s, t]:
                        continue
            recipe(made_of, 0, a, p, s, q, r)
            tally(part, part_is, batch, batch_is, chain, made_of, 0, one, m)
            if not holds(bed, batch, one, m):
                continue
            recipe(made_of, 1, b, q, r, p, s)
            tally(part, part_is, batch, batch_is, chain, made_of, 1, two, t)
            if not holds(bed, batch, two, t):
                continue
        else:
            t = int(fits[part_is[p, FIRST] + int(chance(random) * (part_is[p, LAST] - part_is[p, FIRST]))])
            if t != m and not able(can, batch_is, chain, a, t):
                continue
            recipe(made_of, 1, a, NONE, NONE, NONE, NONE)
            if luck < SHIFT_SHARE:
                kind = SHIFT
                if length[t] == cap or (t == m and makespan):
                    continue
                new1 = NONE
                at2 = int(chance(random) * (length[t] + 1))
                take_sums(batch, batch_is, a, two)
                batch[two, MOVED] = moved(part, part_is, batch_is, chain, a, t)
            else:
                if length[t] == 0:
                    continue
                gone2 = b = int(row[t, int(chance(random) * length[t])])
                if a == b:
                    continue
                here = moved(part, part_is, batch_is, chain, a, t)
                if luck < MERGE_SHARE:
                    kind = MERGE
                    new1 = NONE
                    joined(batch, batch_is, a, b, two, here)
                    made_of[1, AND] = b
                else:
                    kind = TRADE
                    if (t == m and makespan) or (t != m and not able(can, batch_is, chain, b, m)):
                        continue
                    take_sums(batch, batch_is, a, two)
                    batch[two, MOVED] = here
                    take_sums(batch, batch_is, b, one)
                    batch[one, MOVED] = moved(part, part_is, batch_is, chain, b, m)
                    if not holds(bed, batch, one, m):
                        continue
                    recipe(made_of, 0, b, NONE, NONE, NONE, NONE)
            if not holds(bed, batch, two, t):
                continue
        old = times[m, length[m], COST]
        if t != m:
            old += times[t, length[t], COST]
        rise = -heat * math.log(1.0 - chance(random))
        limit = power((norm + rise) / terms[NORM_S]) - (total - old) if makespan else old + rise
        n2, kept2, cost2 = 0, 0, 0.0
        if t == m:
            n = compose(row, length, new_row, batch, makespan, 0, m, a, new1, at1, gone2, new2, at2)
        else:
            n = compose(row, length, new_row, batch, makespan, 0, m, a, new1, at1, NONE, NONE, HERE)
        cost, kept = draw(
            part, bed, windows, terms, batch, batch_is, chain, row, times, length, new_row, new_times,
            0, m, n, limit, one, made_of,
        )  # fmt: skip
        if cost == np.inf:
            continue
        if t != m:
            n2 = compose(row, length, new_row, batch, makespan, 1, t, NONE, NONE, HERE, gone2, new2, at2)
            cost2, kept2 = draw(
                part, bed, windows, terms, batch, batch_is, chain, row, times, length, new_row, new_times,
                1, t, n2, limit - cost, one, made_of,
            )  # fmt: skip
            if cost2 == np.inf:
                continue
        if nested:
            luck = chance(random)
            was = m if kind == SWAP else t
            if kind in (SWAP, TRADE) and not nests(ground, lying, state, draft, bed, 0, m, was, luck):
                continue
            was = m if kind in (SHIFT, TRADE) else t
            if not nests(ground, lying, state, draft, bed, 1, t, was, luck):
                continue
        if unsaved:
            copy(state, best)
            unsaved = False
        first, second = a, b
        if kind == PART:
            if b == NONE:
                second = a
                if new1 != NONE:
                    spare[-1] -= 1
                    second = int(spare[spare[-1]])
            if boards and new1 != NONE:
                lift(ground, lying, lies, a, p)
            unlink(batch_is, chain, p)
            link(batch_is, chain, p, second)
        elif kind == SWAP:
            unlink(batch_is, chain, p)
            unlink(batch_is, chain, q)
            link(batch_is, chain, p, b)
            link(batch_is, chain, q, a)
            for d in range(2):
                if made_of[d, OUT_TOO] != NONE:
                    x = int(made_of[d, OUT_TOO])
                    unlink(batch_is, chain, x)
                    link(batch_is, chain, x, b if d == 0 else a)
        elif kind == MERGE:
            while batch_is[a, HEAD] != NONE:
                x = int(batch_is[a, HEAD])
                unlink(batch_is, chain, x)
                link(batch_is, chain, x, b)
        else:
            first, second = b, a
        if new1 == NONE and second != a:
            spare[spare[-1]] = a
            spare[-1] += 1
        if new1 != NONE:
            take_sums(batch, batch_is, one, first)
        take_sums(batch, batch_is, two, second)
        made_of[0, OF], made_of[1, OF] = first, second
        adopt(row, times, length, batch_is, new_row, new_times, 0, m, n, kept, one, made_of)
        if t != m:
            adopt(row, times, length, batch_is, new_row, new_times, 1, t, n2, kept2, one, made_of)
        if boards:
            if kind in (SWAP, TRADE):
                keep(lying, lies, batch_is, chain, one, first)
            keep(lying, lies, batch_is, chain, two, second)
        total += cost + cost2 - old
        if makespan:
            norm = total ** (1.0 / NORM) * terms[NORM_S]
            score = latest(times, length)
        else:
            score = total
        if score < best_score - 1e-9:
            best_score, unsaved = score, True
    if unsaved:
        copy(state, best)
    return score, best_score
