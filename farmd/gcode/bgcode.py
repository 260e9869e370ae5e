"""Binary G-code (.bgcode, version 1): its metadata, thumbnails and checksums.

The commands themselves (compressed by heatshrink and MeatPack) are not decoded: blocks of G-code are
only checked for length and checksum. All numbers are little endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

from farmd.gcode.formats import BGCODE_MAGIC, DAMAGED, EMPTY, NO_COMMANDS, THUMBNAIL_LIMIT, TRUNCATED
from farmd.gcode.notes import Notes, png_thumbnail, shown
from farmd.model.errors import Refused

METADATA_LIMIT = 16 << 20
"""Bytes of one metadata block, before and after decompression."""

_FILE_HEADER = struct.Struct("<4sIH")
_BLOCK_HEADER = struct.Struct("<HHI")
_GCODE, _THUMBNAIL = 1, 5
_METADATA = {0, 2, 3, 4}
_STORED, _DEFLATE, _LAST_COMPRESSION = 0, 1, 3
_PNG = 0
_CHUNK = 1 << 18


def read_bgcode(stream: BinaryIO, size: int, tick: Callable[[int], None] | None = None) -> Notes:
    """The notes of a binary G-code file of `size` bytes; `tick` is told the bytes of each read.

    Raises `Refused` for lengths that do not fit the file, wrong checksums, or no block of G-code.
    """
    return _Reader(stream, size, tick).read()


class _Reader:
    def __init__(self, stream: BinaryIO, size: int, tick: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._left = size
        self._tick = tick
        self._crc = 0
        self._notes = Notes()

    def read(self) -> Notes:
        if self._left == 0:
            raise Refused(EMPTY)
        magic, version, checksum = _FILE_HEADER.unpack(self._take(_FILE_HEADER.size))
        if magic != BGCODE_MAGIC or version != 1 or checksum > 1:
            raise Refused(DAMAGED, "the file is not binary G-code of version 1")
        kinds = set()
        while self._left:
            kinds.add(self._block(checked=checksum == 1))
        if _GCODE not in kinds:
            raise Refused(NO_COMMANDS, "the binary G-code has no block of commands")
        return self._notes

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise Refused(TRUNCATED, f"the file ends {count - self._left} bytes too early")
        data = self._stream.read(count)
        if len(data) != count:
            raise Refused(TRUNCATED, "the file became shorter while it was read")
        self._left -= count
        self._crc = zlib.crc32(data, self._crc)
        if self._tick is not None:
            self._tick(count)
        return data

    def _skip(self, count: int) -> None:
        while count:
            count -= len(self._take(min(count, _CHUNK)))

    def _block(self, *, checked: bool) -> int:
        self._crc = 0
        kind, compression, length = _BLOCK_HEADER.unpack(self._take(_BLOCK_HEADER.size))
        if kind > _THUMBNAIL or compression > _LAST_COMPRESSION:
            raise Refused(DAMAGED, f"block of unknown type {kind} or compression {compression}")
        stored = length if compression == _STORED else int.from_bytes(self._take(4), "little")
        image_format = int.from_bytes(self._take(2), "little")  # the encoding, in blocks that are no picture
        if kind == _THUMBNAIL:
            self._take(4)
        if stored > self._left:
            raise Refused(TRUNCATED, f"the file ends {stored - self._left} bytes too early")
        if kind in _METADATA and compression in (_STORED, _DEFLATE):
            self._metadata(stored, length, deflated=compression == _DEFLATE)
        elif (
            kind == _THUMBNAIL
            and image_format == _PNG
            and compression == _STORED
            and stored <= THUMBNAIL_LIMIT
        ):
            self._thumbnail(self._take(stored))
        else:
            self._skip(stored)
        if checked:
            crc = self._crc
            if int.from_bytes(self._take(4), "little") != crc:
                raise Refused(DAMAGED, f"the checksum of a block (type {kind}) is wrong")
        return int(kind)

    def _metadata(self, stored: int, length: int, *, deflated: bool) -> None:
        if stored > METADATA_LIMIT or length > METADATA_LIMIT:
            raise Refused(DAMAGED, f"a metadata block is longer than {METADATA_LIMIT} bytes")
        data = self._take(stored)
        if deflated:
            try:
                data = zlib.decompressobj().decompress(data, METADATA_LIMIT)
            except zlib.error as error:
                raise Refused(DAMAGED, f"a metadata block cannot be decompressed ({error})") from error
        if len(data) != length:
            raise Refused(DAMAGED, f"a metadata block has {len(data)} bytes where it says {length}")
        for line in data.splitlines():
            key, equals, value = line.partition(b"=")
            name = shown(key).lower()
            if name == "producer" and self._notes.slicer is None:
                self._notes.made_by(value)
            elif equals:
                self._notes.setting(name, value)

    def _thumbnail(self, data: bytes) -> None:
        best = self._notes.thumbnail
        picture = png_thumbnail(data)
        if picture and (best is None or picture.width * picture.height > best.width * best.height):
            self._notes.thumbnail = picture
