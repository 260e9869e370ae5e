"""What a search on batches is for: the objective, or fewer and shorter builds once that is as good as it gets.

Knows the arrays of the kernel, and how hot a search for each begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from farmd.planner.compiled import Compiled
from farmd.planner.powder.arrays import beds_of
from farmd.planner.powder.data import DUE, ELSEWHERE, FLOW, NORM_S, PRICE, WEIGHT, Beds
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import Rows, spread, value

HOT, COLD = 0.03, 1e-4
"""Temperatures for the makespan, as shares of it; no hotter than a part's share."""
HOT_COST, COLD_COST = 2.0, 0.01
"""Temperatures otherwise, as shares of the mean cost of a part."""
OBJECTIVE_PRICE = 1000.0
"""Seconds of ends that a second of the objective is worth where it must not suffer."""


@dataclass(frozen=True, slots=True)
class Aim:
    """The problem as `beds`, what rows score, and temperatures as shares of the score."""

    beds: Beds
    score: Callable[[Rows], float]
    hot: float
    cold: float


def objective(c: Compiled, plates: Plates) -> Aim:
    """The makespan, or the cost."""
    count = len(plates.area)
    hot, cold = (min(HOT, 1.0 / count), COLD) if c.makespan else (HOT_COST / count, COLD_COST / count)
    return Aim(beds_of(c, plates), lambda rows: value(c, rows), hot, cold)


def sparing(c: Compiled, plates: Plates, least: float) -> Aim:
    """The ends of all builds together, whose objective is to be no worse than `least`."""
    count = len(plates.area)
    beds = beds_of(c, plates)
    part, terms = beds.part, beds.terms
    if c.makespan:
        part[:, DUE], part[:, WEIGHT], part[:, ELSEWHERE] = least, OBJECTIVE_PRICE, 0.0
    else:
        part[:, WEIGHT] *= OBJECTIVE_PRICE
        part[:, ELSEWHERE] *= OBJECTIVE_PRICE
    terms[PRICE] = 0.0 if c.makespan else terms[PRICE] * OBJECTIVE_PRICE
    terms[NORM_S], terms[FLOW] = 0.0, 1.0

    def score(rows: Rows) -> float:
        return OBJECTIVE_PRICE * max(0.0, value(c, rows) - least) + spread(c, rows)

    return Aim(beds._replace(part=np.ascontiguousarray(part)), score, HOT_COST / count, COLD_COST / count)
