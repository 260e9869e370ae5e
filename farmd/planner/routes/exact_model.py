"""The variables and rules of CP-SAT's model of routes: one method a rule, its sentence the docstring.

Knows OR-Tools. Knows nothing of how long to solve, nor of what becomes of the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ortools.sat.python import cp_model

from farmd.planner.routes.finishing import Finishing
from farmd.planner.routes.slate import INFINITY, Slate, Spot, Unit

SPARE_BATCHES = 2
MOST_OWN_BATCHES = 12
"""Up to so many operations of a recipe have a batch each to go to, and the model is exact."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """One possible cycle of a furnace."""

    station: int
    recipe: int
    start: cp_model.IntVar
    end: cp_model.IntVar
    used: cp_model.IntVar


class Model:
    """By operation v: s start, e end, x[v, station] and, at furnaces, y[v, batch]."""

    def __init__(
        self, f: Finishing, slate: Slate, free: frozenset[int], scale: float, weights: int, horizon: float
    ) -> None:
        self.f, self.free, self.scale, self.weights = f, free, scale, weights
        self.cp = cp_model.CpModel()
        self.most = math.ceil(horizon * scale)
        self.spot_of = {v: spot for spot in slate.spots for v in spot.ops}
        ends = [self.spot_of[v].start for v in free]
        self.until = max((t for t in ends if t < INFINITY), default=0.0)
        self.complete = True
        self.s: dict[int, cp_model.IntVar] = {}
        self.e: dict[int, cp_model.IntVar] = {}
        self.x: dict[tuple[int, int], cp_model.IntVar] = {}
        self.y: dict[tuple[int, int], cp_model.IntVar] = {}
        self.batches: list[_Batch] = []
        self.at_station: list[list[cp_model.IntervalVar]] = [[] for _ in f.stations]
        self.at_work: list[list[cp_model.IntervalVar]] = [[] for _ in f.people.crews]
        self.given_at_station: list[list[cp_model.IntervalVar]] = [[] for _ in f.stations]
        self.given_at_work: list[list[cp_model.IntervalVar]] = [[] for _ in f.people.crews]
        self.fixed = [spot for spot in slate.spots if not set(spot.ops) & free and spot.start <= self.until]
        kept = {v for spot in self.fixed for v in spot.ops}
        for v in sorted(free):
            self._operation(v)
        for v in sorted(free):
            self._order(v, kept)
        self._furnaces(slate)
        for spot in self.fixed:
            self._stays(spot)
        self._stations()
        self._people()
        self._objective(kept)

    def _grains(self, seconds: float) -> int:
        return round(min(seconds * self.scale, self.most))

    def _hint(self, variable: cp_model.IntVar, value: float) -> None:
        self.cp.add_hint(variable, round(min(value, self.most)))

    def _operation(self, v: int) -> None:
        """It is at one station, as long as it takes there; what may wait for unloading may take longer."""
        op, cp = self.f.ops[v], self.cp
        spot = self.spot_of[v]
        low = self._grains(op.release)
        high = self.most if op.latest == INFINITY else max(low, self._grains(op.latest))
        s = self.s[v] = cp.new_int_var(low, high, f"s{v}")
        e = self.e[v] = cp.new_int_var(low, self.most, f"e{v}")
        cp.add_hint(s, min(high, max(low, self._grains(min(spot.start, self.most / self.scale)))))
        cp.add_hint(e, min(self.most, max(low, self._grains(min(spot.end, self.most / self.scale)))))
        waits = self._waits(v)
        for station, seconds in op.choices:
            x = self.x[v, station] = cp.new_bool_var(f"x{v},{station}")
            cp.add_hint(x, spot.station == station)
            if self.f.stations[station].batch is not None:
                continue
            size = self._grains(op.load + seconds + op.unload)
            if waits:
                length = cp.new_int_var(size, self.most, "")
                self._hint(length, max(float(size), self._grains(spot.end) - self._grains(spot.start)))
                interval = cp.new_optional_interval_var(s, length, e, x, "")
            else:
                interval = cp.new_optional_fixed_size_interval_var(s, size, x, "")
                cp.add(e == s + size).only_enforce_if(x)
            self.at_station[station].append(interval)
        cp.add_exactly_one(self.x[v, station] for station, _ in op.choices)
        if all(self.f.stations[station].batch is None for station, _ in op.choices):
            self._works(v, s, e, None, [(self.x[v, k], seconds) for k, seconds in op.choices], spot)

    def _waits(self, v: int) -> bool:
        op = self.f.ops[v]
        return op.unload > 0 and not op.crewed and not self.f.people.free

    def _order(self, v: int, kept: set[int]) -> None:
        """It keeps its lags to what is before and behind it."""
        for b in self.f.ops[v].before:
            end = self.e[b.op] if b.op in self.free else self._grains(self.spot_of[b.op].end)
            self.cp.add(self.s[v] >= end + self._grains(b.least))
            if b.most < INFINITY:
                self.cp.add(self.s[v] <= end + self._grains(b.most))
        for a in self.f.ops[v].after:
            if a.op in kept:
                start = self._grains(self.spot_of[a.op].start)
                self.cp.add(self.e[v] + self._grains(a.least) <= start)
                if a.most < INFINITY:
                    self.cp.add(self.e[v] + self._grains(a.most) >= start)

    def _furnaces(self, slate: Slate) -> None:
        """Batches of one recipe: all in it begin and end with it, and it holds them."""
        cp = self.cp
        for k, station in enumerate(self.f.stations):
            if station.batch is None:
                continue
            by_recipe: dict[int, list[int]] = {}
            for v in sorted(self.free):
                if (v, k) in self.x:
                    by_recipe.setdefault(self.f.ops[v].recipe, []).append(v)
            for recipe, mine in by_recipe.items():
                there = [
                    s
                    for s in slate.spots
                    if s.station == k and set(s.ops) & self.free and self.f.ops[s.ops[0]].recipe == recipe
                ]
                self._cycles(k, recipe, mine, there)
        for v in self.free:
            furnaces = [k for k, _ in self.f.ops[v].choices if self.f.stations[k].batch is not None]
            for k in furnaces:
                cp.add(
                    sum(lit for (w, b), lit in self.y.items() if w == v and self.batches[b].station == k)
                    == self.x[v, k]
                )
            if furnaces and len(furnaces) < len(self.f.ops[v].choices):
                plain = [(self.x[v, k], s) for k, s in self.f.ops[v].choices if k not in furnaces]
                self._works(v, self.s[v], self.e[v], [lit for lit, _ in plain], plain, self.spot_of[v])

    def _cycles(self, k: int, recipe: int, mine: list[int], there: list[Spot]) -> None:
        cp, op = self.cp, self.f.ops[mine[0]]
        number = len(mine)
        if number > MOST_OWN_BATCHES:
            number = min(number, len(there) + SPARE_BATCHES)
            self.complete = False
        seconds = next(s for station, s in op.choices if station == k)
        size = self._grains(op.load + seconds + op.unload)
        before: _Batch | None = None
        for i in range(number):
            known = there[i] if i < len(there) else None
            start = cp.new_int_var(0, self.most, "")
            end = cp.new_int_var(0, self.most, "")
            used = cp.new_bool_var("")
            batch = _Batch(k, recipe, start, end, used)
            b = len(self.batches)
            self.batches.append(batch)
            if self._waits(mine[0]):
                length = cp.new_int_var(size, self.most, "")
                taken = size if known is None else self._grains(known.end) - self._grains(known.start)
                self._hint(length, max(float(size), taken))
                interval = cp.new_optional_interval_var(start, length, end, used, "")
            else:
                interval = cp.new_optional_fixed_size_interval_var(start, size, used, "")
                cp.add(end == start + size)
            self.at_station[k].append(interval)
            cp.add_hint(used, known is not None)
            if known is not None and known.end < INFINITY:
                cp.add_hint(start, self._grains(known.start))
                cp.add_hint(end, self._grains(known.end))
            inside = []
            for v in mine:
                lit = self.y[v, b] = cp.new_bool_var("")
                inside.append((v, lit))
                cp.add_hint(lit, known is not None and v in known.ops)
                cp.add(self.s[v] == start).only_enforce_if(lit)
                cp.add(self.e[v] == end).only_enforce_if(lit)
                cp.add_implication(lit, used)
            cp.add_bool_or([lit for _, lit in inside]).only_enforce_if(used)
            self._holds(k, inside)
            if before is not None:
                cp.add_implication(used, before.used)
                cp.add(before.end <= start).only_enforce_if(used)
            before = batch
            self._works(mine[0], start, end, [used], [(used, seconds)], known)

    def _holds(self, k: int, inside: list[tuple[int, cp_model.IntVar]]) -> None:
        room, ops = self.f.stations[k].batch, self.f.ops
        assert room is not None
        if room.max_items is not None:
            self.cp.add(sum(ops[v].items * lit for v, lit in inside) <= room.max_items)
        for most, sizes in (
            (room.area_mm2, [ops[v].area for v, _ in inside]),
            (room.volume_mm3, [ops[v].volume for v, _ in inside]),
        ):
            if most is not None:
                # In thousandths of a unit, rounded towards what surely fits, but for what is surely a rounding.
                self.cp.add(
                    sum(round(size * 1000) * lit for size, (_, lit) in zip(sizes, inside, strict=True))
                    <= round(most * 1000)
                )

    def _works(
        self,
        v: int,
        start: cp_model.IntVar,
        end: cp_model.IntVar,
        there: list[cp_model.IntVar] | None,
        choices: list[tuple[cp_model.IntVar, float]],
        known: Spot | None,
    ) -> None:
        """People at its beginning and end, or throughout, where it is one of `choices` (`there` None: always).

        `known` says who it was; that it was there at all, or not in one of several lengths, is found by the solver.
        """
        crew, unload_crew = (known.crew, known.unload_crew) if known is not None else (-1, -1)
        op = self.f.ops[v]
        if self.f.people.free:
            return
        if op.crewed:
            for lit, seconds in choices:
                self._work(start, self._grains(op.load + seconds + op.unload), [lit], crew)
            return
        if op.load > 0:
            self._work(start, self._grains(op.load), there, crew)
        if op.unload > 0:
            size = self._grains(op.unload)
            begin = self.cp.new_int_var(-size, self.most, "")
            self.cp.add(begin == end - size)
            if known is not None and known.end < INFINITY:
                self._hint(begin, self._grains(known.end) - size)
            self._work(begin, size, there, unload_crew)

    def _work(self, start: cp_model.IntVar, size: int, there: list[cp_model.IntVar] | None, who: int) -> None:
        """One crew does it within one of its windows."""
        literals = []
        for k, crew in enumerate(self.f.people.crews):
            spans = [
                (self._grains(a), self._grains(b) - size)
                for a, b in zip(crew.starts, crew.ends, strict=True)
                if self._grains(b) - size >= self._grains(a)
            ]
            if not spans:
                continue
            lit = self.cp.new_bool_var("")
            literals.append(lit)
            self.cp.add_hint(lit, k == who)
            domain = cp_model.Domain.from_intervals([list(span) for span in spans])
            self.cp.add_linear_expression_in_domain(start, domain).only_enforce_if(lit)
            if crew.people is not None:
                self.at_work[k].append(self.cp.new_optional_fixed_size_interval_var(start, size, lit, ""))
        if there is None:
            self.cp.add_exactly_one(literals)
        else:
            self.cp.add(sum(literals) == sum(there))

    def _stays(self, spot: Spot) -> None:
        """What is not free keeps its station, its people and its time."""
        op = self.f.ops[spot.ops[0]]
        start, end = self._grains(spot.start), self._grains(spot.end)
        there = self.cp.new_fixed_size_interval_var(start, end - start, "")
        self.given_at_station[spot.station].append(there)
        load = end - start if op.crewed else self._grains(op.load)
        if load and spot.crew >= 0:
            self.given_at_work[spot.crew].append(self.cp.new_fixed_size_interval_var(start, load, ""))
        unload = self._grains(op.unload)
        if unload and not op.crewed and spot.unload_crew >= 0:
            work = self.cp.new_fixed_size_interval_var(end - unload, unload, "")
            self.given_at_work[spot.unload_crew].append(work)

    def _stations(self) -> None:
        """No more in a station than it has room for, and nothing while it is shut.

        A constraint of given intervals alone says nothing, and without presolve CP-SAT's local search dies of it.
        """
        for k, (station, windows) in enumerate(zip(self.f.stations, self.f.windows, strict=True)):
            if not self.at_station[k]:
                continue
            intervals = [*self.at_station[k], *self.given_at_station[k]]
            shut, at = [], 0.0
            for start, end in windows:
                if start > at:
                    shut.append(self._span(at, start))
                at = end
            if station.capacity == 1:
                self.cp.add_no_overlap([*intervals, *shut])
            else:
                demands = [1] * len(intervals) + [station.capacity] * len(shut)
                self.cp.add_cumulative([*intervals, *shut], demands, station.capacity)

    def _span(self, start: float, end: float) -> cp_model.IntervalVar:
        a, b = self._grains(start), self._grains(end)
        return self.cp.new_fixed_size_interval_var(a, b - a, "")

    def _people(self) -> None:
        """No more at work than the crew has people; what is given already counts."""
        for k, start, work in self.f.busy:
            self.given_at_work[k].append(self._span(start, start + work))
        for crew, free, given in zip(self.f.people.crews, self.at_work, self.given_at_work, strict=True):
            if crew.people is not None and free:
                self.cp.add_cumulative([*free, *given], [1] * (len(free) + len(given)), crew.people)

    def _objective(self, kept: set[int]) -> None:
        """Weighted tardiness and priced batches, or the latest end; of what is left out, the least that it takes."""
        cp, f = self.cp, self.f
        terms: list[cp_model.LinearExprT] = []
        top = cp.new_int_var(self._grains(f.problem.now_s), self.most, "makespan")
        for journey, mine in zip(f.journeys, f.of_journey, strict=True):
            ends: list[cp_model.LinearExprT] = []
            for v in mine:
                if v in self.free:
                    rest = (
                        0.0
                        if all(a.op in self.free or a.op in kept for a in f.ops[v].after)
                        else f.ops[v].tail
                    )
                    ends.append(self.e[v] + self._grains(rest))
            if not ends:
                continue
            for end in ends:
                cp.add(top >= end)
            if f.makespan or journey.due_s is None or journey.weight == 0:
                continue
            due = self._grains(journey.due_s)
            late = cp.new_int_var(0, self.most + abs(due), "")
            for end in ends:
                cp.add(late >= end - due)
            at = max((self.spot_of[v].end for v in mine), default=0.0)
            if at < INFINITY:
                cp.add_hint(late, max(0, self._grains(at) - due))
            terms.append(round(journey.weight * self.weights) * late)
        if f.price and not f.makespan:
            price = round(f.price * self.weights)
            for batch in self.batches:
                inside = (
                    v for v in self.free if f.ops[v].recipe == batch.recipe and (v, batch.station) in self.x
                )
                terms.append(price * self._grains(f.work(next(inside), batch.station)) * batch.used)
            for (v, k), lit in self.x.items():
                if f.stations[k].batch is None:
                    terms.append(price * self._grains(f.work(v, k)) * lit)
        cp.minimize(top if f.makespan else sum(terms))

    def units(self, solver: cp_model.CpSolver) -> list[Unit]:
        """All units: those of the solver and those that stay, in the order of their starts; then those left out."""
        f = self.f
        made: list[tuple[float, int, Unit]] = []
        batched: dict[int, list[int]] = {}
        for v in sorted(self.free):
            inside = [b for (w, b), lit in self.y.items() if w == v and solver.boolean_value(lit)]
            if inside:
                batched.setdefault(inside[0], []).append(v)
                continue
            station = next(k for k, _ in f.ops[v].choices if solver.boolean_value(self.x[v, k]))
            made.append((solver.value(self.s[v]) / self.scale, f.ops[v].level, Unit((v,), station)))
        for b, ops in batched.items():
            level = max(f.ops[v].level for v in ops)
            start = solver.value(self.batches[b].start) / self.scale
            made.append((start, level, Unit(tuple(ops), self.batches[b].station)))
        done = set(self.free)
        for spot in self.fixed:
            done.update(spot.ops)
            made.append((spot.start, max(f.ops[v].level for v in spot.ops), Unit(spot.ops, spot.station)))
        made.sort(key=lambda item: (item[0], item[1], item[2].ops))
        rest = sorted(
            {self.spot_of[v] for v in range(len(f.ops)) if v not in done},
            key=lambda s: (s.start, max(f.ops[v].level for v in s.ops), s.ops),
        )
        return [unit for _, _, unit in made] + [Unit(spot.ops, spot.station) for spot in rest]
