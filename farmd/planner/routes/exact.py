"""CP-SAT on routes: a flexible job shop with furnaces, people and lags, whole or a window of it.

In a window some operations are free; of the others those that begin before its end stay where they are, the later
ones are left out and only what they take at least is counted. What comes back are units in an order; putting them on
the clock is `finishing.py`'s, so that no rounding here can break a plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from farmd.planner.budget import Meter
from farmd.planner.routes.exact_model import Model
from farmd.planner.routes.finishing import Finishing
from farmd.planner.routes.slate import INFINITY, Slate, Unit
from farmd.planner.solver import LARGEST_OBJECTIVE, run, weight_scale

SCALES = (1, 10, 100, 1000)
MOST_GRAINS = 10**9
PRESOLVE_S_PER_OP = 0.04
"""With less time than this, and in windows, presolving takes more than it gives."""


@dataclass(frozen=True, slots=True)
class Found:
    """Units in the order of their starts or None, a lower bound in seconds or None, and whether there is no plan.

    `starts` are of the operations that were free.
    """

    units: list[Unit] | None
    starts: dict[int, float]
    bound: float | None
    impossible: bool


def solve(f: Finishing, slate: Slate, free: Sequence[int], meter: Meter, seed: int) -> Found | None:
    """The best order found of the `free` operations; None where numbers do not fit or no time is left."""
    scale, whole = scale_of(f)
    if not whole:
        # In whole seconds, so that what is known is a solution to begin with and not one that rounding breaks.
        coarse = f.in_whole_seconds()
        known = coarse.decode(slate.units())
        if not known.broken:
            f, slate = coarse, known
    latest = max((spot.end for spot in slate.spots if spot.end < INFINITY), default=0.0)
    horizon = latest + sum(f.least(v) + max(s for _, s in f.ops[v].choices) for v in free) + 1.0
    horizon = max([horizon] + [end for crew in f.people.crews for end in crew.ends])
    weights = weight_scale([*(j.weight for j in f.journeys if j.due_s is not None), f.price])
    total = sum(j.weight for j in f.journeys) + len(f.ops) + 1
    if weights is None or horizon * scale > MOST_GRAINS:
        return None
    if horizon * scale * total * weights > LARGEST_OBJECTIVE:
        return None
    model = Model(f, slate, frozenset(free), scale, weights, horizon)
    presolve = len(free) == len(f.ops) and meter.seconds_left() > PRESOLVE_S_PER_OP * len(free)
    answer = run(model.cp, meter, seed, float(scale if f.makespan else scale * weights), presolve=presolve)
    if answer is None:
        return None
    exact = whole and model.complete and len(free) == len(f.ops)
    if not answer.found:
        return Found(None, {}, None, answer.impossible and exact)
    bound = answer.proof if exact else None
    starts = {v: answer.solver.value(s) / scale for v, s in model.s.items()}
    return Found(model.units(answer.solver), starts, bound, False)


def on_the_clock(f: Finishing, found: Found) -> Slate | None:
    """What was found as a slate: as early as can be, or, where a lag breaks by that, as the solver had it."""
    if found.units is None:
        return None
    slate = f.decode(found.units)
    return f.decode(found.units, not_before=found.starts) if slate.broken else slate


def scale_of(f: Finishing) -> tuple[float, bool]:
    """Grains in a second, below 1 where all times are multiples of more, and whether they hold all times exactly."""
    times = [op.release for op in f.ops] + [t for op in f.ops for _, t in op.choices]
    times += [t for op in f.ops for t in (op.load, op.unload)]
    times += [t for op in f.ops for lag in op.before for t in (lag.least, lag.most) if t < INFINITY]
    times += [op.latest for op in f.ops if op.latest < INFINITY]
    times += [t for windows in f.windows for span in windows for t in span if t < INFINITY]
    times += [j.due_s for j in f.journeys if j.due_s is not None]
    times += [t for crew in f.people.crews for t in crew.starts]
    times += [start for _, start, _ in f.busy] + [work for _, _, work in f.busy]
    for scale in SCALES:
        if all(abs(t * scale - round(t * scale)) < 1e-6 for t in times):
            return scale / max(1, math.gcd(*(round(t * scale) for t in times))), True
    return 1.0, False
