"""The safety gate: a sliced file's summary against the limits of one machine and material.

A pure comparison; every violation is reported, not only the first. Limits that are not known (None)
are not checked.
"""

from __future__ import annotations

from dataclasses import dataclass

from farmd.gcode.summary import Box, SlicedFile, Vector

MARGIN_MM = 5.0
"""How far moves may leave the volume sideways and upwards: start scripts purge and wipe beside the plate
(PrusaSlicer's at y = -2 to -4 mm). Bambu Lab's machines wipe up to 50 mm outside; they need a wider one."""
BELOW_BED_MM = 0.5
"""How far moves may go below the plate: a Z offset, never a margin."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a machine, with the material that is in it, may be asked for.

    `volume_mm` (x, y, z) starts at `origin_mm`: the front left corner on most machines,
    (-x/2, -y/2, 0) where the origin is the centre of the plate. Temperatures in degrees Celsius;
    of machine and material the lower one holds.
    """

    volume_mm: Vector | None = None
    origin_mm: Vector = (0.0, 0.0, 0.0)
    margin_mm: float = MARGIN_MM
    below_bed_mm: float = BELOW_BED_MM
    max_nozzle_c: float | None = None
    max_bed_c: float | None = None
    max_chamber_c: float | None = None
    material_max_nozzle_c: float | None = None
    material_max_bed_c: float | None = None
    material_max_chamber_c: float | None = None
    material_min_nozzle_c: float | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason for which a file may not run there. `code` is stable: nozzle-too-hot, bed-too-hot,
    chamber-too-hot, nozzle-too-cold, outside-volume, forbidden-command."""

    code: str
    what: str
    remedy: str


def check_safety(sliced: SlicedFile, limits: Limits) -> tuple[Violation, ...]:
    """All violations of `limits` by a file; () when it may run."""
    found = _temperatures(sliced, limits)
    found += _outside(sliced, limits)
    found += [
        Violation(
            "forbidden-command",
            f"line {finding.line}: {finding.text!r}: {finding.command} {finding.reason}",
            "take the command out of the slicer's start, end or layer script",
        )
        for finding in sliced.denied
    ]
    return tuple(found)


def _temperatures(sliced: SlicedFile, limits: Limits) -> list[Violation]:
    found = []
    for heater, asked, machine, material in (
        ("nozzle", sliced.max_nozzle_c, limits.max_nozzle_c, limits.material_max_nozzle_c),
        ("bed", sliced.max_bed_c, limits.max_bed_c, limits.material_max_bed_c),
        ("chamber", sliced.max_chamber_c, limits.max_chamber_c, limits.material_max_chamber_c),
    ):
        highest = min((limit for limit in (machine, material) if limit is not None), default=None)
        if asked is not None and highest is not None and asked > highest:
            whose = "machine" if machine == highest else "material"
            what = f"the {heater} is to be heated to {asked:g} °C; the {whose} allows {highest:g} °C"
            found.append(
                Violation(f"{heater}-too-hot", what, "slice with the profile of this machine and material")
            )
    lowest, asked = limits.material_min_nozzle_c, sliced.max_nozzle_c
    if lowest is not None and asked is not None and asked < lowest:
        what = f"the nozzle is to be heated to {asked:g} °C only; the material needs {lowest:g} °C"
        found.append(Violation("nozzle-too-cold", what, "slice with the profile of the material"))
    return found


def _outside(sliced: SlicedFile, limits: Limits) -> list[Violation]:
    if limits.volume_mm is None:
        return []
    for what, box in (("prints", sliced.extrusion_box), ("moves", sliced.moves_box)):
        if box is not None and (places := _places(box, limits, limits.volume_mm)):
            text = f"the file {what} outside the machine's volume: {', '.join(places)}"
            return [Violation("outside-volume", text, "slice for this machine, or choose a larger one")]
    if sliced.moves_box is None and sliced.height_mm is not None and sliced.height_mm > limits.volume_mm[2]:
        text = f"the print is {sliced.height_mm:g} mm high; the machine has {limits.volume_mm[2]:g} mm"
        return [Violation("outside-volume", text, "slice for this machine, or choose a larger one")]
    return []


def _places(box: Box, limits: Limits, volume_mm: Vector) -> list[str]:
    places = []
    for axis, letter in enumerate("xyz"):
        below = limits.below_bed_mm if letter == "z" else limits.margin_mm
        low = limits.origin_mm[axis]
        high = low + volume_mm[axis]
        if box.min_mm[axis] < low - below:
            places.append(f"{letter} = {box.min_mm[axis]:g} mm is below {low:g} mm")
        if box.max_mm[axis] > high + limits.margin_mm:
            places.append(f"{letter} = {box.max_mm[axis]:g} mm is above {high:g} mm")
    return places
