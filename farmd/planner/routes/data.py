"""Stations, and the routes of operations on them, as frozen data: the part of `farmd-problem/1` after a build.

Knows the terms. Times are seconds. Knows neither rules of validity nor how a plan is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BatchRoom:
    """How much a furnace holds at once; None is no limit of that kind."""

    max_items: int | None = None
    area_mm2: float | None = None
    volume_mm3: float | None = None

    def as_dict(self) -> dict[str, Any]:
        limits = {"max_items": self.max_items, "area_mm2": self.area_mm2, "volume_mm3": self.volume_mm3}
        return {key: value for key, value in limits.items() if value is not None}

    def holds(self, items: int, area_mm2: float, volume_mm3: float) -> bool:
        """Whether so much goes in at once."""
        return (
            (self.max_items is None or items <= self.max_items)
            and (self.area_mm2 is None or area_mm2 <= self.area_mm2 * (1 + 1e-9))
            and (self.volume_mm3 is None or volume_mm3 <= self.volume_mm3 * (1 + 1e-9))
        )


@dataclass(frozen=True, slots=True)
class Station:
    """A place where finishing work is done: `capacity` operations at once, or with `batch` one batch at a time.

    It is free from `available_s` on, and nothing may be in it during the spans of `shut`.
    """

    name: str
    type: str
    available_s: float
    capacity: int = 1
    batch: BatchRoom | None = None
    shut: tuple[tuple[float, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.name, "type": self.type, "available_s": self.available_s}
        if self.capacity != 1:
            out["capacity"] = self.capacity
        if self.batch is not None:
            out["batch"] = self.batch.as_dict()
        if self.shut:
            out["shut"] = [list(span) for span in self.shut]
        return out


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a route. It may run on each type of station that has a duration.

    `after` are the ids of the operations that must have ended before, None for the one listed before it; between
    their end (the build's for the first) and its start lie at least `lag_min_s` and at most `lag_max_s`. A person
    is needed throughout where it is `crewed`, else for `load_s` at its beginning and `unload_s` at its end only.
    Furnaces batch operations of one `recipe`; `items`, `area_mm2` and `volume_mm3` are what it takes of their room.
    """

    id: str
    duration_s: Mapping[str, float]
    after: tuple[str, ...] | None = None
    lag_min_s: float = 0.0
    lag_max_s: float | None = None
    crewed: bool = False
    load_s: float = 0.0
    unload_s: float = 0.0
    recipe: str | None = None
    items: int = 1
    area_mm2: float = 0.0
    volume_mm3: float = 0.0

    def runs_on(self, station: Station) -> bool:
        """Whether the station's type has a duration, and its room holds the operation alone."""
        if station.type not in self.duration_s:
            return False
        return station.batch is None or station.batch.holds(self.items, self.area_mm2, self.volume_mm3)

    def least_s(self, station: Station) -> float:
        """How long it takes there at least, from the beginning of loading to the end of unloading."""
        return self.load_s + self.duration_s[station.type] + self.unload_s

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"id": self.id, "duration_s": dict(self.duration_s)}
        if self.after is not None:
            out["after"] = list(self.after)
        for key, value, usual in (
            ("lag_min_s", self.lag_min_s, 0.0),
            ("lag_max_s", self.lag_max_s, None),
            ("crewed", self.crewed, False),
            ("load_s", self.load_s, 0.0),
            ("unload_s", self.unload_s, 0.0),
            ("recipe", self.recipe, None),
            ("items", self.items, 1),
            ("area_mm2", self.area_mm2, 0.0),
            ("volume_mm3", self.volume_mm3, 0.0),
        ):
            if value != usual:
                out[key] = value
        return out


@dataclass(frozen=True, slots=True)
class Route:
    """The operations after a build's runs or a part (`of`), or by themselves (`of` None).

    Release, due date, weight and count are of a route by itself; one with `of` has those of its build or part,
    whose tardiness then counts at the end of the last operation. `release_s` is None exactly where `of` is given.
    """

    id: str
    operations: tuple[Operation, ...]
    of: str | None = None
    release_s: float | None = None
    due_s: float | None = None
    weight: float = 1.0
    count: int = 1

    def before(self, index: int) -> tuple[int, ...]:
        """The indices of the operations that the one at `index` waits for."""
        after = self.operations[index].after
        if after is None:
            return (index - 1,) if index else ()
        at = {operation.id: i for i, operation in enumerate(self.operations)}
        return tuple(at[name] for name in after)

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"id": self.id}
        if self.of is not None:
            out["of"] = self.of
        else:
            out["release_s"] = self.release_s
            out["due_s"] = self.due_s
            out["weight"] = self.weight
            out["count"] = self.count
        out["operations"] = [operation.as_dict() for operation in self.operations]
        return out


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """An operation of one run at a station: `b1#1/wash` for operation wash of the route of build b1's first run.

    From `start_s` (loading begins) to `end_s` (unloaded) it takes room at the station. `crew` loads, or attends
    throughout; `unload_crew` unloads. What shares a furnace's cycle has the same `batch` name and the same times.
    """

    operation: str
    station: str
    start_s: float
    end_s: float
    crew: str | None = None
    unload_crew: str | None = None
    batch: str | None = None

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"operation": self.operation, "station": self.station}
        for key, value in (("crew", self.crew), ("unload_crew", self.unload_crew), ("batch", self.batch)):
            if value is not None:
                out[key] = value
        out["start_s"] = self.start_s
        out["end_s"] = self.end_s
        return out
