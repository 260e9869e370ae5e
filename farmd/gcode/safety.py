"""The safety gate: a sliced file's summary, or one command, against the limits of one machine and material.

A pure comparison; every violation of a file is reported, not only the first. Limits that are not known (None)
are not checked. Whatever is sent to a machine goes through here: a file before it is accepted (`check_safety`),
and each command of a job, of a driver's own script, or that a person types (`check_command`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from farmd.gcode.allow import permitted, remedy
from farmd.gcode.commands import parse_line
from farmd.gcode.deny import check_commands, excerpt, more_than_a_line
from farmd.gcode.heaters import HEATERS, targets_c
from farmd.gcode.summary import Box, Finding, SlicedFile, Vector
from farmd.model.machine import MachineSpec

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

    def highest(self, heater: str) -> tuple[float | None, str]:
        """The highest temperature allowed for "nozzle", "bed" or "chamber", and whose limit that is."""
        machine: float | None = getattr(self, f"max_{heater}_c")
        material: float | None = getattr(self, f"material_max_{heater}_c")
        if machine is None or (material is not None and material < machine):
            return material, "material"
        return machine, "machine"


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason for which a file may not run there. `code` is stable: nozzle-too-hot, bed-too-hot,
    chamber-too-hot, nozzle-too-cold, outside-volume, forbidden-command."""

    code: str
    what: str
    remedy: str


def limits_of(machine: MachineSpec) -> Limits:
    """The limits of a machine as configured, whatever is loaded."""
    return Limits(
        volume_mm=machine.volume_mm,
        max_nozzle_c=machine.max_nozzle_c,
        max_bed_c=machine.max_bed_c,
        max_chamber_c=machine.max_chamber_c,
    )


def check_command(
    command: bytes | str, limits: Limits, allow: Collection[str] = (), *, number: int = 0
) -> Finding | None:
    """Why one line of G-code may not be sent to a machine, or None when it may.

    `allow` is the machine's, `number` the line's place in its file. A forbidden command, more than one line, and
    a temperature above the limits are found; where a single move leads cannot be told without those before it.
    """
    raw = (command.encode(errors="replace") if isinstance(command, str) else command).strip()
    if (finding := more_than_a_line(raw, number)) is not None:
        return finding
    commands = parse_line(raw)
    if (finding := check_commands(raw, commands, number, allow=allow)) is not None:
        return finding
    for each in commands:
        for heater, value in targets_c(each):
            highest, whose = limits.highest(heater)
            if highest is not None and value > highest:
                reason = f"heats the {heater} to {value:g} °C; the {whose} allows {highest:g} °C"
                return Finding(number, each.name, excerpt(raw), reason)
    return None


def check_safety(sliced: SlicedFile, limits: Limits, allow: Collection[str] = ()) -> tuple[Violation, ...]:
    """All violations of `limits` by a file, and what it holds that is forbidden unless `allow` names it."""
    found = _temperatures(sliced, limits)
    found += _outside(sliced, limits)
    found += [_forbidden(finding) for finding in sliced.denied if finding.permission not in permitted(allow)]
    return tuple(found)


def _forbidden(finding: Finding) -> Violation:
    advice = "take the command out of the slicer's start, end or layer script"
    if finding.permission:
        advice = f"{advice}; or, {remedy(finding.permission)}"
    what = f"line {finding.line}: {finding.text!r}: {finding.command} {finding.reason}"
    return Violation("forbidden-command", what, advice)


def _temperatures(sliced: SlicedFile, limits: Limits) -> list[Violation]:
    found = []
    for heater in HEATERS:
        asked: float | None = getattr(sliced, f"max_{heater}_c")
        highest, whose = limits.highest(heater)
        if asked is not None and highest is not None and asked > highest:
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
