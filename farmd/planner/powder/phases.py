"""The parts in batches, better and better: filled in several orders, annealed, polished and proven.

Knows the order of the phases and their shares of the budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.powder import exact
from farmd.planner.powder.aim import Aim, objective, sparing
from farmd.planner.powder.board import OUTLINES
from farmd.planner.powder.bounds import makespan_bound
from farmd.planner.powder.by_area import by_area
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import ORDERS, Rows, sequence, value
from farmd.planner.powder.search import filled, improve
from farmd.planner.solver import LEAST_S

BOUND_SHARE = 0.2
FILLINGS = 3.0
"""How often a further filling must go into what is left of the time, to leave some for what betters it."""
BY_AREA_SHARE = 0.75
"""Of a search for outlines, by area first."""
SPARING_SHARE, QUICK_SHARE, QUICK_S = 0.3, 0.05, 0.5
"""Of a search, for fewer builds once the objective is no longer bettered: for outlines; otherwise, and at most."""
SMALL, SMALL_SHARE, SHARE = 14, 0.15, 0.6
"""Up to so many parts the search needs less of the budget than the exact model; and what it gets of it."""


def by_rule(c: Compiled, plates: Plates, order: str, rng: Random) -> Rows:
    """The batches of one filling."""
    return filled(c, plates, [[] for _ in c.ready], sequence(c, order), rng)


def batched(
    c: Compiled, plates: Plates, meter: Meter, rng: Random, seed: int, least: float
) -> Iterator[tuple[Rows, float]]:
    """Batches and a proven lower bound of their makespan or cost, `least` or better, each time one of both is better.

    The bound is of the parts alone; with builds besides, only that of the makespan says anything.
    """
    best: Rows | None = None
    tried: set[tuple[int, ...]] = set()
    longest = 0.0
    for order in ORDERS:
        parts = sequence(c, order)
        if best is not None and (
            plates.how == OUTLINES or parts in tried or not meter.spend(like_s=FILLINGS * longest)
        ):
            continue
        tried.add(parts)
        began = meter.elapsed_s()
        rows = filled(c, plates, [[] for _ in c.ready], parts, rng)
        if best is None or value(c, rows) < value(c, best):
            best = rows
        longest = max(longest, meter.elapsed_s() - began)
    assert best is not None
    yield best, least
    if c.makespan:
        least = makespan_bound(c, plates, least, meter.share(BOUND_SHARE))
        yield best, least
    exactly = exact.fits(c, plates)
    share = 1.0 if not exactly else SMALL_SHARE if len(plates.area) <= SMALL else SHARE
    rest = meter.share(share)
    spare = (
        SPARING_SHARE
        if plates.how == OUTLINES
        else min(QUICK_SHARE, QUICK_S / max(QUICK_S, rest.seconds_left()))
    )
    best = _better(c, plates, best, objective(c, plates), rest.share(1.0 - spare), rng, least, longest)
    left = rest.share(min(1.0, spare / max(spare, 1.0 - rest.progress())))
    best = _better(c, plates, best, sparing(c, plates, value(c, best)), left, rng, 0.0, longest)
    yield best, least
    if exactly and meter.seconds_left() >= LEAST_S:
        polished = exact.polish(c, plates, best, least, meter, seed)
        if polished is not None:
            rows, bound = polished
            if all(plates.hold(m, batch.parts) for m, row in enumerate(rows) for batch in row):
                best = min(best, rows, key=lambda rows: value(c, rows))
            yield best, max(least, bound or 0.0)


def _better(
    c: Compiled, plates: Plates, rows: Rows, aim: Aim, meter: Meter, rng: Random, goal: float, laid_s: float
) -> Rows:
    """What the searches make of the rows; the rows where that is nothing better."""
    made = rows
    if plates.how == OUTLINES:
        made = by_area(c, plates, made, aim, meter.share(BY_AREA_SHARE), rng, goal, laid_s)
    made = improve(c, plates, made, aim, meter, rng, goal)
    return min(rows, made, key=aim.score)
