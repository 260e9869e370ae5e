"""The rules of stations and routes, as `check.py` judges a plan by them: one sentence of the format a function.

Must never know how plans are made; imports only the problem, the plan and the standard library. A broken rule is
(code, text).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from farmd.planner.plans import Plan
from farmd.planner.problem import Problem
from farmd.planner.routes.data import Operation, PlannedOperation, Station
from farmd.planner.routes.journeys import Journey, journeys

TOLERANCE_S = 1.0
Broken = tuple[str, str]


class Work(NamedTuple):
    """A person's work at a station; `crew` None names nobody."""

    name: str
    crew: str | None
    start_s: float
    work_s: float


class _Step(NamedTuple):
    """A planned operation with what it stands for; `begins_s` is the end of its journey's build, else its release."""

    planned: PlannedOperation
    station: Station
    operation: Operation
    journey: Journey


def broken_routes(problem: Problem, plan: Plan) -> Iterator[Broken]:
    """Every rule of stations and routes that the plan breaks, except what people can do at once."""
    steps = _steps(problem, plan)
    yield from _everything_once(problem, plan)
    for step in steps.values():
        yield from _at_station(step)
        yield from _length(step)
        for work in _works(step):
            yield from _in_window(problem, work)
    yield from _order(problem, plan, steps)
    for station in problem.stations:
        mine = [step for step in steps.values() if step.station is station]
        yield from _batches(station, mine) if station.batch is not None else _room(station, mine)


def works_of(problem: Problem, plan: Plan) -> list[Work]:
    """All work of people at stations; what shares a batch is loaded and unloaded once."""
    found = []
    seen: set[tuple[str, str]] = set()
    for step in _steps(problem, plan).values():
        key = (step.station.name, step.planned.batch or "")
        if step.station.batch is not None and step.planned.batch is not None:
            if key in seen:
                continue
            seen.add(key)
        found += _works(step)
    return found


def worth(problem: Problem, plan: Plan) -> tuple[float, float, float]:
    """Weighted tardiness of all journeys, the latest end at a station (now at least), and people's work there."""
    steps = _steps(problem, plan)
    tardiness, makespan = 0.0, problem.now_s
    for journey in journeys(problem):
        ends = [
            steps[name].planned.end_s
            for name in map(journey.operation_name, range(len(journey.route.operations)))
            if name in steps
        ]
        if ends:
            makespan = max(makespan, *ends)
            if journey.due_s is not None:
                tardiness += journey.weight * max(0.0, max(ends) - journey.due_s)
    return tardiness, makespan, sum(work.work_s for work in works_of(problem, plan))


def routed(problem: Problem) -> frozenset[str]:
    """Builds and parts, by id, that have a route: what they cost is counted at its end."""
    return frozenset(route.of for route in problem.routes if route.of is not None)


def _steps(problem: Problem, plan: Plan) -> dict[str, _Step]:
    stations = {station.name: station for station in problem.stations}
    wanted = {
        journey.operation_name(i): (journey, operation)
        for journey in journeys(problem)
        for i, operation in enumerate(journey.route.operations)
    }
    steps = {}
    for planned in plan.operations:
        if planned.operation in wanted and planned.station in stations:
            journey, operation = wanted[planned.operation]
            steps[planned.operation] = _Step(planned, stations[planned.station], operation, journey)
    return steps


def _everything_once(problem: Problem, plan: Plan) -> Iterator[Broken]:
    """Every operation of every journey is in the plan exactly once, at a station that exists."""
    stations = {station.name for station in problem.stations}
    seen: dict[str, int] = {}
    for planned in plan.operations:
        seen[planned.operation] = seen.get(planned.operation, 0) + 1
        if planned.station not in stations:
            yield "unknown-station", f"{planned.operation}: there is no station {planned.station}"
    for journey in journeys(problem):
        for i in range(len(journey.route.operations)):
            name = journey.operation_name(i)
            times = seen.pop(name, 0)
            if times == 0:
                yield "not-scheduled", f"operation {name} is not in the plan"
            elif times > 1:
                yield "scheduled-twice", f"operation {name} is in the plan {times} times"
    for name in seen:
        yield "unknown-name", f"the problem has no operation {name}"


def _at_station(step: _Step) -> Iterator[Broken]:
    """A station of a type that it runs on, that is available and not shut."""
    planned, station = step.planned, step.station
    if station.type not in step.operation.duration_s:
        yield "wrong-station", f"{planned.operation} does not run on {station.name} ({station.type})"
    if planned.start_s < station.available_s - TOLERANCE_S:
        text = f"{planned.operation} begins at {planned.start_s:.10g}; {station.name} is available at"
        yield "before-available", f"{text} {station.available_s:.10g}"
    for start, end in station.shut:
        if planned.start_s < end - TOLERANCE_S and planned.end_s > start + TOLERANCE_S:
            text = f"{planned.operation} is in {station.name} from {planned.start_s:.10g} to {planned.end_s:.10g}"
            yield "station-shut", f"{text}, which is shut from {start:.10g} to {end:.10g}"


def _length(step: _Step) -> Iterator[Broken]:
    """Loading, its duration and unloading, one after another; only for unloading it may wait."""
    planned, operation = step.planned, step.operation
    if step.station.type not in operation.duration_s:
        return
    taken = planned.end_s - planned.start_s
    least = operation.load_s + operation.duration_s[step.station.type] + operation.unload_s
    waits = not operation.crewed and operation.unload_s > 0
    if not math.isfinite(taken) or taken < least - TOLERANCE_S or (taken > least + TOLERANCE_S and not waits):
        yield (
            "wrong-duration",
            f"{planned.operation} takes {taken:.10g} s in the plan and {least:.10g} s there",
        )


def _works(step: _Step) -> list[Work]:
    """Who works at it and when: throughout, or at its beginning and at its end."""
    planned, operation = step.planned, step.operation
    name = planned.operation
    if operation.crewed:
        return [Work(name, planned.crew, planned.start_s, planned.end_s - planned.start_s)]
    found = []
    if operation.load_s > 0:
        found.append(Work(name, planned.crew, planned.start_s, operation.load_s))
    if operation.unload_s > 0:
        begins_s = planned.end_s - operation.unload_s
        found.append(Work(name, planned.unload_crew, begins_s, operation.unload_s))
    return found


def _in_window(problem: Problem, work: Work) -> Iterator[Broken]:
    """The work lies in one window of a crew that exists; without crews anybody works at any time."""
    if not problem.crews:
        if work.crew is not None:
            yield "unknown-crew", f"{work.name}: there is no crew {work.crew}"
        return
    crew = next((crew for crew in problem.crews if crew.name == work.crew), None)
    if crew is None:
        yield "unknown-crew", f"{work.name}: there is no crew {work.crew}"
    elif not any(
        start - TOLERANCE_S <= work.start_s and work.start_s + work.work_s <= end + TOLERANCE_S
        for start, end in problem.windows_of(crew)
    ):
        until_s = work.start_s + work.work_s
        text = (
            f"{work.name}: work from {work.start_s:.10g} to {until_s:.10g} lies in no window of {crew.name}"
        )
        yield "outside-window", text


def _order(problem: Problem, plan: Plan, steps: dict[str, _Step]) -> Iterator[Broken]:
    """Each operation comes after those before it, or after its build (cooled down) or release, within its lags."""
    cooling = {m.name: m.chamber.cooldown_s for m in problem.machines if m.chamber is not None}
    ends = {
        name: a.end_s + cooling.get(a.machine, 0.0)
        for a in plan.assignments
        for name in ((a.build,) if a.build is not None else a.parts)
    }
    for name, step in steps.items():
        journey, operation, start_s = step.journey, step.operation, step.planned.start_s
        if start_s < problem.now_s - TOLERANCE_S:
            yield "too-early", f"{name} begins at {start_s:.10g}; it is {problem.now_s:.10g} now"
        index = journey.route.operations.index(operation)
        before = [journey.operation_name(i) for i in journey.route.before(index)]
        known = [(other, steps[other].planned.end_s) for other in before if other in steps]
        if not before and journey.made_by is None:
            known.append((f"the release of {journey.name}", journey.release_s))
        elif not before and journey.made_by in ends:
            known.append((journey.made_by or "", ends[journey.made_by or ""]))
        for other, end_s in known:
            if start_s < end_s + operation.lag_min_s - TOLERANCE_S:
                text = f"{name} begins {start_s - end_s:.10g} s after {other}"
                yield "too-early", f"{text}; at least {operation.lag_min_s:.10g} s must lie between"
            if operation.lag_max_s is not None and start_s > end_s + operation.lag_max_s + TOLERANCE_S:
                text = f"{name} begins {start_s - end_s:.10g} s after {other}"
                yield "too-late", f"{text}; at most {operation.lag_max_s:.10g} s may lie between"


def _room(station: Station, steps: list[_Step]) -> Iterator[Broken]:
    """At no time are more operations there than it has room for. Overlaps up to the tolerance are none."""
    events: list[tuple[float, int]] = []
    for step in steps:
        if step.planned.end_s - step.planned.start_s > TOLERANCE_S:
            events += [(step.planned.start_s, 1), (step.planned.end_s - TOLERANCE_S, -1)]
    there = 0
    for time, change in sorted(events):
        there += change
        if there > station.capacity:
            text = (
                f"{there} operations are in {station.name} at {time:.10g}; it has room for {station.capacity}"
            )
            yield "station-full", text
            return


def _batches(station: Station, steps: list[_Step]) -> Iterator[Broken]:
    """A furnace's batches are of one recipe, share their times, fit its room, and come one after another."""
    batches: dict[str, list[_Step]] = {}
    for step in steps:
        if step.planned.batch is None:
            yield "no-batch", f"{step.planned.operation}: {station.name} makes batches, and none is named"
        else:
            batches.setdefault(step.planned.batch, []).append(step)
    for name, members in batches.items():
        first = members[0].planned
        if len({member.operation.recipe for member in members}) > 1:
            yield "mixed-recipes", f"batch {name} of {station.name} has several recipes"
        for member in members[1:]:
            a = member.planned
            apart = max(abs(a.start_s - first.start_s), abs(a.end_s - first.end_s)) > TOLERANCE_S
            if apart or (a.crew, a.unload_crew) != (first.crew, first.unload_crew):
                text = f"{first.operation} and {a.operation} share batch {name} of {station.name}"
                yield "batch-apart", f"{text}, but not its times and people"
        items = sum(member.operation.items for member in members)
        area = sum(member.operation.area_mm2 for member in members)
        volume = sum(member.operation.volume_mm3 for member in members)
        if station.batch is not None and not station.batch.holds(items, area, volume):
            text = f"batch {name}: {items} items, {area:g} mm2 and {volume:g} mm3"
            yield "overfull", f"{text} do not fit {station.name}"
    order = sorted(
        batches.values(), key=lambda members: (members[0].planned.start_s, members[0].planned.end_s)
    )
    for one, other in pairwise(order):
        if other[0].planned.start_s < one[0].planned.end_s - TOLERANCE_S:
            names = f"{one[0].planned.batch} and {other[0].planned.batch}"
            yield "overlap", f"batches {names} overlap in {station.name}"
