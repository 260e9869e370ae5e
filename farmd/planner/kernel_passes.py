"""The compiled pass of list scheduling: whenever a machine and a person are free, the best bucket's first job goes.

A bucket's score for a machine now is its urgency, less a price for the changeover, for the time that is left until
its due date, and for how long the machine would stand still when the job ends while nobody is there. Knows the
arrays of `kernel_data.py` and of `Buckets` only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from farmd.planner import kernel_data as k
from farmd.planner.jit import Floats, Ints, compiled, inlined
from farmd.planner.kernel_data import Shop, State
from farmd.planner.kernel_put import in_grains, in_window, put

SAME_S = 1e-6
UNRELEASED, WAITING, PLACED = 0, 1, 2


class Buckets(NamedTuple):
    """Alike jobs together.

    `members`: the jobs, bucket by bucket, in order of due date; `due` of each job; `by_release`: the jobs in order
    of release; `rank`: each job's index in `members`; `bucket`: each job's bucket; `end`: of each bucket its end in
    `members`; `setup` of each; by machine class and bucket `urgency` and `time` (infinite: does not run there).
    Scratch: `stage` of each job, `head` of each bucket (an index of `members`, -1 for none), `next_at` by machine.
    """

    members: Ints
    due: Floats
    by_release: Ints
    rank: Ints
    bucket: Ints
    end: Ints
    setup: Ints
    urgency: Floats
    time: Floats
    stage: Ints
    head: Ints
    next_at: Floats


@inlined
def _soonest(shop: Shop, used: Ints, at: float, work: float) -> float:
    """The first start of the work from `at` on; infinity for none."""
    terms = shop.terms
    start = at
    if terms[k.MODE] == k.WINDOWS:
        start = in_window(shop, at, work)
    elif terms[k.MODE] == k.GRAINS:
        n = shop.next_open.shape[1] - 1
        count = max(1, math.ceil(work / terms[k.GRAIN] - 1e-9))
        earliest = int(min(n, max(0.0, math.ceil((at - terms[k.ORIGIN]) / terms[k.GRAIN] - 1e-9))))
        first = n
        if earliest < n:
            for c in range(len(shop.people)):
                first = min(first, in_grains(shop, used, c, earliest, count, first))
        start = np.inf if first >= n else max(at, terms[k.ORIGIN] + first * terms[k.GRAIN])
    return start


@inlined
def _shut_from(shop: Shop, m: int, at: float) -> tuple[float, float]:
    """When the machine is shut next, from `at` on, and until when; infinity for never."""
    s, last = shop.kind[m, k.SHUT], shop.kind[m, k.SHUT_END]
    while s < last and shop.shut[s, k.END] <= at:
        s += 1
    begins, opens = np.inf, np.inf
    if s < last:
        begins, opens = shop.shut[s, k.BEGIN], shop.shut[s, k.END]
    return begins, opens


@inlined
def _release(shop: Shop, buckets: Buckets, released: int, at: float) -> int:
    """Let the jobs wait that are released by now; how many are released."""
    while released < len(buckets.by_release):
        job = buckets.by_release[released]
        if shop.job_s[job, k.RELEASE] > at + SAME_S:
            break
        b = buckets.bucket[job]
        buckets.stage[job] = WAITING
        if buckets.head[b] < 0 or buckets.rank[job] < buckets.head[b]:
            buckets.head[b] = buckets.rank[job]
        released += 1
    return released


@inlined
def _pop(buckets: Buckets, b: int) -> int:
    """Take the first job of a bucket out of it."""
    members, stage, x = buckets.members, buckets.stage, int(buckets.head[b])
    job = int(members[x])
    stage[job] = PLACED
    while x < buckets.end[b] and stage[members[x]] != WAITING:
        x += 1
    buckets.head[b] = x if x < buckets.end[b] else -1
    return job


@compiled
def dispatch(
    shop: Shop, state: State, buckets: Buckets, per_change: float, per_slack: float, per_idle: float
) -> float:
    """Fill empty rows by the rule; the cost, infinite where people's time does not hold all jobs."""
    row, times, setups, length, used, where = state
    terms, next_at, head = shop.terms, buckets.next_at, buckets.head
    people = terms[k.MODE] != k.FREE
    for c in range(used.shape[0]):
        for x in range(used.shape[1]):
            used[c, x] = 0
    for m in range(len(length)):
        length[m] = 0
        times[m, 0, k.FREE_AT], times[m, 0, k.COST] = shop.mach[m, k.READY], 0.0
        setups[m, 0], next_at[m] = shop.kind[m, k.SETUP0], shop.mach[m, k.READY]
    for job in range(len(buckets.stage)):
        buckets.stage[job] = UNRELEASED
    for b in range(len(head)):
        head[b] = -1
    left, released = len(buckets.members), 0
    while left > 0:
        m = 0
        for x in range(1, len(next_at)):
            if next_at[x] < next_at[m]:
                m = x
        at = next_at[m]
        if at == np.inf:
            return np.inf
        if people:
            soonest = _soonest(shop, used, at, terms[k.CLEAR])
            if soonest > at + SAME_S:
                next_at[m] = soonest
                continue
        released = _release(shop, buckets, released, at)
        i, kind = length[m], shop.kind[m, k.CLASS]
        setup, below, later, placed = setups[m, i] & k.SETUP_MASK, np.inf, np.inf, False
        until, opens = _shut_from(shop, m, at)
        while not placed:
            best, chosen = -np.inf, -1
            for b in range(len(head)):
                takes = buckets.time[kind, b]
                if head[b] < 0 or takes == np.inf:
                    continue
                change = shop.change[setup, buckets.setup[b]]
                if change >= below:
                    continue
                if at + terms[k.CLEAR] + change + takes > until:
                    later = min(later, opens)
                    continue
                due = buckets.due[buckets.members[head[b]]]
                score = (
                    buckets.urgency[kind, b] - per_change * change - per_slack * max(0.0, due - takes - at)
                )
                if people and score > best and per_idle > 0.0:
                    end = at + terms[k.CLEAR] + change + takes
                    again = in_window(shop, end, terms[k.CLEAR])
                    score -= 0.0 if again == np.inf else per_idle * (again - end)
                if score > best:
                    best, chosen = score, b
            if chosen < 0:
                break
            change = shop.change[setup, buckets.setup[chosen]]
            start = _soonest(shop, used, at, terms[k.CLEAR] + change) if people else at
            if start > at + SAME_S:
                later, below = min(later, start), change
                continue
            job = _pop(buckets, chosen)
            free, after, cost, crew, first, count = put(
                shop, used, m, job, at, setups[m, i], times[m, i, k.COST]
            )
            if free == np.inf or i + 1 >= row.shape[1]:
                return np.inf
            row[m, i, k.JOB], row[m, i, k.CREW], row[m, i, k.FIRST], row[m, i, k.COUNT] = (
                job,
                crew,
                first,
                count,
            )
            times[m, i + 1, k.FREE_AT], times[m, i + 1, k.COST], setups[m, i + 1] = free, cost, after
            length[m] = i + 1
            where[job, k.MACHINE], where[job, k.PLACE] = m, i
            next_at[m], placed = free, True
            left -= 1
        if not placed:
            if released < len(buckets.by_release):
                later = min(later, max(at, shop.job_s[buckets.by_release[released], k.RELEASE]))
            next_at[m] = later
    total = 0.0
    for m in range(len(length)):
        total += times[m, length[m], k.COST]
    return total
