"""Plain job shops: stations with room for one, no furnaces, no people to wait for, and the makespan at stake.

For these the compiled tabu search applies; this says whether it does, drives it, and gives a lower bound of what
the stations have to do at least. Seconds of the problem throughout.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from farmd.planner.budget import Meter
from farmd.planner.routes import exact, tabu, tabu_rows
from farmd.planner.routes.finishing import Finishing
from farmd.planner.routes.slate import INFINITY, Slate, Unit
from farmd.planner.routes.tabu_data import Draft, Shop, State
from farmd.planner.solver import run

MOVES_PER_UNIT = 5
"""Of a counted budget."""
FIRST_MOVES = 500
STRETCH_S = 0.1
STALL = 6_000
"""So many moves without a better makespan, and the search goes on elsewhere."""
LEAST_BLIND, MOST_BLIND = 2, 10
"""How many moves by chance lead elsewhere."""
MOST_THREADS = 2


def is_plain(f: Finishing) -> bool:
    """Whether the compiled search knows everything that matters here."""
    plain = all(station.capacity == 1 and station.batch is None for station in f.stations)
    free = f.people.free or not any(op.crewed or op.load or op.unload for op in f.ops)
    return (
        f.makespan
        and plain
        and free
        and all(len(windows) == 1 for windows in f.windows)
        and all(op.latest == INFINITY and f.least(v) > 0.0 for v, op in enumerate(f.ops))
        and all(lag.most == INFINITY for op in f.ops for lag in op.before)
        and len(f.ops) > 1
    )


def shop_of(f: Finishing) -> Shop:
    """The problem as arrays."""
    ints, floats = np.int32, np.float64

    def flat(rows: Sequence[Sequence[float]], kind: type) -> np.ndarray:
        return np.array([value for row in rows for value in row], dtype=kind)

    def at(rows: Sequence[Sequence[object]]) -> np.ndarray:
        return np.cumsum([0, *map(len, rows)], dtype=ints)

    before, after = [op.before for op in f.ops], [op.after for op in f.ops]
    fixed = [op.load + op.unload for op in f.ops]
    return Shop(
        before_at=at(before),
        before=flat([[lag.op for lag in row] for row in before], ints),
        before_wait=flat([[lag.least for lag in row] for row in before], floats),
        after_at=at(after),
        after=flat([[lag.op for lag in row] for row in after], ints),
        after_wait=flat([[lag.least for lag in row] for row in after], floats),
        choice_at=at([op.choices for op in f.ops]),
        station=flat([[k for k, _ in op.choices] for op in f.ops], ints),
        time=flat([[more + s for _, s in op.choices] for op, more in zip(f.ops, fixed, strict=True)], floats),
        release=np.array([op.release for op in f.ops], dtype=floats),
        rest=np.zeros(len(f.ops)),
        ready=np.array([windows[0][0] for windows in f.windows], dtype=floats),
    )


def state_of(f: Finishing, slate: Slate) -> State:
    """The orders of a slate."""
    n = len(f.ops)
    choice, left, right = (np.full(n, -1, dtype=np.int32) for _ in range(3))
    first = np.full(len(f.stations), -1, dtype=np.int32)
    last = [-1] * len(f.stations)
    base = 0
    bases = []
    for op in f.ops:
        bases.append(base)
        base += len(op.choices)
    for spot in slate.spots:
        v, k = spot.ops[0], spot.station
        choice[v] = bases[v] + next(i for i, (s, _) in enumerate(f.ops[v].choices) if s == k)
        left[v] = last[k]
        if last[k] >= 0:
            right[last[k]] = v
        else:
            first[k] = v
        last[k] = v
    return State(choice, left, right, first, np.array([slate.makespan]))


def _copy(state: State) -> State:
    arrays: Any = [array.copy() for array in state]
    return State(*arrays)


def _copied(source: State, to: State) -> None:
    arrays: Any = zip(source, to, strict=True)
    for a, b in arrays:
        b[...] = a


@dataclass(slots=True)
class _Seeker:
    """One thread's search: where it is, the best it met since it last went elsewhere, and the count of its moves."""

    shop: Shop
    state: State
    best: State
    draft: Draft
    moves: int = 0
    since: int = 0
    blind: int = 0

    @staticmethod
    def at(shop: Shop, state: State, rng: Random) -> _Seeker:
        n, m = len(state.choice), len(state.first)
        best = _copy(state)
        whole = [np.zeros(n, dtype=np.int32) for _ in range(5)]
        draft = Draft(
            head=np.zeros(n), tail=np.zeros(n), order=whole[0], place=whole[1], head2=np.zeros(n), tail2=np.zeros(n),
            open=whole[2], path=whole[3], row=whole[4], until=np.zeros(n * m, dtype=np.int32),
            random=np.array([rng.getrandbits(63) | 1], dtype=np.uint64),
        )  # fmt: skip
        return _Seeker(shop, _copy(state), best, draft)

    def go(self, moves: int, goal: float) -> None:
        before = self.best.length[0]
        arrays: Any = (*self.shop, *self.state, *self.best, *self.draft)
        self.moves = tabu.tabu(*(*arrays, moves, self.moves, self.blind, goal))
        self.blind = 0
        if self.best.length[0] < before - tabu.SMALL_S:
            self.since = self.moves

    def elsewhere(self, start: State, rng: Random) -> None:
        """Go on from another state, some moves by chance away."""
        _copied(start, self.state)
        _copied(start, self.best)
        self.best.length[0] = INFINITY
        self.draft.until[:] = 0
        self.moves = self.since = 0
        self.blind = rng.randint(LEAST_BLIND, MOST_BLIND)


def improve(f: Finishing, slates: Sequence[Slate], meter: Meter, rng: Random, goal: float) -> Slate:
    """The best slate found from these until the meter ends or the makespan is down to `goal`; never a worse one."""
    slate = min(slates, key=lambda each: each.rank)
    if meter.progress() >= 1.0:
        return slate
    shop = shop_of(f)
    starts = [state_of(f, each) for each in slates]
    start = state_of(f, slate)
    threads = 1 if meter.counted else min(MOST_THREADS, os.cpu_count() or 1)
    seekers = [_Seeker.at(shop, starts[-1 - i % len(starts)], rng) for i in range(threads)]
    best = _copy(start)
    moves = FIRST_MOVES
    with ThreadPoolExecutor(threads) as pool:
        while best.length[0] > goal + tabu.SMALL_S:
            if meter.counted:
                moves = MOVES_PER_UNIT * max(1, min(FIRST_MOVES // MOVES_PER_UNIT, meter.units_left()))
            if meter.progress() >= 1.0 or not meter.spend(moves // MOVES_PER_UNIT):
                break
            began = perf_counter()
            done = [pool.submit(seeker.go, moves, goal) for seeker in seekers[1:]]
            seekers[0].go(moves, goal)
            for each in done:
                each.result()
            for seeker in seekers:
                if seeker.best.length[0] < best.length[0] - tabu.SMALL_S:
                    _copied(seeker.best, best)
                if seeker.moves - seeker.since > STALL:
                    seeker.elsewhere(best, rng)
            if not meter.counted:
                moves = max(10, int(moves * min(4.0, max(0.25, STRETCH_S / (perf_counter() - began + 1e-9)))))
    found = f.decode(units_of(shop, best))
    return found if found.rank < slate.rank else slate


def units_of(shop: Shop, state: State) -> list[Unit]:
    """The units of a state, in an order that goes with it."""
    draft = _Seeker.at(shop, state, Random(0)).draft
    tabu_rows.timed(
        shop.before_at, shop.before, shop.before_wait, shop.after_at, shop.after, shop.after_wait, shop.station,
        shop.time, shop.release, shop.rest, shop.ready, state.choice, state.left, state.right,
        draft.head, draft.tail, draft.order, draft.place, draft.open,
    )  # fmt: skip
    return [Unit((int(v),), int(shop.station[state.choice[v]])) for v in draft.order]


def shared_out(f: Finishing, meter: Meter, seed: int) -> tuple[float, list[int] | None]:
    """The work shared out among the stations in the best way, and a lower bound of the makespan that follows.

    Between the least heads and tails, a station is busy with all that it is given. None: no way was found.
    """
    cp = cp_model.CpModel()
    scale, whole = exact.scale_of(f)
    scale = scale if whole else 1000.0

    def whole_grains(seconds: float) -> int:
        return math.floor(seconds * scale + 1e-6)

    most = sum(max(whole_grains(op.load + s + op.unload) for _, s in op.choices) for op in f.ops)
    start = max((w[0][0] for w in f.windows), default=0.0)
    top = cp.new_int_var(0, most + whole_grains(start + max(op.head for op in f.ops)) + 1, "")
    rows: list[list[tuple[int, int, cp_model.LinearExprT, int]]] = [[] for _ in f.stations]
    given: list[list[cp_model.LinearExprT]] = []
    for op in f.ops:
        literals: list[cp_model.LinearExprT] = [
            cp.new_bool_var("") if len(op.choices) > 1 else 1 for _ in op.choices
        ]
        if len(op.choices) > 1:
            cp.add_exactly_one(literals)  # type: ignore[arg-type]
        given.append(literals)
        for (k, seconds), lit in zip(op.choices, literals, strict=True):
            size = whole_grains(op.load + seconds + op.unload)
            rows[k].append((whole_grains(op.head), whole_grains(op.tail), lit, size))
            cp.add(top >= whole_grains(op.head + op.tail) + size * lit)
    for k, row in enumerate(rows):
        if row:
            head = max(min(h for h, _, _, _ in row), whole_grains(f.windows[k][0][0]))
            tail = min(t for _, t, _, _ in row)
            cp.add(top >= head + tail + sum(size * lit for _, _, lit, size in row))
    cp.minimize(top)
    answer = run(cp, meter, seed, float(scale))
    if answer is None or not answer.found:
        return 0.0, None
    chosen = [
        next(k for (k, _), lit in zip(op.choices, literals, strict=True) if answer.solver.value(lit))
        for op, literals in zip(f.ops, given, strict=True)
    ]
    return answer.proof, chosen
