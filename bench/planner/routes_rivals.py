"""Rivals of the route planner: CP-SAT alone on a job shop, and a foreman's rules on a farm's stations.

They share no code with the planner.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from farmd.planner import Plan, Problem
from farmd.planner.routes.data import Operation, Station
from farmd.planner.routes.journeys import Journey, journeys


def cp_sat_alone(problem: Problem, seconds: float, seed: int) -> tuple[float, float]:
    """Makespan and bound of a plain model with two workers; durations must be whole multiples of 1,000 s."""
    model = cp_model.CpModel()

    def units(duration_s: float) -> int:
        return round(duration_s / 1000.0)

    horizon = sum(units(max(o.duration_s.values())) for r in problem.routes for o in r.operations)
    rows: dict[str, list[cp_model.IntervalVar]] = {station.name: [] for station in problem.stations}
    top = model.new_int_var(0, horizon, "")
    for route in problem.routes:
        ends: list[cp_model.IntVar] = []
        for i, operation in enumerate(route.operations):
            start, end = model.new_int_var(0, horizon, ""), model.new_int_var(0, horizon, "")
            choices = []
            for station in problem.stations:
                if station.type in operation.duration_s:
                    size, chosen = units(operation.duration_s[station.type]), model.new_bool_var("")
                    choices.append(chosen)
                    rows[station.name].append(model.new_optional_interval_var(start, size, end, chosen, ""))
            model.add_exactly_one(choices)
            for before in route.before(i):
                model.add(start >= ends[before])
            ends.append(end)
            model.add(top >= end)
    for row in rows.values():
        model.add_no_overlap(row)
    model.minimize(top)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 2
    solver.parameters.random_seed = seed
    solver.parameters.max_time_in_seconds = seconds
    solver.solve(model)
    return 1000.0 * solver.objective_value, 1000.0 * solver.best_objective_bound


@dataclass(frozen=True, slots=True)
class _Item:
    """One operation of one journey that may begin from `ready_s` on."""

    journey: Journey
    index: int
    ready_s: float

    @property
    def operation(self) -> Operation:
        return self.journey.route.operations[self.index]

    @property
    def name(self) -> str:
        return self.journey.operation_name(self.index)


@dataclass(slots=True)
class _Crew:
    """One crew's windows, how many they are, and when each of its works is."""

    windows: list[tuple[float, float]]
    people: float
    works: list[tuple[float, float]] = field(default_factory=list)

    def free(self, start: float, work: float) -> bool:
        """Whether somebody is there for all of the work."""
        if not any(a <= start and start + work <= b for a, b in self.windows):
            return False
        mine = [(a, b) for a, b in self.works if a < start + work and b > start]
        most = max((sum(a <= at < b for a, b in mine) for at in (start, *(a for a, _ in mine))), default=0)
        return most < self.people

    def times(self) -> list[float]:
        return [a for a, _ in self.windows] + [b for _, b in self.works]


class Foreman:
    """Walks along the clock: whenever a station is free, the first in the rule's order that can begin does.

    `rule` is fifo, edd or edd-full; with that a furnace begins only when it is full, or nothing more of its recipe
    can come. Builds come first, with their people. What must follow within some time is not looked at.
    """

    def __init__(self, problem: Problem, builds: Plan, rule: str) -> None:
        self.problem, self.builds, self.rule = problem, builds, rule
        self.free_s = {s.name: [s.available_s] * s.capacity for s in problem.stations}
        self.crews = {
            c.name: _Crew(sorted(problem.windows_of(c)), c.people if c.people is not None else float("inf"))
            for c in problem.crews
        }
        for a in builds.assignments:
            if a.crew is not None and a.operator_start_s is not None:
                self.crews[a.crew].works.append((a.operator_start_s, a.start_s))
        made = {a.build: a.end_s for a in builds.assignments}
        self.journeys = list(journeys(problem))
        self.ends: dict[str, float] = {}
        self.waiting = [
            _Item(j, i, (made[j.made_by] if j.made_by else j.release_s) + j.route.operations[i].lag_min_s)
            for j in self.journeys
            for i in range(len(j.route.operations))
            if not j.route.before(i)
        ]
        self.to_come: dict[str | None, int] = {}
        for j in self.journeys:
            for operation in j.route.operations:
                self.to_come[operation.recipe] = self.to_come.get(operation.recipe, 0) + 1

    def weighted_tardiness_s(self) -> float:
        """Of all routes, at their ends."""
        now = self.problem.now_s
        while self.waiting:
            while self._begin_one(now):
                pass
            times = [item.ready_s for item in self.waiting]
            times += [t for free in self.free_s.values() for t in free]
            times += [t for crew in self.crews.values() for t in crew.times()]
            now = min((t for t in times if t > now + 1e-9), default=now)
        late = 0.0
        for j in self.journeys:
            end = max(self.ends[j.operation_name(i)] for i in range(len(j.route.operations)))
            late += j.weight * max(0.0, end - j.due_s) if j.due_s is not None else 0.0
        return late

    def _begin_one(self, now: float) -> bool:
        """Begin the first that can begin now."""
        ready = [item for item in self.waiting if item.ready_s <= now]
        if self.rule == "fifo":
            ready.sort(key=lambda item: (item.ready_s, item.name))
        else:
            due = {item.name: item.journey.due_s for item in ready}
            ready.sort(key=lambda item: (due[item.name] is None, due[item.name] or 0.0, item.name))
        for item in ready:
            for station in self.problem.stations:
                if item.operation.runs_on(station) and min(self.free_s[station.name]) <= now:
                    members = self._batch(item, ready, station)
                    if members and self._done(members, station, now):
                        return True
        return False

    def _batch(self, item: _Item, ready: list[_Item], station: Station) -> list[_Item]:
        """The item with what goes into the furnace along with it; empty to wait."""
        if station.batch is None:
            return [item]
        members, items = [item], item.operation.items
        for other in ready:
            same = other is not item and other.operation.recipe == item.operation.recipe
            if same and station.batch.holds(items + other.operation.items, 0.0, 0.0):
                members.append(other)
                items += other.operation.items
        room = station.batch.max_items or 0
        there = sum(other.operation.recipe == item.operation.recipe for other in ready)
        more = self.to_come[item.operation.recipe] > there
        return [] if self.rule == "edd-full" and items < room and more else members

    def _done(self, members: list[_Item], station: Station, now: float) -> bool:
        """Do them now if there is somebody for it."""
        operation = members[0].operation
        seconds = operation.duration_s[station.type]
        work = operation.load_s + (seconds if operation.crewed else 0.0)
        if work and self.crews and not self._works(now, work):
            return False
        end = now + operation.load_s + seconds
        if operation.unload_s and self.crews:
            times = sorted({end, *(t for crew in self.crews.values() for t in crew.times() if t > end)})
            end = next(t for t in times if self._works(t, operation.unload_s))
        end += operation.unload_s
        free = self.free_s[station.name]
        free[free.index(min(free))] = end
        for item in members:
            self.waiting.remove(item)
            self.ends[item.name] = end
            self.to_come[operation.recipe] -= 1
            self._release(item)
        return True

    def _works(self, start: float, work: float) -> bool:
        for crew in self.crews.values():
            if crew.free(start, work):
                crew.works.append((start, start + work))
                return True
        return False

    def _release(self, done: _Item) -> None:
        """What comes behind may begin once all before it has ended."""
        route = done.journey.route
        for i, operation in enumerate(route.operations):
            names = [done.journey.operation_name(b) for b in route.before(i)]
            if done.name in names and all(name in self.ends for name in names):
                at = max(self.ends[name] for name in names) + operation.lag_min_s
                self.waiting.append(_Item(done.journey, i, at))


def by_foreman(problem: Problem, builds: Plan, rule: str) -> float:
    """Weighted tardiness in seconds of the routes behind these builds."""
    return Foreman(problem, builds, rule).weighted_tardiness_s()
