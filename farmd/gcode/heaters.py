"""Which heater a command sets, and to what: every way in which firmware and slicers' macros write it.

Pure; knows no limit and no machine. Temperatures in degrees Celsius.
"""

from __future__ import annotations

from collections.abc import Iterator

from farmd.gcode.commands import Command
from farmd.gcode.notes import leading_number

HEATERS = ("nozzle", "bed", "chamber")

HEATING: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("M104", "M109"), ("nozzle", "SRB")),
    **dict.fromkeys(("G10", "M568"), ("nozzle", "SR")),
    **dict.fromkeys(("M140", "M190"), ("bed", "SR")),
    **dict.fromkeys(("M141", "M191"), ("chamber", "SR")),
}
"""Code to its heater and the letters that may carry a temperature."""
_PARTS = (
    ("bed", ("BED",)),
    ("chamber", ("CHAMBER",)),
    ("nozzle", ("EXTRUDER", "NOZZLE", "HOTEND")),
)
"""What the parameter's name of a start macro holds (PRINT_START EXTRUDER_TEMP=215 BED=60)."""
_SET_TARGET = "SET_HEATER_TEMPERATURE"


def targets_c(command: Command) -> Iterator[tuple[str, float]]:
    """The heaters that a command sets, with their targets. A heater of an unknown name counts as each of them."""
    if (found := HEATING.get(command.name)) is not None:
        heater, letters = found
        for letter in letters:
            if (value := command.number(letter)) is not None:
                yield heater, value
    elif command.name == _SET_TARGET:
        if (value := leading_number(command.named.get("TARGET", ""))) is not None:
            for heater in _named(command.named.get("HEATER", "")) or HEATERS:
                yield heater, value
    else:
        for key, text in command.named.items():
            if (value := leading_number(text)) is not None:
                for heater in _named(key):
                    yield heater, value


def _named(text: str) -> tuple[str, ...]:
    return tuple(heater for heater, parts in _PARTS if any(part in text for part in parts))
