"""The lanes of stations in a plan's chart: what is in them, loading and unloading hatched, batches as one bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

from farmd.planner.plans import Plan
from farmd.planner.problem import Problem
from farmd.planner.routes.data import Operation, PlannedOperation, Station
from farmd.planner.routes.journeys import Journey, journeys
from farmd.planner.times import day_clock, length

TOLERANCE_S = 1.0
COLOURS = ("s1", "s3", "s5", "s0")


class StationLanes:
    """What is drawn of a plan's operations; `late` are the names of last operations that end after their due date."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self._of: dict[str, tuple[Journey, Operation]] = {
            journey.operation_name(i): (journey, operation)
            for journey in journeys(problem)
            for i, operation in enumerate(journey.route.operations)
        }
        self._at: dict[str, list[PlannedOperation]] = {station.name: [] for station in problem.stations}
        last: dict[str, PlannedOperation] = {}
        for o in plan.operations:
            if o.operation in self._of and o.station in self._at:
                self._at[o.station].append(o)
                journey = self._of[o.operation][0].name
                last[journey] = max(last.get(journey, o), o, key=lambda x: (x.end_s, x.operation))
        self.late = {o.operation for o in last.values() if self._late_s(o) > TOLERANCE_S}

    def _late_s(self, o: PlannedOperation) -> float:
        due = self._of[o.operation][0].due_s
        return 0.0 if due is None else o.end_s - due

    def lane(
        self, station: Station, x: Callable[[float], float], height: float, letter: float
    ) -> Iterator[str]:
        """The bars of a station; what is in it at once lies in rows of its own."""
        groups: dict[str, list[PlannedOperation]] = {}
        for o in sorted(self._at[station.name], key=lambda o: (o.start_s, o.end_s, o.operation)):
            groups.setdefault(o.batch or o.operation, []).append(o)
        free = [float("-inf")] * station.capacity
        high = (height - 4) / station.capacity
        for start, end in station.shut:
            yield self._bar("na", x(start), x(end), 2, height - 4, f"{station.name} is shut")
        for name, members in groups.items():
            first = members[0]
            row = next((i for i, until in enumerate(free) if until <= first.start_s + TOLERANCE_S), 0)
            free[row] = first.end_s
            yield from self._group(name, members, x, 2 + row * high, high, letter)

    def _group(
        self, name: str, members: list[PlannedOperation], x: Callable[[float], float], top: float, high: float,
        letter: float,
    ) -> Iterator[str]:  # fmt: skip
        first = members[0]
        operation = self._of[first.operation][1]
        late = any(o.operation in self.late for o in members)
        colour = COLOURS[sum(map(ord, operation.recipe or operation.id)) % len(COLOURS)]
        x0, x1 = x(first.start_s), x(first.end_s)
        lines = [
            f"{', '.join(o.operation for o in members)} at {first.station}",
            f"{day_clock(first.start_s)} to {day_clock(first.end_s)} ({length(first.end_s - first.start_s)})",
        ]
        if operation.recipe:
            lines.append(f"recipe {operation.recipe}, batch {name} of {len(members)}")
        lines += [
            f"{o.operation} ends its route {length(self._late_s(o))} late"
            for o in members
            if o.operation in self.late
        ]
        yield self._bar(f"p {colour}{' late' if late else ''}", x0, x1, top, high, "\n".join(lines))
        if not operation.crewed:
            for begin, end in (
                (first.start_s, first.start_s + operation.load_s),
                (first.end_s - operation.unload_s, first.end_s),
            ):
                if x(end) - x(begin) >= 0.5:
                    a, b = x(begin), x(end)
                    yield f'<rect class="clr" x="{a}" y="{top:g}" width="{b - a:.1f}" height="{high:g}"/>'
        text = first.operation if len(members) == 1 else f"{len(members)} × {operation.id}"
        if high >= 9 and letter * len(text) <= x1 - x0 - 6:
            yield f'<text class="b" x="{x0 + 4:g}" y="{top + high / 2 + 4:g}">{escape(text)}</text>'

    def _bar(self, kind: str, x0: float, x1: float, y: float, height: float, told: str) -> str:
        return (
            f'<rect class="{kind}" x="{x0}" y="{y:g}" width="{max(0.6, x1 - x0):.1f}" height="{height:g}">'
            f"<title>{escape(told, quote=False)}</title></rect>"
        )
