"""What is read: a file that has a name, a size, and can be opened. A `pathlib.Path` is one, a file of a sealed
vault another. Knows no kind of file."""

from __future__ import annotations

from typing import BinaryIO, Literal, Protocol


class HasSize(Protocol):
    @property
    def st_size(self) -> int: ...


class Readable(Protocol):
    """A file to be read from its beginning, as often as needed; its streams can be sought in."""

    @property
    def name(self) -> str: ...

    def open(self, mode: Literal["rb"], /) -> BinaryIO: ...

    def stat(self) -> HasSize: ...
