"""Seeded noise on a serial line: the faults that real links show, at most one to a line.

Works on whatever pieces it is given, line by line. Knows no protocol but that lines end with a line
break and that `ok` is worth doubling.
"""

from __future__ import annotations

import random
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


@dataclass(slots=True)
class Noise:
    """`to_machine` and `to_host` are the chances of a fault per line, 0 to 1."""

    seed: int
    to_machine: float = 0.0
    to_host: float = 0.0
    faults: tuple[Fault, ...] = tuple(Fault)
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
        fault = self._random.choice(self.faults)
        place = self._random.randrange(len(line))
        self.injected += 1
        match fault:
            case Fault.GARBLE:
                flipped = line[place] ^ (1 << self._random.randrange(8))
                return line[:place] + bytes([flipped]) + line[place + 1 :]
            case Fault.DROP:
                return line[:place] + line[place + 1 :]
            case Fault.LOSE:
                return b""
            case Fault.DOUBLE:
                return line * 2 if line.startswith(b"ok") else line
