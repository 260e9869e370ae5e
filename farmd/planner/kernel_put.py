"""One job more at the end of a row: when its work can be done, when it ends, what that costs.

Compiled into the loops of `kernel.py`. Knows the arrays of `kernel_data.py` only.
"""

from __future__ import annotations

import math

import numpy as np

from farmd.planner import kernel_data as k
from farmd.planner.jit import Ints, Words, inlined
from farmd.planner.kernel_data import Shop

_U7, _U11, _U13, _U17 = np.uint64(7), np.uint64(11), np.uint64(13), np.uint64(17)


@inlined
def chance(random: Words) -> float:
    """The next number in [0, 1) of one word of chance (xorshift)."""
    x = random[0]
    x ^= x << _U13
    x ^= x >> _U7
    x ^= x << _U17
    random[0] = x
    return float((x >> _U11) * 1.1102230246251565e-16)


@inlined
def in_window(shop: Shop, at: float, work: float) -> float:
    """The first start from `at` on of work inside one window; infinity for none."""
    windows = shop.windows
    n = windows.shape[0]
    slot = int(max(0.0, min((at + work - shop.terms[k.FIRST_SLOT]) * shop.terms[k.SLOTS_PER_S], 1e9)))
    i = shop.slots[min(slot, shop.slots.shape[0] - 1)]
    while i < n and windows[i, k.REACH] < at + work:
        i += 1
    best = np.inf
    while i < n and windows[i, k.OPEN] < best:
        begin = max(at, windows[i, k.OPEN])
        if begin + work <= windows[i, k.CLOSE] and begin < best:
            best = begin
        i += 1
    return best


@inlined
def in_grains(shop: Shop, used: Ints, crew: int, first: int, count: int, before: int) -> int:
    """The first grain from `first` on, below `before`, from which on one of the crew is free; else `before`."""
    next_open, last_open, people = shop.next_open, shop.last_open, shop.people[crew]
    n = next_open.shape[1] - 1
    at, found = first, before
    while at < n:
        at = int(next_open[crew, at])
        if at + count > n or at >= before:
            break
        last = at + count - 1
        if last > last_open[crew, at]:
            at = int(last_open[crew, at]) + 1
            continue
        x = last
        while x >= at and used[crew, x] < people:
            x -= 1
        if x < at:
            found = at
            break
        at = x + 1
    return found


@inlined
def take(used: Ints, crew: int, first: int, count: int, by: int) -> None:
    """So many more people of a crew at work in these grains."""
    if crew >= 0:
        for x in range(first, first + count):
            used[crew, x] += by


@inlined
def put(
    shop: Shop, used: Ints, m: int, job: int, free: float, setup: int, cost: float
) -> tuple[float, int, float, int, int, int]:
    """Free, setup and cost after the job; and its work's crew, grain and count. Free is infinite for nowhere."""
    mach, kind, job_s, job_is, terms = shop.mach, shop.kind, shop.job_s, shop.job_is, shop.terms
    at = max(free, job_s[job, k.RELEASE])
    crew, first, count = -1, 0, 0
    work = 0.0
    batch = job_is[job, k.ONLY] >= 0
    if not batch:
        after = int(job_is[job, k.SETUP])
        work = terms[k.CLEAR] + shop.change[setup & k.SETUP_MASK, after]
        if setup > k.SETUP_MASK and setup & k.SETUP_MASK == after:
            left = (setup >> k.SETUP_BITS) - job_is[job, k.GRAMS]
            if left > 0:
                after |= left << k.SETUP_BITS
            else:
                work += terms[k.SPOOL]
        setup = after
    elif kind[m, k.CREWED]:
        work = terms[k.CLEAR]
    mode = int(terms[k.MODE]) if not batch or kind[m, k.CREWED] else k.FREE
    takes = work + job_s[job, k.DURATION + kind[m, k.CLASS]]
    shut, shut_end = kind[m, k.SHUT], kind[m, k.SHUT_END]
    while True:
        if mode == k.WINDOWS:
            at = in_window(shop, at, work)
        elif mode == k.GRAINS:
            n = shop.next_open.shape[1] - 1
            crew, first = -1, n
            count = max(1, math.ceil(work / terms[k.GRAIN] - 1e-9))
            earliest = int(min(n, max(0.0, math.ceil((at - terms[k.ORIGIN]) / terms[k.GRAIN] - 1e-9))))
            if earliest < n:
                for c in range(len(shop.people)):
                    start = in_grains(shop, used, c, earliest, count, first)
                    if start < first:
                        first, crew = start, c
            at = np.inf if crew < 0 else max(at, terms[k.ORIGIN] + first * terms[k.GRAIN])
        while shut < shut_end and shop.shut[shut, k.END] <= at:
            shut += 1
        if shut >= shut_end or at + takes <= shop.shut[shut, k.BEGIN]:
            break
        at = shop.shut[shut, k.END]
    if mode == k.GRAINS:
        if crew < 0:
            count = 0
        take(used, crew, first, count, 1)
    end = at + takes
    if terms[k.NORM_S] > 0.0:
        cost = (end / terms[k.NORM_S]) ** terms[k.NORM]
        for q in range(job_is[job, k.DUES], job_is[job, k.DUES_END]):
            if end > shop.dues[q, 0]:
                end = cost = np.inf
    else:
        cost += terms[k.PRICE] * work + terms[k.FLOW] * end + mach[m, k.WEAR] * (takes - work)
        if end > job_s[job, k.DUE]:
            cost += job_s[job, k.WEIGHT] * (end - job_s[job, k.DUE])
        for q in range(job_is[job, k.DUES], job_is[job, k.DUES_END]):
            if end > shop.dues[q, 0]:
                cost += shop.dues[q, 1] * (end - shop.dues[q, 0])
    if batch or (job_is[job, k.WISH] >= 0 and job_is[job, k.WISH] != m):
        cost += job_s[job, k.ELSEWHERE]
    return end + mach[m, k.COOLDOWN], setup, cost, crew, first, count
