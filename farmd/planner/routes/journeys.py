"""Journeys: each run, part or free-standing item that goes through a route, with the names of its operations.

Knows the problem alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farmd.planner.problem import Problem
from farmd.planner.routes.data import Route


@dataclass(frozen=True, slots=True)
class Journey:
    """One passage through a route. `made_by` is the run or part it begins with; None has a release of its own."""

    name: str
    route: Route
    made_by: str | None
    release_s: float
    due_s: float | None
    weight: float

    def operation_name(self, index: int) -> str:
        """`b1#1/wash`."""
        return f"{self.name}/{self.route.operations[index].id}"


def journeys(problem: Problem) -> Iterator[Journey]:
    """All journeys, route by route."""
    builds = {build.id: build for build in problem.builds}
    parts = {part.id: part for part in problem.parts}
    for route in problem.routes:
        build, part = builds.get(route.of or ""), parts.get(route.of or "")
        if build is not None:
            for run in build.run_ids():
                yield Journey(run, route, run, build.release_s, build.due_s, build.weight)
        elif part is not None:
            yield Journey(part.id, route, part.id, part.release_s, part.due_s, part.weight)
        else:
            for number in range(1, route.count + 1):
                name = f"{route.id}#{number}"
                yield Journey(name, route, None, route.release_s or 0.0, route.due_s, route.weight)
