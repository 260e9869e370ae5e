"""The compiled tabu search on job shops with alternative stations; the objective is the makespan.

A move takes an operation of one longest path out of its station's row and puts it into a row of its choice, only
where no circle can come about (Mastrolilli and Gambardella 2000, J. Scheduling 3): with heads and tails taken without
the operation, rows are first those whose remainder is longer than its own, last those that end after it could begin,
and every place between is possible. What the makespan becomes is then known exactly. Durations must be above 0.
Knows arrays only; allocates nothing.
"""

from __future__ import annotations

from farmd.planner.jit import Floats, Ints, Words, compiled
from farmd.planner.routes.tabu_rows import copied, drawn, out, put, timed

SMALL_S = 1e-6


@compiled
def longest(
    before_at: Ints,
    before: Ints,
    before_wait: Floats,
    time: Floats,
    choice: Ints,
    left: Ints,
    head: Floats,
    tail: Floats,
    order: Ints,
    path: Ints,
    length: float,
    random: Words,
) -> int:
    """One longest path, drawn by chance, backwards from its end; how many operations it has."""
    n = len(choice)
    v, seen = -1, 0
    for i in range(n):
        u = order[i]
        if head[u] + time[choice[u]] + tail[u] < length - SMALL_S:
            continue
        last = True
        # The end of a path is where the tail is what remains by itself.
        if tail[u] > SMALL_S:
            last = False
        if last:
            seen += 1
            if drawn(random, seen) == 0:
                v = u
    if v < 0:
        v = order[n - 1]
        for i in range(n):
            u = order[i]
            if head[u] + time[choice[u]] + tail[u] >= length - SMALL_S:
                v = u
    count = 0
    while v >= 0:
        path[count] = v
        count += 1
        nxt, seen = -1, 0
        for e in range(before_at[v], before_at[v + 1]):
            u = before[e]
            if head[u] + time[choice[u]] + before_wait[e] >= head[v] - SMALL_S:
                seen += 1
                if drawn(random, seen) == 0:
                    nxt = u
        u = left[v]
        if u >= 0 and head[u] + time[choice[u]] >= head[v] - SMALL_S:
            seen += 1
            if drawn(random, seen) == 0:
                nxt = u
        v = nxt
    return count


@compiled
def without(
    v: int,
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
    head2: Floats,
    tail2: Floats,
) -> float:
    """Heads and tails with `v` out of its row (which it must be already, its own time counted as 0 then).

    The makespan of all paths that do not lead through it. `head2[v]` and `tail2[v]` are its own, off any row.
    """
    n = len(choice)
    at_v = place[v]
    length = 0.0
    for i in range(n):
        u = order[i]
        if i < at_v:
            head2[u] = head[u]
        elif i == at_v:
            at = release[u]
            for e in range(before_at[u], before_at[u + 1]):
                w = before[e]
                at = max(at, head2[w] + time[choice[w]] + before_wait[e])
            head2[u] = at
            continue
        else:
            at = max(release[u], ready[station[choice[u]]])
            for e in range(before_at[u], before_at[u + 1]):
                w = before[e]
                at = max(at, head2[w] + (time[choice[w]] if w != v else 0.0) + before_wait[e])
            w = left[u]
            if w >= 0:
                at = max(at, head2[w] + time[choice[w]])
            head2[u] = at
        length = max(length, head2[u] + time[choice[u]])
    for i in range(n - 1, -1, -1):
        u = order[i]
        if i > at_v:
            tail2[u] = tail[u]
            continue
        at = rest[u]
        for e in range(after_at[u], after_at[u + 1]):
            w = after[e]
            at = max(at, tail2[w] + (time[choice[w]] if w != v else 0.0) + after_wait[e])
        w = right[u]
        if w >= 0 and i < at_v:
            at = max(at, tail2[w] + time[choice[w]])
        tail2[u] = at
        if i < at_v:
            length = max(length, head2[u] + time[choice[u]] + at)
    return length


@compiled
def tabu(
    before_at: Ints,
    before: Ints,
    before_wait: Floats,
    after_at: Ints,
    after: Ints,
    after_wait: Floats,
    choice_at: Ints,
    station: Ints,
    time: Floats,
    release: Floats,
    rest: Floats,
    ready: Floats,
    choice: Ints,
    left: Ints,
    right: Ints,
    first: Ints,
    length_: Floats,
    best_choice: Ints,
    best_left: Ints,
    best_right: Ints,
    best_first: Ints,
    best_length: Floats,
    head: Floats,
    tail: Floats,
    order: Ints,
    place: Ints,
    head2: Floats,
    tail2: Floats,
    open_: Ints,
    path: Ints,
    row: Ints,
    until: Ints,
    random: Words,
    moves: int,
    began: int,
    blind: int,
    goal: float,
) -> int:
    """Make `moves` moves from the state; the best met is kept. How many were made in all, `began` included.

    The first `blind` of them are drawn by chance. `until` counts on from `began`.
    """
    m = len(first)
    length = timed(
        before_at, before, before_wait, after_at, after, after_wait, station, time, release, rest, ready,
        choice, left, right, head, tail, order, place, open_,
    )  # fmt: skip
    if length < best_length[0] - SMALL_S:
        best_length[0] = length
        copied(choice, left, right, first, best_choice, best_left, best_right, best_first)
    now = began
    for made in range(moves):
        if best_length[0] <= goal:
            break
        now += 1
        count = longest(
            before_at, before, before_wait, time, choice, left, head, tail, order, path, length, random
        )
        to_v, to_c, to_a, ties = -1, -1, -1, 0
        to_est = to_through = 1e300
        any_v, any_c, any_a, seen = -1, -1, -1, 0
        for k in range(count):
            v = path[k]
            own, old_left = choice[v], left[v]
            out(v, choice, station, left, right, first)
            others = without(
                v, before_at, before, before_wait, after_at, after, after_wait, station, time, release, rest,
                ready, choice, left, right, head, tail, order, place, head2, tail2,
            )  # fmt: skip
            hv, tv = head2[v], tail2[v]
            for c in range(choice_at[v], choice_at[v + 1]):
                s = station[c]
                size, firsts, lasts = 0, 0, -1
                u = first[s]
                while u >= 0:
                    row[size] = u
                    d = time[choice[u]]
                    if d + tail2[u] > tv + SMALL_S:
                        firsts = size + 1
                    if lasts < 0 and head2[u] + d > hv + SMALL_S:
                        lasts = size
                    size += 1
                    u = right[u]
                if lasts < 0:
                    lasts = size
                low, high = min(firsts, lasts), max(firsts, lasts)
                held = until[v * m + s] > now
                for i in range(low, high + 1):
                    a = row[i - 1] if i > 0 else -1
                    if c == own and a == old_left:
                        continue
                    h, t = max(hv, ready[s]), tv
                    if a >= 0:
                        h = max(h, head2[a] + time[choice[a]])
                    if i < size:
                        b = row[i]
                        t = max(t, tail2[b] + time[choice[b]])
                    through = h + time[c] + t
                    est = max(others, through)
                    seen += 1
                    if drawn(random, seen) == 0:
                        any_v, any_c, any_a = v, c, a
                    if held and est >= best_length[0] - SMALL_S:
                        continue
                    if est < to_est - SMALL_S or (est < to_est + SMALL_S and through < to_through - SMALL_S):
                        to_est, to_through, ties = est, through, 1
                        to_v, to_c, to_a = v, c, a
                    elif est < to_est + SMALL_S and through < to_through + SMALL_S:
                        ties += 1
                        if drawn(random, ties) == 0:
                            to_v, to_c, to_a = v, c, a
            put(v, own, old_left, choice, station, left, right, first)
        if to_v < 0 or made < blind:
            to_v, to_c, to_a = any_v, any_c, any_a
        if to_v < 0:
            break
        own, old_left = choice[to_v], left[to_v]
        choices = choice_at[to_v + 1] - choice_at[to_v]
        until[to_v * m + station[own]] = now + count // 2 + choices + drawn(random, 8 + count // 2)
        out(to_v, choice, station, left, right, first)
        put(to_v, to_c, to_a, choice, station, left, right, first)
        after_move = timed(
            before_at, before, before_wait, after_at, after, after_wait, station, time, release, rest, ready,
            choice, left, right, head, tail, order, place, open_,
        )  # fmt: skip
        if after_move < 0.0:
            # Only rounding can do this; the move is taken back.
            out(to_v, choice, station, left, right, first)
            put(to_v, own, old_left, choice, station, left, right, first)
            timed(
                before_at, before, before_wait, after_at, after, after_wait, station, time, release, rest, ready,
                choice, left, right, head, tail, order, place, open_,
            )  # fmt: skip
            continue
        length = after_move
        if length < best_length[0] - SMALL_S:
            best_length[0] = length
            copied(choice, left, right, first, best_choice, best_left, best_right, best_first)
    length_[0] = length
    return now
