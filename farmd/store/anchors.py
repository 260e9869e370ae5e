"""Anchors: the journal's end, noted outside it from time to time, so that a cut or rewritten journal is found.

A chain of hashes shows every changed byte but not that its end is missing, and somebody who can write the
database could write a new chain. An anchor is one line, `{"at", "hash", "node", "seq"} CHECK`, appended to a file
and synced; the file is best on another disk, or one that only grows (`chattr +a`). Knows files and the reading half
of a store; knows no fact.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from farmd.model.codec import canonical
from farmd.model.errors import ErrorCode
from farmd.store.reader import Reader
from farmd.store.verify import Finding

ANCHOR_DIFFERS = ErrorCode(
    "anchor-differs",
    "the journal is not what was noted of it outside: its end was cut off, or it was written anew",
    "restore from the last good back-up; after a restore on purpose, move the file of anchors away",
)
ANCHOR_DAMAGED = ErrorCode(
    "anchor-damaged",
    "a line of the file of anchors cannot be read",
    "see who wrote into it; keep it for study, and move it away when all is told",
)
_AT_ONCE = 500
_LAST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Anchor:
    """The journal `node` had the fact `seq` with this hash. `at` is when it was noted, ISO 8601."""

    at: str
    node: str
    seq: int
    hash: str

    @classmethod
    def of(cls, store: Reader, at: float) -> Self:
        """The end of a store's journal as it is on disk now."""
        seq, row_hash = store.tail()
        noted = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        return cls(noted, store.node(), seq, row_hash.hex())

    def line(self) -> bytes:
        """As it is written: the fields, and the beginning of their hash against damage."""
        fields = canonical(self)
        return fields + b" " + hashlib.sha256(fields).hexdigest()[:16].encode()

    def append(self, path: Path) -> None:
        """On disk when this returns. Raises `OSError`."""
        new = not path.exists()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            # What a crash has left of a line stays one of its own.
            line = (b"" if _ends_whole(path) else b"\n") + self.line() + b"\n"
            if os.write(fd, line) != len(line):
                raise OSError("the anchor was written only in part")
            os.fsync(fd)
        finally:
            os.close(fd)
        if new:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")


def set_back(store: Reader, path: Path) -> str:
    """What the last anchor in a file says against a store's journal being where it was; empty when nothing.

    Anchors of another journal say nothing. For a start: one line is read, however many there are.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LAST_BYTES))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return ""
    anchor = next((found for line in reversed(lines) if (found := _read(line)) is not None), None)
    if anchor is None or anchor.node != store.node():
        return ""
    return _wrong(anchor, anchor.node, store.tail()[0], store.hashes([anchor.seq]).get(anchor.seq))


def check_anchors(store: Reader, path: Path) -> Iterator[Finding]:
    """What is wrong with a journal by the anchors in a file; nothing where there is no file."""
    anchors: list[tuple[int, Anchor]] = []
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding(ANCHOR_DAMAGED, str(path), error.strerror or str(error))
        return
    lines = content.split(b"\n")
    # What a crash has left of the last line says nothing.
    for number, line in enumerate(lines[:-1], 1):
        if (anchor := _read(line)) is None:
            yield Finding(ANCHOR_DAMAGED, f"{path}:{number}", "it is no anchor")
        else:
            anchors.append((number, anchor))
    node = store.node()
    last, _ = store.tail()
    for some in _batches(anchors):
        hashes = store.hashes([anchor.seq for _, anchor in some])
        for number, anchor in some:
            if told := _wrong(anchor, node, last, hashes.get(anchor.seq)):
                yield Finding(ANCHOR_DIFFERS, f"{path}:{number}", told)


def _wrong(anchor: Anchor, node: str, last: int, found: bytes | None) -> str:
    if anchor.node != node:
        return f"it is of another journal, {anchor.node}"
    if anchor.seq > last:
        return f"the journal had {anchor.seq} facts at {anchor.at}, and has {last}"
    if found is None or found.hex() != anchor.hash:
        return f"row {anchor.seq} was another one at {anchor.at}"
    return ""


def _read(line: bytes) -> Anchor | None:
    try:
        fields: Any = json.loads(line.partition(b"} ")[0] + b"}")
        anchor = Anchor(str(fields["at"]), str(fields["node"]), int(fields["seq"]), str(fields["hash"]))
    except (ValueError, KeyError, TypeError):
        return None
    # As it was written, byte for byte.
    return anchor if anchor.line() == line else None


def _batches(anchors: list[tuple[int, Anchor]]) -> Iterator[list[tuple[int, Anchor]]]:
    for start in range(0, len(anchors), _AT_ONCE):
        yield anchors[start : start + _AT_ONCE]
