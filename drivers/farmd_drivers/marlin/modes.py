"""What a file has set up to one of its lines: its commands read again, for a pause and for going on.

A reading costs about as much as the check before a start, and only who asks pays for it; the next one goes on
where the last one ended. Blocks: call it off the loop. Knows no wire.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from typing import BinaryIO

from farmd.driver import RunFile
from farmd.gcode import gcode_text, numbered_lines, parse_line
from farmd_drivers.marlin.wire.modal import WANDERING, Modal

BREATH_LINES = 250
"""After so many lines, the loop goes first, which feeds other machines."""
UNSURE_LINES = 64
"""So many lines may have been accepted and not executed, or executed and not answered, when a run breaks off:
a planner and a ring of the largest boards, and a window."""


class ModeReader:
    """A file's commands, followed line by line. `is_wanted` is asked now and then; False ends a reading."""

    def __init__(self, file: RunFile, is_wanted: Callable[[], bool]) -> None:
        self._is_wanted = is_wanted
        self._stream: BinaryIO = file.open()
        self._rows = numbered_lines(gcode_text(self._stream, file.name))
        self._ahead: tuple[int, int, bytes] | None = None
        self._modal = Modal()

    def at(self, line: int) -> Modal:
        """What is set behind that line of the file; not before the last one that was asked for."""
        for command in self._commands(line):
            self._follow(command)
        return deepcopy(self._modal)

    def at_break(self, line: int) -> tuple[Modal, bool]:
        """The same, and whether it is sure at which height a machine is that broke off there. To be closed then."""
        before: deque[float | None] = deque(maxlen=UNSURE_LINES)
        for command in self._commands(line):
            before.append(self._height_after(command))
        modal = deepcopy(self._modal)
        after = islice(self._commands(), UNSURE_LINES)
        heights = {*before, *(self._height_after(command) for command in after)}
        return modal, heights == {modal.position[2]}

    def _commands(self, line: float = math.inf) -> Iterator[bytes]:
        """Those up to a line."""
        for count in itertools.count(1):
            row = self._ahead or next(self._rows, None)
            self._ahead = row
            if row is None or row[0] > line:
                return
            self._ahead = None
            yield row[2]
            if count % BREATH_LINES == 0:
                time.sleep(0)
                if not self._is_wanted():
                    return

    def _follow(self, command: bytes) -> bool:
        """Take a command in; whether the firmware may move the head as it likes meanwhile."""
        if self._modal.follow(command):
            return False
        parts = parse_line(command)
        for part in parts:
            self._modal.take(part.name, part.sub, part.values)
        return any(part.name in WANDERING or part.name[:1] == "T" for part in parts)

    def _height_after(self, command: bytes) -> float | None:
        return None if self._follow(command) else self._modal.position[2]

    def close(self) -> None:
        self._stream.close()
