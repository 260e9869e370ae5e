"""The commands that no job, start script or terminal line may contain, each with its reason.

The lists are data; `check_line` compares one line with them after the canonical reading of `commands`. What is
forbidden unless the machine allows it is in `allow`. Temperatures and coordinates are not judged here but in
`safety`; speeds and accelerations are, because no machine has a use for what lies beyond these bounds.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping

from farmd.gcode.allow import MAX_ACCELERATION_MM_S2, PERMISSIONS, Bounds, permitted
from farmd.gcode.commands import (
    COMMAND_LIMIT,
    FIRST_MACRO,
    TEXT_COMMANDS,
    WORD_LIMIT,
    Command,
    out_of_range,
    parse_line,
)
from farmd.gcode.heaters import HEATING
from farmd.gcode.lines import bare_command
from farmd.gcode.summary import Finding

_SETTINGS = "writes, resets or checks the settings stored in the machine"
_CARD = "reads or writes files on the machine's own card"
_ORIGIN = "moves the origin, so that moves would not go where they were checked to go"
_PINS = "switches the machine's pins or its power"
_LINK = "changes the link that the machine is driven over"
_HOST = "speaks to the host instead of the machine"
_DRIVERS = "changes the currents or the steps of the motor drivers"
_CALIBRATION = "changes a calibration that outlives the job"
_MACRO = "runs a script stored on the machine"
_HEATERS = "changes how the machine's heaters are driven or watched"

DENIED_CODES: tuple[tuple[str, str], ...] = (
    ("G6", "moves the motors directly, past every limit"),
    ("G54-G59", _ORIGIN),
    ("M21-M26", _CARD),
    ("M28-M30", _CARD),
    ("M32", _CARD),
    ("M42-M43", _PINS),
    ("M80-M81", _PINS),
    ("M92", _CALIBRATION),
    ("M98", _MACRO),
    ("M110", _LINK),
    ("M112", "stops the machine as an emergency; farmd has its own emergency stop"),
    ("M118", _HOST),
    ("M143", _HEATERS),
    ("M149", "changes the unit of temperatures, so that limits would not hold"),
    ("M206", _ORIGIN),
    ("M218", _ORIGIN),
    ("M290", _ORIGIN),
    ("M301", _CALIBRATION),
    ("M302", "allows cold extrusion"),
    ("M303-M304", _CALIBRATION),
    ("M305-M308", _HEATERS),
    ("M350", _DRIVERS),
    ("M428", _ORIGIN),
    ("M471", _CARD),
    ("M500-M502", _SETTINGS),
    ("M504", _SETTINGS),
    ("M550-M559", "changes the machine's network, name or probe"),
    ("M570", _HEATERS),
    ("M575", _LINK),
    ("M584", _PINS),
    ("M665-M666", _CALIBRATION),
    ("M808", _CARD),
    ("M851", _CALIBRATION),
    ("M906-M919", _DRIVERS),
    ("M928", _CARD),
    ("M950", _PINS),
    ("M997", "updates the firmware"),
    ("M999", "restarts the machine"),
    ("M1000", _CARD),
)
"""Code or range of codes, whatever its sub-code or parameters, and the reason."""

DENIED_WHEN_ZERO: tuple[tuple[str, str, str], ...] = (
    ("M211", "S", "turns the software end stops off"),
    ("M564", "S", "turns the axis limits off"),
)
"""Code, letter and reason: denied when the letter's number is 0."""

DENIED_WITH: tuple[tuple[str, str, str], ...] = (
    ("G10", "LXYZUVW", _ORIGIN),
    ("M145", "HB", "sets temperatures that can later be asked for by their number, past every limit"),
    ("M208", "XYZUVWABCD", "changes the limits of the axes"),
)
"""Code, letters and reason: denied with any of the letters. Without them G10 and M208 are firmware retraction,
and M145 is an air duct of Bambu Lab's."""

DENIED_WORDS: tuple[tuple[str, str], ...] = (
    ("SET_*", "changes the configuration of a Klipper machine"),
    ("SAVE_CONFIG", _SETTINGS),
    ("SAVE_VARIABLE", _SETTINGS),
    ("FIRMWARE_RESTART", "restarts the machine"),
    ("RESTART", "restarts the machine"),
    ("RUN_SHELL_COMMAND", "runs a program on the machine's computer"),
    ("FORCE_MOVE", "moves the motors directly, past every limit"),
    ("MANUAL_STEPPER", "moves the motors directly, past every limit"),
    ("SDCARD_*", _CARD),
    ("PID_CALIBRATE", _CALIBRATION),
    ("Z_OFFSET_APPLY_*", _CALIBRATION),
    ("RESPOND", _HOST),
)
"""Extended commands of Klipper, with * for any ending."""

_ACCELERATION: Bounds = (0.001, MAX_ACCELERATION_MM_S2)
_SPEED: Bounds = (0.001, 120_000)
"""Marlin's are mm/s and RepRapFirmware's mm/min, so that 2,000 mm/s is the bound of both."""
_JERK: Bounds = (0, 200)

VALUE_BOUNDS: Mapping[str, Mapping[str, Bounds]] = {
    "M201": dict.fromkeys("XYZEABCUVW", _ACCELERATION),
    "M203": dict.fromkeys("XYZEABCUVW", _SPEED),
    "M204": dict.fromkeys("PRTS", _ACCELERATION),
    "M205": dict.fromkeys("XYZE", _JERK) | {"J": (0, 1)},
    "M220": {"S": (1, 1000)},
    "M566": dict.fromkeys("XYZEUVW", (0, 60 * _JERK[1])),
}
"""Code to letters and their bounds. With 0 the machine stands still with a hot nozzle on the part; a value
beyond the upper bound is a mistake of a decimal point or of units, and loses steps."""


def _expanded() -> dict[str, str]:
    codes: dict[str, str] = {}
    for entry, reason in DENIED_CODES:
        letter = entry[0]
        first, _, last = entry.replace(letter, "").partition("-")
        for number in range(int(first), int(last or first) + 1):
            codes[f"{letter}{number}"] = reason
    return codes


_CODES = _expanded()

_JUDGED: dict[str, frozenset[str]] = {code: frozenset(letters) for code, (_, letters) in HEATING.items()}
"""Codes of which numbers are judged, with these letters."""
for _name, _letters in (
    *((code, "".join(bounds)) for code, bounds in VALUE_BOUNDS.items()),
    *((code, letters) for code, letters, _ in (*DENIED_WHEN_ZERO, *DENIED_WITH)),
):
    _JUDGED[_name] = _JUDGED.get(_name, frozenset()) | frozenset(_letters)

_WORDED = frozenset({"M0", "M1", "M16", "M75", "M115", "M862"})
"""Codes whose rest may be words (a message, a title, a version), in which letters repeat."""
_QUOTED = frozenset({"M862"})
"""Codes to which slicers give words in quotes: Prusa's checks of the printer, `M862.3 P "MK4S"`."""
_FEED_TWICE = frozenset({"G0", "G1", "G2", "G3"})
"""Moves, in which F may stand twice: no limit hangs on it."""
_BRACKETS = re.compile(r"[(){}]")
_IN_QUOTES = re.compile(r'"[^"]*"')
_CODE_WITHIN = re.compile(r"[GMT]\s*\d", re.IGNORECASE)
_UNREAD_NUMBER = re.compile(r":|\d[EX]", re.IGNORECASE)
"""A list, or a number with an exponent or in hexadecimal: some firmware reads them, `commands` does not."""
_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_COMMAND_BYTES = re.compile(rb"[^\t\x20-\x7e]")
_TEXT_BYTES = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")


def check_line(line: bytes | str, *, number: int = 0, allow: Collection[str] = ()) -> Finding | None:
    """What is forbidden in one line of G-code, or None.

    `number` is the line's place in its file; `allow` is what the machine's configuration allows.
    """
    raw = (line.encode(errors="replace") if isinstance(line, str) else line).strip()
    return more_than_a_line(raw, number) or check_commands(raw, parse_line(raw), number, allow=allow)


def more_than_a_line(raw: bytes, number: int = 0) -> Finding | None:
    """The finding for a line with a line break inside, which would be two at the machine."""
    if b"\n" in raw or b"\r" in raw:
        return Finding(number, "?", excerpt(raw), "is more than one line")
    return None


def check_commands(
    line: bytes, commands: tuple[Command, ...], number: int = 0, *, allow: Collection[str] = ()
) -> Finding | None:
    """`check_line` for a line that `parse_line` has already read."""
    granted = permitted(allow)
    return next(
        (found for found in findings(line, commands, number) if found.permission not in granted), None
    )


def findings(line: bytes, commands: tuple[Command, ...], number: int = 0) -> list[Finding]:
    """All that is forbidden in a line, first what nothing can allow."""
    bare = bare_command(line)
    if not bare or not commands:
        return []
    if wrong := _form(bare, commands):
        return [Finding(number, commands[0].name, excerpt(bare), wrong)]
    found = [
        Finding(number, command.name, excerpt(bare), *denied)
        for command in commands
        if (denied := denial(command)) is not None
    ]
    return sorted(found, key=lambda each: each.permission != "")


def denial(command: Command) -> tuple[str, str] | None:
    """The reason for which a command is forbidden and the permission it needs, "" when there is none; or None."""
    permission = PERMISSIONS.get(command.name)
    if permission is not None and permission.covers(command):
        return permission.denied, permission.name
    reason = _reason(command)
    if reason is None and permission is not None:
        reason = f"{permission.denied}, with these parameters on any machine"
    return None if reason is None else (reason, "")


def _reason(command: Command) -> str | None:
    """Why no machine may get a command, or None."""
    if not command.name[1:].isdigit():
        return next((why for word, why in DENIED_WORDS if fnmatch.fnmatchcase(command.name, word)), None)
    for name, letter, why in DENIED_WHEN_ZERO:
        if command.name == name and command.number(letter) == 0:
            return why
    for name, letters, why in DENIED_WITH:
        if command.name == name and not command.values.keys().isdisjoint(letters):
            return why
    for letter, (low, high) in VALUE_BOUNDS.get(command.name, {}).items():
        value = command.number(letter)
        if value is not None and not low <= value <= high:
            return f"sets {letter} to {value:g}; machines have a use for {low:g} to {high:g} only"
    return _CODES.get(command.name)


def _form(bare: bytes, commands: tuple[Command, ...]) -> str | None:
    """What is wrong with the form of a line, or None."""
    name = commands[0].name
    words = name in TEXT_COMMANDS or name.startswith("EXCLUDE_OBJECT")
    if b"\\" in bare:
        return "holds a backslash, which firmware drops"
    if b"M110" in bare and name != "M110":
        return "holds M110, which Marlin obeys anywhere in a line: it changes the numbers of lines"
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
    if words or (name[0] == "M" and name[1:].isdigit() and int(name[1:]) >= FIRST_MACRO):
        return None
    return _ambiguous(commands)


def _ambiguous(commands: tuple[Command, ...]) -> str | None:
    """Why a firmware may take the values of a line's commands for others than were judged, or None.

    Behind an extended command, which only Klipper knows, what looks like a code may be part of a name: there only
    the codes count of which numbers are judged.
    """
    extended = not commands[0].name[1:].isdigit()
    seen: set[str] = set()
    for command in commands:
        letters = _JUDGED.get(command.name)
        if not command.name[1:].isdigit() or (extended and letters is None):
            continue
        text = command.text
        if command.name in _QUOTED:
            text = _IN_QUOTES.sub(lambda found: found[0] if _CODE_WITHIN.search(found[0]) else "", text)
        if '"' in text or _BRACKETS.search(text):
            return "holds quotes or brackets, which firmwares read in different ways"
        repeated = command.repeated | (seen & command.values.keys())
        if command.name in _FEED_TWICE:
            repeated -= {"F"}
        if repeated and command.name not in _WORDED:
            return f"names {min(repeated)} twice; firmwares differ in which of the two they take"
        seen |= command.values.keys()
        if command.name in HEATING and _UNREAD_NUMBER.search(text):
            return "heats to a list of values, or to a number in a form that not every firmware reads"
        if letters is None or len(commands) == 1:
            continue
        if any(other is not command and not letters.isdisjoint(other.values) for other in commands):
            return "shares its line with a command whose values a firmware may take for its own"
    return None


def excerpt(line: bytes) -> str:
    """The beginning of a line, fit to be shown."""
    return _PRINTABLE.sub("?", line[:80].decode("latin-1"))
