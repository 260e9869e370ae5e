"""What the slicers' own words mean: from texts by key to the fields of a `SlicedFile`.

One table says under which keys PrusaSlicer and SuperSlicer, OrcaSlicer and Bambu Studio, and Cura
write a value. Where a slicer is silent, or is known to write a placeholder, our own count over the
moves stands in, and the field's source says so.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any, Literal

from farmd.gcode.motion import Motion
from farmd.gcode.notes import Notes, leading_number

CURA_PLACEHOLDER_S = 6666.0
"""Cura writes `;TIME:6666` into a header that it has not filled in."""
DEFAULT_DIAMETER_MM = 1.75
SLOWEST_TRUTH = 0.5
"""An estimate under this share of distance / feed rate is not believed: no machine outruns its commands."""

DENSITY_G_CM3: dict[str, float] = {
    "PLA": 1.24,
    "PETG": 1.27,
    "PET": 1.34,
    "ABS": 1.04,
    "ASA": 1.07,
    "PC": 1.20,
    "PA": 1.13,
    "NYLON": 1.13,
    "TPU": 1.21,
    "FLEX": 1.21,
    "PVA": 1.23,
    "PP": 0.90,
    "HIPS": 1.04,
    "PVB": 1.09,
    "PEI": 1.27,
    "PEEK": 1.30,
}
"""Usual densities by material type, for files that give none."""

_KEYS: dict[str, tuple[str, ...]] = {
    "time": ("estimated printing time (normal mode)", "total estimated time"),
    "length": ("filament used [mm]", "total filament length [mm]"),
    "mass": ("total filament used [g]", "filament used [g]", "total filament weight [g]", "filament weight"),
    "type": ("filament_type", "filament type"),
    "colour": ("filament_colour", "extruder_colour"),
    "density": ("filament_density",),
    "diameter": ("filament_diameter",),
    "nozzle": ("nozzle_diameter", "nozzle diameter"),
    "layer": ("layer_height", "layer height"),
    "first_layer": ("first_layer_height", "initial_layer_print_height"),
    "layers": ("total layer number", "layer_count"),
    "height": ("max_layer_z", "max_z_height"),
    "printer": ("printer_model", "printer_settings_id", "target_machine.name"),
}
_TEMPERATURES: dict[str, tuple[str, ...]] = {
    "nozzle": (
        "temperature",
        "first_layer_temperature",
        "nozzle_temperature",
        "nozzle_temperature_initial_layer",
    ),
    "bed": (
        "bed_temperature",
        "first_layer_bed_temperature",
        "hot_plate_temp",
        "hot_plate_temp_initial_layer",
    ),
    "chamber": ("chamber_temperature", "chamber_temperatures"),
}

_NUMBER = re.compile(r"[-+]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})")
_DURATION = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)\s*(d|h|m|s)")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_METRES = re.compile(r"(\d{1,7}(?:\.\d{1,9})?)\s*m(?![a-z0-9])")

Values = dict[str, str]


def described(notes: Notes, motion: Motion, hottest_c: dict[str, float]) -> dict[str, Any]:
    """The fields of a `SlicedFile` that follow from the slicer's notes and from the moves."""
    values = notes.values
    fields: dict[str, Any] = {
        "slicer": notes.slicer,
        "slicer_version": notes.slicer_version,
        "printer_model": _text(values, "printer"),
        "object_count": notes.object_count,
        "thumbnail": notes.thumbnail,
        "filament_types": _texts(values, "type"),
        "filament_colours": _texts(values, "colour"),
    }
    fields |= _time(values, motion)
    fields |= _filament(values, motion, fields["filament_types"])
    fields |= _layers(notes, motion)
    fields |= _temperatures(values, hottest_c)
    tools = tuple(motion.extruded_mm())
    nozzles = _numbers(_text(values, "nozzle"))
    tool = tools[0] if tools and tools[0] < len(nozzles) else 0
    fields |= {"tools": tools, "nozzle_mm": nozzles[tool] if nozzles else None}
    return fields


def duration_s(text: str) -> float | None:
    """Seconds of "1d 2h 3m 4s"; None for a text without such a part."""
    parts = _DURATION.findall(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else None


def _time(values: Values, motion: Motion) -> dict[str, Any]:
    own = motion.time_s
    estimate = duration_s(_text(values, "time") or "")
    if estimate is None and (told := leading_number(values.get("time", ""))) is not None:
        estimate = told if told != CURA_PLACEHOLDER_S else None
    if estimate is None:
        estimate = leading_number(values.get("time_elapsed", ""))
    trusted = estimate is not None and estimate > 0 and estimate >= SLOWEST_TRUTH * own
    source: Literal["slicer", "moves"] | None = "slicer" if trusted else "moves" if own else None
    return {
        "print_time_s": estimate if trusted else own or None,
        "time_source": source,
        "moves_time_s": own,
    }


def _filament(values: Values, motion: Motion, types: tuple[str, ...]) -> dict[str, Any]:
    lengths = _numbers(_text(values, "length")) or _metres_mm(values.get("filament used", ""))
    source: str | None = "slicer"
    if sum(lengths) <= 0:
        fed = motion.extruded_mm()
        lengths = tuple(fed.get(tool, 0.0) for tool in range(max(fed, default=-1) + 1))
        source = "moves" if lengths else None
    diameters = _numbers(_text(values, "diameter"))
    volumes = tuple(
        length * math.pi * (_nth(diameters, tool, DEFAULT_DIAMETER_MM) or DEFAULT_DIAMETER_MM) ** 2 / 4
        for tool, length in enumerate(lengths)
    )
    fields: dict[str, Any] = {
        "filament_mm": lengths,
        "filament_source": source,
        "volume_mm3": sum(volumes) or None,
        "mass_g": None,
        "mass_source": None,
    }
    told = sum(_numbers(_text(values, "mass")))
    densities = _numbers(_text(values, "density"))
    if told > 0:
        fields |= {"mass_g": told, "mass_source": "slicer"}
    elif volumes and sum(densities) > 0:
        fields |= {"mass_g": _mass(volumes, densities), "mass_source": "file-density"}
    elif volumes and types and all(usual_density(name) for name in types):
        usual = tuple(usual_density(name) or 0.0 for name in types)
        fields |= {"mass_g": _mass(volumes, usual), "mass_source": "type-density"}
    return fields


def usual_density(material: str) -> float | None:
    """g/cm3 of a material type; a grade ("PA12", "PLA-CF", "PLA+") counts as its base."""
    base = re.match(r"[A-Z]+", material.strip().upper())
    return DENSITY_G_CM3.get(base[0]) if base else None


def _mass(volumes_mm3: tuple[float, ...], densities: tuple[float, ...]) -> float | None:
    grams = sum(volume / 1000 * _nth(densities, tool, 0.0) for tool, volume in enumerate(volumes_mm3))
    return grams or None


def _layers(notes: Notes, motion: Motion) -> dict[str, Any]:
    values = notes.values
    levels = {float(level) for level in notes.levels} or motion.levels
    told = leading_number(_text(values, "layers") or "")
    # Printing one object after the other, Cura counts layers anew for each.
    count = int(told) if told and told > 0 and notes.layer_counts <= 1 else len(levels) or None
    height = leading_number(_text(values, "layer") or "")
    first_text = _text(values, "first_layer") or ""
    first = leading_number(first_text)
    if first and first_text.rstrip().endswith("%"):
        first = first / 100 * height if height else None
    ordered = sorted(levels)
    if not height and len(ordered) > 1:
        steps = sorted(b - a for a, b in pairwise(ordered))
        height = round(steps[len(steps) // 2], 4)
    box = motion.extrusion_box
    top = box.max_mm[2] if box else leading_number(_text(values, "height") or "")
    return {
        "layer_count": count,
        "layer_height_mm": height or None,
        "first_layer_height_mm": first or (ordered[0] if ordered else None),
        "height_mm": top,
        "extrusion_box": box,
        "moves_box": motion.moves_box,
    }


def _temperatures(values: Values, hottest_c: dict[str, float]) -> dict[str, Any]:
    commanded = any(value > 0 for value in hottest_c.values())
    settings = {
        heater: max((n for key in keys for n in _numbers(values.get(key))), default=None)
        for heater, keys in _TEMPERATURES.items()
    }
    found = hottest_c if commanded else {heater: value for heater, value in settings.items() if value}
    return {
        "max_nozzle_c": found.get("nozzle"),
        "max_bed_c": found.get("bed"),
        "max_chamber_c": found.get("chamber"),
        "temperature_source": "commands" if commanded else "slicer" if found else None,
    }


def _text(values: Values, field: str) -> str | None:
    return next((values[key] for key in _KEYS[field] if key in values), None)


def _texts(values: Values, field: str) -> tuple[str, ...]:
    """A list written with ";" (PrusaSlicer and its heirs), bare or in quotes; () when all are empty."""
    parts = [part.strip().strip('"')[:100] for part in (_text(values, field) or "").split(";")]
    return tuple(parts[:256]) if any(parts) else ()


def _numbers(text: str | None) -> tuple[float, ...]:
    return tuple(float(number) for number in _NUMBER.findall(text or "")[:256])


def _metres_mm(text: str) -> tuple[float, ...]:
    return tuple(float(number) * 1000 for number in _METRES.findall(text)[:256])


def _nth(numbers: tuple[float, ...], index: int, default: float) -> float:
    """A slicer writes one number for all tools, or one each."""
    return numbers[index] if index < len(numbers) else numbers[-1] if numbers else default
