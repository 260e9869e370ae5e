"""The raw terminal of one link: the last bytes sent and received, as lines for whoever looks.

Noting costs one append for each read or write, because it is done at the full rate of every machine; lines
are only made of it when somebody looks, and are numbered then. Nothing of it is decoded, kept for long, or
written anywhere. Knows no port, no protocol and no loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from farmd.driver import TerminalLine

CHUNKS = 1500
"""Reads and writes kept until somebody looks: some 250 KB at most, on a link that makes sense."""
LINES = 2000
"""Lines kept after somebody has looked."""
BYTES = 256 * 1024
"""What is kept of a link that babbles, whatever its reads were."""
LONGEST = 4096
"""More than this without a line break is told as a line."""

Chunk = tuple[float, bool, bytes]
"""When (by the link's clock), whether it was sent, and what."""


class Terminal:
    """A bounded ring of what went over a link; it outlives the link."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque(maxlen=CHUNKS)
        self.note: Callable[[Chunk], None] = self._chunks.append
        """Take a chunk in. Of a chunk in mid-line the rest is expected with the next of the same direction."""
        self._lines: deque[TerminalLine] = deque(maxlen=LINES)
        self._number = 0
        self._rest = {True: b"", False: b""}
        """The beginnings of lines that have not ended, by direction."""

    def lines(self, after: int, epoch_s: float) -> list[TerminalLine]:
        """The lines above a number, oldest first; `epoch_s` is when the link's clock was 0, in UTC seconds.

        A number that was skipped says that lines in between were not kept. A number above all there are is
        of another ring's, before a restart: everything is told then.
        """
        self._settle(epoch_s)
        if after > self._number:
            after = 0
        return [line for line in self._lines if line.number > after]

    def tidy(self) -> None:
        """Forget what is too much; to be called every few seconds."""
        size = sum(len(data) for _, _, data in self._chunks)
        if size > BYTES:
            while size > BYTES // 2:
                size -= len(self._chunks.popleft()[2])
            self._skip()

    def cut(self) -> None:
        """The link is another one from here on: what had no end has one now."""
        for sent in (True, False):
            self._chunks.append((self._chunks[-1][0] if self._chunks else 0.0, sent, b""))

    def _skip(self) -> None:
        self._number += 1
        self._rest = {True: b"", False: b""}

    def _settle(self, epoch_s: float) -> None:
        if len(self._chunks) == CHUNKS:
            self._skip()  # nobody has looked for so long that the oldest may have fallen out
        while self._chunks:
            at, sent, data = self._chunks.popleft()
            *whole, rest = (self._rest[sent] + data).split(b"\n")
            if len(rest) > LONGEST or not data:
                whole, rest = ([*whole, rest] if rest else whole), b""
            self._rest[sent] = rest
            for raw in whole:
                self._number += 1
                text = raw.rstrip(b"\r").decode("latin-1")
                self._lines.append(TerminalLine(self._number, at + epoch_s, sent, text))
