"""Routes from nothing to the best slate that a budget allows: rules, then search and CP-SAT by what suits the shop.

Knows the order of the phases. Knows nothing of builds but when what they make is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from farmd.planner.budget import Meter
from farmd.planner.plans import Plan
from farmd.planner.routes import exact, jobshop
from farmd.planner.routes.finishing import TRIES, Finishing
from farmd.planner.routes.rules import RULES, Rule, by_rule
from farmd.planner.routes.search import by_windows, change, in_order
from farmd.planner.routes.slate import INFINITY, Slate, Unit
from farmd.planner.solver import LEAST_S

MOST_OPS = 400
"""So many operations are still one model of CP-SAT in a plain job shop."""
WHOLE_OPS = 220
"""And so many in any other."""
LARGE_OPS = 3000
"""Above this a slate by rule takes so long that few are asked."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The best slate, a lower bound of its objective, and whether it is proven that no slate holds all lags."""

    slate: Slate
    bound: float
    impossible: bool = False


def finished(f: Finishing, meter: Meter, seed: int, known: Slate | None = None) -> Finished:
    """The best slate that the meter allows; one by rule even where it allows nothing."""
    least = least_of(f)
    best = _by_rules(f, meter, known)
    if best.objective <= least + 1e-6 and not best.broken:
        return Finished(best, least)
    rng = Random(seed)
    if jobshop.is_plain(f):
        return _plain(f, best, meter, rng, seed, least)
    best = change(f, best, meter.share(0.3), rng, least)
    if (best.broken or best.objective > least + 1e-6) and meter.seconds_left() >= LEAST_S:
        if len(f.ops) <= WHOLE_OPS:
            found = exact.solve(f, best, range(len(f.ops)), meter.share(0.7), seed)
            if found is not None:
                if found.impossible:
                    return Finished(best, least, True)
                best = min(best, exact.on_the_clock(f, found) or best, key=lambda slate: slate.rank)
                least = max(least, min(found.bound or 0.0, best.objective))
        else:
            best = by_windows(f, best, meter.share(0.8), seed, least)
    if best.objective > least + 1e-6 and not meter.counted:
        best = change(f, best, meter, rng, least)
    return Finished(best, least)


def ruled(f: Finishing, rule: Rule) -> Slate:
    """The slate of one rule alone."""
    return by_rule(f, rule, TRIES)


def _by_rules(f: Finishing, meter: Meter, known: Slate | None) -> Slate:
    """The best of all rules, as many as there is time for; `known` counts as one."""
    phase = meter.share(0.2)
    best, longest = known, 0.0
    for rule in RULES if len(f.ops) <= LARGE_OPS else RULES[:2]:
        if best is not None and not phase.spend(max(1, len(f.ops) // 100), like_s=longest):
            break
        began = phase.elapsed_s()
        made = by_rule(f, rule, TRIES)
        longest = max(longest, phase.elapsed_s() - began)
        best = made if best is None or made.rank < best.rank else best
    assert best is not None
    return best


def _plain(f: Finishing, best: Slate, meter: Meter, rng: Random, seed: int, least: float) -> Finished:
    """A plain job shop: the work shared out for a bound and a start, tabu search, and CP-SAT in between."""
    if meter.seconds_left() < LEAST_S:
        return Finished(best, least)
    phase = meter.share(0.08)
    low, stations = jobshop.shared_out(f, phase, seed)
    if phase.counted:
        phase.spend(max(1, phase.units_left()))
    least = max(least, low)
    starts = [best]
    if stations is not None:
        starts += [by_rule(f, rule, TRIES, stations) for rule in RULES[:4]]
        phase = meter.share(0.1)
        if len(f.ops) <= MOST_OPS and phase.seconds_left() >= LEAST_S:
            # Where the stations' work decides, an order for the work as it is shared out is soon found, or refuted.
            first = min(starts[1:], key=lambda slate: slate.rank)
            found = exact.solve(f.at_these(stations), first, range(len(f.ops)), phase, seed)
            if phase.counted:
                phase.spend(max(1, phase.units_left()))
            made = exact.on_the_clock(f, found) if found is not None else None
            starts += [made] if made is not None else []
    best = jobshop.improve(f, starts, meter.share(0.3), rng, least)
    if best.objective > least + 1e-6 and len(f.ops) <= MOST_OPS and meter.seconds_left() >= LEAST_S:
        phase = meter.share(0.3)
        found = exact.solve(f, best, range(len(f.ops)), phase, seed)
        if phase.counted:
            phase.spend(max(1, phase.units_left()))
        if found is not None:
            best = min(best, exact.on_the_clock(f, found) or best, key=lambda slate: slate.rank)
            least = max(least, min(found.bound or 0.0, best.objective))
    if best.objective > least + 1e-6:
        best = jobshop.improve(f, [best], meter, rng, least)
    return Finished(best, min(least, best.objective))


def least_of(f: Finishing) -> float:
    """What no slate can be below: every journey alone, and the work that has to be done at any station."""
    ends = [max(f.ops[v].head + f.least(v) for v in mine) for mine in f.of_journey]
    if f.makespan:
        return max(ends, default=f.problem.now_s)
    late = sum(
        journey.weight * max(0.0, end - journey.due_s)
        for journey, end in zip(f.journeys, ends, strict=True)
        if journey.due_s is not None
    )
    # What goes to a furnace may be loaded together with others, for nothing more.
    alone = (v for v, op in enumerate(f.ops) if all(f.stations[k].batch is None for k, _ in op.choices))
    return late + f.price * sum(min(f.work(v, k) for k, _ in f.ops[v].choices) for v in alone)


def carried(f: Finishing, plan: Plan) -> Slate | None:
    """The plan's operations in their old order, what is new among them by its urgency; None where there are none."""
    at = {op.name: v for v, op in enumerate(f.ops)}
    stations = {station.name: k for k, station in enumerate(f.stations)}
    batches: dict[tuple[int, str], list[int]] = {}
    key: dict[int, float] = {}
    units: list[Unit] = []
    for planned in sorted(plan.operations, key=lambda o: (o.start_s, o.operation)):
        v, k = at.get(planned.operation, -1), stations.get(planned.station, -1)
        if v < 0 or all(k != choice for choice, _ in f.ops[v].choices):
            continue
        key[v] = planned.start_s
        if f.stations[k].batch is None:
            units.append(Unit((v,), k))
            continue
        mine = batches.setdefault((k, planned.batch or ""), [])
        same = all(f.ops[w].recipe == f.ops[v].recipe for w in mine)
        if same and f.holds(k, (*mine, v)):
            mine.append(v)
        else:
            units.append(Unit((v,), k))
    units += [Unit(tuple(ops), k) for (k, _), ops in batches.items() if ops]
    if not units:
        return None
    for v, op in enumerate(f.ops):
        if v not in key:
            due = f.journeys[op.journey].due_s
            key[v] = op.head if due is None else max(op.head, due - op.tail - f.least(v))
            units.append(
                Unit(
                    (v,), -1 if all(f.stations[k].batch is None for k, _ in op.choices) else op.choices[0][0]
                )
            )
    ordered = in_order(f, units, [max(key[v] for v in unit.ops) for unit in units])
    if ordered is None:
        return None
    slate = f.decode(ordered)
    return slate if slate.flow < INFINITY else None
