"""What the search kernel works on: flat arrays, and the names of their columns.

Knows the layout alone: no move, no problem, no plan. Times are in seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from farmd.planner.jit import Floats, Ints, Words

FREE, WINDOWS, GRAINS = 0, 1, 2
"""How people are limited: not at all, to their windows, or in their number too."""
READY, COOLDOWN, WEAR = 0, 1, 2
CLASS, CREWED, SETUP0, SHUT, SHUT_END = 0, 1, 2, 3, 4
RELEASE, ELSEWHERE, DUE, WEIGHT, DURATION = 0, 1, 2, 3, 4
SETUP, ONLY, WISH, DUES, DUES_END, ALIKE, GRAMS = 0, 1, 2, 3, 4, 5, 6
BEGIN, END = 0, 1
OPEN, CLOSE, REACH = 0, 1, 2
MODE, CLEAR, PRICE, FLOW, NORM_S, NORM, ORIGIN, GRAIN, FIRST_SLOT, SLOTS_PER_S = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
SPOOL = 10
JOB, CREW, FIRST, COUNT = 0, 1, 2, 3
FREE_AT, COST = 0, 1
MACHINE, PLACE = 0, 1
SETUP_BITS, SETUP_MASK = 10, 1023
"""A setup on a machine is a number below `SETUP_MASK`, the last one for nothing known; above its bits stand one more
than the grams that are left of the lot loaded at first, or 0 where there is enough."""


class Shop(NamedTuple):
    """What never changes.

    `mach` (READY, COOLDOWN, WEAR: what a second of running costs) and `kind` (CLASS, CREWED, SETUP0; SHUT to
    SHUT_END: its rows of `shut`, BEGIN and END of when it may not run, in order) by machine; by job `job_s` (RELEASE,
    ELSEWHERE: what it costs on another machine than WISH, DUE and WEIGHT of its first due date, and from DURATION on
    by machine class, infinite where it cannot run) and `job_is` (SETUP, -1 for a batch; ONLY, a batch's machine; WISH;
    DUES to DUES_END: the rows of `dues`, (due, weight), behind the first; ALIKE: the same number for jobs that are
    the same; GRAMS that it takes);
    `change` by setup before and after; `windows` (OPEN, CLOSE, REACH: the greatest CLOSE so far) in order; `slots`:
    of each slot of time the first window that may hold what ends in it; by crew, `people` and by grain the
    `next_open` one and the `last_open` one of its window, -1 outside; `terms` (MODE, CLEAR, PRICE of work, FLOW: of
    ends, NORM_S: the unit in which the makespan is sought as a norm of the rows' ends, or 0, and NORM, its power: the
    greatest end alone gives no way down; ORIGIN and GRAIN, FIRST_SLOT and SLOTS_PER_S; SPOOL: a change of spool).
    """

    mach: Floats
    kind: Ints
    job_s: Floats
    job_is: Ints
    change: Floats
    dues: Floats
    shut: Floats
    windows: Floats
    slots: Ints
    people: Ints
    next_open: Ints
    last_open: Ints
    terms: Floats


class State(NamedTuple):
    """The rows as they are.

    `row` by machine and place (JOB, and its work's CREW, FIRST grain and COUNT of grains); before each place and
    after the last, `times` (FREE_AT, COST) and `setup`; `length` by machine; `used` people by crew and grain;
    `where` (MACHINE, PLACE) by job.
    """

    row: Ints
    times: Floats
    setup: Ints
    length: Ints
    used: Ints
    where: Ints


class Draft(NamedTuple):
    """Two rows as they might be, and one word of chance.

    `piece` by row and number: a MACHINE's old row from place BEGIN to END (the columns 0, 1 and 2), one after
    another; `row`, `times` and `setup` are as in `State`, as far as they were laid.
    """

    piece: Ints
    row: Ints
    times: Floats
    setup: Ints
    random: Words
