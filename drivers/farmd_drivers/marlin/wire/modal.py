"""What the commands of a file have set, up to a place in it: position, modes, heat, and what else stays set.

Followed only when somebody asks: at a pause, and to go on at a place. Nothing is assumed that the file has
not said: what is not known is None, and what firmwares take differently (the filament's mode after `M83`
and then `G90`) is unclear. Pure: knows no wire and no file; whoever reads the file hands in its commands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

AXES = "XYZ"
INCH_MM = 25.4
STICKY = frozenset(
    {"M201", "M203", "M204", "M205", "M207", "M208", "M220", "M221", "M420", "M572", "M593", "M900"}
)
"""Limits of motion, factors, levelling, pressure advance: set once, and lost by a restart."""
BY_TOOL = frozenset({"M221", "M900"})
"""Of these, T names the tool that is meant."""
WANDERING = frozenset(
    {"G12", "G27", "G29", "G30", "G32", "G33", "G34", "G60", "G61", "G76", "G80", "G425", "M48", "M125"}
    | {"M600", "M701", "M702"}
)
"""Commands after which the head is where the firmware has put it."""
TOOLS_LIMIT = 64

_NUMBER = rb"(-?(?:\d+\.?\d*|\.\d+))"
_PLAIN_MOVE = re.compile(
    rb"G[0-3](?: +F%b)?(?: +X%b)?(?: +Y%b)?(?: +Z%b)?(?: +[IJR]-?[\d.]+)*(?: +E%b)?(?: +F%b)?"
    % ((_NUMBER,) * 6)
).fullmatch

Values = Mapping[str, float | None]


class Extrusion(StrEnum):
    """How lengths of filament count."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"
    UNCLEAR = "unclear"
    UNSAID = "unsaid"


class Modal:
    """The state behind the commands that `follow` and `take` were given, in millimetres and mm/min.

    `position` is in the machine's coordinates: the file's and `offset` (what `G92` has set).
    """

    def __init__(self) -> None:
        self.position: list[float | None] = [None, None, None]
        self.offset = [0.0, 0.0, 0.0]
        self.homed = [False, False, False]
        self.top_mm = 0.0
        """The greatest height at which filament was laid."""
        self.e_mm: float | None = None
        """Where the filament stands, while that is absolute."""
        self.feed_mm_min: float | None = None
        self.relative: bool | None = None
        """G91; None when neither it nor G90 was said."""
        self.inches = False
        self.plane = ""
        self.tool = 0
        self.tool_said = False
        self.nozzle_c: dict[int, float] = {}
        """By tool."""
        self.bed_c = 0.0
        self.chamber_c = 0.0
        self.fans: dict[int, float] = {}
        """0 to 255, by number."""
        self.sticky: dict[tuple[str, int | None], dict[str, float | None]] = {}
        """Letters by command, and by tool where that is meant; in the order of the file."""
        self._filament = ""
        """M82 or M83, the last one said."""
        self._filament_last = False
        """It was said after the last G90 or G91."""
        self._is_plain = self._is_absolute_e = False

    @property
    def extrusion(self) -> Extrusion:
        if not self._filament:
            return Extrusion.UNSAID
        relative = self._filament == "M83"
        if relative and (self._filament_last or self.relative is not False):
            return Extrusion.RELATIVE
        if not relative and not self.relative:
            return Extrusion.ABSOLUTE
        return Extrusion.UNCLEAR

    def coordinates(self) -> tuple[float, float, float]:
        """Where the head is, in the file's coordinates. Raises `ValueError` when that is not known."""
        x, y, z = self.position
        if x is None or y is None or z is None:
            raise ValueError("the position is not known")
        return x - self.offset[0], y - self.offset[1], z - self.offset[2]

    def mode_words(self) -> list[bytes]:
        """The commands that set the modes of axes and filament as the file has: in its order, on which
        firmwares depend."""
        axes = [] if self.relative is None else [b"G91" if self.relative else b"G90"]
        filament = [self._filament.encode()] if self._filament else []
        return axes + filament if self._filament_last else filament + axes

    # Plain moves.

    def follow(self, command: bytes) -> bool:
        """Take in a move written as slicers do; False when it is none, and for `take`."""
        match = _PLAIN_MOVE(command) if self._is_plain else None
        if match is None:
            return False
        feed, x, y, z, e, feed_last = match.groups()
        position = self.position
        if x is not None:
            position[0] = float(x)
        if y is not None:
            position[1] = float(y)
        if z is not None:
            position[2] = float(z)
        if feed is not None or feed_last is not None:
            self.feed_mm_min = float(feed if feed_last is None else feed_last)
        if e is not None:
            self._extruded(float(e), laid=x is not None or y is not None)
        return True

    def _extruded(self, value: float, *, laid: bool) -> None:
        self.e_mm = value if self._is_absolute_e else None
        z = self.position[2]
        if laid and z is not None and z > self.top_mm:
            self.top_mm = z

    # Everything else.

    def take(self, name: str, sub: str, values: Values) -> None:
        """Take in any command, as `farmd.gcode.parse_line` gives it."""
        if name in ("G0", "G1", "G2", "G3", "G5"):
            self._move(values)
        elif name in WANDERING:
            self.position = [None, None, None]
        elif name in STICKY:
            self._stick(name, values)
        elif name[:1] == "T":
            if name[1:].isdigit() and int(name[1:]) < TOOLS_LIMIT:
                self.tool, self.tool_said = int(name[1:]), True
        elif name in ("M18", "M84"):
            self._motors_off(values)
        else:
            self._take_mode(name, sub, values)
            self._take_heat(name, values)
        self._settle()

    def _settle(self) -> None:
        self._is_absolute_e = self.extrusion is Extrusion.ABSOLUTE
        self._is_plain = self.relative is False and not self.inches and not any(self.offset)

    def _take_mode(self, name: str, sub: str, values: Values) -> None:
        if name in ("G90", "G91"):
            self.relative = name == "G91"
            self._filament_last = False
        elif name in ("M82", "M83"):
            self._filament, self._filament_last = name, True
            self.e_mm = self.e_mm if name == "M82" else None
        elif name in ("G20", "G21"):
            self.inches = name == "G20"
        elif name in ("G17", "G18", "G19"):
            self.plane = name
        elif name == "G28":
            self._home(values)
        elif name == "G92":
            self._set_coordinates(values, reset=sub == "1")

    def _take_heat(self, name: str, values: Values) -> None:
        goal = values.get("S")
        goal = values.get("R") if goal is None else goal
        if name in ("M104", "M109") and goal is not None:
            tool = values.get("T")
            self.nozzle_c[self.tool if tool is None else int(tool)] = goal
        elif name in ("M140", "M190") and goal is not None:
            self.bed_c = goal
        elif name in ("M141", "M191") and goal is not None:
            self.chamber_c = goal
        elif name in ("M106", "M107"):
            speed = values.get("S")
            self.fans[int(values.get("P") or 0)] = (
                0.0 if name == "M107" else 255.0 if speed is None else speed
            )

    def _move(self, values: Values) -> None:
        unit = INCH_MM if self.inches else 1.0
        for axis, letter in enumerate(AXES):
            value = values.get(letter)
            if value is None:
                continue
            before = self.position[axis]
            if not self.relative:
                self.position[axis] = value * unit + self.offset[axis]
            elif before is not None:
                self.position[axis] = before + value * unit
        feed, e = values.get("F"), values.get("E")
        if feed is not None:
            self.feed_mm_min = feed * unit
        if e is not None:
            self._extruded(e * unit, laid="X" in values or "Y" in values)

    def _home(self, values: Values) -> None:
        named = [letter in values for letter in AXES]
        for axis in range(3):
            if named[axis] or not any(named):
                self.homed[axis] = True
                self.offset[axis] = 0.0
        self.position = [None, None, None]

    def _set_coordinates(self, values: Values, *, reset: bool) -> None:
        if reset:  # G92.1
            self.offset = [0.0, 0.0, 0.0]
            return
        unit = INCH_MM if self.inches else 1.0
        everything = not any(letter in values for letter in "XYZE")
        for axis, letter in enumerate(AXES):
            if letter not in values and not everything:
                continue
            before = self.position[axis]
            if before is None:
                self.homed[axis] = False  # where the new coordinates are on the machine, nobody knows
            else:
                self.offset[axis] = before - (values.get(letter) or 0.0) * unit
        if "E" in values or everything:
            self.e_mm = (values.get("E") or 0.0) * unit

    def _motors_off(self, values: Values) -> None:
        if "S" not in values and (not values or any(letter in values for letter in AXES)):
            self.homed = [False, False, False]

    def _stick(self, name: str, values: Values) -> None:
        tool = values.get("T") if name in BY_TOOL else None
        key = (name, None if tool is None else int(tool))
        if name == "M220" and values.get("S") is None:
            return  # Prusa's M220 B and M220 R keep and restore; what they restore is what was set
        self.sticky.setdefault(key, {}).update(values)
