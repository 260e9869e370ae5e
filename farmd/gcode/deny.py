"""The commands that no job, start script or terminal line may contain, each with its reason.

The list is data; `check_line` compares one line with it after the canonical reading of `commands`.
Values (temperatures, coordinates) are not judged here but in `safety`.
"""

from __future__ import annotations

import fnmatch
import re

from farmd.gcode.commands import COMMAND_LIMIT, TEXT_COMMANDS, WORD_LIMIT, Command, out_of_range, parse_line
from farmd.gcode.lines import bare_command
from farmd.gcode.summary import Finding

_SETTINGS = "writes, resets or reads the settings stored in the machine"
_CARD = "reads or writes files on the machine's own card"
_ORIGIN = "moves the origin, so that moves would not go where they were checked to go"
_PINS = "switches the machine's pins or its power"
_LINK = "changes the link that the machine is driven over"
_HOST = "speaks to the host instead of the machine"
_DRIVERS = "changes the currents of the motor drivers"
_CALIBRATION = "changes a calibration that outlives the job"
_MACRO = "runs a script stored on the machine"

DENIED_CODES: tuple[tuple[str, str], ...] = (
    ("G6", "moves the motors directly, past every limit"),
    ("G54-G59", _ORIGIN),
    ("M23-M24", _CARD),
    ("M28-M30", _CARD),
    ("M32", _CARD),
    ("M42-M43", _PINS),
    ("M80-M81", _PINS),
    ("M92", _CALIBRATION),
    ("M98", _MACRO),
    ("M110", _LINK),
    ("M112", "stops the machine as an emergency; farmd has its own emergency stop"),
    ("M118", _HOST),
    ("M149", "changes the unit of temperatures, so that limits would not hold"),
    ("M206", _ORIGIN),
    ("M290", _ORIGIN),
    ("M301", _CALIBRATION),
    ("M302", "allows cold extrusion"),
    ("M303-M304", _CALIBRATION),
    ("M428", _ORIGIN),
    ("M471", _CARD),
    ("M500-M504", _SETTINGS),
    ("M550-M559", "changes the machine's network, name or probe"),
    ("M575", _LINK),
    ("M851", _CALIBRATION),
    ("M906-M919", _DRIVERS),
    ("M928", _CARD),
    ("M997", "updates the firmware"),
    ("M999", "restarts the machine"),
)
"""Code or range of codes, whatever its sub-code or parameters, and the reason."""

DENIED_WHEN_ZERO: tuple[tuple[str, str, str], ...] = (
    ("M211", "S", "turns the software end stops off"),
    ("M564", "S", "turns the axis limits off"),
)
"""Code, letter and reason: denied when the letter's number is 0."""

DENIED_WORDS: tuple[tuple[str, str], ...] = (
    ("SET_*", "changes the configuration of a Klipper machine"),
    ("SAVE_CONFIG", _SETTINGS),
    ("SAVE_VARIABLE", _SETTINGS),
    ("FIRMWARE_RESTART", "restarts the machine"),
    ("RESTART", "restarts the machine"),
    ("RUN_SHELL_COMMAND", "runs a program on the machine's computer"),
    ("FORCE_MOVE", "moves the motors directly, past every limit"),
    ("SDCARD_*", _CARD),
    ("PID_CALIBRATE", _CALIBRATION),
    ("Z_OFFSET_APPLY_*", _CALIBRATION),
    ("RESPOND", _HOST),
)
"""Extended commands of Klipper, with * for any ending."""


def _expanded() -> dict[str, str]:
    codes: dict[str, str] = {}
    for entry, reason in DENIED_CODES:
        letter = entry[0]
        first, _, last = entry.replace(letter, "").partition("-")
        for number in range(int(first), int(last or first) + 1):
            codes[f"{letter}{number}"] = reason
    return codes


_CODES = _expanded()
_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_COMMAND_BYTES = re.compile(rb"[^\t\x20-\x7e]")
_TEXT_BYTES = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")


def check_line(line: bytes | str, *, number: int = 0) -> Finding | None:
    """What is forbidden in one line of G-code, or None. `number` is the line's place in its file."""
    raw = (line.encode(errors="replace") if isinstance(line, str) else line).strip()
    if b"\n" in raw or b"\r" in raw:
        return Finding(number, "?", excerpt(raw), "is more than one line")
    return check_commands(raw, parse_line(raw), number)


def check_commands(line: bytes, commands: tuple[Command, ...], number: int = 0) -> Finding | None:
    """`check_line` for a line that `parse_line` has already read."""
    bare = bare_command(line)
    if not bare or not commands:
        return None
    wrong = _form(bare, commands)
    if wrong is not None:
        return Finding(number, commands[0].name, excerpt(bare), wrong)
    for command in commands:
        denied = denial(command)
        if denied is not None:
            return Finding(number, command.name, excerpt(bare), denied)
    return None


def denial(command: Command) -> str | None:
    """The reason for which a command is forbidden, or None."""
    if command.name[1:].isdigit():
        for name, letter, reason in DENIED_WHEN_ZERO:
            if command.name == name and command.number(letter) == 0:
                return reason
        return _CODES.get(command.name)
    for pattern, reason in DENIED_WORDS:
        if fnmatch.fnmatchcase(command.name, pattern):
            return reason
    return None


def _form(bare: bytes, commands: tuple[Command, ...]) -> str | None:
    """What is wrong with the form of a line, or None."""
    name = commands[0].name
    words = name in TEXT_COMMANDS or name.startswith("EXCLUDE_OBJECT")
    if b"//action" in bare.lower():
        return _HOST
    if (_TEXT_BYTES if words else _COMMAND_BYTES).search(bare):
        return "holds bytes that are not part of G-code"
    if not (name[0].isalpha() or name[0] == "_"):
        return "is not G-code"
    if len(bare) > (COMMAND_LIMIT if name[1:].isdigit() else WORD_LIMIT):
        return "is longer than the line buffer of any machine"
    if any(out_of_range(command) for command in commands):
        return "holds a number beyond the range of any machine"
    return None


def excerpt(line: bytes) -> str:
    """The beginning of a line, fit to be shown."""
    return _PRINTABLE.sub("?", line[:80].decode("latin-1"))
