"""Outlines on a plate, as cells on a board: bottom-left placing, compiled.

A row of a board is a few words, a bit for each cell, so that a shape is tried at all places of a row at once. Every
batch has its board; a part is put where it comes to lie lowest with one of its turns, holes included, and where
it finds no place the whole batch is laid anew. It is a heuristic: a refusal is no proof.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farmd.planner.jit import Floats, Ints, Words, compiled
from farmd.planner.powder.boxes import pack
from farmd.planner.powder.data import NONE, OUT, OUT_TOO
from farmd.planner.powder.kernel import chance

AREA_ONLY, BOXES, OUTLINES = 0, 1, 2
COLUMNS, ROWS = 0, 1
FIRST_RUN, LAST_RUN, WIDE, HIGH = 0, 1, 2, 3
ROW, START, LENGTH = 0, 1, 2
X, Y, TURN = 0, 1, 2
TURNS = 4
DENSE_SHARE = 0.1
"""Of the batches denser than those that were laid of late, so many are tried; the others are taken for hopeless."""
ANEW_SHARE = 0.05
"""Of the batches that could not be added to, so many are laid anew from an empty board."""
NOT_ANEW = 0.07
"""A luck between the two: to lay whole batches anew for each part that is tried somewhere takes far too long."""
MIXINGS, MIXED_SHARE = 2, 0.3
"""How often neighbours in the order by size change places, each so probably."""
LESS = 0.002
"""By how much less dense batches are hoped for after each that could not be laid."""

_FULL, _ONE, _ZERO = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1), np.uint64(0)


class Ground(NamedTuple):
    """What never changes.

    `how` parts are laid (one number); by machine the `plate` (width and length in mm, 0 for unknown) and its `cells`
    (COLUMNS, ROWS); by part its `box` in mm (0 for none); the `runs` (ROW, START, LENGTH) of all
    shapes; `shape` (FIRST_RUN, LAST_RUN, WIDE, HIGH); by part and turn the number of its shape in `turns` (NONE: the
    same as another turn).
    """

    how: Ints
    plate: Floats
    cells: Ints
    box: Floats
    runs: Ints
    shape: Ints
    turns: Ints


class Lying(NamedTuple):
    """The `boards` by batch, row and word; by part, as it might lie, `drawn` (X, Y, TURN); by machine the `densest`
    batch that is hoped for; and room to work in."""

    boards: Words
    drawn: Ints
    densest: Floats
    members: Ints
    order: Ints
    sky: Floats
    spots: Floats
    line: Words


@compiled
def _shifted(line: Words, source: int, target: int, by: int, words: int) -> None:
    """OR into line `target` what line `source` has `by` cells further."""
    skip, bits = by // 64, np.uint64(by % 64)
    for w in range(words - skip):
        value = line[source, w + skip] >> bits
        if bits > _ZERO and w + skip + 1 < words:
            value |= line[source, w + skip + 1] << (np.uint64(64) - bits)
        line[target, w] |= value


@compiled
def _widened(line: Words, length: int, words: int) -> None:
    """Line 1: the cells from which on one of `length` cells is taken in line 1."""
    done = 1
    while done < length:
        step = min(done, length - done)
        skip, bits = step // 64, np.uint64(step % 64)
        for w in range(words - skip):
            value = line[1, w + skip] >> bits
            if bits > _ZERO and w + skip + 1 < words:
                value |= line[1, w + skip + 1] << (np.uint64(64) - bits)
            line[1, w] |= value
        done += step


@compiled
def _lowest(
    runs: Ints, shape: Ints, boards: Words, line: Words, board: int, s: int, columns: int, most: int
) -> tuple[int, int]:
    """The lowest and then leftmost place of a shape, below row `most`; (NONE, NONE) for none."""
    words = boards.shape[2]
    wide = int(shape[s, WIDE])
    if wide > columns:
        return NONE, NONE
    for y in range(most - int(shape[s, HIGH]) + 1):
        last = columns - wide
        for w in range(words):
            free = last + 1 - 64 * w
            line[0, w] = _FULL if free <= 0 else _ZERO if free >= 64 else _FULL << np.uint64(free)
        open_ = True
        for r in range(shape[s, FIRST_RUN], shape[s, LAST_RUN]):
            for w in range(words):
                line[1, w] = boards[board, y + runs[r, ROW], w]
            _widened(line, int(runs[r, LENGTH]), words)
            _shifted(line, 1, 0, int(runs[r, START]), words)
            open_ = False
            for w in range(words):
                if line[0, w] != _FULL:
                    open_ = True
                    break
            if not open_:
                break
        if open_:
            for w in range(words):
                if line[0, w] != _FULL:
                    x = 0
                    while (line[0, w] >> np.uint64(x)) & _ONE:
                        x += 1
                    return 64 * w + x, y
    return NONE, NONE


@compiled
def _mark(runs: Ints, shape: Ints, boards: Words, board: int, s: int, x: int, y: int) -> None:
    """Take a shape's cells, or give them back."""
    for r in range(shape[s, FIRST_RUN], shape[s, LAST_RUN]):
        left = x + int(runs[r, START])
        for cell in range(left, left + int(runs[r, LENGTH])):
            boards[board, y + runs[r, ROW], cell // 64] ^= _ONE << np.uint64(cell % 64)


@compiled
def _put(
    cells: Ints,
    runs: Ints,
    shape: Ints,
    turns: Ints,
    boards: Words,
    drawn: Ints,
    line: Words,
    board: int,
    m: int,
    p: int,
) -> bool:
    """A part where it comes to lie lowest, then leftmost."""
    best_top, best_x, best_y, best_turn = int(cells[m, ROWS]) + 1, 0, 0, NONE
    for turn in range(TURNS):
        s = int(turns[p, turn])
        if s == NONE:
            continue
        x, y = _lowest(runs, shape, boards, line, board, s, int(cells[m, COLUMNS]), best_top - 1)
        if x != NONE:
            best_top, best_x, best_y, best_turn = y + int(shape[s, HIGH]), x, y, turn
    if best_turn == NONE:
        return False
    drawn[p, X], drawn[p, Y], drawn[p, TURN] = best_x, best_y, best_turn
    _mark(runs, shape, boards, board, int(turns[p, best_turn]), best_x, best_y)
    return True


@compiled
def _by_size(box: Floats, members: Ints, order: Ints, first: int, count: int) -> None:
    """Large boxes first, into `order`."""
    for i in range(first, count):
        p = members[i]
        size = box[p, 0] * box[p, 1]
        k = i
        while k > first:
            q = order[k - 1]
            other = box[q, 0] * box[q, 1]
            if other > size or (other == size and q < p):
                break
            order[k] = q
            k -= 1
        order[k] = p


@compiled
def _clear(boards: Words, board: int) -> None:
    for y in range(boards.shape[1]):
        for w in range(boards.shape[2]):
            boards[board, y, w] = _ZERO


@compiled
def _alone(ground: Ground, lying: Lying, m: int, slot: int, p: int) -> None:
    """A part that fits by itself into a corner: in mm, though a cell may stick out of the board, which has one more."""
    turn = 0
    if ground.box[p, 0] > ground.plate[m, 0] or ground.box[p, 1] > ground.plate[m, 1]:
        turn = 1
    lying.drawn[p, X], lying.drawn[p, Y], lying.drawn[p, TURN] = 0, 0, turn
    _clear(lying.boards, slot)
    _mark(ground.runs, ground.shape, lying.boards, slot, int(ground.turns[p, turn]), 0, 0)


@compiled
def lay_anew(
    ground: Ground, lying: Lying, m: int, board: int, count: int, random: Words, mixed: bool
) -> float:
    """The first `count` of `members` onto an empty board, large boxes first, or `mixed` up a little; what finds no
    place has no turn in `drawn`. Returns the area of the boxes that lie; the first one always does."""
    _, _, cells, box, runs, shape, turns = ground
    boards, drawn, _, members, order, _, _, line = lying
    _clear(boards, board)
    _by_size(box, members, order, 0, count)
    if mixed:
        for _ in range(MIXINGS):
            for i in range(count - 1):
                if chance(random) < MIXED_SHARE:
                    order[i], order[i + 1] = order[i + 1], order[i]
    lies = 0.0
    for i in range(count):
        p = int(order[i])
        if not _put(cells, runs, shape, turns, boards, drawn, line, board, m, p):
            if i > 0:
                drawn[p, TURN] = NONE
                continue
            _alone(ground, lying, m, board, p)
        lies += box[p, 0] * box[p, 1]
    return lies


@compiled
def settle(
    ground: Ground,
    lying: Lying,
    lies: Ints,
    slot: int,
    board: int,
    m: int,
    kept: int,
    made_of: Ints,
    d: int,
    count: int,
    density: float,
    luck: float,
) -> bool:
    """Whether the first `count` of `members` lie together on machine `m`; `drawn`, and board `slot`, say how.

    The first `kept` of them lie on `board`, which may also have what is out by row `d` of `made_of`. `density` is
    of the batch, `luck` a number by chance, which decides whether a dense batch is laid anew.
    """  # fmt: skip
    how, plate, cells, box, runs, shape, turns = ground
    boards, drawn, densest, members, order, sky, spots, line = lying
    if plate[m, 0] == 0.0:
        return True
    laid, still = 0, 0
    for i in range(count):
        p = members[i]
        if box[p, 0] > 0.0:
            members[laid] = p
            laid += 1
            if i < kept:
                still += 1
                drawn[p, X], drawn[p, Y], drawn[p, TURN] = lies[p, X], lies[p, Y], lies[p, TURN]
    if how[0] == BOXES:
        return bool(pack(box, members, order, sky, spots, laid, plate[m, 0], plate[m, 1]))
    if laid == 1:
        _alone(ground, lying, m, slot, int(members[0]))
        return True
    if density > densest[m] and luck > DENSE_SHARE:
        return False
    if kept > 0:
        copy_board(boards, board, slot)
        for k in range(OUT, OUT_TOO + 1):
            if made_of[d, k] != NONE:
                lift(ground, lying, lies, slot, int(made_of[d, k]))
        _by_size(box, members, order, still, laid)
        good = True
        for i in range(still, laid):
            if not _put(cells, runs, shape, turns, boards, drawn, line, slot, m, order[i]):
                good = False
                break
        if good:
            densest[m] = max(densest[m], density)
            return True
        if luck > ANEW_SHARE:
            densest[m] -= LESS
            return False
    _clear(boards, slot)
    _by_size(box, members, order, 0, laid)
    for i in range(laid):
        if not _put(cells, runs, shape, turns, boards, drawn, line, slot, m, order[i]):
            densest[m] -= LESS
            return False
    densest[m] = max(densest[m], density)
    return True


@compiled
def copy_board(boards: Words, source: int, target: int) -> None:
    for y in range(boards.shape[1]):
        for w in range(boards.shape[2]):
            boards[target, y, w] = boards[source, y, w]


@compiled
def lift(ground: Ground, lying: Lying, lies: Ints, board: int, p: int) -> None:
    """Take a part off the board that it lies on, or put it there."""
    if ground.box[p, 0] > 0.0:
        s = int(ground.turns[p, lies[p, TURN]])
        _mark(ground.runs, ground.shape, lying.boards, board, s, int(lies[p, X]), int(lies[p, Y]))


@compiled
def alike(ground: Ground, m: int, n: int) -> bool:
    """Whether what lies on one machine's plate can lie so on the other's."""
    return bool(ground.plate[m, 0] == ground.plate[n, 0] and ground.plate[m, 1] == ground.plate[n, 1])
