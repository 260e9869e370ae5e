"""The content of a stored file as a stream that checks itself while it is read.

Before it is handed out, all of it is read once and must have the hash that was asked for. While it
is read, each block must be what it was then: whoever changes the file in between is found at the block
that was changed, and that block reaches nobody. Knows nothing of names, folders or keys.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from farmd.store.sealed import BLOCK_BYTES, Broken, blocks_of


class Content(Protocol):
    """Content in blocks of `BLOCK_BYTES`, the last one shorter. `block` raises `Broken`, `OSError`."""

    @property
    def size(self) -> int: ...

    def block(self, number: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class PlainContent:
    """A file whose content lies as it is."""

    fd: int
    size: int

    def block(self, number: int) -> bytes:
        return os.pread(self.fd, min(BLOCK_BYTES, self.size - number * BLOCK_BYTES), number * BLOCK_BYTES)


class FileChanged(OSError):
    """A stored file was changed while it was read. What was read before it is what was stored."""

    def __init__(self, sha256: str, number: int) -> None:
        super().__init__(
            errno.EIO, f"block {number + 1} of the file is not what it was when it was opened", sha256
        )


def checked(content: Content, sha256: str) -> tuple[bytes, ...]:
    """Read all of it once: the hashes of its blocks. Raises `Broken` when it has another hash, `OSError`."""
    digest = hashlib.sha256()
    marks = []
    for number in range(blocks_of(content.size)):
        block = content.block(number)
        digest.update(block)
        marks.append(hashlib.sha256(block).digest())
    if digest.hexdigest() != sha256:
        raise Broken("its content has another hash")
    return tuple(marks)


class CheckedContent(io.RawIOBase):
    """A stream of content that was found to have the hash `sha256`, and its blocks these `marks`."""

    def __init__(
        self, content: Content, sha256: str, marks: tuple[bytes, ...], close: Callable[[], None]
    ) -> None:
        super().__init__()
        self._content = content
        self._sha256 = sha256
        self._marks = marks
        self._close = close
        self._at = 0
        self._number = -1
        self._block = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._content.size}[whence]
        if start + offset < 0:
            raise ValueError(f"{start + offset} is before the beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Raises `FileChanged`."""
        number, within = divmod(self._at, BLOCK_BYTES)
        if self._at >= self._content.size:
            return 0
        if number != self._number:
            self._block = self._read(number)
            self._number = number
        part = self._block[within : within + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        if not self.closed:
            self._block = b""
            self._close()
        super().close()

    def _read(self, number: int) -> bytes:
        try:
            block = self._content.block(number)
        except Broken:
            raise FileChanged(self._sha256, number) from None
        if hashlib.sha256(block).digest() != self._marks[number]:
            raise FileChanged(self._sha256, number)
        return block
