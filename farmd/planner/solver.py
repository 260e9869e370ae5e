"""What both exact models share: the grain of time, the limits of a run of CP-SAT, and its answer.

Knows OR-Tools' parameters. Knows nothing of builds or parts. Times become whole grains, rounded to
the nearest; plans are put back on the floats of the problem, within the tolerance of a replay.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ortools.sat.python import cp_model

from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY

LARGEST_GRAINS = 10**11
LARGEST_OBJECTIVE = 2**60
LEAST_S = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """`proof` is a lower bound in seconds (minus infinity for none); `optimal` that nothing is better."""

    solver: cp_model.CpSolver
    found: bool
    optimal: bool
    impossible: bool
    proof: float


def grain(horizon_s: float, finest: int) -> int | None:
    """Grains in a second: a power of ten up to `finest` that keeps the horizon small; None if a ms is too fine."""
    per_second = finest
    while per_second >= 1000:
        if horizon_s * per_second <= LARGEST_GRAINS:
            return per_second
        per_second //= 10
    return None


def weight_scale(weights: list[float]) -> int | None:
    """The power of ten up to 1,000 that makes all weights whole, or None."""
    for scale in (1, 10, 100, 1000):
        if all(abs(w * scale - round(w * scale)) < 1e-9 for w in weights):
            return scale
    return None


def run(
    model: cp_model.CpModel, meter: Meter, seed: int, per_unit: float, *, presolve: bool = True
) -> Answer | None:
    """Solve within the meter; `per_unit` is how much of the objective makes one second. None if no time is left.

    Presolving takes seconds by itself: without it a hint is a solution at once.
    """
    seconds = meter.seconds_left()
    if seconds < LEAST_S:
        return None
    solver = cp_model.CpSolver()
    solver.parameters.random_seed = seed % 2**31
    solver.parameters.cp_model_presolve = presolve
    if meter.counted:
        solver.parameters.num_workers = 1
        solver.parameters.max_deterministic_time = seconds
    else:
        solver.parameters.num_workers = max(1, os.cpu_count() or 1)
        solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return Answer(
        solver,
        found,
        status == cp_model.OPTIMAL,
        status == cp_model.INFEASIBLE,
        solver.best_objective_bound / per_unit if found else -INFINITY,
    )
