"""Zip archives and the XML in them, opened as if every one of them were an attack.

Refuses more than 1000 entries, a ratio over 100 to 1, over 2 GiB counted while reading, archives in
archives, names that leave the archive, encrypted entries, and XML with a document type or entities.
Knows nothing of what the entries mean.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, NoReturn
from xml.parsers import expat

from farmd.gcode.formats import (
    DAMAGED,
    RATIO_FREE,
    RATIO_LIMIT,
    TOTAL_LIMIT,
    TRUNCATED,
    UNSAFE,
    ZIP_MAGIC,
)
from farmd.gcode.lines import ByteSource
from farmd.gcode.source import Readable
from farmd.model.errors import Refused

ENTRIES_LIMIT = 1000
DIRECTORY_LIMIT = 1 << 20
XML_TOKEN_LIMIT = 1 << 20

_CHUNK = 1 << 18
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ARCHIVES = (".zip", ".3mf", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".tar", ".jar", ".ufp")
_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


class Archive:
    """An open zip whose directory was found harmless; `names` in the archive's order."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self._read = 0
        self._entries = {entry.filename: entry for entry in file.infolist()}
        self.names = tuple(self._entries)

    def size(self, name: str) -> int:
        """The size of an entry, as the directory says."""
        return self._entries[name].file_size

    @contextmanager
    def open(self, name: str) -> Iterator[ByteSource]:
        """An entry as a stream, counted against the limits while it is read."""
        entry = self._entries[name]
        with _damage_refused():
            stream = self._file.open(entry)
        with stream:
            yield _Counted(self, stream, entry)

    def read(self, name: str, limit: int) -> bytes:
        """A whole entry; raises `Refused` when it is longer than `limit` bytes."""
        with self.open(name) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise Refused(UNSAFE, f"entry {name!r} is longer than {limit} bytes")
        return data

    def count(self, entry: zipfile.ZipInfo, so_far: int, more: int) -> None:
        """Account for bytes that came out of an entry."""
        self._read += more
        if self._read > TOTAL_LIMIT:
            raise Refused(UNSAFE, f"the archive unpacks to more than {TOTAL_LIMIT} bytes")
        if so_far > RATIO_FREE and so_far > RATIO_LIMIT * max(1, entry.compress_size):
            raise Refused(
                UNSAFE, f"entry {entry.filename!r} unpacks to more than {RATIO_LIMIT} times its size"
            )


class _Counted:
    def __init__(self, archive: Archive, stream: IO[bytes], entry: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._stream = stream
        self._entry = entry
        self._so_far = 0

    def read(self, size: int = -1, /) -> bytes:
        with _damage_refused():
            data = self._stream.read(size if size >= 0 else _CHUNK)
        self._so_far += len(data)
        self._archive.count(self._entry, self._so_far, len(data))
        return data


@contextmanager
def _damage_refused() -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise Refused(DAMAGED, f"the archive cannot be read ({error})") from error


@contextmanager
def open_archive(path: Readable) -> Iterator[Archive]:
    """Open a zip file after looking at its directory; raises `Refused` for a damaged or unsafe one."""
    with path.open("rb") as stream:
        if stream.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
            raise Refused(DAMAGED, "the file is not a zip archive")
        _refuse_long_directory(stream)
        with _damage_refused():
            file = zipfile.ZipFile(stream)
        with file:
            _refuse_entries(file, stream.seek(0, 2))
            archive = Archive(file)
            for name in archive.names:
                _refuse_nested(archive, name)
            yield archive


def _refuse_long_directory(stream: BinaryIO) -> None:
    """Look at the directory's size before `zipfile` reads all of it into memory."""
    size = stream.seek(0, 2)
    start = max(0, size - 22 - 0xFFFF)
    stream.seek(start)
    tail = stream.read(size - start)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise Refused(TRUNCATED, "the archive has no directory at its end")
    entries, length = struct.unpack_from("<HI", tail, at + 10)
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR_64:
        stream.seek(min(struct.unpack_from("<Q", tail, at - 12)[0], size))
        end = stream.read(56)
        if len(end) != 56 or not end.startswith(_END_64):
            raise Refused(DAMAGED, "the archive's directory is not where it says")
        entries, length = struct.unpack_from("<QQ", end, 32)
    if entries > ENTRIES_LIMIT or length > DIRECTORY_LIMIT:
        raise Refused(UNSAFE, f"the archive has more than {ENTRIES_LIMIT} entries")


def _refuse_entries(file: zipfile.ZipFile, archive_size: int) -> None:
    entries = file.infolist()
    if len(entries) > ENTRIES_LIMIT:
        raise Refused(UNSAFE, f"the archive has more than {ENTRIES_LIMIT} entries")
    if len({entry.filename for entry in entries}) != len(entries):
        raise Refused(UNSAFE, "two entries of the archive have the same name")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > TOTAL_LIMIT:
        raise Refused(UNSAFE, f"the archive unpacks to more than {TOTAL_LIMIT} bytes")
    if unpacked > RATIO_FREE * len(entries) and unpacked > RATIO_LIMIT * archive_size:
        raise Refused(UNSAFE, f"the archive unpacks to more than {RATIO_LIMIT} times its size")
    for entry in entries:
        name = entry.filename
        if not 0 <= entry.header_offset < archive_size:
            raise Refused(DAMAGED, f"entry {name[:80]!r} lies outside the archive")
        if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
            raise Refused(UNSAFE, f"entry {name[:80]!r} names a place outside the archive")
        if entry.flag_bits & 1:
            raise Refused(UNSAFE, f"entry {name[:80]!r} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused(UNSAFE, f"entry {name[:80]!r} is compressed in an unusual way")
        if name.lower().endswith(_ARCHIVES):
            raise Refused(UNSAFE, f"entry {name[:80]!r} is an archive itself")


def _refuse_nested(archive: Archive, name: str) -> None:
    with archive.open(name) as stream:
        if stream.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
            raise Refused(UNSAFE, f"entry {name[:80]!r} is an archive itself")


Attributes = dict[str, str]


def read_xml(
    stream: ByteSource,
    begin: Callable[[str, Attributes], None],
    end: Callable[[str], None] | None = None,
) -> None:
    """Tell the elements of an XML text to `begin(name, attributes)` and `end(name)`, streaming.

    Names are local (`p:path` is "path"); the text is UTF-8 whatever it declares. Raises `Refused` for XML
    that is not well formed, has a document type or entities, or has one token of more than
    XML_TOKEN_LIMIT bytes.
    """

    def refuse(*_: object) -> NoReturn:
        raise Refused(UNSAFE, "the XML in the archive declares a document type or entities")

    def local(name: str) -> str:
        return name.rpartition(":")[2]

    parser = expat.ParserCreate("UTF-8")
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = lambda name, values: begin(
        local(name), {local(key): value for key, value in values.items()}
    )
    if end is not None:
        ended = end
        parser.EndElementHandler = lambda name: ended(local(name))
    fed = 0
    try:
        while chunk := stream.read(_CHUNK):
            fed += len(chunk)
            parser.Parse(chunk, False)
            if fed - parser.CurrentByteIndex > XML_TOKEN_LIMIT + _CHUNK:
                raise Refused(UNSAFE, "the XML in the archive has an endless token")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Refused(DAMAGED, f"the XML in the archive is not well formed ({error})") from error
