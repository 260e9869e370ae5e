"""Commands that are harmless on some machines and not on others: what a machine's `allow` can say.

A name in `allow` is a class of machines (CLASSES) or one permission (PERMISSIONS). A permission covers its
command with the parameters that are listed here, inside their bounds, and nothing else. What is not in this
file cannot be allowed at all. Data, and the comparison with it; knows no machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from farmd.gcode.commands import Command

Bounds = tuple[float, float]
"""The least and the greatest value, both allowed; for a letter, its standing without a number is allowed too."""
ANY: Bounds = (-math.inf, math.inf)
WORD = None
"""The parameter's value is a name, not a number."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One command that a machine's configuration may allow.

    `denied` is why it is forbidden elsewhere, `where` on which machines it is harmless and why. `takes` are the
    parameters that are covered, letters of a code or keys of an extended command.
    """

    name: str
    denied: str
    where: str
    takes: Mapping[str, Bounds | None] = field(default_factory=dict)

    def covers(self, command: Command) -> bool:
        """Whether the command has no other parameters, and none beyond its bounds."""
        if self.name[1:].isdigit():
            return not command.sub and all(
                letter in self.takes and _inside(value, self.takes[letter])
                for letter, value in command.values.items()
            )
        return _is_only_pairs(command.text) and all(
            key in self.takes and _fits(text, self.takes[key]) for key, text in command.named.items()
        )


def _inside(value: float | None, bounds: Bounds | None) -> bool:
    return value is None or bounds is None or bounds[0] <= value <= bounds[1]


def _fits(text: str, bounds: Bounds | None) -> bool:
    if bounds is None:
        return _NAME.fullmatch(text) is not None
    return _NUMBER.fullmatch(text) is not None and bounds[0] <= float(text) <= bounds[1]


def _is_only_pairs(text: str) -> bool:
    return _PAIRS.fullmatch(text) is not None


_NAME = re.compile(r'[A-Z0-9_.,-]{1,64}|"[A-Z0-9_., -]{0,64}"')
_NUMBER = re.compile(r"[-+]?(?:\d{1,9}\.?\d{0,9}|\.\d{1,9})")
_PAIRS = re.compile(r'(?:\s*[A-Za-z0-9_]+\s*=\s*(?:"[^"]*"|[^\s"]+))*\s*')

_KLIPPER = "changes the configuration of a Klipper machine"
_ON_KLIPPER = "it runs Klipper"
_FREQUENCY: Bounds = (0, 500)
_RATIO: Bounds = (0, 1)
MAX_ACCELERATION_MM_S2 = 100_000.0
MAX_SPEED_MM_S = 2_000.0
_ACCELERATION: Bounds = (1, MAX_ACCELERATION_MM_S2)

_LISTED = (
    Permission(
        "M302",
        "allows cold extrusion",
        "it is a Prusa: their profiles lower the limit to 155 °C for cleaning the nozzle before probing",
        {"S": (150, 500)},
    ),
    Permission(
        "M555",
        "changes the machine's network, name or probe",
        "it is a Prusa with the Buddy firmware, where it tells the area that the print covers",
        {"X": ANY, "Y": ANY, "W": ANY, "H": ANY},
    ),
    Permission(
        "M569",
        "turns motors round on RepRapFirmware",
        "it runs Marlin or is a Prusa, where it chooses between quiet and strong stepping",
        {"S": (0, 1), "X": ANY, "Y": ANY, "Z": ANY, "E": ANY, "I": ANY, "P": ANY, "T": ANY},
    ),
    Permission(
        "M907",
        "changes the currents of the motor drivers",
        "it is a Prusa MK2.5 or MK3: their profiles set the extruder's motor to 430 or 538 mA",
        {"E": (200, 600)},
    ),
    Permission("SET_DISPLAY_TEXT", _KLIPPER, f"{_ON_KLIPPER}: a message on the display", {"MSG": WORD}),
    Permission(
        "SET_DUAL_CARRIAGE",
        "moves with another carriage, so that moves would not go where they were checked to go",
        "it has two carriages, and files are sliced for the one that they choose",
        {"CARRIAGE": WORD, "MODE": WORD},
    ),
    Permission(
        "SET_FAN_SPEED", _KLIPPER, f"{_ON_KLIPPER}: the speed of a fan", {"FAN": WORD, "SPEED": _RATIO}
    ),
    Permission(
        "SET_FILAMENT_SENSOR",
        _KLIPPER,
        f"{_ON_KLIPPER}: whether a run-out sensor is heeded",
        {"SENSOR": WORD, "ENABLE": _RATIO},
    ),
    Permission(
        "SET_GCODE_VARIABLE",
        "changes what the machine's own scripts do",
        "its scripts bear any value of their variables",
        {"MACRO": WORD, "VARIABLE": WORD, "VALUE": WORD},
    ),
    Permission(
        "SET_HEATER_TEMPERATURE",
        _KLIPPER,
        f"{_ON_KLIPPER}: a target, which is held against the machine's limits",
        {"HEATER": WORD, "TARGET": (0, 500)},
    ),
    Permission(
        "SET_INPUT_SHAPER",
        _KLIPPER,
        f"{_ON_KLIPPER}: the damping of ringing, until the next restart",
        {
            "SHAPER_FREQ_X": _FREQUENCY,
            "SHAPER_FREQ_Y": _FREQUENCY,
            "DAMPING_RATIO_X": _RATIO,
            "DAMPING_RATIO_Y": _RATIO,
            "SHAPER_TYPE": WORD,
            "SHAPER_TYPE_X": WORD,
            "SHAPER_TYPE_Y": WORD,
        },
    ),
    Permission(
        "SET_LED",
        _KLIPPER,
        f"{_ON_KLIPPER}: the colour of a light",
        {
            "LED": WORD,
            "RED": _RATIO,
            "GREEN": _RATIO,
            "BLUE": _RATIO,
            "WHITE": _RATIO,
            "INDEX": ANY,
            "TRANSMIT": ANY,
            "SYNC": ANY,
        },
    ),
    Permission(
        "SET_PIN",
        "switches the machine's pins or its power",
        "none of the pins that its configuration names can heat, move or switch anything dangerous",
        {"PIN": WORD, "VALUE": ANY, "CYCLE_TIME": ANY},
    ),
    Permission(
        "SET_PRESSURE_ADVANCE",
        _KLIPPER,
        f"{_ON_KLIPPER}: pressure advance, until the next restart",
        {"EXTRUDER": WORD, "ADVANCE": (0, 5), "SMOOTH_TIME": (0, 0.2)},
    ),
    Permission(
        "SET_PRINT_STATS_INFO",
        _KLIPPER,
        f"{_ON_KLIPPER}: the number of the layer, for display",
        {"TOTAL_LAYER": (0, 1e6), "CURRENT_LAYER": (0, 1e6)},
    ),
    Permission(
        "SET_RETRACTION",
        _KLIPPER,
        f"{_ON_KLIPPER}: lengths and speeds of retraction, until the next restart",
        {
            "RETRACT_LENGTH": (0, 20),
            "RETRACT_SPEED": (1, 200),
            "UNRETRACT_EXTRA_LENGTH": (-1, 20),
            "UNRETRACT_SPEED": (1, 200),
        },
    ),
    Permission(
        "SET_VELOCITY_LIMIT",
        _KLIPPER,
        f"{_ON_KLIPPER}: limits of speed and acceleration, which the firmware keeps below its own",
        {
            "VELOCITY": (1, MAX_SPEED_MM_S),
            "ACCEL": _ACCELERATION,
            "ACCEL_TO_DECEL": _ACCELERATION,
            "SQUARE_CORNER_VELOCITY": (0, 200),
            "MINIMUM_CRUISE_RATIO": _RATIO,
        },
    ),
)

PERMISSIONS: Mapping[str, Permission] = {each.name: each for each in _LISTED}
"""All that can be allowed, by command."""

CLASSES: Mapping[str, tuple[str, ...]] = {
    "prusa": ("M302", "M555", "M569", "M907"),
    "klipper": (
        "SET_DISPLAY_TEXT",
        "SET_FAN_SPEED",
        "SET_FILAMENT_SENSOR",
        "SET_HEATER_TEMPERATURE",
        "SET_INPUT_SHAPER",
        "SET_LED",
        "SET_PRESSURE_ADVANCE",
        "SET_PRINT_STATS_INFO",
        "SET_RETRACTION",
        "SET_VELOCITY_LIMIT",
    ),
}
"""The permissions that the usual profiles for a class of machines need."""


def is_allowable(name: str) -> bool:
    """Whether a machine's `allow` may hold this name."""
    return name in CLASSES or name in PERMISSIONS


def permitted(allow: Collection[str]) -> frozenset[str]:
    """The permissions in a machine's `allow`, its classes opened."""
    return _opened(frozenset(allow))


@lru_cache(maxsize=64)
def _opened(allow: frozenset[str]) -> frozenset[str]:
    return frozenset(each for name in allow for each in CLASSES.get(name, (name,)))


def remedy(permission: str) -> str:
    """What a person writes who wants this permission for a machine, and when that is right."""
    classes = [name for name, members in CLASSES.items() if permission in members]
    named = f'"{(classes or [permission])[0]}"'
    return f"if {PERMISSIONS[permission].where}, give the machine allow = [{named}]"
