"""The moving and heated part of the emulated machine: heaters and what may befall them, and the position.

Seconds, millimetres, degrees Celsius. Knows no protocol, clock or device: it is told the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from farmd_drivers.marlin.emulator.planner import Planner

ROOM_C = 21.0
LIMIT_C = 400.0
RIPPLE_S = 7.0
"""How long a swing of a regulated heater takes."""


class HeaterFault(StrEnum):
    NONE = "none"
    STUCK = "stuck"
    """It gives no heat, whatever it is told."""
    FROZEN = "frozen"
    """Its sensor shows what it showed; the heater goes on as if it were cold."""
    RUNAWAY = "runaway"
    """It heats on past its target, and cannot be switched off."""


@dataclass(slots=True)
class Heater:
    target_c: float = 0.0
    actual_c: float = ROOM_C
    """What the sensor says."""
    fault: HeaterFault = HeaterFault.NONE

    @property
    def is_warm(self) -> bool:
        return self.actual_c >= self.target_c - 1.0

    def warm(self, step_c: float) -> None:
        """Go at most `step_c` towards where it is to be."""
        goal = max(self.target_c, ROOM_C)
        match self.fault:
            case HeaterFault.FROZEN:
                return
            case HeaterFault.STUCK:
                goal = ROOM_C
            case HeaterFault.RUNAWAY:
                goal = LIMIT_C
            case HeaterFault.NONE:
                pass
        if self.actual_c < goal:
            self.actual_c = min(goal, self.actual_c + step_c)
        else:
            self.actual_c = max(goal, self.actual_c - step_c)


@dataclass(slots=True)
class Body:
    """`move_scale` is the share of its real time that a move takes; `heat_c_per_s` 0 heats at once."""

    heat_c_per_s: float
    move_scale: float
    planner: Planner
    min_move_s: float = 0.0
    ripple_c: float = 0.0
    nozzle: Heater = field(default_factory=Heater)
    bed: Heater = field(default_factory=Heater)
    relative: bool = False
    relative_e: bool = False
    position: dict[str, float] = field(default_factory=lambda: dict.fromkeys("XYZE", 0.0))
    feed_mm_s: float = 25.0
    _warmed_at: float = 0.0

    def reset(self) -> None:
        """What a restart of the firmware leaves: no moves, no heat, absolute axes, and no idea where it is."""
        self.planner.drop()
        self.heaters_off()
        self.relative = self.relative_e = False
        self.position.update(X=0.0, Y=0.0, Z=0.0, E=0.0)
        self.feed_mm_s = 25.0

    def is_still(self, now: float) -> bool:
        """Whether every move has ended."""
        return self.planner.is_still(now)

    def heaters_off(self) -> None:
        self.nozzle.target_c = self.bed.target_c = 0.0

    def warm(self, now: float) -> None:
        """Let the heaters come to the present."""
        elapsed_s, self._warmed_at = max(0.0, now - self._warmed_at), now
        step_c = elapsed_s * self.heat_c_per_s if self.heat_c_per_s else math.inf
        self.nozzle.warm(step_c)
        self.bed.warm(step_c)

    def temperatures(self, now: float) -> bytes:
        """As Marlin reports them."""
        self.warm(now)
        swing_c = self.ripple_c * math.sin(2 * math.pi * now / RIPPLE_S) if self.ripple_c else 0.0
        shown = [
            heater.actual_c + (swing_c if heater.target_c and heater.fault is not HeaterFault.FROZEN else 0.0)
            for heater in (self.nozzle, self.bed)
        ]
        return b"T:%.2f /%.2f B:%.2f /%.2f @:0 B@:0" % (
            shown[0],
            self.nozzle.target_c,
            shown[1],
            self.bed.target_c,
        )

    def where(self) -> bytes:
        """As M114 reports it."""
        x, y, z, e = (self.position[axis] for axis in "XYZE")
        return b"X:%.2f Y:%.2f Z:%.2f E:%.2f Count X:%d Y:%d Z:%d\n" % (x, y, z, e, x * 80, y * 80, z * 400)

    def move(self, values: dict[str, float], now: float) -> float:
        """Queue a move; returns when its command is over."""
        squares = 0.0
        position = self.position
        extruded = 0.0
        for axis, value in values.items():
            if axis == "F":
                self.feed_mm_s = max(0.1, value / 60)
            elif axis == "E":
                before = position["E"]
                position["E"] = before + value if self.relative_e else value
                extruded = abs(position["E"] - before)
            elif axis in position:
                before = position[axis]
                after = before + value if self.relative else value
                squares += (after - before) ** 2
                position[axis] = after
        if not self.move_scale:
            return now
        lasts_s = (math.sqrt(squares) or extruded) / self.feed_mm_s
        return self.planner.add(max(lasts_s, self.min_move_s) * self.move_scale, now) if lasts_s else now

    def set_position(self, values: dict[str, float]) -> None:
        """G92."""
        self.position.update((axis, values[axis]) for axis in values if axis in self.position)

    def home(self, values: dict[str, float]) -> None:
        """G28: the axes named, or all but E."""
        axes = [axis for axis in "XYZ" if axis in values] or list("XYZ")
        self.position.update(dict.fromkeys(axes, 0.0))
