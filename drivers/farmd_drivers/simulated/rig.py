"""The conformance kit's rig of the simulated machine, for tests; the driver never imports it.

Tests of the kit itself hand it broken drivers in place of the real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farmd.driver import StartOrder
from farmd.driver.kit import Rig
from farmd.model.machine import MachineSpec

from .driver import SimulatedDriver, SimulatedSettings
from .state import Phase
from .unit import Unit

SPEC = MachineSpec("mk4-01", "simulated", "mk4", "MEX", (250.0, 210.0, 220.0))
SPEED = 1000.0


class SimulatedRig(Rig):
    """A fresh machine whose truth is in `folder`; the loop's clock must run `SPEED` times faster."""

    settle_s = 1.0
    quiet_s = 0.05
    link_timeout_s = 0.5

    def __init__(self, folder: Path, driver_type: type[SimulatedDriver] = SimulatedDriver) -> None:
        self._settings = SimulatedSettings(truth_dir=folder, noise=0.1)
        self._folder = folder
        self._type = driver_type
        self._newest: SimulatedDriver | None = None

    def driver(self) -> SimulatedDriver:
        self._newest = self._type(SPEC, self._settings, state_dir=self._folder)
        return self._newest

    def order(self, run_id: str, *, long: bool) -> StartOrder:
        return StartOrder(run_id, "print", 36000.0 if long else 100.0, 1, fence=1, mass_g=20.0)

    def starts(self) -> Sequence[str]:
        return [start.run_id for start in self._unit.starts()]

    def is_off(self) -> bool:
        return self._unit.truth.phase is Phase.FAULT

    async def cut_link(self) -> None:
        self._unit.pull_cable()

    async def restore_link(self) -> None:
        self._unit.plug_cable()

    async def reboot(self) -> None:
        self._unit.reboot()

    async def foreign_start(self) -> None:
        self._unit.panel_start("benchy.gcode")

    async def lose_next_start(self) -> None:
        self._unit.drop_next_start()

    async def fail_run(self) -> None:
        self._unit.fail_now("the part came off the plate")

    async def break_machine(self) -> None:
        self._unit.break_now()

    @property
    def _unit(self) -> Unit:
        if self._newest is None:
            self.driver()
        assert self._newest is not None
        return self._newest.machine
