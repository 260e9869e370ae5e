"""Search on batches: the kernel's filling and annealing, driven for as long as the budget lasts.

Knows temperatures, rounds of heating and how long a stretch of moves may be.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from random import Random
from time import perf_counter

import numpy as np

from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.powder.aim import Aim
from farmd.planner.powder.anneal import anneal
from farmd.planner.powder.arrays import beds_of, draft_of, like, lying_of, rows_of, score_of, state_of
from farmd.planner.powder.board import Lying
from farmd.planner.powder.chain import copy
from farmd.planner.powder.data import Beds, Draft, State
from farmd.planner.powder.fill import fill
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import Rows

MOST_THREADS = 2
STRETCH_S = 0.02
"""Wall time of one stretch of moves: how finely the budget is kept."""
FIRST_MOVES = 2_000
MOVES_PER_UNIT = 50
"""Of a counted budget: what costs about as much as a unit elsewhere."""
ROUNDS = 16
MOVES_OF_A_ROUND = 25_000
"""For each part at least, before there is a further round of heating."""
MOST_TRIES = 20_000_000
"""Places that a filling looks at, all parts together."""


def filled(c: Compiled, plates: Plates, rows: Rows, parts: Sequence[int], rng: Random) -> Rows:
    """The rows with these parts put in one after another, each where it costs least."""
    beds = beds_of(c, plates)
    state = state_of(c, plates, beds, rows, rng)
    reach = max(8, MOST_TRIES // (max(1, len(parts)) * len(plates.beds)))
    left = fill(
        beds, plates.ground, state, draft_of(state), lying_of(plates, state),
        np.array(parts, dtype=np.int32), reach,
    )  # fmt: skip
    rows = rows_of(c, plates, state)
    for p in parts[len(parts) - left :]:
        rows[plates.fits[p][-1]].append(c.batch(plates.fits[p][-1], (p,)))
    return rows


def improve(
    c: Compiled, plates: Plates, rows: Rows, aim: Aim, meter: Meter, rng: Random, goal: float
) -> Rows:
    """The best batches found until the meter ends or the score (of the aim) is down to `goal`."""
    count = len(plates.area)
    if meter.progress() >= 1.0 or count < 2:
        return rows
    walks = [_walk(c, plates, aim.beds, rows, rng) for _ in range(threads_of(meter))]
    score = score_of(aim.beds, walks[0].best)
    if score == INFINITY:
        return rows
    for walk in walks:
        walk.score = score
    moves, tried, last_round = FIRST_MOVES, 0, 0
    with ThreadPoolExecutor(len(walks)) as pool:
        while score > goal:
            progress = meter.progress()
            if meter.counted:
                moves = MOVES_PER_UNIT * max(1, min(FIRST_MOVES // MOVES_PER_UNIT, meter.units_left()))
            if progress >= 1.0 or not meter.spend(moves // MOVES_PER_UNIT):
                break
            rounds = min(ROUNDS, max(1, int(tried / max(progress, 1e-3) / (MOVES_OF_A_ROUND * count))))
            if int(progress * rounds) != last_round:
                last_round = int(progress * rounds)
                _exchange(plates, walks)
            heat = score * aim.hot * (aim.cold / aim.hot) ** (progress * rounds % 1.0)
            began = perf_counter()
            done = [pool.submit(walk.go, aim.beds, plates, moves, heat) for walk in walks[1:]]
            walks[0].go(aim.beds, plates, moves, heat)
            wait(done)
            score = min(walk.score for walk in walks)
            tried += moves
            if not meter.counted:
                moves = max(64, int(moves * min(4.0, max(0.25, STRETCH_S / (perf_counter() - began + 1e-9)))))
    return rows_of(c, plates, min(walks, key=lambda walk: walk.score).best)


@dataclass(slots=True)
class _Walk:
    """One thread's batches, the best of them and what they score."""

    state: State
    best: State
    draft: Draft
    lying: Lying
    score: float = INFINITY

    def go(self, beds: Beds, plates: Plates, moves: int, heat: float) -> None:
        _, self.score = anneal(
            beds, plates.ground, self.state, self.best, self.draft, self.lying, self.score, moves, heat
        )


def _walk(c: Compiled, plates: Plates, beds: Beds, rows: Rows, rng: Random) -> _Walk:
    state = state_of(c, plates, beds, rows, rng)
    return _Walk(state, like(state), draft_of(state), lying_of(plates, state))


def _exchange(plates: Plates, walks: Sequence[_Walk]) -> None:
    """All but the best walk go on from where that was at its best."""
    leader = min(walks, key=lambda walk: walk.score)
    for walk in walks:
        if walk is not leader and walk.score > leader.score:
            copy(leader.best, walk.state)
            copy(leader.best, walk.best)
            walk.lying = lying_of(plates, walk.state)
            walk.score = leader.score


def threads_of(meter: Meter) -> int:
    """How many walks go at the same time: what is counted must not depend on the computer."""
    return 1 if meter.counted else min(MOST_THREADS, os.cpu_count() or 1)
