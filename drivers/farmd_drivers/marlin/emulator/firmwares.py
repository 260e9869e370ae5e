"""Every emulated firmware by the name that the driver's dialect has."""

from __future__ import annotations

from dataclasses import replace

from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.klipper import Klipper, Setup
from farmd_drivers.marlin.emulator.machine import Marlin
from farmd_drivers.marlin.emulator.repetier import Repetier
from farmd_drivers.marlin.emulator.reprapfirmware import RepRapFirmware
from farmd_drivers.marlin.emulator.smoothie import Smoothie
from farmd_drivers.marlin.emulator.voice import PrusaBuddy, PrusaMk3

_QUIET = Build(emergency_parser=False, autoreport=False, keepalive=False)
MACHINES: dict[str, tuple[type[Marlin], Build]] = {
    "marlin": (Marlin, Build()),
    "prusa-mk3": (PrusaMk3, Build(emergency_parser=False, rx_bytes=128)),
    "prusa-buddy": (PrusaBuddy, Build(emergency_parser=False, ring_lines=8)),
    "reprapfirmware": (RepRapFirmware, _QUIET),
    "smoothie": (Smoothie, _QUIET),
    "repetier": (Repetier, Build(autoreport=False, says_wait=True, ring_lines=1)),
}
"""How each is built where nothing else is asked for, besides Klipper, which has a `Setup`."""


def machine_of(name: str, *, move_scale: float = 0.0, heat_c_per_s: float = 200.0) -> Marlin | Klipper:
    """An emulated machine with the firmware of that name, as in `wire.dialects`."""
    if name == "klipper":
        return Klipper(Setup(move_scale=move_scale, heat_c_per_s=heat_c_per_s))
    kind, build = MACHINES[name]
    return kind(replace(build, move_scale=move_scale, heat_c_per_s=heat_c_per_s))
