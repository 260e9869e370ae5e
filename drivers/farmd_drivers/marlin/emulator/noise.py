"""Seeded noise on a serial line: what real links do to bytes, at most one fault to a line.

Works on whatever pieces it is given, line by line. Knows no protocol but that lines end with a line break,
that `ok` is worth doubling and what a checksum cannot see. That is not made, because no host can be judged
by it: noise that leaves the XOR as it was, and a line break right behind the number of a line, which makes
the firmware believe the rest of it without a check.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    GARBLE = "garble"
    """One bit of one byte is flipped."""
    DROP = "drop"
    """One byte is lost."""
    LOSE = "lose"
    """The whole line is lost."""
    DOUBLE = "double"
    """An ok comes twice; nothing happens to other lines."""
    JOIN = "join"
    """The line break is lost: two lines become one."""
    GARBAGE = "garbage"
    """A byte that nobody sent comes in between."""
    NUL = "nul"
    """A zero byte comes before the line: what C reads as its end."""
    HIGH = "high"
    """A byte 0x80, which is no text, comes in between."""
    REPEAT = "repeat"
    """The whole line comes twice."""
    BREAK = "break"
    """A line break comes in between: one line becomes two."""


_GARBAGE = bytes({*range(1, 256)} - {*b"\r\n"})
_NUMBER = re.compile(rb"N\d* *")


@dataclass(slots=True)
class Noise:
    """`to_machine` and `to_host` are the chances of a fault per line, 0 to 1."""

    seed: int
    to_machine: float = 0.0
    to_host: float = 0.0
    faults: tuple[Fault, ...] = (Fault.GARBLE, Fault.DROP, Fault.LOSE, Fault.DOUBLE)
    injected: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def toward_machine(self, data: bytes) -> bytes:
        return self._spoil(data, self.to_machine)

    def toward_host(self, data: bytes) -> bytes:
        return self._spoil(data, self.to_host)

    def _spoil(self, data: bytes, chance: float) -> bytes:
        if not chance:
            return data
        return b"".join(
            self._fault(line) if self._random.random() < chance else line
            for line in data.splitlines(keepends=True)
        )

    def _fault(self, line: bytes) -> bytes:
        self.injected += 1
        return spoil(line, self._random.choice(self.faults), self._random)


def spoil(line: bytes, fault: Fault, source: random.Random) -> bytes:
    """What comes of one line, its line break included."""
    place = source.randrange(len(line))
    match fault:
        case Fault.GARBLE:
            return line[:place] + bytes([line[place] ^ (1 << source.randrange(8))]) + line[place + 1 :]
        case Fault.DROP:
            return line[:place] + line[place + 1 :]
        case Fault.LOSE:
            return b""
        case Fault.DOUBLE:
            return line * 2 if line.startswith(b"ok") else line
        case Fault.JOIN:
            return line.rstrip(b"\n")
        case Fault.GARBAGE:
            return line[:place] + bytes([source.choice(_GARBAGE)]) + line[place:]
        case Fault.NUL:
            return b"\0" + line
        case Fault.HIGH:
            return line[:place] + b"\x80" + line[place:]
        case Fault.REPEAT:
            return line * 2
        case Fault.BREAK:
            if (numbered := _NUMBER.match(line)) and place <= numbered.end():
                place = numbered.end() + 1
            return line[:place] + b"\n" + line[place:]
