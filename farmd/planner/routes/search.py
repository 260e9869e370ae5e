"""Search on routes in general: orders of units changed a little, and windows of them given to CP-SAT.

Knows no rule of the format; every candidate is put on the clock by `finishing.py`. With a counted budget the same
seed gives the same slate.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from random import Random
from time import perf_counter

from farmd.planner.budget import Meter
from farmd.planner.routes import exact
from farmd.planner.routes.finishing import Finishing
from farmd.planner.routes.slate import Slate, Unit

DECODE_TRIES = 6
OPS_PER_UNIT = 40
"""Of a counted budget: operations put on the clock that cost about as much as a unit elsewhere."""
WINDOW_OPS = 50
STEP = 0.5
"""Of a window: how far the next one begins behind it."""
WINDOW_S = 0.6
"""For one window, and at least a tenth of what is left."""
LATEST = 20
"""A change is kept if it is no worse than the slate so many changes ago."""


def change(f: Finishing, slate: Slate, meter: Meter, rng: Random, goal: float) -> Slate:
    """The best slate found by small changes of order, station and batch; never a worse one."""
    best = now = slate
    history = [slate.rank] * LATEST
    units = max(1, len(f.ops) // OPS_PER_UNIT)
    turn, like_s = 0, 0.0
    while best.broken or best.objective > goal + 1e-6:
        if not meter.spend(units, like_s=like_s):
            break
        began = perf_counter()
        candidate = _changed(f, now, rng)
        turn += 1
        if candidate is None:
            continue
        made = f.decode(candidate, DECODE_TRIES)
        if not meter.counted:
            like_s = max(like_s, perf_counter() - began)
        if made.rank <= history[turn % LATEST] or made.rank <= now.rank:
            now = made
        history[turn % LATEST] = min(history[turn % LATEST], now.rank)
        if made.rank < best.rank:
            best = made
    return best


def _changed(f: Finishing, slate: Slate, rng: Random) -> list[Unit] | None:
    """A neighbour of the slate in an order that goes with what must be before what; None where there is none."""
    units = slate.units()
    key = [float(i) for i in range(len(units))]
    i = _pick(f, slate, rng)
    unit, draw = units[i], rng.random()
    furnace = f.stations[unit.station].batch is not None
    if furnace and draw < 0.5:
        if not _rebatched(f, units, key, i, rng):
            return None
    elif draw < 0.75 or len(f.ops[unit.ops[0]].choices) < 2:
        key[i] -= rng.random() * rng.choice((3.0, 10.0, 0.3 * len(units))) + 0.5
    else:
        stations = [
            k
            for k, _ in f.ops[unit.ops[0]].choices
            if k != unit.station and (f.stations[k].batch is not None) == furnace and _fits(f, k, unit.ops)
        ]
        if not stations:
            return None
        units[i] = Unit(unit.ops, rng.choice(stations))
    return in_order(f, [u for u in units if u.ops], [k for u, k in zip(units, key, strict=True) if u.ops])


def _fits(f: Finishing, station: int, ops: Sequence[int]) -> bool:
    able = all(any(k == station for k, _ in f.ops[v].choices) for v in ops)
    return able and f.holds(station, ops)


def _pick(f: Finishing, slate: Slate, rng: Random) -> int:
    """A unit; of three the one whose journey is the latest."""

    def lateness(i: int) -> float:
        spot = slate.spots[i]
        found = -1e18
        for v in spot.ops:
            journey = f.journeys[f.ops[v].journey]
            due = journey.due_s if journey.due_s is not None and not f.makespan else 1e12
            found = max(found, spot.end + f.ops[v].tail - due)
        return found

    return max((rng.randrange(len(slate.spots)) for _ in range(3)), key=lateness)


def _rebatched(f: Finishing, units: list[Unit], key: list[float], i: int, rng: Random) -> bool:
    """Move one operation of a batch, or all, to another batch of the recipe, or one to a batch of its own."""
    unit = units[i]
    recipe = f.ops[unit.ops[0]].recipe
    others = [
        j
        for j, other in enumerate(units)
        if j != i and f.ops[other.ops[0]].recipe == recipe and f.stations[other.station].batch is not None
    ]
    moved = unit.ops if rng.random() < 0.5 else (rng.choice(unit.ops),)
    rest = tuple(v for v in unit.ops if v not in moved)
    if rest and (not others or rng.random() < 0.3):
        units[i] = Unit(rest, unit.station)
        units.append(Unit(moved, unit.station))
        key.append(key[i] - 0.5 if rng.random() < 0.5 else key[i] + 0.5)
        return True
    near = sorted(others, key=lambda j: (abs(j - i), j))[:4]
    if not near:
        return False
    j = rng.choice(near)
    if not _fits(f, units[j].station, (*units[j].ops, *moved)):
        return False
    units[j] = Unit((*units[j].ops, *moved), units[j].station)
    key[j] = min(key[i], key[j])
    units[i] = Unit(rest, unit.station)
    return True


def in_order(f: Finishing, units: Sequence[Unit], key: Sequence[float]) -> list[Unit] | None:
    """The units by their keys, but each behind what must be before it; None where they wait in a circle."""
    of = {v: i for i, unit in enumerate(units) for v in unit.ops}
    after: list[set[int]] = [set() for _ in units]
    left = [0] * len(units)
    for i, unit in enumerate(units):
        for j in {of[b.op] for v in unit.ops for b in f.ops[v].before}:
            after[j].add(i)
            left[i] += 1
    heap: list[tuple[float, int]] = []
    for i, count in enumerate(left):
        if count == 0:
            heappush(heap, (key[i], i))
    order = []
    while heap:
        _, i = heappop(heap)
        order.append(units[i])
        for j in sorted(after[i]):
            left[j] -= 1
            if left[j] == 0:
                heappush(heap, (key[j], j))
    return order if len(order) == len(units) else None


def by_windows(f: Finishing, slate: Slate, meter: Meter, seed: int, goal: float) -> Slate:
    """The slate with its windows of time planned anew by CP-SAT, one after another; never a worse one."""
    best, first, turn = slate, 0, 0
    while (best.broken or best.objective > goal + 1e-6) and meter.seconds_left() > 0.2:
        spots = best.spots
        window: list[int] = []
        last = first
        while last < len(spots) and len(window) + len(spots[last].ops) <= WINDOW_OPS:
            window += spots[last].ops
            last += 1
        if not window:
            window, last = list(spots[first].ops), first + 1
        phase = meter.share(max(0.1, min(1.0, WINDOW_S / meter.seconds_left())))
        found = exact.solve(f, best, sorted(window), phase, seed + turn)
        turn += 1
        if not phase.spend(max(1, phase.units_left())):
            break
        made = exact.on_the_clock(f, found) if found is not None else None
        if made is not None:
            best = min(best, made, key=lambda each: each.rank)
        if len(window) == len(f.ops):
            break
        first = 0 if last >= len(spots) else first + max(1, int((last - first) * STEP))
    return best
