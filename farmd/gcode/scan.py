"""One pass over a G-code text: moves, commands and comments, in constant memory.

Joins `lines`, `motion`, `notes` and `deny`; what the slicer's texts mean is left to `slicers`.
"""

from __future__ import annotations

from collections.abc import Callable

from farmd.gcode.commands import Command, out_of_range, parse_line
from farmd.gcode.deny import check_commands
from farmd.gcode.formats import EMPTY, NO_COMMANDS, TRUNCATED
from farmd.gcode.lines import ByteSource, text_blocks
from farmd.gcode.motion import Motion
from farmd.gcode.notes import Notes, leading_number
from farmd.gcode.summary import Finding
from farmd.model.errors import Refused

FINDINGS_LIMIT = 10

_NOZZLE = {"M104": "SRB", "M109": "SRB", "G10": "SR", "M568": "SR"}
_BED = {"M140": "SR", "M190": "SR"}
_CHAMBER = {"M141": "SR", "M191": "SR"}
_HEATERS = (("nozzle", _NOZZLE), ("bed", _BED), ("chamber", _CHAMBER))
_MACRO_HEATERS = (
    ("bed", ("BED",)),
    ("chamber", ("CHAMBER",)),
    ("nozzle", ("EXTRUDER", "NOZZLE", "HOTEND")),
)
"""What the parameter's name of a start macro holds (PRINT_START EXTRUDER_TEMP=215 BED=60)."""


class Scanner:
    """One G-code text read once. `hottest_c` holds the highest temperature asked for, by heater
    ("nozzle", "bed", "chamber"); `lines` and `commands` count lines; `denied` has the first forbidden
    commands of `denied_count`."""

    def __init__(self) -> None:
        self.motion = Motion()
        self.notes = Notes()
        self.hottest_c: dict[str, float] = {}
        self.denied: list[Finding] = []
        self.denied_count = 0
        self.lines = 0
        self._idle = 0

    @property
    def commands(self) -> int:
        """Lines that a host would send."""
        return self.lines - self._idle

    def read(
        self,
        stream: ByteSource,
        tick: Callable[[int], None] | None = None,
        *,
        metadata: Notes | None = None,
    ) -> None:
        """Read `stream` to its end; `tick` is told the bytes of each read. What `metadata` holds then wins
        over the comments.

        Raises `Refused` for a text that is empty, not text, cut off, or has no command or no move.
        """
        for block in text_blocks(stream, tick):
            lines = block.splitlines()
            self.motion.run(lines, self._comment, self._other)
            self.lines += len(lines)
        if metadata is not None:
            self.notes.prefer(metadata)
        self.notes.finish()
        if self.lines == 0:
            raise Refused(EMPTY)
        if self.commands == 0:
            raise Refused(NO_COMMANDS)
        if self.motion.moves == 0:
            raise Refused(TRUNCATED, "the file has no move")

    def _comment(self, line: bytes) -> None:
        self._idle += 1
        if line:
            self.notes.comment(line)

    def _other(self, index: int, line: bytes) -> None:
        """A line that is neither a plain move nor blank nor a comment from its first byte."""
        line = line.strip()
        if not line or line[:1] == b";":
            self._comment(line)
            return
        commands = parse_line(line)
        if not commands:
            self._idle += 1
            return
        finding = check_commands(line, commands, self.lines + index + 1)
        if finding is not None:
            self.denied_count += 1
            if len(self.denied) < FINDINGS_LIMIT:
                self.denied.append(finding)
            if any(out_of_range(command) for command in commands):
                return
        self.motion.execute(commands)
        for command in commands:
            self._heaters(command)
            self.notes.label(command)

    def _heaters(self, command: Command) -> None:
        for heater, codes in _HEATERS:
            for letter in codes.get(command.name, ""):
                self._heat(heater, command.values.get(letter))
        for key, text in command.named.items():
            for heater, parts in _MACRO_HEATERS:
                if any(part in key for part in parts):
                    self._heat(heater, leading_number(text))

    def _heat(self, heater: str, value: float | None) -> None:
        if value is not None:
            self.hottest_c[heater] = max(value, self.hottest_c.get(heater, 0.0))
