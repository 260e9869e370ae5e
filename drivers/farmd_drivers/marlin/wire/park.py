"""What is sent to take the head away from a part and to bring it back: at a pause, at a stop, and to go on
with a run that broke off.

Every script sets the modes that it needs and leaves those of the file behind. Coordinates in them are the
file's, so they hold whatever `G92` has said. Moves are written with four decimals, which slicers do not do:
`ADDED` knows them again. Pure: commands from a `Modal` and settings; knows no wire and no file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from farmd_drivers.marlin.wire.modal import AXES, Extrusion, Modal

TRAVEL_MM_MIN = 6000.0
LIFT_MM_MIN = 600.0
FEED_MM_MIN = 1500.0
"""Speeds that any machine has: 100 mm/s across, 10 mm/s up and down, 25 mm/s for the filament."""
CLEARANCE_MM = 0.5
"""Less room than this above what was printed, and the head stays where it is."""

Script = tuple[bytes, ...]

MOTORS_OFF = b"M84"
ADDED = (
    rb"G1 F[\d.]+|(?:G1 F\d+|G92)(?: [XYZE]-?\d+\.\d{4,5})+"
    rb"|G2[01]|G9[01]|M8[23]|M10[49] (?:T\d+ )?S[\d.]+|M84"
)
"""A pattern of all commands in the scripts of a pause and of a stop."""


@dataclass(frozen=True, slots=True)
class Park:
    """Where the head waits, in the machine's coordinates, and how it goes there.

    `lift_mm` above all that was printed, `retract_mm` of filament drawn back. After `standby_after_s` the
    nozzle cools to `standby_c`.
    """

    x_mm: float
    y_mm: float
    lift_mm: float
    retract_mm: float = 0.0
    standby_after_s: float = math.inf
    standby_c: float = 0.0


@dataclass(frozen=True, slots=True)
class Rehome:
    """How a machine finds its position anew with a part on its bed.

    `commands` do it; with `keeps_z` they leave Z alone, which has not moved. `lift_mm` above all that was
    printed while they do; `prime_mm` of filament are fed at the place.
    """

    commands: tuple[bytes, ...]
    keeps_z: bool
    lift_mm: float
    prime_mm: float = 0.0


@dataclass(frozen=True, slots=True)
class Parking:
    """Scripts: `away`, `back`, and `standby` after so long."""

    away: tuple[bytes, ...] = ()
    back: tuple[bytes, ...] = ()
    standby_after_s: float = math.inf
    standby: tuple[bytes, ...] = ()


STAY = Parking()
"""The head stays where it is."""


def obstacle(modal: Modal) -> str:
    """Why the head cannot be parked and brought back exactly; "" when it can."""
    if not all(modal.homed):
        return "the file has not homed all axes"
    if any(at is None for at in modal.position):
        return "the file has not said where the head is since it was homed or measured something"
    if modal.relative is None or modal.feed_mm_min is None:
        return "the file has not said how coordinates count (G90, G91) and how fast moves are"
    return ""


def pause(park: Park, modal: Modal, height_mm: float) -> Parking:
    """Take the head away and bring it back, when there is no `obstacle`. `height_mm` is the machine's."""
    hot_c = modal.nozzle_c.get(modal.tool, 0.0)
    retract_mm = _retraction(park, modal)
    back = [b"M109 S%g" % hot_c] if hot_c else []
    back += [*_plain_modes(modal), *_to_place(*modal.coordinates()), *_filament(retract_mm)]
    cools = hot_c > park.standby_c
    return Parking(
        away=tuple(_away(park, modal, height_mm)),
        back=(*back, *_modes_of_file(modal)),
        standby_after_s=park.standby_after_s if cools else math.inf,
        standby=(b"M104 S%g" % park.standby_c,) if cools else (),
    )


def stop(park: Park, modal: Modal, height_mm: float) -> tuple[bytes, ...]:
    """Take the head away for good, when there is no `obstacle`."""
    return tuple(_away(park, modal, height_mm))


def approach_obstacle(rehome: Rehome, modal: Modal, height_mm: float) -> str:
    """Why nobody can go on there; "" when it can be done."""
    if found := obstacle(modal):
        return found
    if _lifted(modal, rehome.lift_mm, height_mm) is None:
        return f"there is no room above what was printed ({modal.top_mm:g} mm) to find the position anew"
    extrusion = modal.extrusion
    if extrusion in (Extrusion.UNSAID, Extrusion.UNCLEAR):
        return "the file does not say clearly how lengths of filament count (M82 or M83, after G90)"
    if extrusion is Extrusion.ABSOLUTE and modal.e_mm is None:
        return "the file has not said where its filament stands"
    return ""


def approach(rehome: Rehome, modal: Modal, height_mm: float) -> tuple[Script, Script]:
    """Go on at the place that `modal` is of, on a machine that knows nothing of it, when there is no
    `approach_obstacle`: heat and free the nozzle upwards; find the position anew, go there, set what was set."""
    x, y, z = (axis for axis in modal.position if axis is not None)
    lifted = _lifted(modal, rehome.lift_mm, height_mm) or height_mm
    up = b"G1 F%.0f Z%.4f" % (LIFT_MM_MIN, lifted)
    if rehome.keeps_z:
        free = [b"G92 Z%.4f" % z, b"G90", up]
    else:
        free = [b"G91", b"G1 F%.0f Z%.4f" % (LIFT_MM_MIN, lifted - z), b"G90"]
    upwards = (*_heat(modal), *([b"G21"] if modal.inches else []), *free)
    return upwards, (
        *rehome.commands,
        b"G90",
        up,
        *([b"T%d" % modal.tool] if modal.tool_said else []),
        *_sticky(modal),
        b"M83",
        *_to_place(x, y, z),
        *_filament(rehome.prime_mm),
        *_offsets(modal),
        *_modes_of_file(modal),
    )


def _retraction(park: Park, modal: Modal) -> float:
    """Only where filament is hot, and the file has said how its lengths count."""
    is_hot = modal.nozzle_c.get(modal.tool, 0.0) > 0
    return park.retract_mm if is_hot and modal.extrusion is not Extrusion.UNSAID else 0.0


def _away(park: Park, modal: Modal, height_mm: float) -> list[bytes]:
    script = [*_plain_modes(modal), *_filament(-_retraction(park, modal))]
    lifted = _lifted(modal, park.lift_mm, height_mm)
    if lifted is not None:
        x, y, z = (
            at - offset for at, offset in zip((park.x_mm, park.y_mm, lifted), modal.offset, strict=True)
        )
        script.append(b"G1 F%.0f Z%.4f" % (LIFT_MM_MIN, z))
        script.append(b"G1 F%.0f X%.4f Y%.4f" % (TRAVEL_MM_MIN, x, y))
    return script


def _lifted(modal: Modal, lift_mm: float, height_mm: float) -> float | None:
    """The height, in the machine's coordinates, that clears what was printed; None when there is no room."""
    floor = max(modal.position[2] or 0.0, modal.top_mm)
    lifted = min(floor + lift_mm, height_mm)
    return lifted if lifted >= floor + CLEARANCE_MM else None


def _plain_modes(modal: Modal) -> list[bytes]:
    """Millimetres, axes absolute, filament relative."""
    filament = [b"M83"] if modal.extrusion is not Extrusion.UNSAID else []
    return [*([b"G21"] if modal.inches else []), b"G90", *filament]


def _to_place(x: float, y: float, z: float) -> list[bytes]:
    return [
        b"G1 F%.0f X%.4f Y%.4f" % (TRAVEL_MM_MIN, x, y),
        b"G1 F%.0f Z%.4f" % (LIFT_MM_MIN, z),
    ]


def _filament(length_mm: float) -> list[bytes]:
    return [b"G1 F%.0f E%.4f" % (FEED_MM_MIN, length_mm)] if length_mm else []


def _modes_of_file(modal: Modal) -> list[bytes]:
    script = modal.mode_words()
    if modal.extrusion is Extrusion.ABSOLUTE and modal.e_mm is not None:
        script.append(b"G92 E%.5f" % modal.e_mm)
    if modal.feed_mm_min is not None:
        script.append(b"G1 F%.10g" % modal.feed_mm_min)
    return [*script, *([b"G20"] if modal.inches else [])]


def _heat(modal: Modal) -> list[bytes]:
    """Everything at once, then wait: bed, chamber, nozzles."""
    nozzles = [(tool, goal) for tool, goal in sorted(modal.nozzle_c.items()) if goal]
    is_one = all(tool == 0 for tool, _ in nozzles)
    goals = [b"S%g" % goal if is_one else b"T%d S%g" % (tool, goal) for tool, goal in nozzles]
    bed = [b"S%g" % modal.bed_c] if modal.bed_c else []
    chamber = [b"S%g" % modal.chamber_c] if modal.chamber_c else []
    return [
        *(b"M140 " + goal for goal in bed),
        *(b"M141 " + goal for goal in chamber),
        *(b"M104 " + goal for goal in goals),
        *(b"M190 " + goal for goal in bed),
        *(b"M191 " + goal for goal in chamber),
        *(b"M109 " + goal for goal in goals),
    ]


def _sticky(modal: Modal) -> list[bytes]:
    """What a restart has made the machine forget."""
    plane = [modal.plane.encode()] if modal.plane else []
    fans = [b"M106 P%d S%g" % (fan, speed) for fan, speed in sorted(modal.fans.items()) if speed]
    kept = [
        b" ".join(
            [name.encode(), *(b"%b%b" % (letter.encode(), _number(value)) for letter, value in said.items())]
        )
        for (name, _), said in modal.sticky.items()
    ]
    return [*plane, *kept, *fans]


def _number(value: float | None) -> bytes:
    return b"" if value is None else b"%.10g" % value


def _offsets(modal: Modal) -> list[bytes]:
    """The coordinates that the file has set with G92, the head being at the place."""
    if not any(modal.offset):
        return []
    here = zip(AXES, modal.coordinates(), strict=True)
    return [b" ".join([b"G92", *(b"%b%.4f" % (letter.encode(), at) for letter, at in here)])]
