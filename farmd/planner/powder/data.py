"""What the kernel of batching works on: flat arrays, and the names of their columns.

Knows the layout alone: no move, no problem, no plan. Times are in seconds, lengths in mm.
"""

from __future__ import annotations

from typing import NamedTuple

from farmd.planner.jit import Floats, Ints, Words

NORM = 24
"""The makespan is sought as a high norm of the machines' ends: the greatest alone gives no way down."""

AREA, VOLUME, HEIGHT, RELEASE, DUE, WEIGHT, ELSEWHERE = 0, 1, 2, 3, 4, 5, 6
"""Of a part."""
WISH, FIRST, LAST, RANK, AT_RANK = 0, 1, 2, 3, 4
"""Of a part: the machine announced, where its machines stand in `fits`, its rank by area, and who has the rank of
its own number."""
PLATE, ROOM, LIFT, SETUP, PER_MM3, PER_MM, READY, COOLDOWN, CREWED = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Of a machine: the most area and the most volume of a batch, and the height of build that a volume makes."""
OPEN, CLOSE, REACH = 0, 1, 2
WINDOWED, CLEAR, PRICE, FLOW, NORM_S = 0, 1, 2, 3, 4
MOVED, FIRST_DUE = 4, 5
"""Of a batch, beside AREA, VOLUME, HEIGHT and RELEASE."""
MACHINE, PLACE, HEAD, COUNT = 0, 1, 2, 3
BATCH, NEXT, BEFORE = 0, 1, 2
FREE_AT, COST, END = 0, 1, 2
OF, AND, OUT, OUT_TOO, IN, IN_TOO = 0, 1, 2, 3, 4, 5
"""What a batch is made of: all of one batch, and of another, less two parts, and two parts more; NONE for none."""
HERE, NONE = -1, -1


class Beds(NamedTuple):
    """What never changes; the columns are named above.

    `part` and `part_is` by part; `fits`, the machines of all parts in a row; `can` by part and machine; `bed` by
    machine; `windows` (OPEN, CLOSE, REACH: the greatest CLOSE so far) in order; `terms` (WINDOWED, CLEAR, PRICE of
    work, FLOW: of ends, NORM_S: the makespan's unit or 0).
    """

    part: Floats
    part_is: Ints
    fits: Ints
    can: Ints
    bed: Floats
    windows: Floats
    terms: Floats


class State(NamedTuple):
    """The batches as they are.

    `row` by machine and place; before each place and after the last, `times` (FREE_AT, COST, END); `length` by
    machine; `batch` and `batch_is` by batch, the last two of which are the spare ones; `chain` by part; `spare`
    the batches that hold nothing and, last, how many; `random` is one word; `lies`, by part, where on the board.
    """

    row: Ints
    times: Floats
    length: Ints
    batch: Floats
    batch_is: Ints
    chain: Ints
    spare: Ints
    random: Words
    lies: Ints


class Draft(NamedTuple):
    """Two rows as they might be, `row` and `times` as in `State`; and what each spare batch is `made_of`."""

    row: Ints
    times: Floats
    made_of: Ints
