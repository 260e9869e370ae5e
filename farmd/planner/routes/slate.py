"""Operations in positions, and what becomes of them: units in an order, spots on the clock, a slate of all.

Plain data of the route planner. Times are seconds on the problem's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

INFINITY = float("inf")


class Lag(NamedTuple):
    """Another operation, and the least and most seconds between the two."""

    op: int
    least: float
    most: float


@dataclass(slots=True)
class Op:
    """One operation of one journey. `choices` are (station, duration); `release` and `latest` bound its start.

    `head` and `tail` are what lies before it and behind it at least. `recipe` is -1 for none.
    """

    name: str
    journey: int
    choices: tuple[tuple[int, float], ...]
    before: tuple[Lag, ...]
    after: tuple[Lag, ...]
    release: float
    latest: float
    crewed: bool
    load: float
    unload: float
    recipe: int
    items: int
    area: float
    volume: float
    head: float = 0.0
    tail: float = 0.0
    level: int = 0


class Unit(NamedTuple):
    """What is put on a station at once: an operation, or a batch of them; station -1 leaves the choice open."""

    ops: tuple[int, ...]
    station: int


class Spot(NamedTuple):
    """A unit on the clock, with who loads (or attends) it and who unloads it."""

    ops: tuple[int, ...]
    station: int
    start: float
    end: float
    crew: int
    unload_crew: int


@dataclass(frozen=True, slots=True)
class Slate:
    """All operations on the clock. `broken` counts what misses its `lag_max_s` or finds no time at all.

    `needs` says of runs and parts how much later they would have to be made for what must follow soon.
    """

    spots: tuple[Spot, ...]
    broken: int
    tardiness: float
    makespan: float
    operator_s: float
    objective: float
    flow: float
    needs: Mapping[str, float]

    @property
    def rank(self) -> tuple[int, float, float]:
        """What makes one better than another."""
        return (self.broken, round(self.objective, 6), self.flow)

    def units(self) -> list[Unit]:
        """The units in the order of their starts."""
        return [Unit(spot.ops, spot.station) for spot in self.spots]
