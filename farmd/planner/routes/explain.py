"""Why an operation at a station is when it is, and what a station does: for `--explain` and the chart.

Pure, and worked out on the plan itself as in `explain.py`; no solver is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from farmd.planner.plans import Plan
from farmd.planner.problem import Problem
from farmd.planner.rota import Rota, Work
from farmd.planner.routes.check import works_of
from farmd.planner.routes.data import Operation, PlannedOperation, Station
from farmd.planner.routes.journeys import Journey, journeys
from farmd.planner.wait import Wait

TOLERANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class OperationStory:
    """One operation. `late_s` is of its journey, at its last operation only; `waits` lie end to end from now on."""

    operation: str
    station: str
    start_s: float
    end_s: float
    crew: str | None
    batch: str | None
    shares: tuple[str, ...]
    recipe: str | None
    due_s: float | None
    late_s: float
    weight: float
    waits: tuple[Wait, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StationStory:
    """What a station does: its operations in order of time, and for how long anything is in it."""

    station: str
    operations: tuple[str, ...]
    batches: int
    busy_s: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def station_works(problem: Problem, plan: Plan) -> list[Work]:
    """The work of people at stations, where crews are named."""
    return [Work(w.crew, w.start_s, w.work_s) for w in works_of(problem, plan) if w.crew is not None]


class RouteExplainer:
    """Answers questions about the operations of one plan, which must be one that the checker accepts."""

    def __init__(self, problem: Problem, plan: Plan, rota: Rota) -> None:
        self.problem, self.rota = problem, rota
        self._where: dict[str, tuple[Journey, int]] = {
            journey.operation_name(i): (journey, i)
            for journey in journeys(problem)
            for i in range(len(journey.route.operations))
        }
        self.planned = {o.operation: o for o in plan.operations if o.operation in self._where}
        self._stations = {station.name: station for station in problem.stations}
        self._made = {
            name: a.end_s for a in plan.assignments for name in ((a.build,) if a.build else a.parts)
        }
        self._at: dict[str, list[PlannedOperation]] = {name: [] for name in self._stations}
        for o in sorted(self.planned.values(), key=lambda o: (o.start_s, o.end_s, o.operation)):
            self._at[o.station].append(o)

    def find(self, subject: str) -> tuple[str, ...]:
        """The operations of a station, a route, a run, a build or a part, or the one of that name."""
        if subject in self._at:
            return tuple(o.operation for o in self._at[subject])
        found = [
            name
            for name, (journey, _) in self._where.items()
            if name in self.planned and subject in (name, journey.name, journey.route.id, journey.route.of)
        ]
        return tuple(found)

    def latest(self, most: int) -> tuple[str, ...]:
        """The last operations of the journeys that cost most."""
        stories = [(self._late(name), name) for name in self.planned]
        costs = [(late * self._where[name][0].weight, name) for late, name in stories if late > TOLERANCE_S]
        return tuple(name for _, name in sorted(costs, key=lambda pair: (-pair[0], pair[1]))[:most])

    def operation(self, name: str) -> OperationStory:
        """Why it is then."""
        o, (journey, _) = self.planned[name], self._where[name]
        step = self._step(name)
        shares = [x.operation for x in self._at[o.station] if o.batch and x.batch == o.batch and x is not o]
        return OperationStory(
            operation=name,
            station=o.station,
            start_s=o.start_s,
            end_s=o.end_s,
            crew=o.crew,
            batch=o.batch,
            shares=tuple(shares),
            recipe=step.recipe,
            due_s=journey.due_s,
            late_s=self._late(name),
            weight=journey.weight,
            waits=tuple(self._waits(o, step, shares)),
        )

    def station(self, name: str) -> StationStory | None:
        """What it does; None for an unknown name."""
        if name not in self._at:
            return None
        mine = self._at[name]
        spans = {(o.start_s, o.end_s, o.batch or o.operation) for o in mine}
        batches = len({o.batch for o in mine if o.batch})
        return StationStory(name, tuple(o.operation for o in mine), batches, sum(b - a for a, b, _ in spans))

    def _step(self, name: str) -> Operation:
        journey, index = self._where[name]
        return journey.route.operations[index]

    def _late(self, name: str) -> float:
        """By how much its journey is late, where it is the one that ends last."""
        journey, _ = self._where[name]
        names = map(journey.operation_name, range(len(journey.route.operations)))
        last = max(
            (self.planned[n] for n in names if n in self.planned), key=lambda o: (o.end_s, o.operation)
        )
        if journey.due_s is None or last.operation != name:
            return 0.0
        return max(0.0, last.end_s - journey.due_s)

    def _ready(self, name: str) -> tuple[float, str]:
        """When the operation could begin by what is before it, and what that is."""
        journey, index = self._where[name]
        step = journey.route.operations[index]
        before = [journey.operation_name(i) for i in journey.route.before(index)]
        known = [(self.planned[b].end_s, f"{b} ends") for b in before if b in self.planned]
        if not before and journey.made_by is not None:
            known.append((self._made.get(journey.made_by, 0.0), f"{journey.made_by} ends"))
        elif not before:
            known.append((journey.release_s, f"{journey.name} is released"))
        at, what = max(known, default=(self.problem.now_s, ""))
        more = f", and {step.lag_min_s:g} s must pass" if step.lag_min_s else ""
        return at + step.lag_min_s, what + more

    def _waits(self, o: PlannedOperation, step: Operation, shares: Iterable[str]) -> Iterable[Wait]:
        at, station = self.problem.now_s, self._stations[o.station]
        ready, what = self._ready(o.operation)
        last = max([(0.0, ""), *((self._ready(name)[0], name) for name in shares)])
        begin = max(at, ready)
        for wait in (
            Wait("after", at, ready, what),
            Wait("batch", at, last[0], f"it shares the batch with {last[1]}", (_run(last[1]),)),
            Wait("available", at, station.available_s, f"{station.name} is not available before"),
            self._busy(o, begin, station),
            self._people(o, step, begin),
        ):
            until = min(wait.until_s, o.start_s)
            if until > at + TOLERANCE_S:
                yield replace(wait, from_s=at, until_s=until)
                at = until
        if o.start_s > at + TOLERANCE_S:
            told = "machine, work and people are there; the plan leaves it until then"
            yield Wait("choice", at, o.start_s, told)
        if step.load_s > 0:
            yield Wait("clear", o.start_s, o.start_s + step.load_s, "it is loaded")

    def _busy(self, o: PlannedOperation, at: float, station: Station) -> Wait:
        """Until when others, or a time when it is shut, are in its way, as far as that goes without a gap."""
        spans = [(x.start_s, x.end_s, x.operation) for x in self._at[station.name]]
        spans += [(start, end, "") for start, end in station.shut]
        wait = Wait("busy", at, at, "")
        for start, end, name in sorted(spans):
            if start <= wait.until_s + TOLERANCE_S and wait.until_s < end <= o.start_s + TOLERANCE_S:
                if name:
                    wait = Wait("busy", at, end, f"{name} is in {station.name}", (_run(name),))
                else:
                    wait = Wait("maintenance", at, end, f"{station.name} is shut")
        return wait

    def _people(self, o: PlannedOperation, step: Operation, at: float) -> Wait:
        work = o.end_s - o.start_s if step.crewed else step.load_s
        if work <= 0 or o.crew is None:
            return Wait("shift", at, at, "")
        shift = self.rota.earliest(at, work, anyone=True)
        own = Work(o.crew, o.start_s, work)
        person = self.rota.earliest(shift, work, without=own)
        if person > shift + TOLERANCE_S:
            return Wait("shift", at, person, "all people of the shift are at work, or it is nobody's time")
        return Wait("shift", at, shift, "it is nobody's working time, or too little of it is left")


def _run(operation: str) -> str:
    """`b1#1/wash` to `b1#1`."""
    return operation.rpartition("/")[0]
