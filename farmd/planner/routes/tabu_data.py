"""The arrays of the compiled search on job shops.

Shapes: n operations, m stations, a alternatives (an operation on a station) in all, p precedences in all. Times are
seconds, as floats. Lists of lists lie flat: what belongs to operation v is `flat[first[v]:first[v + 1]]`.
"""

from __future__ import annotations

from typing import NamedTuple

from farmd.planner.jit import Floats, Ints, Words


class Shop(NamedTuple):
    """What never changes in a search.

    `before`/`after` are an operation's predecessors and successors, each with the least seconds between (`wait_*`);
    `station`/`time` its alternatives; `release` and `rest` the least seconds before its start and after its end;
    `ready` when a station is free.
    """

    before_at: Ints
    before: Ints
    before_wait: Floats
    after_at: Ints
    after: Ints
    after_wait: Floats
    choice_at: Ints
    station: Ints
    time: Floats
    release: Floats
    rest: Floats
    ready: Floats


class State(NamedTuple):
    """A schedule as orders: each operation's alternative, and its neighbours on its station (-1: none).

    `first` is of each station. `length` has the makespan alone.
    """

    choice: Ints
    left: Ints
    right: Ints
    first: Ints
    length: Floats


class Draft(NamedTuple):
    """Room for one thread: heads, tails and an order of all operations that goes with them, and scratch.

    `until` (n * m) is the count of moves until which an operation may not go back to a station.
    """

    head: Floats
    tail: Floats
    order: Ints
    place: Ints
    head2: Floats
    tail2: Floats
    open: Ints
    path: Ints
    row: Ints
    until: Ints
    random: Words
