"""Files to print, and whether they were printed: every command once, in order, with nothing between.

Knows what the driver adds around a file, and nothing of processes.
"""

from __future__ import annotations

import io
import random
from functools import reduce
from operator import xor

from farmd.gcode import executable_lines
from farmd_drivers.marlin.driver import ADDED_COMMANDS


def sliced(moves: int) -> bytes:
    """A file of short moves, some 34 bytes a command, as slicers write them; for machines that move at once."""
    source = random.Random(1)
    rows = ["G28", "G90", "M83"]
    for n in range(moves):
        if n % 500 == 0:
            rows += [";LAYER_CHANGE", f"G1 Z{0.2 * (1 + n / 500):.2f} F7800"]
        rows.append(f"G1 X{source.uniform(0, 200):.3f} Y{source.uniform(0, 200):.3f} E{source.random():.5f}")
    return "\n".join(rows).encode()


def even(moves: int, move_s: float) -> bytes:
    """Moves of 1 mm that take `move_s` each, to and fro along X, slowly climbing, no two lines alike."""
    rows = ["G28", "G90", "M83", f"G1 X10 Y10 Z0.2 F{60 / move_s:.1f}"]
    for n in range(moves):
        rows.append(f"G1 X{10 + (n + 1) % 2:d} Y10 E{n % 100000 / 100000:.5f}")
    return "\n".join(rows).encode()


def commands_of(data: bytes) -> list[bytes]:
    """What of a file is to be executed."""
    return list(executable_lines(io.BytesIO(data)))


def is_exact(record: list[bytes], wanted: list[bytes]) -> bool:
    """Whether the record has the file's commands once and in order, and besides only what the driver adds."""
    return _of_file(record) == _of_file(wanted)


def _of_file(commands: list[bytes]) -> list[bytes]:
    return [command for command in commands if not ADDED_COMMANDS.fullmatch(command)]


def checked(numbered: list[bytes]) -> list[bytes]:
    """The commands of lines as they came over the wire. Raises ValueError on a wrong checksum."""
    commands = []
    for line in numbered:
        covered, _, given = line.rpartition(b"*")
        if reduce(xor, covered, 0) != int(given):
            raise ValueError(f"wrong checksum: {line!r}")
        commands.append(covered.partition(b" ")[2])
    return commands
