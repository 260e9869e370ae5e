"""Rows of a job shop's stations: how operations get in and out of them, and what time that makes it.

Compiled; knows arrays only, as `tabu_data.py` has them; allocates nothing.
"""

from __future__ import annotations

from farmd.planner.jit import Floats, Ints, Words, compiled, inlined


@inlined
def drawn(random: Words, most: int) -> int:
    """The next whole number below `most` (xorshift)."""
    x = random[0]
    x ^= x << 13
    x ^= x >> 7
    x ^= x << 17
    random[0] = x
    return int((x >> 11) % most)


@compiled
def timed(
    before_at: Ints,
    before: Ints,
    before_wait: Floats,
    after_at: Ints,
    after: Ints,
    after_wait: Floats,
    station: Ints,
    time: Floats,
    release: Floats,
    rest: Floats,
    ready: Floats,
    choice: Ints,
    left: Ints,
    right: Ints,
    head: Floats,
    tail: Floats,
    order: Ints,
    place: Ints,
    open_: Ints,
) -> float:
    """Heads, tails and an order of all operations; the makespan, or -1 where the orders go in a circle."""
    n = len(choice)
    done = 0
    for v in range(n):
        open_[v] = before_at[v + 1] - before_at[v] + (1 if left[v] >= 0 else 0)
        if open_[v] == 0:
            order[done] = v
            done += 1
    i = 0
    length = 0.0
    while i < done:
        v = order[i]
        place[v] = i
        i += 1
        c = choice[v]
        at = max(release[v], ready[station[c]])
        for e in range(before_at[v], before_at[v + 1]):
            u = before[e]
            at = max(at, head[u] + time[choice[u]] + before_wait[e])
        u = left[v]
        if u >= 0:
            at = max(at, head[u] + time[choice[u]])
        head[v] = at
        for e in range(after_at[v], after_at[v + 1]):
            u = after[e]
            open_[u] -= 1
            if open_[u] == 0:
                order[done] = u
                done += 1
        u = right[v]
        if u >= 0:
            open_[u] -= 1
            if open_[u] == 0:
                order[done] = u
                done += 1
    if done < n:
        return -1.0
    for j in range(n - 1, -1, -1):
        v = order[j]
        at = rest[v]
        for e in range(after_at[v], after_at[v + 1]):
            u = after[e]
            at = max(at, tail[u] + time[choice[u]] + after_wait[e])
        u = right[v]
        if u >= 0:
            at = max(at, tail[u] + time[choice[u]])
        tail[v] = at
        length = max(length, head[v] + time[choice[v]] + at)
    return length


@inlined
def out(v: int, choice: Ints, station: Ints, left: Ints, right: Ints, first: Ints) -> None:
    """Take an operation out of its row."""
    a, b = left[v], right[v]
    if a >= 0:
        right[a] = b
    else:
        first[station[choice[v]]] = b
    if b >= 0:
        left[b] = a


@inlined
def put(v: int, c: int, a: int, choice: Ints, station: Ints, left: Ints, right: Ints, first: Ints) -> None:
    """Put an operation into the row of its alternative `c`, behind `a` (-1: at the front)."""
    choice[v] = c
    b = right[a] if a >= 0 else first[station[c]]
    left[v] = a
    right[v] = b
    if a >= 0:
        right[a] = v
    else:
        first[station[c]] = v
    if b >= 0:
        left[b] = v


@inlined
def copied(
    choice: Ints, left: Ints, right: Ints, first: Ints, choice2: Ints, left2: Ints, right2: Ints, first2: Ints
) -> None:
    """Copy all orders."""
    for v in range(len(choice)):
        choice2[v], left2[v], right2[v] = choice[v], left[v], right[v]
    for s in range(len(first)):
        first2[s] = first[s]
