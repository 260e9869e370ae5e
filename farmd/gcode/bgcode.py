"""Binary G-code (.bgcode, version 1), read like the text that is packed in it.

Blocks of metadata, thumbnails and G-code, each with a checksum; all numbers are little endian. Every
block of G-code begins afresh: its compression and its packing know nothing of the block before. Knows
how blocks are laid out; how they are packed is known in `heatshrink` and `meatpack`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

from farmd.gcode.formats import (
    BGCODE_MAGIC,
    DAMAGED,
    EMPTY,
    NO_COMMANDS,
    RATIO_FREE,
    RATIO_LIMIT,
    THUMBNAIL_LIMIT,
    TOTAL_LIMIT,
    TRUNCATED,
    UNSAFE,
)
from farmd.gcode.heatshrink import HeatshrinkDecoder
from farmd.gcode.lines import ByteSource
from farmd.gcode.meatpack import MeatPackDecoder
from farmd.gcode.notes import Notes, png_thumbnail, shown
from farmd.model.errors import Refused

METADATA_LIMIT = 16 << 20
"""Bytes of one metadata block, before and after decompression."""

_FILE_HEADER = struct.Struct("<4sIH")
_BLOCK_HEADER = struct.Struct("<HHI")
_GCODE, _THUMBNAIL = 1, 5
_STORED, _DEFLATE, _SHRUNK_11, _SHRUNK_12 = range(4)
_PLAIN, _LAST_ENCODING = 0, 2
_PNG = 0
_CHUNK = 1 << 12


class BinaryGcode:
    """The text of a binary G-code file, decoded while it is read.

    `metadata` holds what the blocks before the text say, once that was read. `tick` is told the bytes of
    each read from `stream`. Reading raises `Refused` for a file that is cut off or damaged, and for one
    that unpacks to more than RATIO_LIMIT times its size or to more than TOTAL_LIMIT.
    """

    def __init__(self, stream: ByteSource, tick: Callable[[int], None] | None = None) -> None:
        self.metadata = Notes()
        self._stream = stream
        self._tick = tick
        self._crc = 0
        self._packed = self._unpacked = self._text = 0
        """Bytes so far: of blocks in the file, of blocks unpacked, of decoded G-code."""
        self._pieces = self._blocks()
        self._left_over = b""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the text: all that are left, or up to `size`, and none only at its end.

        Like a pipe it gives what is there, some 10 KB: whoever reads may breathe between two milliseconds of decoding.
        """
        if size < 0:
            rest, self._left_over = self._left_over, b""
            return rest + b"".join(self._pieces)
        while not self._left_over and (piece := next(self._pieces, None)) is not None:
            self._left_over = piece
        data = self._left_over[:size]
        self._left_over = self._left_over[size:]
        return data

    def _blocks(self) -> Iterator[bytes]:
        head = self._stream.read(_FILE_HEADER.size)
        if not head:
            raise Refused(EMPTY)
        self._account(head, _FILE_HEADER.size)
        magic, version, checksum = _FILE_HEADER.unpack(head)
        if magic != BGCODE_MAGIC or version != 1 or checksum > 1:
            raise Refused(DAMAGED, "the file is not binary G-code of version 1")
        kinds = set()
        while head := self._stream.read(_BLOCK_HEADER.size):
            self._crc = 0
            self._account(head, _BLOCK_HEADER.size)
            kind, compression, length = _BLOCK_HEADER.unpack(head)
            yield from self._block(kind, compression, length)
            crc = self._crc
            if checksum == 1 and self._number(4) != crc:
                raise Refused(DAMAGED, f"the checksum of a block (type {kind}) is wrong")
            kinds.add(kind)
        if _GCODE not in kinds:
            raise Refused(NO_COMMANDS, "the binary G-code has no block of commands")

    def _account(self, data: bytes, count: int) -> None:
        if len(data) != count:
            raise Refused(TRUNCATED, "the file stops inside a block")
        self._crc = zlib.crc32(data, self._crc)
        if self._tick is not None:
            self._tick(count)

    def _take(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._account(data, count)
        return data

    def _number(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _block(self, kind: int, compression: int, length: int) -> Iterator[bytes]:
        """Read a block behind its header, up to its checksum; pieces of text, if it is one of G-code."""
        if kind > _THUMBNAIL or compression > _SHRUNK_12:
            raise Refused(DAMAGED, f"block of unknown type {kind} or compression {compression}")
        stored = length if compression == _STORED else self._number(4)
        encoding = self._number(2)
        self._packed += stored
        self._unpacked += length
        if kind == _GCODE:
            if encoding > _LAST_ENCODING:
                raise Refused(DAMAGED, f"a block of commands has the unknown encoding {encoding}")
            yield from self._commands(self._content(stored, compression, length), encoding)
        elif kind == _THUMBNAIL:
            self._take(4)  # its width and height, which a PNG says itself
            self._thumbnail(self._content(stored, compression, length), encoding, length)
        else:
            self._settings(self._content(stored, compression, length), stored, length)

    def _content(self, stored: int, compression: int, length: int) -> Iterator[bytes]:
        """The data of a block, decompressed; no more than the `length` that its header says."""
        if self._unpacked > RATIO_FREE and self._unpacked > RATIO_LIMIT * self._packed:
            raise Refused(UNSAFE, f"the file unpacks to more than {RATIO_LIMIT} times its size")
        decompress = _decompressor(compression)
        while stored:
            packed = self._take(min(stored, _CHUNK))
            stored -= len(packed)
            try:
                data = decompress(packed)
            except zlib.error as error:
                raise Refused(DAMAGED, f"a block cannot be decompressed ({error})") from error
            length -= len(data)
            if length < 0:
                break
            yield data
        if length:
            raise Refused(DAMAGED, "a block is not as long as it says when it is decompressed")

    def _commands(self, content: Iterator[bytes], encoding: int) -> Iterator[bytes]:
        if encoding == _PLAIN:
            yield from map(self._counted, content)
            return
        decoder = MeatPackDecoder()
        for data in content:
            yield self._counted(decoder.feed(data))
        yield self._counted(decoder.finish())

    def _counted(self, text: bytes) -> bytes:
        self._text += len(text)
        if self._text > TOTAL_LIMIT:
            raise Refused(UNSAFE, f"the file unpacks to more than {TOTAL_LIMIT} bytes")
        return text

    def _settings(self, content: Iterator[bytes], stored: int, length: int) -> None:
        if max(stored, length) > METADATA_LIMIT:
            raise Refused(DAMAGED, f"a metadata block is longer than {METADATA_LIMIT} bytes")
        for line in b"".join(content).splitlines():
            key, equals, value = line.partition(b"=")
            name = shown(key).lower()
            if name == "producer" and self.metadata.slicer is None:
                self.metadata.made_by(value)
            elif equals:
                self.metadata.setting(name, value)

    def _thumbnail(self, content: Iterator[bytes], image_format: int, length: int) -> None:
        if image_format == _PNG and length <= THUMBNAIL_LIMIT:
            self.metadata.picture(png_thumbnail(b"".join(content)))
        else:
            for _ in content:
                pass


def _decompressor(compression: int) -> Callable[[bytes], bytes]:
    if compression == _DEFLATE:
        return zlib.decompressobj().decompress
    if compression == _SHRUNK_11:
        return HeatshrinkDecoder(11, 4).feed
    if compression == _SHRUNK_12:
        return HeatshrinkDecoder(12, 4).feed
    return bytes
