"""The compiled inner loop of batching: what a row of batches costs, and how one is changed.

A *row* is one machine's batches in order; a batch is a number with its sums and the chain of its parts.
Beside each row its state before every batch is kept, so that a move costs what comes after it in two rows, and
less where the new state meets the old one again. A changed batch is drawn up in one of two spare numbers and
copied only when the move is taken.

Compiled by numba at first use and cached on disk. Knows arrays only: no problem, no clock, no plan.
"""

from __future__ import annotations

import numpy as np

from farmd.planner.jit import Floats, Ints, Words, compiled
from farmd.planner.powder.data import (
    AND,
    AREA,
    CLEAR,
    CLOSE,
    COOLDOWN,
    COST,
    COUNT,
    CREWED,
    DUE,
    ELSEWHERE,
    END,
    FIRST_DUE,
    FLOW,
    FREE_AT,
    HEAD,
    HEIGHT,
    HERE,
    IN,
    IN_TOO,
    LIFT,
    MACHINE,
    MOVED,
    NEXT,
    NONE,
    NORM_S,
    OF,
    OPEN,
    OUT,
    OUT_TOO,
    PER_MM,
    PER_MM3,
    PLACE,
    PLATE,
    PRICE,
    REACH,
    READY,
    RELEASE,
    ROOM,
    SETUP,
    VOLUME,
    WEIGHT,
    WINDOWED,
    WISH,
    Beds,
    Draft,
    State,
)

SAME_S = 1e-6

_U7, _U11, _U13, _U17 = np.uint64(7), np.uint64(11), np.uint64(13), np.uint64(17)


@compiled
def chance(random: Words) -> float:
    x = random[0]
    x ^= x << _U13
    x ^= x >> _U7
    x ^= x << _U17
    random[0] = x
    return float((x >> _U11) * 1.1102230246251565e-16)


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
def power(share: float) -> float:
    """The 24th power."""
    third = share * share * share
    sixth = third * third
    twelfth = sixth * sixth
    return twelfth * twelfth


@compiled
def tally(
    part: Floats,
    part_is: Ints,
    batch: Floats,
    batch_is: Ints,
    chain: Ints,
    made_of: Ints,
    d: int,
    to: int,
    m: int,
) -> None:
    """The sums of what `made_of` says in row `d`, AND apart, on machine `m`, into batch `to`."""
    area, volume, height, release, moved_s, due, count = 0.0, 0.0, 0.0, 0.0, 0.0, np.inf, 0
    b, out, out_too = int(made_of[d, OF]), int(made_of[d, OUT]), int(made_of[d, OUT_TOO])
    p = int(batch_is[b, HEAD]) if b != NONE else NONE
    more = IN
    while p != NONE or more <= IN_TOO:
        x, p = p, int(chain[p, NEXT]) if p != NONE else NONE
        if x == NONE:
            x = int(made_of[d, more])
            more += 1
        if x != NONE and x != out and x != out_too:
            count += 1
            area += part[x, AREA]
            volume += part[x, VOLUME]
            height = max(height, part[x, HEIGHT])
            release = max(release, part[x, RELEASE])
            if part_is[x, WISH] >= 0 and part_is[x, WISH] != m:
                moved_s += part[x, ELSEWHERE]
            if part[x, WEIGHT] > 0.0:
                due = min(due, part[x, DUE])
    batch[to, AREA], batch[to, VOLUME], batch[to, HEIGHT] = area, volume, height
    batch[to, RELEASE], batch[to, MOVED], batch[to, FIRST_DUE] = release, moved_s, due
    batch_is[to, COUNT] = count


@compiled
def recipe(made_of: Ints, d: int, of: int, out: int, out_too: int, more: int, more_too: int) -> None:
    """What spare batch `d` is made of: one batch less two parts, and two parts more; NONE for none."""
    made_of[d, OF], made_of[d, AND], made_of[d, OUT] = of, NONE, out
    made_of[d, OUT_TOO], made_of[d, IN], made_of[d, IN_TOO] = out_too, more, more_too


@compiled
def joined(batch: Floats, batch_is: Ints, a: int, b: int, out: int, moved: float) -> None:
    """The sums of two batches together into `out`."""
    batch[out, AREA] = batch[a, AREA] + batch[b, AREA]
    batch[out, VOLUME] = batch[a, VOLUME] + batch[b, VOLUME]
    batch[out, HEIGHT] = max(batch[a, HEIGHT], batch[b, HEIGHT])
    batch[out, RELEASE] = max(batch[a, RELEASE], batch[b, RELEASE])
    batch[out, FIRST_DUE] = min(batch[a, FIRST_DUE], batch[b, FIRST_DUE])
    batch[out, MOVED] = batch[b, MOVED] + moved
    batch_is[out, COUNT] = batch_is[a, COUNT] + batch_is[b, COUNT]


@compiled
def moved(part: Floats, part_is: Ints, batch_is: Ints, chain: Ints, b: int, m: int) -> float:
    """What it costs that a batch's parts go to machine `m`."""
    moved = 0.0
    p = int(batch_is[b, HEAD])
    while p != NONE:
        if part_is[p, WISH] >= 0 and part_is[p, WISH] != m:
            moved += part[p, ELSEWHERE]
        p = int(chain[p, NEXT])
    return moved


@compiled
def able(can: Ints, batch_is: Ints, chain: Ints, b: int, m: int) -> bool:
    """Whether all parts of a batch can go to machine `m`."""
    p = int(batch_is[b, HEAD])
    while p != NONE:
        if not can[p, m]:
            return False
        p = int(chain[p, NEXT])
    return True


@compiled
def holds(bed: Floats, batch: Floats, b: int, m: int) -> bool:
    return bool(batch[b, AREA] <= bed[m, PLATE] and batch[b, VOLUME] <= bed[m, ROOM])


@compiled
def _late_parts(
    part: Floats, batch_is: Ints, chain: Ints, b: int, out: int, out_too: int, end: float
) -> float:
    """The weighted tardiness of a batch's parts, two of them apart."""
    cost = 0.0
    p = int(batch_is[b, HEAD]) if b != NONE else NONE
    while p != NONE:
        if p != out and p != out_too and end > part[p, DUE]:
            cost += part[p, WEIGHT] * (end - part[p, DUE])
        p = int(chain[p, NEXT])
    return cost


@compiled
def _late(part: Floats, batch_is: Ints, chain: Ints, made_of: Ints, d: int, end: float) -> float:
    """The weighted tardiness of the parts of spare batch `d`."""
    out, out_too = int(made_of[d, OUT]), int(made_of[d, OUT_TOO])
    cost = _late_parts(part, batch_is, chain, made_of[d, OF], out, out_too, end)
    cost += _late_parts(part, batch_is, chain, made_of[d, AND], NONE, NONE, end)
    for k in range(IN, IN_TOO + 1):
        p = int(made_of[d, k])
        if p != NONE and end > part[p, DUE]:
            cost += part[p, WEIGHT] * (end - part[p, DUE])
    return cost


@compiled
def _put(
    part: Floats, bed: Floats, windows: Floats, terms: Floats, batch: Floats, batch_is: Ints, chain: Ints,
    made_of: Ints, one: int, m: int, b: int, free: float, cost: float,
) -> tuple[float, float, float]:  # fmt: skip
    """One batch more at the end of a row: free, cost and end after it. From `one` on batches are spare ones."""
    start = max(free, batch[b, RELEASE])
    if bed[m, CREWED] > 0.0:
        if terms[WINDOWED] > 0.0:
            start = _in_window(windows, start, terms[CLEAR])
        start += terms[CLEAR]
        if start == np.inf:
            return np.inf, np.inf, np.inf
        cost += terms[PRICE] * terms[CLEAR]
    height = max(batch[b, HEIGHT], batch[b, VOLUME] * bed[m, LIFT])
    end = start + bed[m, SETUP] + bed[m, PER_MM3] * batch[b, VOLUME] + bed[m, PER_MM] * height
    if terms[NORM_S] > 0.0:
        cost = power(end / terms[NORM_S])
    else:
        cost += batch[b, MOVED] + terms[FLOW] * end
        if end > batch[b, FIRST_DUE]:
            if b >= one:
                cost += _late(part, batch_is, chain, made_of, b - one, end)
            else:
                cost += _late_parts(part, batch_is, chain, b, NONE, NONE, end)
    return end + bed[m, COOLDOWN], cost, end


@compiled
def _begin(bed: Floats, terms: Floats, times: Floats, m: int) -> None:
    """The state of a machine before its first batch."""
    times[m, 0, FREE_AT] = times[m, 0, END] = bed[m, READY]
    times[m, 0, COST] = power(bed[m, READY] / terms[NORM_S]) if terms[NORM_S] > 0.0 else 0.0


@compiled
def lay(beds: Beds, state: State, draft: Draft) -> None:
    """The sums of all batches and the times of all rows, from `row`, `length` and the chains."""
    part, part_is, _, _, bed, windows, terms = beds
    row, times, length, batch, batch_is, chain, _, _, _ = state
    made_of, one = draft.made_of, len(batch) - 2
    for m in range(len(length)):
        _begin(bed, terms, times, m)
        for k in range(length[m]):
            b = int(row[m, k])
            recipe(made_of, 0, b, NONE, NONE, NONE, NONE)
            tally(part, part_is, batch, batch_is, chain, made_of, 0, b, m)
            batch_is[b, MACHINE], batch_is[b, PLACE] = m, k
            free, cost, end = _put(
                part, bed, windows, terms, batch, batch_is, chain,
                made_of, one, m, b, times[m, k, FREE_AT], times[m, k, COST],
            )  # fmt: skip
            times[m, k + 1, FREE_AT], times[m, k + 1, COST], times[m, k + 1, END] = free, cost, end


@compiled
def _insert(new_row: Ints, d: int, n: int, b: int, at: int, batch: Floats, by_release: bool) -> None:
    """Batch `b` into draft row `d` of `n` batches: at a place, or behind all that are released no later."""
    k = n
    if by_release:
        while k > 0 and batch[new_row[d, k - 1], RELEASE] > batch[b, RELEASE]:
            new_row[d, k] = new_row[d, k - 1]
            k -= 1
    else:
        while k > at:
            new_row[d, k] = new_row[d, k - 1]
            k -= 1
    new_row[d, k] = b


@compiled
def compose(
    row: Ints, length: Ints, new_row: Ints, batch: Floats, by_release: bool,
    d: int, m: int, gone1: int, new1: int, at1: int, gone2: int, new2: int, at2: int,
) -> int:  # fmt: skip
    """Draft row `d`: machine `m`'s batches, two of them gone and two new ones; `at` HERE is where one is gone.

    Returns the length.
    """
    n = 0
    for k in range(length[m]):
        b = int(row[m, k])
        first, second = b == gone1, b == gone2
        if first or second:
            new, at = (new1, at1) if first else (new2, at2)
            if by_release or new == NONE or at != HERE:
                continue
            b = new
        new_row[d, n] = b
        n += 1
    if new1 != NONE and (by_release or at1 != HERE):
        _insert(new_row, d, n, new1, min(at1, n), batch, by_release)
        n += 1
    if new2 != NONE and (by_release or at2 != HERE):
        _insert(new_row, d, n, new2, min(at2, n), batch, by_release)
        n += 1
    return n


@compiled
def draw(
    part: Floats, bed: Floats, windows: Floats, terms: Floats, batch: Floats, batch_is: Ints, chain: Ints,
    row: Ints, times: Floats, length: Ints, new_row: Ints, new_times: Floats,
    d: int, m: int, n: int, limit: float, one: int, made_of: Ints,
) -> tuple[float, int]:  # fmt: skip
    """Time draft row `d` of `n` batches on machine `m`: its cost, infinite when it passes `limit`, and the place
    from which on its times are new. The spare batches are `one` and the one after it."""
    old = int(length[m])
    kept = 0
    while kept < n and kept < old and new_row[d, kept] == row[m, kept]:
        kept += 1
    same = n
    while same > kept and same - n + old > 0 and new_row[d, same - 1] == row[m, same - 1 - n + old]:
        same -= 1
    new_times[d, kept, FREE_AT], new_times[d, kept, COST] = times[m, kept, FREE_AT], times[m, kept, COST]
    new_times[d, kept, END] = times[m, kept, END]
    for x in range(kept, n):
        free, cost, end = _put(
            part, bed, windows, terms, batch, batch_is, chain,
            made_of, one, m, int(new_row[d, x]), new_times[d, x, FREE_AT], new_times[d, x, COST],
        )  # fmt: skip
        new_times[d, x + 1, FREE_AT], new_times[d, x + 1, COST], new_times[d, x + 1, END] = free, cost, end
        if cost > limit:
            return np.inf, kept
        if same <= x + 1 < n and abs(free - times[m, x + 1 - n + old, FREE_AT]) < SAME_S:
            more = cost - times[m, x + 1 - n + old, COST] if terms[NORM_S] == 0.0 else 0.0
            for y in range(x + 2, n + 1):
                z = y - n + old
                new_times[d, y, FREE_AT], new_times[d, y, END] = times[m, z, FREE_AT], times[m, z, END]
                new_times[d, y, COST] = times[m, z, COST] + more
            break
    cost = new_times[d, n, COST]
    return (cost, kept) if cost <= limit else (np.inf, kept)


@compiled
def adopt(
    row: Ints, times: Floats, length: Ints, batch_is: Ints, new_row: Ints, new_times: Floats,
    d: int, m: int, n: int, kept: int, one: int, made_of: Ints,
) -> None:  # fmt: skip
    """Make draft row `d` machine `m`'s; the spare batches become the first ones of `made_of`."""
    for x in range(kept, n):
        b = int(new_row[d, x])
        if b >= one:
            b = int(made_of[b - one, OF])
        row[m, x] = b
        batch_is[b, MACHINE], batch_is[b, PLACE] = m, x
        for k in range(3):
            times[m, x + 1, k] = new_times[d, x + 1, k]
    length[m] = n
