"""What a single command that a person types would do, judged by lists: is it a question, is it harmless in
mid-run, and can it have left anything on the bed?

The lists are data, and short on purpose: what is not on them counts as doing the most. That a command is not
forbidden is the gate's business (`deny`), not this file's. Knows no machine and no state.
"""

from __future__ import annotations

from dataclasses import dataclass

from farmd.gcode.commands import Command, parse_line

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("M20", "lists the files on the card"),
    ("M27", "how far a print from the card is"),
    ("M31", "how long the print has taken"),
    ("M105", "temperatures"),
    ("M114", "where the head is"),
    ("M115", "which firmware this is, and what it can do"),
    ("M119", "which end stops are pressed"),
    ("M503", "the settings as they are in force"),
    ("GET_POSITION", "where the head is, in Klipper's detail"),
    ("QUERY_ENDSTOPS", "which end stops are pressed (Klipper)"),
)
"""Commands that change nothing, and what they ask."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A command that may be sent in mid-run, with its one number's bounds where that has to have some."""

    code: str
    what: str
    letter: str = ""
    low: float = 0.0
    high: float = 0.0

    def allows(self, command: Command) -> bool:
        if command.name != self.code:
            return False
        value = command.number(self.letter) if self.letter else None
        return value is None or self.low <= value <= self.high


ADJUSTMENTS: tuple[Adjustment, ...] = (
    Adjustment("M73", "the progress on the machine's display"),
    Adjustment("M106", "the part fan", "S", 0, 255),
    Adjustment("M107", "the part fan off"),
    Adjustment("M117", "a message on the machine's display"),
    Adjustment("M150", "the colour of lights"),
    Adjustment("M220", "the speed of all moves, in per cent", "S", 10, 200),
    Adjustment("M221", "the flow, in per cent", "S", 50, 150),
    Adjustment("M355", "the light of the case"),
)
"""Commands that move, heat and position nothing, and that a run survives."""

LEAVES_BED = frozenset(
    [
        "G4",
        "G28",
        "G90",
        "G91",
        "M17",
        "M18",
        "M82",
        "M83",
        "M84",
        "M140",
        "M141",
        "M190",
        "M191",
        "M201",
        "M203",
        "M204",
        "M205",
        "M400",
    ]
)
"""Other commands after which a bed that was clear still is, whatever their parameters."""
_MOVES = frozenset({"G0", "G1", "G2", "G3"})
_NOZZLE = frozenset({"M104", "M109"})

_QUESTIONS = frozenset(code for code, _ in QUESTIONS)


def is_question(line: str) -> bool:
    """Whether a line changes nothing at the machine."""
    commands = parse_line(line.encode())
    return bool(commands) and all(_asks(command) for command in commands)


def is_harmless(line: str) -> bool:
    """Whether a line may be sent while a run is open: questions and small adjustments."""
    commands = parse_line(line.encode())
    return bool(commands) and all(_asks(command) or _adjusts(command) for command in commands)


def leaves_bed(line: str) -> bool:
    """Whether surely nothing lies on the bed after this line that was not there before.

    Moves of the filament leave something, and so may a hot nozzle; what is not known does too.
    """
    commands = parse_line(line.encode())
    return all(_asks(each) or _adjusts(each) or _keeps_off(each) for each in commands)


def _asks(command: Command) -> bool:
    return command.name in _QUESTIONS and not command.sub


def _adjusts(command: Command) -> bool:
    return not command.sub and any(each.allows(command) for each in ADJUSTMENTS)


def _keeps_off(command: Command) -> bool:
    if command.sub:
        return False
    if command.name in _MOVES:
        return not command.values.keys() & set("EABCDUVW")
    if command.name in _NOZZLE:
        return command.number("S") == 0 and "R" not in command.values
    return command.name in LEAVES_BED
