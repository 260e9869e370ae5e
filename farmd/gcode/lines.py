"""From the bytes of a G-code text to its lines, in constant memory.

A line ends with LF, CR LF or a lone CR, as firmware reads it: a CR hidden inside a line is a line
break here too. Knows nothing of what a command means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from farmd.gcode.formats import BGCODE_MAGIC, LINE_TOO_LONG, NOT_TEXT, ZIP_MAGIC
from farmd.model.errors import Refused

CHUNK = 1 << 18
LINE_LIMIT = 1 << 18
"""Bytes of one line. Slicers write whole start scripts (some 20 KB) into one comment of settings."""


class ByteSource(Protocol):
    """Anything read like an open binary file."""

    def read(self, size: int = ..., /) -> bytes: ...


BOM = b"\xef\xbb\xbf"
_CONTROL = bytes(c for c in range(32) if c not in b"\t\n\r\x0b\x0c\x1a") + b"\x7f"
_NUMBERED = re.compile(rb"\s*[Nn]\s*-?\d+\s*([^*]*)")


def text_blocks(stream: ByteSource, tick: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Blocks of whole lines (the last may lack its line break), without a byte order mark (blanks stand in for it).

    `tick` is told the number of bytes after each read. Raises `Refused` for bytes that are not text and
    for a line longer than LINE_LIMIT.
    """
    tail = b""
    first = True
    while chunk := stream.read(CHUNK):
        if tick is not None:
            tick(len(chunk))
        if first:
            first = False
            _refuse_other_kind(chunk)
            if chunk.startswith(BOM):
                chunk = b"   " + chunk[3:]  # blanks, so that offsets stay true
        if len(chunk.translate(None, _CONTROL)) != len(chunk):
            raise Refused(NOT_TEXT)
        data = tail + chunk
        cut = data.rfind(b"\n") + 1
        if cut == 0:
            # A CR that ends the data may still be the first half of CR LF.
            cut = data.rfind(b"\r", 0, -1) + 1
        tail = data[cut:]
        if len(tail) > LINE_LIMIT:
            raise Refused(LINE_TOO_LONG, f"a line is longer than {LINE_LIMIT} bytes")
        if cut:
            yield data[:cut]
    if tail:
        yield tail


def _refuse_other_kind(head: bytes) -> None:
    if head.startswith(BGCODE_MAGIC):
        raise Refused(NOT_TEXT, "this is binary G-code", remedy="give it the extension .bgcode")
    if head.startswith(ZIP_MAGIC):
        raise Refused(NOT_TEXT, "this is a zip archive", remedy="give it the extension .gcode.3mf")


def bare_command(line: bytes) -> bytes:
    """What a host sends for one line: no comment, outer blanks, line number or checksum; b"" for nothing."""
    command = line.partition(b";")[0].strip()
    if command[:1] in (b"N", b"n") and (numbered := _NUMBERED.match(command)):
        return numbered[1].strip()
    return command


def executable_lines(source: Path | ByteSource) -> Iterator[bytes]:
    """The commands of a G-code text in order, each as `bare_command` gives it, nothing empty.

    `source` is a path or an open binary file. Streaming; raises `Refused` as `text_blocks` does.
    """
    with _opened(source) as stream:
        for block in text_blocks(stream):
            for line in block.splitlines():
                if line and line[0] != 59 and (command := bare_command(line)):  # 59 is ";"
                    yield command


def numbered_lines(source: Path | ByteSource) -> Iterator[tuple[int, int, bytes]]:
    """Like `executable_lines`, as (line number from 1, offset of the line's first byte, command)."""
    with _opened(source) as stream:
        number = offset = 0
        for block in text_blocks(stream):
            for raw in block.splitlines(keepends=True):
                number += 1
                if command := bare_command(raw):
                    yield number, offset, command
                offset += len(raw)


def _opened(source: Path | ByteSource) -> AbstractContextManager[ByteSource]:
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)
