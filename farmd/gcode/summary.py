"""What farmd knows about one sliced file: plain values that turn into JSON and back.

Knows no format, no parser and no machine. Lengths mm, times s, masses g, temperatures degrees Celsius.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box from `min_mm` to `max_mm` (x, y, z) in the machine's coordinates."""

    min_mm: Vector
    max_mm: Vector


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A preview picture: a PNG of `width` x `height` pixels."""

    width: int
    height: int
    png_base64: str

    @property
    def png(self) -> bytes:
        """The picture's bytes."""
        return base64.b64decode(self.png_base64)


@dataclass(frozen=True, slots=True)
class Finding:
    """A command that no job may contain. `line` counts from 1; 0 for a command that is in no file.

    `permission` is what a machine's `allow` may name to make it harmless there; empty: nothing can.
    """

    line: int
    command: str
    text: str
    reason: str
    permission: str = ""


@dataclass(frozen=True, slots=True)
class SlicedFile:
    """The summary of one sliced file (one plate).

    `kind` is "gcode", "bgcode" or "gcode.3mf". Values a file does not give are None, or () for tuples.
    `print_time_s` is the slicer's estimate (`time_source` "slicer"), else our sum over the moves
    ("moves"), which knows no acceleration and therefore runs short. `filament_mm` has one value a tool;
    `mass_g` comes from the slicer ("slicer"), from the density in the file ("file-density") or from the
    usual density of the material type ("type-density"). `extrusion_box` bounds the moves that extrude
    while they travel, `moves_box` all moves from where the position is known (homed, or moved to
    absolutely). Temperatures are the highest that commands ask for, or, where no command does, the
    slicer's setting (`temperature_source`). `object_count` is the number of labelled objects, each copy
    counted, 0 without labels. Of the `denied_count` lines with forbidden commands, `denied` holds the first that
    nothing can allow, and the first for each permission.
    `plate` is the plate read from a 3MF and `plates` all that it holds.
    """

    kind: Literal["gcode", "bgcode", "gcode.3mf"]
    slicer: str | None = None
    slicer_version: str | None = None
    printer_model: str | None = None
    print_time_s: float | None = None
    time_source: Literal["slicer", "moves"] | None = None
    moves_time_s: float | None = None
    filament_mm: tuple[float, ...] = ()
    filament_source: Literal["slicer", "moves"] | None = None
    volume_mm3: float | None = None
    mass_g: float | None = None
    mass_source: Literal["slicer", "file-density", "type-density"] | None = None
    filament_types: tuple[str, ...] = ()
    filament_colours: tuple[str, ...] = ()
    nozzle_mm: float | None = None
    layer_count: int | None = None
    layer_height_mm: float | None = None
    first_layer_height_mm: float | None = None
    height_mm: float | None = None
    extrusion_box: Box | None = None
    moves_box: Box | None = None
    tools: tuple[int, ...] = ()
    max_nozzle_c: float | None = None
    max_bed_c: float | None = None
    max_chamber_c: float | None = None
    temperature_source: Literal["commands", "slicer"] | None = None
    object_count: int = 0
    lines: int = 0
    commands: int = 0
    thumbnail: Thumbnail | None = None
    denied: tuple[Finding, ...] = ()
    denied_count: int = 0
    plate: int | None = None
    plates: tuple[int, ...] = ()
