"""Packers for the tests: heatshrink, MeatPack and whole .bgcode files, simple and slow.

`python tests/gcode/bgpack.py IN.gcode OUT.bgcode` packs a file as slicers do, for `bench.gcode`.
"""

from __future__ import annotations

import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

FILE_META, GCODE, SLICER, PRINTER, PRINT, THUMBNAIL = range(6)
STORED, DEFLATE, SHRUNK_11, SHRUNK_12 = range(4)
PLAIN, MEAT, MEAT_WITH_COMMENTS = range(3)
BLOCK_BYTES = 1 << 16


def heatshrink(data: bytes, window_bits: int, lookahead_bits: int) -> bytes:
    """Greedy: the latest earlier place where the next four bytes stood, if there is one in the window."""
    bits = []
    places: dict[bytes, int] = {}
    at = 0
    while at < len(data):
        before = places.get(data[at : at + 4], -1)
        count = 0
        if before >= 0 and at - before <= 1 << window_bits:
            limit = min(1 << lookahead_bits, len(data) - at)
            while count < limit and data[before + count] == data[at + count]:
                count += 1
        if count:
            bits.append(f"0{at - before - 1:0{window_bits}b}{count - 1:0{lookahead_bits}b}")
        else:
            bits.append(f"1{data[at]:08b}")
        for place in range(at, at + max(1, count)):
            places[data[place : place + 4]] = place
        at += max(1, count)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text or "0", 2).to_bytes(len(text) // 8, "big")


def meatpack_line(line: bytes, characters: bytes) -> bytes:
    """One line, its line break last, as packed bytes."""
    packed = bytearray()
    for at in range(0, len(line), 2):
        pair = line[at : at + 2].ljust(2, b"\n")
        halves = [characters.find(character) for character in pair]
        packed.append((halves[0] & 15) | (halves[1] & 15) << 4)
        packed += bytes(character for character, half in zip(pair, halves, strict=True) if half < 0)
    return bytes(packed)


def meatpack(text: bytes, *, comments: bool = False, blanks: bool = False) -> bytes:
    """A text as slicers pack it: no comments behind commands or (without `comments`) at all, no empty lines,
    and (without `blanks`) no blanks in G commands. Comments stand unpacked."""
    characters = b"0123456789. \nGX" if blanks else b"0123456789.E\nGX"
    packed = bytearray(b"\xff\xff\xfb" if blanks else b"\xff\xff\xfb\xff\xff\xf7")
    packing = True
    for line in text.splitlines(keepends=True):
        if comments and line.startswith(b";"):
            packed += b"\xff\xff\xfa" * packing + line
            packing = False
        elif command := line.partition(b";")[0].strip():
            packed += b"\xff\xff\xfb" * (not packing)
            packing = True
            if not blanks and re.search(rb"G\d", command):
                command = command.replace(b" ", b"")
            packed += meatpack_line(command + b"\n", characters)
    return bytes(packed + b"\xff\xff\xf9")


COMPRESS: dict[int, Callable[[bytes], bytes]] = {
    STORED: bytes,
    DEFLATE: zlib.compress,
    SHRUNK_11: lambda data: heatshrink(data, 11, 4),
    SHRUNK_12: lambda data: heatshrink(data, 12, 4),
}
ENCODE: dict[int, Callable[[bytes], bytes]] = {
    PLAIN: bytes,
    MEAT: meatpack,
    MEAT_WITH_COMMENTS: lambda text: meatpack(text, comments=True),
}


def header(checked: bool = True) -> bytes:
    return b"GCDE" + struct.pack("<IH", 1, 1 if checked else 0)


def block(
    kind: int,
    data: bytes,
    *,
    compression: int = STORED,
    params: bytes = b"\0\0",
    checked: bool = True,
    length: int | None = None,
) -> bytes:
    """A block; `length` is told as the uncompressed size in place of the true one."""
    stored = COMPRESS[compression](data)
    head = struct.pack("<HHI", kind, compression, len(data) if length is None else length)
    if compression != STORED:
        head += struct.pack("<I", len(stored))
    body = head + params + stored
    return body + (struct.pack("<I", zlib.crc32(body)) if checked else b"")


def gcode_blocks(
    text: bytes, compression: int, encoding: int, *, size: int = BLOCK_BYTES, checked: bool = True
) -> bytes:
    """A text in blocks of whole lines, about `size` bytes each."""
    blocks = []
    at = 0
    while at < len(text):
        end = text.find(b"\n", at + size) + 1 or len(text)
        data = ENCODE[encoding](text[at:end])
        params = struct.pack("<H", encoding)
        blocks.append(block(GCODE, data, compression=compression, params=params, checked=checked))
        at = end
    return b"".join(blocks)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_bytes(header() + gcode_blocks(source.read_bytes(), SHRUNK_12, MEAT_WITH_COMMENTS))
