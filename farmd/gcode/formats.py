"""Which kinds of file people hand in, and the reasons for which a file is refused.

Knows file names, the first bytes of each format, and limits. Reads nothing itself and knows nothing
of machines, slicers or what a file means.
"""

from __future__ import annotations

from typing import Literal

from farmd.model.errors import ErrorCode, Refused

FileKind = Literal["gcode", "bgcode", "gcode.3mf", "3mf", "stl"]
"""`3mf` is a 3MF whose name does not say whether it holds a model or a sliced plate: `is_mesh` looks."""

SUFFIXES: tuple[tuple[str, FileKind], ...] = (
    (".gcode.3mf", "gcode.3mf"),
    (".3mf", "3mf"),
    (".gcode", "gcode"),
    (".gco", "gcode"),
    (".g", "gcode"),
    (".bgcode", "bgcode"),
    (".stl", "stl"),
)

ZIP_MAGIC = b"PK\x03\x04"
BGCODE_MAGIC = b"GCDE"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

THUMBNAIL_LIMIT = 4 << 20
"""Bytes of one thumbnail; a larger one is left out."""
RATIO_LIMIT = 100
"""How many times its size a packed file may unpack to."""
RATIO_FREE = 64 << 10
"""Up to this size any ratio will do: a short and repetitive text compresses well."""
TOTAL_LIMIT = 2 << 30
"""Bytes that a packed file may unpack to."""

UNSUPPORTED = ErrorCode(
    "file-unsupported",
    "the file is of a kind that farmd does not read",
    "hand in .gcode, .gco, .g, .bgcode, .gcode.3mf, .3mf or .stl",
)
EMPTY = ErrorCode("file-empty", "the file has no bytes", "export it again and check the disk is not full")
TRUNCATED = ErrorCode("file-truncated", "the file stops before its end", "export or upload it again")
DAMAGED = ErrorCode(
    "file-damaged", "the file contradicts its own lengths or checksums", "export or upload it again"
)
NOT_TEXT = ErrorCode(
    "gcode-not-text", "a G-code file holds bytes that are not text", "give the file the extension of its kind"
)
LINE_TOO_LONG = ErrorCode(
    "gcode-line-too-long", "a line is longer than any slicer writes", "export the file again as G-code text"
)
NO_COMMANDS = ErrorCode(
    "gcode-no-commands",
    "the file has nothing that a machine could execute",
    "slice the model and export G-code",
)
NOT_SLICED = ErrorCode(
    "file-not-sliced",
    "the 3MF holds a model and no sliced plate",
    "slice it and export the plate, or hand it in as a mesh for a powder-bed machine",
)
NOT_MESH = ErrorCode("file-not-mesh", "the file is not a mesh", "hand in an STL or a 3MF with a model")
UNSAFE = ErrorCode(
    "archive-unsafe",
    "the file is packed in a way in which no slicer packs it",
    "export the file again from the slicer; do not repack it",
)


def file_kind(name: str) -> FileKind:
    """The kind that a file's name says; raises `Refused(file-unsupported)` for any other name."""
    lower = name.lower()
    for suffix, kind in SUFFIXES:
        if lower.endswith(suffix):
            return kind
    raise Refused(UNSUPPORTED, f"{name[-80:]!r} is not a kind of file that farmd reads")
