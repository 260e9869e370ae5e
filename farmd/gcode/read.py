"""`read_sliced`: one sliced file of any kind to its `SlicedFile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from farmd.gcode.archive import open_archive
from farmd.gcode.bgcode import BinaryGcode
from farmd.gcode.formats import EMPTY, UNSUPPORTED, file_kind
from farmd.gcode.lines import ByteSource
from farmd.gcode.scan import Scanner
from farmd.gcode.slicers import described
from farmd.gcode.source import Readable
from farmd.gcode.summary import SlicedFile
from farmd.gcode.threemf import chosen_plate, holds_gcode, open_plate, plate_numbers, scan_plate
from farmd.model.errors import Refused

Progress = Callable[[int, int], None]


def read_sliced(
    path: Readable, *, name: str = "", plate: int | None = None, progress: Progress | None = None
) -> SlicedFile:
    """Read a sliced file once, in constant memory.

    `name` (default: the path's) says the kind by its extension; `plate` chooses one of a 3MF's plates
    (default: the first). `progress` is told (bytes read, bytes in all). Raises `Refused` for a file
    that is no sliced file, is damaged, or is cut off; forbidden commands are in the summary instead.
    """
    name = name or path.name
    size = path.stat().st_size
    try:
        kind = file_kind(name)
        if kind == "stl":
            raise Refused(UNSUPPORTED, "an STL is not sliced", remedy="slice it, or hand it in as a mesh")
        if size == 0:
            raise Refused(EMPTY)
        if kind == "gcode":
            return _read_text(path, _Ticker(progress, size))
        if kind == "bgcode":
            return _read_binary(path, _Ticker(progress, size))
        return _read_plate(path, plate, progress)
    except Refused as error:
        raise Refused(error.code, error.what, where=name, remedy=error.remedy) from error


def is_mesh(name: str, path: Readable | None = None) -> bool:
    """Whether a file is a mesh by its name. With its `path`, a plain .3mf is opened and is one only when
    it holds no sliced plate; raises `Refused` for a .3mf that is damaged or unsafe."""
    lower = name.lower()
    if lower.endswith(".3mf") and not lower.endswith(".gcode.3mf"):
        return path is None or not holds_gcode(path)
    return lower.endswith(".stl")


class _Ticker:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


def _read_text(path: Readable, tick: _Ticker) -> SlicedFile:
    scanner = Scanner()
    with path.open("rb") as stream:
        scanner.read(stream, tick)
    return SlicedFile(kind="gcode", **_scanned(scanner))


def _read_binary(path: Readable, tick: _Ticker) -> SlicedFile:
    scanner = Scanner()
    with path.open("rb") as stream:
        text = BinaryGcode(stream, tick)
        scanner.read(text, metadata=text.metadata)
    return SlicedFile(kind="bgcode", **_scanned(scanner))


def _read_plate(path: Readable, plate: int | None, progress: Progress | None) -> SlicedFile:
    with open_archive(path) as archive:
        chosen = chosen_plate(archive, plate)
        entry = f"Metadata/plate_{chosen}.gcode"
        scanner, info = scan_plate(archive, chosen, _Ticker(progress, archive.size(entry)))
        fields = _scanned(scanner)
        fields["object_count"] = fields["object_count"] or len(info.objects)
        return SlicedFile(kind="gcode.3mf", plate=chosen, plates=plate_numbers(archive), **fields)


def _scanned(scanner: Scanner) -> dict[str, Any]:
    return described(scanner.notes, scanner.motion, scanner.hottest_c) | {
        "lines": scanner.lines,
        "commands": scanner.commands,
        "denied": tuple(scanner.denied),
        "denied_count": scanner.denied_count,
    }


@contextmanager
def open_gcode(path: Readable, *, name: str = "", plate: int | None = None) -> Iterator[ByteSource]:
    """The text of a sliced file's commands, for `executable_lines`: the file, or a plate in a 3MF.

    Raises `Refused` for meshes; while it is read, for what is damaged.
    """
    kind = file_kind(name or path.name)
    if kind in ("gcode", "bgcode"):
        with path.open("rb") as stream:
            yield gcode_text(stream, name or path.name)
    elif kind in ("3mf", "gcode.3mf"):
        with open_plate(path, plate) as entry:
            yield entry
    else:
        raise Refused(UNSUPPORTED, "a mesh has no commands", where=name or path.name)


def gcode_text(stream: ByteSource, name: str) -> ByteSource:
    """The text in an open file of that name: decoded while it is read if the name is of binary G-code,
    else the stream as it is. Lines and offsets in it are those of the text."""
    return BinaryGcode(stream) if file_kind(name) == "bgcode" else stream
