"""Where the nozzle goes: positions, extrusion and time, followed command by command.

Positions are the machine's own coordinates, whatever G92, G91 or inches say on the way there. An axis
is *known* once it was homed (it then stands at 0) or moved to an absolute coordinate; a relative move
of an unknown axis (the usual lift before homing) is not counted. `Motion.run` follows the plain
G0/G1 lines by a fast path; everything else takes `Motion.execute`. Knows nothing of files and comments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from farmd.gcode.commands import Command
from farmd.gcode.summary import Box

_NUMBER = rb"(-?[0-9.]{1,14})"
_PLAIN_MOVE = re.compile(
    rb"G[01](?: +F%b)?(?: +X%b)?(?: +Y%b)?(?: +Z%b)?(?: +F%b)?(?: +E%b)?(?: +F%b)?\s*(?:;.*)?"
    % ((_NUMBER,) * 7)
).fullmatch
_PLAIN_LIMIT = 200

_AXES = "XYZ"
_PLANES = {"G17": (0, 1, "I", "J"), "G18": (2, 0, "K", "I"), "G19": (1, 2, "J", "K")}
LEVELS_LIMIT = 50_000
TOOLS_LIMIT = 64
"""Tool numbers from here on are signals to the machine (T255, T1000), not tools."""


class Motion:
    """The state of the axes and what the moves so far add up to.

    After `run`: `time_s` (distance / feed rate and dwells), `levels` (the heights z, mm, at which
    material was laid down by level moves), `extruded_mm(tool)`, `extrusion_box`, `moves_box`.
    """

    def __init__(self) -> None:
        self.position = [0.0, 0.0, 0.0]
        self.known = [False, False, False]
        self.offset = [0.0, 0.0, 0.0]  # machine coordinate = coordinate + offset
        self.e = 0.0
        self.relative = False
        self.relative_e = False
        self.unit_mm = 1.0
        self.plane = _PLANES["G17"]
        self.feed_mm_s = 0.0
        self.tool = 0
        self.time_s = 0.0
        self.moves = 0
        self.levels: set[float] = set()
        self._low = [math.inf] * 3
        self._high = [-math.inf] * 3
        self._low_e = [math.inf] * 3
        self._high_e = [-math.inf] * 3
        self._fed: dict[int, tuple[float, float]] = {0: (0.0, 0.0)}  # by tool: net feed, its highest value

    @property
    def moves_box(self) -> Box | None:
        """Bounds of all moves of known axes; an axis that never moved counts as 0. None without any."""
        return _box(self._low, self._high)

    @property
    def extrusion_box(self) -> Box | None:
        """Bounds of the moves that extrude while they travel; None without any."""
        return _box(self._low_e, self._high_e)

    def extruded_mm(self) -> dict[int, float]:
        """Filament fed, mm, by tool; retractions that are taken back do not count."""
        return {tool: peak for tool, (_, peak) in sorted(self._fed.items()) if peak > 0}

    def run(
        self, lines: list[bytes], comment: Callable[[bytes], None], other: Callable[[int, bytes], None]
    ) -> None:
        """Follow the plain moves in `lines`.

        Lines that are blank or begin with ";" go to `comment`, which must not touch this object; every further line,
        with its index in `lines`, goes to `other`, which may call `execute`.
        """
        rest = enumerate(lines)
        while True:
            stopped = self._run_plain(rest, comment) if self._is_plain() else next(rest, None)
            if stopped is None:
                return
            number, line = stopped
            if not line or line[:1] == b";":
                comment(line)
            else:
                other(number, line)

    def _is_plain(self) -> bool:
        return not self.relative and self.unit_mm == 1.0 and all(self.known) and not any(self.offset)

    def _run_plain(
        self, rest: Iterator[tuple[int, bytes]], comment: Callable[[bytes], None]
    ) -> tuple[int, bytes] | None:
        """Follow plain moves up to the first line that is none, and give it back; None at the end.

        Written flat, with the state in local names: it runs once a line for half a million lines.
        """
        plain_move, sqrt, lay = _PLAIN_MOVE, math.sqrt, self._lay
        x, y, z = self.position
        e, feed, relative_e = self.e, self.feed_mm_s, self.relative_e
        low_x, low_y, low_z = self._low
        high_x, high_y, high_z = self._high
        fed, peak = self._fed.get(self.tool, (0.0, 0.0))
        time_s, moves = self.time_s, self.moves
        extruding = False
        laid_z: float | None = None
        stopped = None
        for number, line in rest:
            match = plain_move(line) if len(line) < _PLAIN_LIMIT else None
            if match is None:
                if not line or line[:1] == b";":
                    comment(line)
                    continue
                stopped = number, line
                break
            try:
                feed_0, to_x, to_y, to_z, feed_1, to_e, feed_2 = match.groups()
                new_feed = feed_0 or feed_1 or feed_2
                if new_feed is not None:
                    feed = float(new_feed) / 60
                new_x = x if to_x is None else float(to_x)
                new_y = y if to_y is None else float(to_y)
                new_z = z if to_z is None else float(to_z)
                new_e = None if to_e is None else float(to_e)
            except ValueError:
                stopped = number, line
                break
            moves += 1
            dx, dy, dz = new_x - x, new_y - y, new_z - z
            length = sqrt(dx * dx + dy * dy + dz * dz)
            # Never `elif`: the first move of all sets both bounds.
            if new_x < low_x:
                low_x = new_x
            if new_x > high_x:
                high_x = new_x
            if new_y < low_y:
                low_y = new_y
            if new_y > high_y:
                high_y = new_y
            if new_z < low_z:
                low_z = new_z
            if new_z > high_z:
                high_z = new_z
            de = 0.0
            if new_e is not None:
                if relative_e:
                    de = new_e
                else:
                    de = new_e - e
                    e = new_e
                fed += de
                if fed > peak:
                    peak = fed
            if de > 0 and length:
                if not extruding:
                    lay(x, y, z, False)
                    extruding = True
                level = z == new_z != laid_z
                lay(new_x, new_y, new_z, level)
                if level:
                    laid_z = z
            else:
                extruding = False
            if feed > 0:
                time_s += (length or abs(de)) / feed
            x, y, z = new_x, new_y, new_z
        self.position = [x, y, z]
        self.e, self.feed_mm_s = e, feed
        self._low = [low_x, low_y, low_z]
        self._high = [high_x, high_y, high_z]
        self._fed[self.tool] = fed, peak
        self.time_s, self.moves = time_s, moves
        return stopped

    def execute(self, commands: tuple[Command, ...]) -> None:
        """Follow the commands of one line, none of them `out_of_range`; others than moves and modes are passed over."""
        native = False
        for command in commands:
            name, values = command.name, command.values
            if name in ("G0", "G1"):
                self._travel([self._target(values, native)], values)
            elif name in ("G2", "G3"):
                self._arc(values, native, clockwise=name == "G2")
            elif name == "G5":
                self._travel(self._spline(values, native), values)
            elif name == "G4":
                self.time_s += max(0.0, (values.get("P") or 0.0) / 1000 + (values.get("S") or 0.0))
            elif name in _PLANES:
                self.plane = _PLANES[name]
            elif name in ("G20", "G21"):
                self.unit_mm = 25.4 if name == "G20" else 1.0
            elif name in ("G90", "G91"):
                self.relative = name == "G91"
            elif name in ("M82", "M83"):
                self.relative_e = name == "M83"
            elif name == "G28":
                self._home(values)
            elif name == "G53":
                native = True
            elif name == "G92":
                self._set_coordinates(values, command.sub == "1")
            elif name[0] == "T" and name[1:].isdigit() and int(name[1:]) < TOOLS_LIMIT:
                self.tool = int(name[1:])

    def _home(self, values: dict[str, float | None]) -> None:
        named = [axis in values for axis in _AXES]
        for axis in range(3):
            if named[axis] or not any(named):
                self.position[axis] = self.offset[axis] = 0.0
                self.known[axis] = True

    def _set_coordinates(self, values: dict[str, float | None], reset: bool) -> None:
        if reset:  # G92.1
            self.offset = [0.0, 0.0, 0.0]
            return
        everything = not any(letter in values for letter in "XYZE")
        for axis, letter in enumerate(_AXES):
            if letter in values or everything:
                value = (values.get(letter) or 0.0) * self.unit_mm
                if self.known[axis]:
                    self.offset[axis] = self.position[axis] - value
                else:
                    self.position[axis], self.known[axis] = value, True
        if "E" in values or everything:
            self.e = (values.get("E") or 0.0) * self.unit_mm

    def _target(self, values: dict[str, float | None], native: bool) -> list[float]:
        """Where a move goes; an axis that it reaches absolutely is known from then on."""
        target = list(self.position)
        for axis, letter in enumerate(_AXES):
            value = values.get(letter)
            if value is None:
                continue
            if self.relative and not native:
                target[axis] += value * self.unit_mm if self.known[axis] else 0.0
            else:
                target[axis] = value * self.unit_mm + (0.0 if native else self.offset[axis])
                self.known[axis] = True
        return target

    def _arc(self, values: dict[str, float | None], native: bool, *, clockwise: bool) -> None:
        """Travel an arc by way of the points at which it reaches furthest along an axis."""
        first, second, first_letter, second_letter = self.plane
        start, end = list(self.position), self._target(values, native)
        chord = (end[first] - start[first], end[second] - start[second])
        radius = values.get("R")
        if radius:
            half = math.hypot(*chord) / 2
            height = math.sqrt(max(0.0, (radius * self.unit_mm) ** 2 - half * half))
            # The centre lies left of the chord for a short arc that turns left, and for a long one turning right.
            side = height if (radius < 0) == clockwise else -height
            scale = side / (2 * half) if half else 0.0
            centre = (
                start[first] + chord[0] / 2 - chord[1] * scale,
                start[second] + chord[1] / 2 + chord[0] * scale,
            )
        else:
            centre = (
                start[first] + (values.get(first_letter) or 0.0) * self.unit_mm,
                start[second] + (values.get(second_letter) or 0.0) * self.unit_mm,
            )
        size = math.hypot(start[first] - centre[0], start[second] - centre[1])
        begin = math.atan2(start[second] - centre[1], start[first] - centre[0])
        sweep = math.atan2(end[second] - centre[1], end[first] - centre[0]) - begin
        if clockwise:
            sweep = -((-sweep) % math.tau)
        else:
            sweep %= math.tau
        if abs(sweep) < 1e-9 and not radius:
            sweep = -math.tau if clockwise else math.tau
        turns = max(0.0, values.get("P") or 0.0)
        reach = math.copysign(math.tau, sweep) if turns else sweep
        low, high = sorted((begin, begin + reach))
        quarter = math.pi / 2
        points = []
        for step in range(math.ceil(low / quarter), math.floor(high / quarter) + 1):
            point = list(start)
            point[first] = centre[0] + size * math.cos(step * quarter)
            point[second] = centre[1] + size * math.sin(step * quarter)
            points.append(point)
        turned = abs(sweep) + math.tau * turns
        lift = math.dist(start, end) if turned == 0 else end[3 - first - second] - start[3 - first - second]
        self._travel([*points, end], values, length=math.hypot(turned * size, lift))

    def _spline(self, values: dict[str, float | None], native: bool) -> list[list[float]]:
        """The control points of a cubic curve (G5): it lies within them and is no longer than they are."""
        start, end = list(self.position), self._target(values, native)
        first, second = list(start), list(end)
        for axis, (leave, arrive) in enumerate((("I", "P"), ("J", "Q"))):
            first[axis] += (values.get(leave) or 0.0) * self.unit_mm
            second[axis] += (values.get(arrive) or 0.0) * self.unit_mm
        return [first, second, end]

    def _travel(
        self, points: list[list[float]], values: dict[str, float | None], *, length: float | None = None
    ) -> None:
        """Go through `points` (machine coordinates), extruding and at the speed that `values` say.

        `length` (mm) is that of the path where it is not straight between the points.
        """
        if feed := values.get("F"):
            self.feed_mm_s = feed * self.unit_mm / 60
        extrusion = values.get("E")
        de = 0.0
        if extrusion is not None:
            extrusion *= self.unit_mm
            if self.relative_e or self.relative:
                de = extrusion
            else:
                de, self.e = extrusion - self.e, extrusion
            fed, peak = self._fed.get(self.tool, (0.0, 0.0))
            self._fed[self.tool] = fed + de, max(peak, fed + de)
        path = [self.position, *points]
        if length is None:
            length = sum(math.dist(a, b) for a, b in pairwise(path))
        if self.feed_mm_s > 0:
            self.time_s += (length or abs(de)) / self.feed_mm_s
        self.moves += 1
        for point in points:
            for axis in range(3):
                if self.known[axis]:
                    self._low[axis] = min(self._low[axis], point[axis])
                    self._high[axis] = max(self._high[axis], point[axis])
        if de > 0 and length:
            level = len({point[2] for point in path}) == 1
            for x, y, z in path:
                self._lay(x, y, z, level)
        self.position = points[-1]

    def _lay(self, x: float, y: float, z: float, level: bool) -> None:
        low, high = self._low_e, self._high_e
        if x < low[0]:
            low[0] = x
        if x > high[0]:
            high[0] = x
        if y < low[1]:
            low[1] = y
        if y > high[1]:
            high[1] = y
        if z < low[2]:
            low[2] = z
        if z > high[2]:
            high[2] = z
        if level and len(self.levels) < LEVELS_LIMIT:
            self.levels.add(round(z, 3))


def _box(low: list[float], high: list[float]) -> Box | None:
    if not any(map(math.isfinite, low)):
        return None
    a, b = ([round(v, 4) if math.isfinite(v) else 0.0 for v in side] for side in (low, high))
    return Box((a[0], a[1], a[2]), (b[0], b[1], b[2]))
