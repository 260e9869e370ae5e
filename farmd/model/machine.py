"""What a machine is, as the shop's configuration describes it, and what is known of it now.

Knows no driver, link or schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from farmd.model.lifecycle import MachineState

STATION = "station"
"""The process of a machine that finishes parts and makes none."""


@dataclass(frozen=True, slots=True)
class ChamberSpec:
    """A powder-bed chamber: what fits, and how long a load takes.

    `end - start = setup_s + s_per_mm3 * sum(volume) + s_per_mm * height of the build`; the chamber is free
    again after `cooldown_s` more.
    """

    size_mm: tuple[float, float]
    height_mm: float
    setup_s: float
    s_per_mm3: float
    s_per_mm: float
    cooldown_s: float = 0.0
    precision: float = 1.0
    packing: float = 0.85
    """Share of the plate's area that a load may fill."""
    packing_density: float | None = None
    """Where parts lie above each other: the share of the chamber's volume that those of a load may make up."""

    @property
    def area_mm2(self) -> float:
        return self.size_mm[0] * self.size_mm[1] * self.packing

    @property
    def most_volume_mm3(self) -> float:
        """Of the parts of a load together; infinite where they stand side by side."""
        return math.inf if self.packing_density is None else self._mm2 * self.height_mm

    def load_s(self, volume_mm3: float, height_mm: float) -> float:
        """How long a load takes: of its parts the volume of all and the height of the highest."""
        if self.packing_density is not None:
            height_mm = max(height_mm, volume_mm3 / self._mm2)
        return self.setup_s + self.s_per_mm3 * volume_mm3 + self.s_per_mm * height_mm

    @property
    def _mm2(self) -> float:
        """What parts may make up of a layer, in the mean."""
        return self.area_mm2 * (self.packing_density or 1.0)


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One machine as configured. `process` is a category of ISO/ASTM 52900, or "station"."""

    name: str
    driver: str
    group: str
    process: str
    volume_mm: tuple[float, float, float]
    nozzle_mm: float | None = None
    material: str | None = None
    cost_per_hour: float = 0.0
    max_nozzle_c: float = 260.0
    max_bed_c: float = 110.0
    max_chamber_c: float = 60.0
    allow: tuple[str, ...] = ()
    """Commands, or classes of machines, by whose names files may hold what is forbidden elsewhere."""
    chamber: ChamberSpec | None = None
    operations: tuple[str, ...] = ("print",)
    operation_s: float = 0.0
    """Stations: how long one operation takes, loading excluded."""
    permit_from_machine: bool = False
    """The machine ejects its parts and senses a clear bed, so it gives permits itself."""
    link: dict[str, Any] = field(default_factory=dict)
    """Settings of the driver, as configured."""

    @property
    def is_station(self) -> bool:
        return self.process == STATION


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a machine needs a person."""

    code: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Permit:
    """Evidence that a machine may be started. One permit, one start; never given back."""

    id: str
    given_at: float
    by: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of one machine now.

    `run_id` is the run that is open on it (INTENT to PAUSED, or UNCERTAIN); `uncleared_run_id`
    the ended run whose parts have not been taken off.
    """

    name: str
    state: MachineState = MachineState.OFFLINE
    since: float = 0.0
    permit: Permit | None = None
    held: str | None = None
    fault: Fault | None = None
    foreign: str | None = None
    run_id: str | None = None
    uncleared_run_id: str | None = None
    material: str | None = None
    nozzle_mm: float | None = None
    lot_id: str | None = None
    ready_at: float = 0.0
    """When the machine may be opened or cleared again (cool-down); 0 when at once."""
