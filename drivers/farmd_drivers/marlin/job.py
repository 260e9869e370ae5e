"""A sliced file as a job to be streamed: checked before the start, read in batches, places told.

`prepare` and `next_batch` read the file and block: call them off the loop, one at a time. The rest is
arithmetic, and `close` never waits. Memory is bounded: a handful of batches, and one number per layer.

The machine gets the file's executable lines as they stand, with one exception: `M0` and `M1` without a
time would block the link until somebody presses a button, so the run pauses there instead. A job may go on
behind a place in the file; places and fractions are of the whole file all the same.
"""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from farmd.driver import RunFile
from farmd.gcode import ByteSource, Limits, check_command, gcode_text, numbered_lines, parse_line
from farmd.model.errors import ErrorCode, Refused
from farmd.model.work import Place
from farmd_drivers.marlin.modes import ModeReader
from farmd_drivers.marlin.wire.modal import Modal
from farmd_drivers.marlin.wire.replies import COMMAND_BYTES

BATCH_LINES = 256
BREATH_LINES = 250
"""After so many lines, half a millisecond, a check lets the loop go first, which feeds other machines."""
BATCHES_KEPT = 6
"""The batch in the wire, one waiting, one being read, and those before that a rewind may reach."""

COMMAND_TOO_LONG = ErrorCode(
    "command-too-long",
    "a command of the file is longer than the firmware's line buffer, which would cut it",
    "shorten it (often a message, M117) in the slicer's custom G-code and slice again",
)
COMMAND_FORBIDDEN = ErrorCode(
    "command-forbidden",
    "the file holds a command that is never sent to a machine",
    "take it out of the slicer's custom G-code and slice again",
)
NOTHING_TO_SEND = ErrorCode(
    "nothing-to-send", "the file holds no command", "slice the model again and submit the new file"
)

PLACE_NOT_IN_FILE = ErrorCode(
    "place-not-in-file",
    "the file has no command at the place where the run is to go on",
    "submit the file with which the run was begun",
)

NO_LIMITS = Limits()
_PLAIN_MOVES = frozenset({b"G0 ", b"G1 ", b"G2 ", b"G3 "})
_PLAIN_BYTES = b"0123456789.- XYZEFIJ"
_HEIGHT = re.compile(rb"Z *(-?[\d.]+)", re.IGNORECASE)
LAYER_MARK = re.compile(rb"^(?:;LAYER_CHANGE|;LAYER:\d|; CHANGE_LAYER)", re.MULTILINE)


@dataclass(slots=True)
class Batch:
    """Commands in a row. `first` is the index of the first of them in the job, from 0.

    `lines` and `offsets` are their places in the file's text; `heights` has (index in the batch, Z in mm)
    where Z changes, after `height_before`. With `pause`, the run pauses after them for that reason.
    """

    first: int
    height_before: float | None
    commands: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    heights: list[tuple[int, float]] = field(default_factory=list)
    pause: str | None = None


class _LayerWatch:
    """A stream that notes where layers begin while it is read; its `size` so far."""

    def __init__(self, stream: ByteSource) -> None:
        self._stream = stream
        self._tail = b""
        self._tail_at = 0
        self.layers: list[int] = []
        self.is_wanted = True

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._stream.read(size) if self.is_wanted else b""
        data = self._tail + chunk
        cut = data.rfind(b"\n") + 1 if chunk else len(data)
        self.layers += [self._tail_at + found.start() for found in LAYER_MARK.finditer(data, 0, cut)]
        self._tail = data[cut:]
        self._tail_at += cut
        return chunk

    @property
    def size(self) -> int:
        return self._tail_at + len(self._tail)


class JobFile:
    """The commands of one file, in order, with their places."""

    def __init__(
        self,
        file: RunFile,
        limits: Limits = NO_LIMITS,
        allow: Collection[str] = (),
        *,
        after: Place | None = None,
    ) -> None:
        """`limits` and `allow` are the machine's, which each command is held against; `after` is where it goes on."""
        self._file = file
        self._limits = limits
        self._allow = allow
        self._layers: list[int] = []
        self._size = 1
        """Bytes of the file's text, which binary G-code is decoded to."""
        self._kept: tuple[Batch, ...] = ()
        """Replaced as a whole: one thread reads on while another looks for places."""
        self._watch: _LayerWatch | None = None
        self._stream: BinaryIO | None = None
        self._rows: Iterator[tuple[int, int, bytes]] = iter(())
        self._read = 0
        self._height = None if after is None else after.z_mm
        self._relative = False
        self._after = after
        self._modes: ModeReader | None = None
        self.at_break: tuple[Modal, bool] | None = None
        """What is set where the job goes on, and whether it is sure at what height the head was; after `prepare`."""
        self._reading = threading.Lock()
        self._is_closed = False

    @property
    def name(self) -> str:
        """The file's."""
        return self._file.name

    def prepare(self) -> Batch:
        """Read the whole file once, then its first commands again.

        Raises `Refused` for what must not or cannot be sent, or `OSError`.
        """
        self._check()
        if self._after is not None:
            self.at_break = self._read_modes(self._after)
        first = self.next_batch()
        if first is None:
            raise Refused(NOTHING_TO_SEND, where=self._file.name)
        return first

    def _check(self) -> None:
        with self._file.open() as stream:
            self._watch = _LayerWatch(gcode_text(stream, self._file.name))
            self._watch.is_wanted = not self._is_closed
            for count, (line, _, command) in enumerate(numbered_lines(self._watch), 1):
                self._check_command(line, command)
                if count % BREATH_LINES == 0:
                    time.sleep(0)
            self._layers, self._size = self._watch.layers, max(1, self._watch.size)

    def _read_modes(self, after: Place) -> tuple[Modal, bool]:
        reader = ModeReader(self._file, self._is_wanted)
        try:
            found = reader.at_break(after.line or 0)
        finally:
            reader.close()
        self._relative = bool(found[0].relative)
        return found

    def modal_at(self, accepted: int) -> Modal:
        """What the file has set up to the last of `accepted` commands; no fewer than asked for before. Blocks.

        Raises as `prepare` does.
        """
        with self._reading:
            if self._modes is None:
                self._modes = ModeReader(self._file, self._is_wanted)
            modal = self._modes.at(self.place(accepted).line or 0)
        if self._is_closed:
            self.close()
        return modal

    def _is_wanted(self) -> bool:
        return not self._is_closed

    def _check_command(self, line: int, command: bytes) -> bool:
        """Whether the command is a plain move; raises `Refused`."""
        if len(command) > COMMAND_BYTES:
            what = f"line {line} has a command of {len(command)} bytes; {COMMAND_BYTES} fit"
            raise Refused(COMMAND_TOO_LONG, what, where=self._file.name)
        if command[:3] in _PLAIN_MOVES and not command.translate(None, _PLAIN_BYTES)[1:]:
            return True
        if finding := check_command(command, self._limits, self._allow, number=line):
            what = f"line {line}: {finding.text} {finding.reason}"
            raise Refused(COMMAND_FORBIDDEN, what, where=self._file.name)
        return False

    def next_batch(self) -> Batch | None:
        """The next commands, or None after the last; raises as `prepare` does."""
        with self._reading:
            batch = None if self._is_closed else self._next_batch()
        if self._is_closed:
            self.close()
        return batch

    def _next_batch(self) -> Batch | None:
        if self._stream is None:
            self._stream = self._file.open()
            self._rows = numbered_lines(gcode_text(self._stream, self._file.name))
            if self._after is not None:
                self._skip(self._after)
        batch = Batch(self._read, self._height)
        for line, offset, command in islice(self._rows, BATCH_LINES):
            plain = self._check_command(line, command)
            if not plain and (reason := self._modal(command)):
                batch.pause = reason
                break
            if b"Z" in command and command[:1] == b"G":
                self._note_height(batch, command)
            batch.commands.append(command)
            batch.lines.append(line)
            batch.offsets.append(offset)
        if not batch.commands and batch.pause is None:
            return None
        self._read += len(batch.commands)
        self._kept = (*self._kept, batch)[-BATCHES_KEPT:]
        return batch

    def _skip(self, after: Place) -> None:
        """Pass over everything up to the place, which must be that of a command."""
        for count, (line, offset, _) in enumerate(self._rows, 1):
            if line == after.line and offset == after.byte:
                return
            if count % BREATH_LINES == 0:
                time.sleep(0)
        what = f"line {after.line} at byte {after.byte}"
        raise Refused(PLACE_NOT_IN_FILE, what, where=self._file.name)

    def _modal(self, command: bytes) -> str | None:
        """Note G90 and G91; the reason of the pause when this is a bare M0 or M1."""
        for part in parse_line(command):
            if part.name in ("G90", "G91"):
                self._relative = part.name == "G91"
            elif part.name in ("M0", "M1") and part.number("S") is None and part.number("P") is None:
                return f"{part.name} in the file" + (f": {part.text}" if part.text else "")
        return None

    def _note_height(self, batch: Batch, command: bytes) -> None:
        if found := _HEIGHT.search(command):
            height = float(found[1])
            if self._relative and not command.startswith(b"G92"):
                height += self._height or 0.0
            self._height = height
            batch.heights.append((len(batch.commands), height))

    def close(self) -> None:
        """Read no more. A reading that is under way ends soon, and closes the file itself."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.is_wanted = False
        if self._reading.acquire(blocking=False):
            try:
                if self._stream is not None:
                    self._stream.close()
                if self._modes is not None:
                    self._modes.close()
            finally:
                self._reading.release()

    def offset(self, accepted: int) -> int:
        """The byte of the file's text at which the last of `accepted` commands begins; for none, that behind
        which the job goes on, or 0."""
        found = self._find(accepted)
        if found is None:
            return (self._after.byte if self._after else None) or 0
        return found[0].offsets[found[1]]

    def fraction(self, accepted: int) -> float:
        """How much of the file that is, 0 to 1."""
        return min(1.0, self.offset(accepted) / self._size)

    def layer(self, accepted: int) -> int | None:
        """The layer of that command, the first being 1; None where the file does not mark layers."""
        return bisect_right(self._layers, self.offset(accepted)) if self._layers else None

    def place(self, accepted: int) -> Place:
        """Where the last of `accepted` commands stands."""
        found = self._find(accepted)
        if found is None:
            return self._after or Place(line=0, byte=0, fraction=0.0)
        batch, index = found
        height = batch.height_before
        for at, value in batch.heights:
            if at <= index:
                height = value
        return Place(
            line=batch.lines[index],
            byte=batch.offsets[index],
            layer=self.layer(accepted),
            z_mm=height,
            fraction=self.fraction(accepted),
        )

    def _find(self, accepted: int) -> tuple[Batch, int] | None:
        index = accepted - 1
        for batch in self._kept:
            if batch.first <= index < batch.first + len(batch.commands):
                return batch, index - batch.first
        return None
