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
from typing import NamedTuple

LINE_BYTES = 95
"""Marlin's MAX_CMD_SIZE is 96 with its closing NUL; the rest of a longer line is dropped silently."""
NUMBER_BYTES = 8
"""Digits kept free for the line number: no file has 100 million commands."""
SHORT_BYTES = 3
"""A reply of no more than this, and none of those that are known, is what noise has left of one."""
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
    REFUSED = "refused"
    """The oldest outstanding command was not executed; its ok follows all the same."""
    SKIPPED = "skipped"
    """A line that had come before was passed over; the ok that follows is its own."""
    UNKNOWN_COMMAND = "unknown-command"
    ERROR = "error"
    GARBLED = "garbled"
    """Too short for anything the firmware says: what noise has left of a reply, most likely of an ok."""
    TEXT = "text"


_WORD = re.compile(rb"\s*([GMT])\s*(\d{1,9})")
_NOISE = bytes(c for c in range(256) if (c < 32 and c != 9) or c > 126)
_RESEND = re.compile(rb"(?:resend|rs)[:\s]*N?:?\s*(\d{1,9})", re.IGNORECASE)
_GLUED_RESEND = re.compile(rb"Resend[:\s]*N?:?\s*(\d{1,9})")
"""Behind a line that has lost its line break."""
_SLOTS = re.compile(rb"(?:N(\d{1,9}) ?)?P(\d{1,4}) B(\d{1,4})")
_NUMBERED_OK = re.compile(rb"ok N(\d{1,9}) P(\d{1,4}) B(\d{1,4})\r?")
_SPOILT_OK = re.compile(rb".{1,3} (?:N\d{1,9} P\d{1,4} B\d{1,4}$|T0?:\d)")
"""An ok whose own two letters are damaged, by what stands behind them."""
_ACTION = re.compile(rb"// *action:")
_BROKEN_OK = frozenset({b"kok", b"okok", b"oko", b"okk", b"ook"})
_TEMPERATURE = re.compile(rb"\b([TBC]\d?):\s*(-?\d+(?:\.\d+)?)(?:\s*/\s*(-?\d+(?:\.\d+)?))?")
_INFO = re.compile(r"(?:^|\s)([A-Z][A-Z0-9_]*):")
_ERROR_HEADS = (b"Error:", b"error:", b"!!", b"fatal:", b": ")
"""The last is the second line of an error that old firmware says in two: `Error:0` and `: Extruder switched off`."""
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


def word_of(command: bytes) -> bytes:
    """Its word without leading zeros and blanks, as `G1`; empty where there is none."""
    found = _WORD.match(command.upper())
    return b"%b%d" % (found[1], int(found[2])) if found else b""


def is_long(command: bytes) -> bool:
    """Whether a command may rightly take minutes until its ok."""
    return word_of(command) in LONG_COMMANDS


def stands_alone(command: bytes) -> bool:
    """Whether nothing may queue behind it: it may take minutes, or its answer would be taken for another's."""
    return is_long(command) or command[:4].upper() == b"M105"


def clean(raw: bytes) -> bytes:
    """A received line without what noise leaves (control bytes, bytes above 126) and outer blanks."""
    return raw.translate(None, _NOISE).strip()


def classify(line: bytes) -> Kind:
    """What a cleaned, non-empty reply is."""
    if line.startswith(b"ok") or line in _BROKEN_OK or _SPOILT_OK.match(line):
        if _GLUED_RESEND.search(line):
            return Kind.RESEND
        return Kind.START if line.endswith(b"start") else Kind.OK
    if _RESEND.match(line) or (b"Resend" in line and _GLUED_RESEND.search(line)):
        return Kind.RESEND
    if b"busy:" in line:
        return Kind.BUSY
    if line == b"wait":
        return Kind.WAIT
    if line.startswith(b"//"):
        return Kind.ACTION if _ACTION.match(line) else Kind.TEXT
    if line.endswith(b"start") and not line.endswith((b" start", b"restart")):
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
        return Kind.TEXT if len(line) > SHORT_BYTES else Kind.GARBLED
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
    found = _RESEND.match(line) or _GLUED_RESEND.search(line)
    if found is None:
        raise ValueError(f"not a resend: {line!r}")
    return int(found[1])


def is_noisy(raw: bytes) -> bool:
    """Whether a received line has bytes that no firmware says."""
    return len(raw.translate(None, _NOISE)) != len(raw.rstrip(b"\r"))


def ends_in_ok(line: bytes) -> bool:
    """Whether an ok follows at once what has lost its line break."""
    return line.endswith(b"ok") and not line.startswith(b"ok")


def is_user_wait(line: bytes) -> bool:
    """Whether a BUSY reply says that the machine waits for a person."""
    return b"paused for" in line


class Slots(NamedTuple):
    """What ADVANCED_OK puts behind an ok: the number of the line, None where it had none, and what is free.

    `moves` are blocks of the planner; `ring` slots of the command ring, not counting that of the line itself.
    """

    number: int | None
    moves: int
    ring: int


def numbered_ok(reply: bytes) -> tuple[int, int, int] | None:
    """The line's number and what is free, as in `Slots`, of an undamaged ok with both; None of anything else."""
    found = _NUMBERED_OK.fullmatch(reply)
    if found is None:
        return None
    number, moves, ring = found.groups()
    return int(number), int(moves), int(ring)


def slots(line: bytes) -> Slots | None:
    """What an OK reply says behind its ok; None where it is not that."""
    found = _SLOTS.search(line, 2, 40)
    if found is None:
        return None
    return Slots(None if found[1] is None else int(found[1]), int(found[2]), int(found[3]))


def number_in(line: bytes) -> int | None:
    """The line's number in `ok 12` or `skip 12`; None where there is none."""
    number = line.rpartition(b" ")[2]
    return int(number) if number.isdigit() else None


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
    """The name in `//action:NAME [text]`; older hosts' firmware has a blank behind the slashes."""
    return line.partition(b":")[2].partition(b" ")[0].decode("latin-1")


def heaters_off(nozzles: int = 1, chamber: bool = False) -> tuple[bytes, ...]:
    """The commands that leave a machine cold: nozzles, bed, chamber, part fan."""
    more = tuple(b"M104 T%d S0" % tool for tool in range(1, nozzles))
    return (b"M104 S0", *more, b"M140 S0", *((b"M141 S0",) if chamber else ()), b"M107")
