"""The parts in batches, better and better: filled in several orders, annealed, polished and proven.

Knows the order of the phases and their shares of the budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.powder import exact
from farmd.planner.powder.bounds import makespan_bound
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import ORDERS, Rows, sequence, value
from farmd.planner.powder.search import filled, improve
from farmd.planner.solver import LEAST_S

BOUND_SHARE = 0.2
FILLINGS = 3.0
"""How often a further filling must go into what is left of the time, to leave some for what betters it."""
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
        if best is not None and (parts in tried or not meter.spend(like_s=FILLINGS * longest)):
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
    best = improve(c, plates, best, meter.share(share), rng, least)
    yield best, least
    if exactly and meter.seconds_left() >= LEAST_S:
        polished = exact.polish(c, plates, best, least, meter, seed)
        if polished is not None:
            rows, bound = polished
            if all(plates.hold(m, batch.parts) for m, row in enumerate(rows) for batch in row):
                best = min(best, rows, key=lambda rows: value(c, rows))
            yield best, max(least, bound or 0.0)
