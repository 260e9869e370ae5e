"""The shop as configured, in the daemon's terms: machines, materials, people and times of work.

Frozen for the life of the daemon. Knows no state of any machine or job.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from farmd.daemon.noise import NoiseLimits
from farmd.driver import Capabilities
from farmd.gcode import Limits, limits_of
from farmd.model.machine import MachineSpec

Windows = Callable[[float, float], Mapping[str, list[tuple[float, float]]]]
"""From and until (UTC seconds) to each shift's working times between them, by the shift's name."""


@dataclass(frozen=True, slots=True)
class MaterialSpec:
    """A material and the temperatures it may see. `name` is a family ("PLA") or one of it ("PLA black")."""

    name: str
    process: str = "MEX"
    max_nozzle_c: float | None = None
    max_bed_c: float | None = None
    density_g_cm3: float | None = None


@dataclass(frozen=True, slots=True)
class PowerGroup:
    """Machines that share a supply: at most `at_once` of them are within the first `warm_up_s` of a run."""

    name: str
    machines: tuple[str, ...]
    at_once: int
    warm_up_s: float


@dataclass(frozen=True, slots=True)
class Shop:
    """Everything the daemon needs of the configuration, besides links and storage."""

    name: str
    specs: Mapping[str, MachineSpec]
    capabilities: Mapping[str, Capabilities]
    materials: Mapping[str, MaterialSpec] = field(default_factory=dict)
    people: Mapping[str, int | None] = field(default_factory=dict)
    """People by shift; no shifts at all means work at any time."""
    windows: Windows = lambda start, end: {}
    clear_s: float = 300.0
    changeover_s: float = 900.0
    changeovers: tuple[tuple[str, str, float], ...] = ()
    """From one material to another, in seconds of a person's work."""
    shut: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """When machines are shut for maintenance, by name, in order; seconds since the epoch, UTC."""
    power_groups: tuple[PowerGroup, ...] = ()
    spool_change_s: float = 0.0
    """A person's work for a new spool; 0: what is left of a lot is not looked at."""
    wear_price: float = 0.0
    """Of a second on a machine that ran twice as much lately as its kind, in weighted seconds of tardiness."""
    fair_share: float = 1.0
    """By at most this factor weighs an owner's work more or less for what all had lately; 1: by none."""
    horizon_s: float = 72 * 3600.0
    operator_price: float = 0.0
    due_buffers: float = 1.0
    """How much room is kept before due dates for what may come between; 0 none."""
    out_of_sight_s: float = 900.0
    """How long a machine without a history may be unseen before its unspent permit is void."""
    noise: NoiseLimits = field(default_factory=NoiseLimits)
    """From when on people are told of a noisy link."""
    parts_per_year: int = 1_000_000
    memo: dict[Hashable, Any] = field(default_factory=dict, compare=False)
    """What `rules.fitness` has answered before; the shop never changes, so neither do the answers."""

    def material(self, name: str | None) -> MaterialSpec | None:
        """The material of that name, else its family's."""
        if name is None:
            return None
        return self.materials.get(name) or self.materials.get(family(name))

    def unlisted(self, name: str | None) -> str:
        """Why a material is not one of this shop, with what is near; empty when it is, or none is listed."""
        if name is None or not self.materials or self.material(name) is not None:
            return ""
        listed = sorted(self.materials)
        near = difflib.get_close_matches(family(name).upper(), [each.upper() for each in listed], n=1)
        hint = next((each for each in listed if near and each.upper() == near[0]), None)
        meant = f"; did you mean {hint!r}?" if hint else ""
        return f"{name!r} is none of the shop's materials ({', '.join(listed)}){meant}"

    def limits(self, spec: MachineSpec, material: str | None) -> Limits:
        """What a file may ask of this machine with this material."""
        known = self.material(material)
        return replace(
            limits_of(spec),
            material_max_nozzle_c=known.max_nozzle_c if known else None,
            material_max_bed_c=known.max_bed_c if known else None,
        )


def family(material: str) -> str:
    """ "PLA black" is of the family "PLA"."""
    return material.split(maxsplit=1)[0] if material.strip() else material


def satisfies(loaded: str | None, wanted: str | None) -> bool:
    """Whether a machine with `loaded` may make what wants `wanted`: the same, any of the family, or anything."""
    if wanted is None:
        return True
    return loaded is not None and wanted in (loaded, family(loaded))
