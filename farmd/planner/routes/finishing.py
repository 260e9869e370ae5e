"""The routes of a problem in positions, and how operations in a given order are put on the clock.

Knows stations as rosters of as many places as they have room for, people as `People`, and what a schedule costs.
Knows no rule of choosing orders. Times are seconds on the problem's clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace

from farmd.planner.people import NOBODY, People, Roster
from farmd.planner.problem import Problem
from farmd.planner.routes.data import Station
from farmd.planner.routes.journeys import Journey, journeys
from farmd.planner.routes.slate import INFINITY, Lag, Op, Slate, Spot, Unit

TRIES = 40
"""So often what came too early for what must follow soon is put off, before it counts as broken."""


class Finishing:
    """All operations of a problem for given ends of its builds.

    `made` says when each run and part is there; a part of a problem without its builds has all of them 0.
    `busy` are (crew, start, seconds) of work that is given already.
    """

    def __init__(
        self,
        problem: Problem,
        made: Mapping[str, float],
        busy: Iterable[tuple[str, float, float]] = (),
    ) -> None:
        self.problem = problem
        self.makespan = problem.objective == "makespan"
        self.price = problem.operator_price
        self.people = People(problem)
        self.busy = tuple((self.people.names.index(crew), start, work) for crew, start, work in busy)
        self.stations = problem.stations
        self.windows = [_open(station, problem.now_s) for station in self.stations]
        self.journeys: tuple[Journey, ...] = tuple(journeys(problem))
        self.made = made
        self.recipes: dict[str, int] = {}
        self.ops: list[Op] = []
        self.of_journey: list[range] = []
        for journey in self.journeys:
            self._add(journey)
        self._heads_and_tails()

    def _add(self, journey: Journey) -> None:
        route, first = journey.route, len(self.ops)
        number = len(self.of_journey)
        steps = range(len(route.operations))
        before = [route.before(i) for i in steps]
        lags = [(o.lag_min_s, INFINITY if o.lag_max_s is None else o.lag_max_s) for o in route.operations]
        # A journey begins when it is made, else at its release.
        begin = journey.release_s if journey.made_by is None else self.made[journey.made_by]
        for i, operation in enumerate(route.operations):
            least, most = lags[i]
            heads = not before[i]
            recipe = -1
            if operation.recipe is not None:
                recipe = self.recipes.setdefault(operation.recipe, len(self.recipes))
            self.ops.append(
                Op(
                    name=journey.operation_name(i),
                    journey=number,
                    choices=tuple(
                        (k, operation.duration_s[station.type])
                        for k, station in enumerate(self.stations)
                        if operation.runs_on(station)
                    ),
                    before=tuple(Lag(first + p, least, most) for p in before[i]),
                    after=tuple(Lag(first + s, *lags[s]) for s in steps if i in before[s]),
                    release=max(self.problem.now_s, begin + least if heads else 0.0),
                    latest=begin + most if heads else INFINITY,
                    crewed=operation.crewed,
                    load=operation.load_s,
                    unload=operation.unload_s,
                    recipe=recipe,
                    items=operation.items,
                    area=operation.area_mm2,
                    volume=operation.volume_mm3,
                )
            )
        self.of_journey.append(range(first, len(self.ops)))

    def _heads_and_tails(self) -> None:
        for mine in self.of_journey:
            order = self._in_order(mine)
            for v in order:
                op = self.ops[v]
                op.head = max(
                    [op.release, *(self.ops[b.op].head + self.least(b.op) + b.least for b in op.before)]
                )
                op.level = max([0, *(self.ops[b.op].level + 1 for b in op.before)])
            for v in reversed(order):
                op = self.ops[v]
                op.tail = max([0.0, *(a.least + self.least(a.op) + self.ops[a.op].tail for a in op.after)])

    def _in_order(self, mine: Iterable[int]) -> list[int]:
        """A journey's operations, each behind those before it."""
        left, done = list(mine), []
        seen: set[int] = set()
        while left:
            free = [v for v in left if all(b.op in seen for b in self.ops[v].before)]
            done += free
            seen.update(free)
            left = [v for v in left if v not in seen]
        return done

    def least(self, v: int) -> float:
        """The shortest time that the operation takes anywhere, loading and unloading included."""
        op = self.ops[v]
        return op.load + op.unload + min(seconds for _, seconds in op.choices)

    def at_these(self, stations: Sequence[int]) -> Finishing:
        """The same with each operation at the station named for it, and no choice."""
        other = copy(self)
        other.ops = [
            replace(op, choices=tuple(choice for choice in op.choices if choice[0] == k))
            for op, k in zip(self.ops, stations, strict=True)
        ]
        return other

    def in_whole_seconds(self) -> Finishing:
        """The same a little tighter: what is released later, and what takes longer, by less than a second each."""
        up, down = math.ceil, math.floor

        def lag(each: Lag) -> Lag:
            return Lag(each.op, up(each.least), each.most if each.most == INFINITY else down(each.most))

        other = copy(self)
        other.ops = [
            replace(
                op,
                choices=tuple((k, float(up(seconds))) for k, seconds in op.choices),
                before=tuple(map(lag, op.before)),
                after=tuple(map(lag, op.after)),
                release=float(up(op.release)),
                latest=op.latest if op.latest == INFINITY else float(max(up(op.release), down(op.latest))),
                load=float(up(op.load)),
                unload=float(up(op.unload)),
            )
            for op in self.ops
        ]
        other.windows = [
            [(float(up(start)), end if end == INFINITY else float(down(end))) for start, end in windows]
            for windows in self.windows
        ]
        other.busy = tuple(
            (crew, float(down(start)), float(up(start + work) - down(start)))
            for crew, start, work in self.busy
        )
        return other

    def holds(self, station: int, ops: Sequence[int]) -> bool:
        """Whether these operations, all of one recipe, fit a furnace at once."""
        room = self.stations[station].batch
        if room is None:
            return len(ops) == 1
        return room.holds(
            sum(self.ops[v].items for v in ops),
            sum(self.ops[v].area for v in ops),
            sum(self.ops[v].volume for v in ops),
        )

    def decode(
        self, units: Sequence[Unit], tries: int = TRIES, not_before: Mapping[int, float] | None = None
    ) -> Slate:
        """The units put on the clock one after another, each as early as can be; predecessors come first.

        What must follow soon and cannot puts off what is before it, as often as `tries` says. Operations may
        be held back until `not_before`.
        """
        hold: dict[int, float] = dict(not_before or {})
        while True:
            clock = Clock(self)
            spots = [clock.put(unit, hold) for unit in units]
            late = self._put_off(clock, hold)
            tries -= 1
            if not late or tries <= 0 or not any(op >= 0 for op, _ in late):
                return self._slate(spots, clock, late)

    def _put_off(self, clock: Clock, hold: dict[int, float]) -> list[tuple[int, str]]:
        """What comes too late behind something, as (the operation before, or -1, and the run); holds are raised."""
        late = []
        for v, op in enumerate(self.ops):
            start = clock.start[v]
            if start > op.latest + 1e-6:
                late.append((-1, self.journeys[op.journey].made_by or ""))
            for b in op.before:
                if b.most < INFINITY and start > clock.end[b.op] + b.most + 1e-6:
                    late.append((b.op, ""))
                    if start < INFINITY:
                        more = start - clock.end[b.op] - b.most
                        hold[b.op] = max(hold.get(b.op, 0.0), clock.start[b.op] + more)
        return late

    def _slate(self, spots: list[Spot], clock: Clock, late: list[tuple[int, str]]) -> Slate:
        lost = sum(spot.end == INFINITY for spot in spots)
        tardiness, makespan, flow = 0.0, self.problem.now_s, 0.0
        needs: dict[str, float] = {}
        for journey, mine in zip(self.journeys, self.of_journey, strict=True):
            end = max(clock.end[v] for v in mine)
            flow += end
            makespan = max(makespan, end)
            if journey.due_s is not None and end > journey.due_s:
                tardiness += journey.weight * (end - journey.due_s)
        for op, run in late:
            if op < 0 and run:
                number = next(j for j, journey in enumerate(self.journeys) if journey.made_by == run)
                more = max(clock.start[v] - self.ops[v].latest for v in self.of_journey[number])
                needs[run] = max(needs.get(run, 0.0), more)
        operator = sum(self.work(spot.ops[0], spot.station) for spot in spots)
        objective = makespan if self.makespan else tardiness + self.price * operator
        spots = sorted(spots, key=lambda s: (s.start, max(self.ops[v].level for v in s.ops), s.ops))
        return Slate(tuple(spots), len(late) + lost, tardiness, makespan, operator, objective, flow, needs)

    def work(self, v: int, station: int) -> float:
        """A person's work at the operation, or its batch, there."""
        op = self.ops[v]
        more = next(seconds for k, seconds in op.choices if k == station) if op.crewed else 0.0
        return op.load + op.unload + more


class Clock:
    """Stations and people while units are put on them; `start` and `end` are of operations, infinite if not yet."""

    def __init__(self, finishing: Finishing) -> None:
        self.f = finishing
        self.people = finishing.people
        self.people.reset()
        for crew, start, work in finishing.busy:
            self.people.take(crew, start, work)
        self.places = [
            Roster(windows, station.capacity)
            for windows, station in zip(finishing.windows, finishing.stations, strict=True)
        ]
        self.start = [INFINITY] * len(finishing.ops)
        self.end = [INFINITY] * len(finishing.ops)

    def ready(self, ops: Iterable[int], hold: Mapping[int, float]) -> float:
        """From when on all of the operations could begin."""
        at = 0.0
        for v in ops:
            op = self.f.ops[v]
            at = max(at, op.release, hold.get(v, 0.0))
            for b in op.before:
                at = max(at, self.end[b.op] + b.least)
        return at

    def put(self, unit: Unit, hold: Mapping[int, float]) -> Spot:
        """Where the unit comes to lie: on its station, else on that where it ends first."""
        at = self.ready(unit.ops, hold)
        choices = self.f.ops[unit.ops[0]].choices
        found = [
            self.earliest(unit.ops, station, seconds, at)
            for station, seconds in choices
            if unit.station in (-1, station)
        ]
        spot = min(found, key=lambda s: (s.end, s.station))
        if spot.end < INFINITY:
            self.take(spot)
        return spot

    def earliest(self, ops: tuple[int, ...], station: int, seconds: float, at: float) -> Spot:
        """The first time from `at` on when station and people are there; infinite when there is none."""
        op = self.f.ops[ops[0]]
        place, people = self.places[station], self.people
        least = op.load + seconds + op.unload
        work = least if op.crewed else op.load
        crew = unload_crew = NOBODY
        while True:
            at = place.earliest(at, least, INFINITY)
            if at == INFINITY:
                return Spot(ops, station, INFINITY, INFINITY, NOBODY, NOBODY)
            if work > 0 or op.crewed:
                then, crew = people.earliest(at, work)
                if then > at:
                    at = then
                    continue
            end = at + least
            if op.unload > 0 and not op.crewed:
                then, unload_crew = people.earliest(at + op.load + seconds, op.unload)
                end = then + op.unload
                if end == INFINITY:
                    return Spot(ops, station, INFINITY, INFINITY, NOBODY, NOBODY)
                then = place.earliest(at, end - at, INFINITY)
                if then > at:
                    at = then
                    continue
            return Spot(ops, station, at, end, crew, unload_crew)

    def take(self, spot: Spot) -> None:
        """The station and the people are taken by it."""
        op = self.f.ops[spot.ops[0]]
        self.places[spot.station].take(spot.start, spot.end - spot.start)
        if op.crewed:
            self.people.take(spot.crew, spot.start, spot.end - spot.start)
        else:
            if op.load > 0:
                self.people.take(spot.crew, spot.start, op.load)
            if op.unload > 0:
                self.people.take(spot.unload_crew, spot.end - op.unload, op.unload)
        for v in spot.ops:
            self.start[v], self.end[v] = spot.start, spot.end


def _open(station: Station, now_s: float) -> list[tuple[float, float]]:
    """When the station may be used: from when it is available on, but for where it is shut."""
    at = max(now_s, station.available_s)
    spans = []
    for start, end in sorted(station.shut):
        if start > at:
            spans.append((at, start))
        at = max(at, end)
    spans.append((at, INFINITY))
    return spans
