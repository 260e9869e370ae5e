"""One pass over a G-code text: moves, commands and comments, in constant memory.

Joins `lines`, `motion`, `notes` and `deny`; what the slicer's texts mean is left to `slicers`.
"""

from __future__ import annotations

from collections.abc import Callable

from farmd.gcode.commands import out_of_range, parse_line
from farmd.gcode.deny import findings
from farmd.gcode.formats import EMPTY, NO_COMMANDS, TRUNCATED
from farmd.gcode.heaters import targets_c
from farmd.gcode.lines import ByteSource, text_blocks
from farmd.gcode.motion import Motion
from farmd.gcode.notes import Notes
from farmd.gcode.summary import Finding
from farmd.model.errors import Refused

FINDINGS_LIMIT = 10


class Scanner:
    """One G-code text read once. `hottest_c` holds the highest temperature asked for, by heater
    ("nozzle", "bed", "chamber"); `lines` and `commands` count lines; of the `denied_count` lines with forbidden
    commands, `denied` has the first that nothing can allow, and the first for each permission."""

    def __init__(self) -> None:
        self.motion = Motion()
        self.notes = Notes()
        self.hottest_c: dict[str, float] = {}
        self.denied: list[Finding] = []
        self.denied_count = 0
        self.lines = 0
        self._idle = 0
        self._kept: dict[str, int] = {}
        """How many findings are kept, by permission."""

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
        if found := findings(line, commands, self.lines + index + 1):
            self._deny(found)
            if any(out_of_range(command) for command in commands):
                return
        self.motion.execute(commands)
        for command in commands:
            for heater, value in targets_c(command):
                self.hottest_c[heater] = max(value, self.hottest_c.get(heater, 0.0))
            self.notes.label(command)

    def _deny(self, found: list[Finding]) -> None:
        self.denied_count += 1
        # A permission may be needed on every layer: one finding stands for all of its lines.
        for finding in found[:1] if not found[0].permission else found:
            kept = self._kept.get(finding.permission, 0)
            if kept < (1 if finding.permission else FINDINGS_LIMIT):
                self._kept[finding.permission] = kept + 1
                self.denied.append(finding)
