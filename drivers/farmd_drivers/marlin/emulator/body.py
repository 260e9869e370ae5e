"""The moving and heated part of the emulated machine: heaters, planner, position.

Seconds, millimetres, degrees Celsius. Knows no protocol, clock or device: it is told the time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

PLANNER_MOVES = 16
ROOM_C = 21.0


@dataclass(slots=True)
class Heater:
    target_c: float = 0.0
    actual_c: float = ROOM_C

    @property
    def is_warm(self) -> bool:
        return self.actual_c >= self.target_c - 1.0


@dataclass(slots=True)
class Body:
    """`move_scale` is the share of its real time that a move takes; `heat_c_per_s` 0 heats at once."""

    heat_c_per_s: float
    move_scale: float
    nozzle: Heater = field(default_factory=Heater)
    bed: Heater = field(default_factory=Heater)
    relative: bool = False
    position: dict[str, float] = field(default_factory=dict)
    _feed_mm_s: float = 25.0
    _moves: deque[float] = field(default_factory=deque)
    """When the moves in the planner end."""

    def heaters_off(self) -> None:
        self.nozzle.target_c = self.bed.target_c = 0.0

    def drop_moves(self) -> None:
        self._moves.clear()

    def warm(self, elapsed_s: float) -> None:
        """Let time pass for the heaters."""
        step = elapsed_s * self.heat_c_per_s if self.heat_c_per_s else math.inf
        for heater in (self.nozzle, self.bed):
            goal = max(heater.target_c, ROOM_C)
            if heater.actual_c < goal:
                heater.actual_c = min(goal, heater.actual_c + step)
            elif heater.actual_c > goal:
                heater.actual_c = max(goal, heater.actual_c - step)

    def temperatures(self) -> bytes:
        """As Marlin reports them."""
        return b"T:%.2f /%.2f B:%.2f /%.2f @:0 B@:0" % (
            self.nozzle.actual_c,
            self.nozzle.target_c,
            self.bed.actual_c,
            self.bed.target_c,
        )

    def move(self, values: dict[str, float], now: float) -> float:
        """Queue a move; returns when there is room for it in the planner."""
        if "F" in values:
            self._feed_mm_s = max(0.1, values["F"] / 60)
        squares = 0.0
        for axis in "XYZ":
            if axis in values:
                before = self.position.get(axis, 0.0)
                after = before + values[axis] if self.relative else values[axis]
                squares += (after - before) ** 2
                self.position[axis] = after
        self.is_still(now)
        start = self._moves[-1] if self._moves else now
        self._moves.append(start + math.sqrt(squares) / self._feed_mm_s * self.move_scale)
        return self._moves[-PLANNER_MOVES - 1] if len(self._moves) > PLANNER_MOVES else now

    def is_still(self, now: float) -> bool:
        """Whether every move has ended."""
        while self._moves and self._moves[0] <= now:
            self._moves.popleft()
        return not self._moves
