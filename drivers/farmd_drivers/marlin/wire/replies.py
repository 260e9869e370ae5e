"""The words of the Marlin serial protocol: how a line is written and what a reply means.

Pure functions of bytes. Knows no state of a link, no time, no file and no device. Facts about the
firmware are from Marlin 2's `queue.cpp`, `M115.cpp`, `temperature.cpp` and from OctoPrint's issues.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import xor

LINE_BYTES = 95
"""Marlin's MAX_CMD_SIZE is 96 with its closing NUL; the rest of a longer line is dropped silently."""
NUMBER_BYTES = 8
"""Digits kept free for the line number: no file has 100 million commands."""
COMMAND_BYTES = LINE_BYTES - len("N ") - NUMBER_BYTES - len("*255")
"""The longest command that fits into a numbered line."""

LONG_COMMANDS = frozenset(
    b"G4 G28 G29 G30 G32 G34 M0 M1 M48 M109 M116 M190 M191 M226 M303 M400 M600 M917".split()
)
"""Commands that may take minutes until their ok, besides anything that waits for a full planner."""


class Kind(StrEnum):
    """What a reply is, after the fast path for a bare `ok`."""

    OK = "ok"
    RESEND = "resend"
    BUSY = "busy"
    WAIT = "wait"
    START = "start"
    TEMPERATURES = "temperatures"
    ACTION = "action"
    CAPABILITY = "capability"
    FIRMWARE = "firmware"
    REFUSED_LINE = "refused-line"
    """A line was refused and no Resend follows."""
    RESEND_REASON = "resend-reason"
    """Why the Resend that follows was sent."""
    FATAL = "fatal"
    STOPPED = "stopped"
    """Moves are refused, with ok, until M999."""
    UNKNOWN_COMMAND = "unknown-command"
    ERROR = "error"
    TEXT = "text"


_NOISE = bytes(c for c in range(256) if (c < 32 and c != 9) or c > 126)
_RESEND = re.compile(rb"(?:resend|rs)[:\s]*N?:?\s*(\d{1,9})", re.IGNORECASE)
_BROKEN_OK = frozenset({b"kok", b"okok", b"oko", b"okk", b"ook"})
_TEMPERATURE = re.compile(rb"\b([TBC]\d?):\s*(-?\d+(?:\.\d+)?)(?:\s*/\s*(-?\d+(?:\.\d+)?))?")
_INFO = re.compile(r"(?:^|\s)([A-Z][A-Z0-9_]*):")
_ERROR_HEADS = (b"Error:", b"error:", b"!!", b"fatal:")
_RESEND_REASONS = (b"line number", b"checksum", b"expected line", b"format error")
_FATAL = (
    b"kill() called",
    b"kill caused",
    b"printer halted",
    b"thermal runaway",
    b"thermal malfunction",
    b"heating failed",
    b"maxtemp",
    b"mintemp",
    b"watchdog",
    b"shutdown",
    b"fatal:",
)
_HEATERS = {"T": "nozzle", "T0": "nozzle", "B": "bed", "C": "chamber"}


def encode(number: int, command: bytes) -> bytes:
    """A numbered line with its checksum: the XOR of every byte before the last `*`."""
    line = b"N%d %b" % (number, command)
    return b"%b*%d\n" % (line, reduce(xor, line))


def encode_batch(first: int, commands: list[bytes]) -> list[bytes]:
    """`encode` for consecutive numbers from `first`."""
    lines = []
    for number, command in enumerate(commands, first):
        line = b"N%d %b" % (number, command)
        lines.append(b"%b*%d\n" % (line, reduce(xor, line)))
    return lines


def command_of(line: bytes) -> bytes:
    """The command inside a line made by `encode`."""
    return line[line.index(b" ") + 1 : line.rindex(b"*")]


def is_long(command: bytes) -> bool:
    """Whether a command may rightly take minutes until its ok."""
    return command.split(b" ", 1)[0].upper() in LONG_COMMANDS


def clean(raw: bytes) -> bytes:
    """A received line without what noise leaves (control bytes, bytes above 126) and outer blanks."""
    return raw.translate(None, _NOISE).strip()


def classify(line: bytes) -> Kind:
    """What a cleaned, non-empty reply is."""
    if line.startswith(b"ok") or line in _BROKEN_OK:
        return Kind.START if line.endswith(b"start") else Kind.OK
    if _RESEND.match(line):
        return Kind.RESEND
    if b"busy:" in line:
        return Kind.BUSY
    if line == b"wait":
        return Kind.WAIT
    if line.startswith(b"//"):
        return Kind.ACTION if line.startswith(b"//action:") else Kind.TEXT
    if line == b"start" or (line.endswith(b"start") and not line.startswith(b"echo:SD")):
        return Kind.START
    if line.startswith((b"T:", b"T0:", b"B:")):
        return Kind.TEMPERATURES
    if line.startswith(b"Cap:"):
        return Kind.CAPABILITY
    if line.startswith(b"FIRMWARE_NAME:"):
        return Kind.FIRMWARE
    if b"Unknown command" in line:
        return Kind.UNKNOWN_COMMAND
    return _classify_error(line)


def _classify_error(line: bytes) -> Kind:
    low = line.lower()
    if b"kill() called" in low or b"printer halted" in low:
        return Kind.FATAL
    if not line.startswith(_ERROR_HEADS):
        return Kind.TEXT
    if b"no line number with checksum" in low:
        return Kind.REFUSED_LINE
    if any(words in low for words in _RESEND_REASONS):
        return Kind.RESEND_REASON
    if b"printer stopped" in low:
        return Kind.STOPPED
    if any(words in low for words in _FATAL):
        return Kind.FATAL
    return Kind.ERROR


def resend_number(line: bytes) -> int:
    """The line number that a RESEND reply asks for."""
    found = _RESEND.match(line)
    if found is None:
        raise ValueError(f"not a resend: {line!r}")
    return int(found[1])


def is_report_of_m105(line: bytes) -> bool:
    """Whether an OK reply carries temperatures, which only the answer to M105 does."""
    return b"T:" in line or b"T0:" in line


def is_heat_wait(line: bytes) -> bool:
    """Whether a temperature line is of M109 or M190 waiting, not of automatic reporting."""
    return b"W:" in line


@dataclass(frozen=True, slots=True)
class Heat:
    """Temperatures in degrees Celsius by heater: `nozzle`, `nozzle1`, `bed`, `chamber`."""

    actual_c: dict[str, float]
    target_c: dict[str, float]


def temperatures(line: bytes) -> Heat:
    """The temperatures in a line; both dictionaries are empty where there are none."""
    actual: dict[str, float] = {}
    target: dict[str, float] = {}
    for name, value, goal in _TEMPERATURE.findall(line):
        heater = _HEATERS.get(key := name.decode(), f"nozzle{key[1:]}")
        actual.setdefault(heater, float(value))
        if goal:
            target.setdefault(heater, float(goal))
    return Heat(actual, target)


def firmware_info(line: bytes) -> dict[str, str]:
    """The answer to M115 by key; values may contain blanks."""
    parts = _INFO.split(line.decode("latin-1"))
    return {key: value.strip() for key, value in zip(parts[1::2], parts[2::2], strict=True)}


def capability(line: bytes) -> tuple[str, bool]:
    """One `Cap:NAME:0|1` line."""
    _, name, value = (line.decode("latin-1") + "::").split(":")[:3]
    return name, value.strip() == "1"


def host_action(line: bytes) -> str:
    """The name in `//action:NAME [text]`."""
    return line.partition(b":")[2].partition(b" ")[0].decode("latin-1")


def heaters_off(nozzles: int = 1, chamber: bool = False) -> tuple[bytes, ...]:
    """The commands that leave a machine cold: nozzles, bed, chamber, part fan."""
    more = tuple(b"M104 T%d S0" % tool for tool in range(1, nozzles))
    return (b"M104 S0", *more, b"M140 S0", *((b"M141 S0",) if chamber else ()), b"M107")
