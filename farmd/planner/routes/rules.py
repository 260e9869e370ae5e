"""Routes by rule: operations one after another in order of urgency, each where it ends first; always a plan.

A furnace may be kept waiting for what is on its way, by so much of its cycle as `patience` says. Knows no search.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from farmd.planner.routes.finishing import Clock, Finishing
from farmd.planner.routes.slate import INFINITY, Slate, Spot, Unit


class Rule(NamedTuple):
    """`edd`: least time left to begin, `fifo`: first released, `mwr`: most work behind it, `wedd`: by weight too."""

    name: str
    patience: float = 0.0


RULES = tuple(Rule(name, patience) for patience in (0.0, 0.5, 1.5) for name in ("edd", "mwr", "wedd", "fifo"))


def by_rule(f: Finishing, rule: Rule, tries: int, only: Sequence[int] | None = None) -> Slate:
    """The slate of the rule's order, every operation placed; `only` says on which station, if not all may be."""
    keys = [_key(f, v, rule.name) for v in range(len(f.ops))]
    clock, units = _Pass(f, keys, rule.patience, only).run()
    ordered = sorted(
        range(len(units)),
        key=lambda i: (clock.start[units[i].ops[0]], max(f.ops[v].level for v in units[i].ops), i),
    )
    return f.decode([units[i] for i in ordered], tries)


def _key(f: Finishing, v: int, name: str) -> float:
    op = f.ops[v]
    journey = f.journeys[op.journey]
    due = journey.due_s
    latest = min(op.latest, (due if due is not None else 1e12) - op.tail - f.least(v))
    if name == "edd":
        return latest
    if name == "fifo":
        return min(f.ops[w].release for w in f.of_journey[op.journey]) + 1e-3 * op.level
    if name == "mwr":
        return -(op.tail + f.least(v))
    return (latest - op.head) / max(journey.weight, 1e-3) if journey.weight < 1e12 else -INFINITY


class _Pass:
    """One pass over all operations; those whose predecessors are placed are up for choice."""

    def __init__(self, f: Finishing, keys: list[float], patience: float, only: Sequence[int] | None) -> None:
        self.f, self.keys, self.patience, self.only = f, keys, patience, only
        self.clock = Clock(f)
        self.units: list[Unit] = []
        self.spots: list[Spot] = []
        self.open: dict[tuple[int, int], list[int]] = {}
        self.waiting: dict[int, set[int]] = {}
        for v, op in enumerate(f.ops):
            if op.recipe >= 0:
                self.waiting.setdefault(op.recipe, set()).add(v)

    def run(self) -> tuple[Clock, list[Unit]]:
        f = self.f
        left = [len(op.before) for op in f.ops]
        heap: list[tuple[float, int]] = []
        for v, count in enumerate(left):
            if count == 0:
                heappush(heap, (self.keys[v], v))
        while heap:
            _, v = heappop(heap)
            self._place(v)
            for after in f.ops[v].after:
                left[after.op] -= 1
                if left[after.op] == 0:
                    heappush(heap, (self.keys[after.op], after.op))
        return self.clock, self.units

    def _place(self, v: int) -> None:
        f, clock, op = self.f, self.clock, self.f.ops[v]
        at = clock.ready((v,), {})
        best: Spot | None = None
        joined = -1
        for station, seconds in op.choices:
            if self.only is not None and self.only[v] != station:
                continue
            furnace = f.stations[station].batch is not None
            for u in self.open.get((station, op.recipe), ()) if furnace else ():
                spot = self.spots[u]
                fits = spot.start >= at and f.holds(station, (*self.units[u].ops, v))
                if fits and (best is None or spot.end < best.end):
                    best, joined = spot, u
            begin = max(at, self._worth_waiting(v, station, seconds, at)) if furnace and self.patience else at
            spot = clock.earliest((v,), station, seconds, begin)
            if best is None or spot.end < best.end:
                best, joined = spot, -1
        assert best is not None
        if op.recipe >= 0:
            self.waiting[op.recipe].discard(v)
        if joined >= 0:
            unit = self.units[joined]
            self.units[joined] = Unit((*unit.ops, v), unit.station)
            clock.start[v], clock.end[v] = best.start, best.end
            return
        if best.end < INFINITY:
            clock.take(best)
        if f.stations[best.station].batch is not None:
            self.open.setdefault((best.station, op.recipe), []).append(len(self.units))
        self.units.append(Unit((v,), best.station))
        self.spots.append(best)

    def _worth_waiting(self, v: int, station: int, seconds: float, at: float) -> float:
        """When the batch would be as full as it can be without waiting for longer than patience allows."""
        f, until = self.f, at + self.patience * seconds
        coming = []
        for w in self.waiting.get(f.ops[v].recipe, ()):
            if w != v and any(k == station for k, _ in f.ops[w].choices):
                ready = max(
                    [f.ops[w].head]
                    + [
                        (self.clock.end[b.op] if self.clock.end[b.op] < INFINITY else 0.0) + b.least
                        for b in f.ops[w].before
                    ]
                )
                if at < ready <= until:
                    coming.append((ready, w))
        members = [v]
        for ready, w in sorted(coming):
            if not f.holds(station, (*members, w)):
                break
            members.append(w)
            at = ready
        return at
