"""Search on batches: the kernel's filling and annealing, driven for as long as the budget lasts.

Knows temperatures, rounds of heating and how long a stretch of moves may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from time import perf_counter

import numpy as np

from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.powder.anneal import anneal
from farmd.planner.powder.arrays import beds_of, draft_of, like, lying_of, rows_of, score_of, state_of
from farmd.planner.powder.fill import fill
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import Rows

STRETCH_S = 0.02
"""Wall time of one stretch of moves: how finely the budget is kept."""
FIRST_MOVES = 2_000
MOVES_PER_UNIT = 50
"""Of a counted budget: what costs about as much as a unit elsewhere."""
ROUNDS = 16
MOVES_OF_A_ROUND = 25_000
"""For each part at least, before there is a further round of heating."""
HOT, COLD = 0.03, 1e-4
"""Temperatures for the makespan, as shares of it; no hotter than a part's share."""
HOT_COST, COLD_COST = 2.0, 0.01
"""Temperatures otherwise, as shares of the mean cost of a part."""
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


def improve(c: Compiled, plates: Plates, rows: Rows, meter: Meter, rng: Random, goal: float) -> Rows:
    """The best batches found until the meter ends or the score (makespan, or cost) is down to `goal`."""
    count = len(plates.area)
    if meter.progress() >= 1.0 or count < 2:
        return rows
    beds = beds_of(c, plates)
    state = state_of(c, plates, beds, rows, rng)
    best, draft, lying = like(state), draft_of(state), lying_of(plates, state)
    score = score_of(beds, state)
    if score == INFINITY:
        return rows
    if c.makespan:
        hot, cold = min(HOT, 1.0 / count), COLD
    else:
        hot, cold = HOT_COST / count, COLD_COST / count
    moves, tried = FIRST_MOVES, 0
    while score > goal:
        progress = meter.progress()
        if meter.counted:
            moves = MOVES_PER_UNIT * max(1, min(FIRST_MOVES // MOVES_PER_UNIT, meter.units_left()))
        if progress >= 1.0 or not meter.spend(moves // MOVES_PER_UNIT):
            break
        rounds = min(ROUNDS, max(1, int(tried / max(progress, 1e-3) / (MOVES_OF_A_ROUND * count))))
        heat = score * hot * (cold / hot) ** (progress * rounds % 1.0)
        began = perf_counter()
        _, score = anneal(beds, plates.ground, state, best, draft, lying, score, moves, heat)
        tried += moves
        if not meter.counted:
            moves = max(64, int(moves * min(4.0, max(0.25, STRETCH_S / (perf_counter() - began + 1e-9)))))
    return rows_of(c, plates, best)
