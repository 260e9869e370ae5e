"""Parts put one after another where they cost least, compiled: into a batch that is there, or into a new one.

Knows the arrays of `kernel.py`. Makes the first batches, and takes what is new into batches that are there.
"""

from __future__ import annotations

import numpy as np

from farmd.planner.jit import Ints, compiled
from farmd.planner.powder.anneal import keep, nests
from farmd.planner.powder.board import AREA_ONLY, NOT_ANEW, OUTLINES, TURN, Ground, Lying, lay_anew
from farmd.planner.powder.chain import link, take_sums, unlink
from farmd.planner.powder.data import (
    COST,
    FIRST,
    HEAD,
    HERE,
    LAST,
    NEXT,
    NONE,
    NORM_S,
    OF,
    Beds,
    Draft,
    State,
)  # fmt: skip
from farmd.planner.powder.kernel import adopt, chance, compose, draw, holds, lay, recipe, tally

TRIES = 6
"""Of laying a batch in different orders, until all its parts lie."""


@compiled
def fill(
    beds: Beds, ground: Ground, state: State, draft: Draft, lying: Lying, parts: Ints, reach: int
) -> int:
    """Put these parts, which are in no batch, into the rows, in this order. How many are left when one goes nowhere.

    Of a row with more than `reach` batches, so many in a stretch by chance are looked at, and the row's end.
    """
    part, part_is, fits, _, bed, windows, terms = beds
    row, times, length, batch, batch_is, chain, spare, random, lies = state
    new_row, new_times, made_of = draft
    one = len(batch) - 2
    boards = ground.how[0] == OUTLINES
    nested = ground.how[0] != AREA_ONLY
    makespan = terms[NORM_S] > 0.0
    for i in range(len(parts)):
        p = int(parts[i])
        least, best_m, best_k, best_at = np.inf, NONE, NONE, HERE
        for f in range(part_is[p, FIRST], part_is[p, LAST]):
            m = int(fits[f])
            n, begin = int(length[m]), 0
            if n > reach:
                begin = int(chance(random) * (n - reach + 1))
            for step in range(min(n, reach) + 1):
                k = begin + step
                b, at = NONE, HERE
                if step == min(n, reach):
                    if n == row.shape[1]:
                        continue
                    k = at = n
                else:
                    b = int(row[m, k])
                recipe(made_of, 0, b, NONE, NONE, p, NONE)
                tally(part, part_is, batch, batch_is, chain, made_of, 0, one, m)
                if not holds(bed, batch, one, m):
                    continue
                size = compose(row, length, new_row, batch, makespan, 0, m, b, one, at, NONE, NONE, HERE)
                cost, _ = draw(
                    part, bed, windows, terms, batch, batch_is, chain, row, times, length, new_row, new_times,
                    0, m, size, least + times[m, n, COST], one, made_of,
                )  # fmt: skip
                if cost - times[m, n, COST] < least:
                    if nested and not nests(ground, lying, state, draft, bed, 0, m, m, NOT_ANEW):
                        continue
                    least, best_m, best_k, best_at = cost - times[m, n, COST], m, k, at
        if best_m == NONE:
            return len(parts) - i
        m, b = best_m, NONE
        if best_at == HERE:
            b = int(row[m, best_k])
        recipe(made_of, 0, b, NONE, NONE, p, NONE)
        tally(part, part_is, batch, batch_is, chain, made_of, 0, one, m)
        size = compose(row, length, new_row, batch, makespan, 0, m, b, one, best_at, NONE, NONE, HERE)
        if nested and not nests(ground, lying, state, draft, bed, 0, m, m, NOT_ANEW):
            return len(parts) - i
        _, kept = draw(
            part, bed, windows, terms, batch, batch_is, chain, row, times, length, new_row, new_times,
            0, m, size, np.inf, one, made_of,
        )  # fmt: skip
        if b == NONE:
            spare[-1] -= 1
            b = int(spare[spare[-1]])
        link(batch_is, chain, p, b)
        take_sums(batch, batch_is, one, b)
        if boards:
            keep(lying, lies, batch_is, chain, one, b)
        made_of[0, OF] = b
        adopt(row, times, length, batch_is, new_row, new_times, 0, m, size, kept, one, made_of)
    return 0


@compiled
def settle_all(
    beds: Beds, ground: Ground, state: State, draft: Draft, lying: Lying, left: Ints, failed: Ints
) -> int:
    """Lay all batches anew; parts for which no place is found leave theirs.

    These are `left`, as many as are returned; `failed` counts by machine the batches that lost one.
    """
    row, _, length, _, batch_is, chain, _, random, lies = state
    gone = 0
    for m in range(len(length)):
        for k in range(length[m] if ground.plate[m, 0] > 0.0 else 0):
            b, count = int(row[m, k]), 0
            p = int(batch_is[b, HEAD])
            while p != NONE:
                if ground.box[p, 0] > 0.0:
                    lying.members[count] = p
                    count += 1
                p = int(chain[p, NEXT])
            whole = 0.0
            for i in range(count):
                whole += ground.box[lying.members[i], 0] * ground.box[lying.members[i], 1]
            most, best, word = -1.0, 0, random[0]
            for t in range(TRIES):
                before = random[0]
                area = lay_anew(ground, lying, m, b, count, random, t > 0)
                if area > most:
                    most, best, word = area, t, before
                if area >= whole * (1.0 - 1e-9):
                    break
                if t == TRIES - 1 and best != t:
                    random[0] = word
                    lay_anew(ground, lying, m, b, count, random, best > 0)
            before_gone = gone
            for i in range(count):
                p = int(lying.members[i])
                if lying.drawn[p, TURN] == NONE:
                    unlink(batch_is, chain, p)
                    left[gone] = p
                    gone += 1
                else:
                    for j in range(3):
                        lies[p, j] = lying.drawn[p, j]
            failed[m] += gone > before_gone
    lay(beds, state, draft)
    return gone
