"""The driver of simulated machines: the daemon's own proof that it cannot tell.

It lives on the shop's clock alone, so it works in real time, in the demo's faster time and on the
simulation's jumping time, and it wakes only when something is due. `machine` is the machine as it
stands in the shop (`unit.Unit`); people in a scenario and tests do things to it there.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

from pydantic import ConfigDict, Field

from farmd.driver import (
    MACHINE_NOT_READY,
    BedCleared,
    Capabilities,
    Driver,
    DriverSettings,
    Ended,
    Report,
    Started,
    StartOrder,
    now,
    sleep_until,
)
from farmd.model.errors import ErrorCode, LinkLost, Refused
from farmd.model.machine import MachineSpec

from .chance import Cable, Odds
from .machine import SimulatedMachine
from .state import Nature
from .truth import TruthFiles
from .unit import Unit, nobody

CABLE_OUT = ErrorCode(
    "simulated-link-lost",
    "the simulated machine's cable is out",
    "wait: the link comes back by itself",
)
EVIDENCE_WAIT_S = 30.0
"""How much longer than the machine's usual delay a START may go unshown before we look again."""
EJECT_S = 60.0


class SimulatedSettings(DriverSettings):
    """An ideal machine unless told otherwise; docs/DRIVERS.md has realistic figures."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    seed: int = 1
    """All chance follows from this, the machine's name and the run ids."""
    noise: float = Field(default=0.0, ge=0.0, le=1.0)
    """Log deviation of the runs' lengths around their estimates (lognormal, mean kept)."""
    failure_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the runs that fail; the machine itself stays well."""
    mtbf_h: float = Field(default=0.0, ge=0.0)
    """Mean hours of running between faults that need a person; 0 is never."""
    drop_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the STARTs that the machine silently drops."""
    link_mtbf_h: float = Field(default=0.0, ge=0.0)
    """Mean hours between losses of the link; 0 is never."""
    link_loss_s: float = Field(default=120.0, gt=0.0)
    """Mean seconds that the link stays lost."""
    panel_every_h: float = Field(default=0.0, ge=0.0)
    """Mean hours between tries of somebody to start a run of their own at the panel; 0 is never."""
    reboot_every_h: float = Field(default=0.0, ge=0.0)
    """Mean hours between restarts of the machine; 0 is never."""
    warmup_s: float = Field(default=240.0, ge=0.0)
    """Seconds at the beginning of a run without layers; at most half of it. Not at stations."""
    layer_s: float = Field(default=60.0, gt=0.0)
    """Seconds for one layer."""
    start_delay_s: float = Field(default=5.0, ge=0.0)
    """Seconds from a START to the machine's telling that it runs."""
    telemetry_s: float = Field(default=0.0, ge=0.0)
    """Seconds between reports of progress; 0 is none."""
    truth_dir: Path | None = None
    """Folder where the machine lives on when the daemon dies; in memory when left out."""
    truth_fsync: bool = False
    """Force the truth to the disk, to outlive a power cut too."""


class SimulatedDriver(Driver):
    """A printer, a powder-bed machine or a station, by what its `MachineSpec` says."""

    settings_type = SimulatedSettings
    capabilities = Capabilities(
        pause=True,
        stop=True,
        estop=True,
        adopts=True,
        history_authoritative=True,
        evidence="The machine shows our run id and counts its progress.",
    )

    def __init__(self, machine: MachineSpec, settings: DriverSettings, *, state_dir: Path) -> None:
        if not isinstance(settings, SimulatedSettings):
            raise TypeError(f"settings must be SimulatedSettings, not {type(settings).__name__}")
        self._name = machine.name
        self._settings = settings
        odds = Odds(
            seed=settings.seed,
            machine=machine.name,
            process=machine.process,
            noise=settings.noise,
            failure_rate=settings.failure_rate,
            mtbf_h=settings.mtbf_h,
            drop_rate=settings.drop_rate,
            panel_every_h=settings.panel_every_h,
            reboot_every_h=settings.reboot_every_h,
        )
        nature = nature_of(machine, settings)
        folder = settings.truth_dir
        self.machine = Unit(
            lambda born_at: SimulatedMachine(nature, odds, born_at=born_at),
            Cable(odds, lost_every_h=settings.link_mtbf_h, lost_s=settings.link_loss_s),
            None if folder is None else TruthFiles(folder, machine.name, fsync=settings.truth_fsync),
        )
        self._connected = False
        self._look_again_at = math.inf
        self._telemetry_at = math.inf

    async def serve(self, report: Report) -> None:
        unit = self.machine
        if not unit.cable_up():
            raise LinkLost(CABLE_OUT, where=self._name)
        self._look_again_at = math.inf
        self._telemetry_at = now() if self._settings.telemetry_s > 0.0 else math.inf
        self._connected = True
        try:
            self._observe(report)
            if unit.holds_clear_bed():
                report(BedCleared())
            while True:
                due = self._tell(report)
                if not unit.cable_up():
                    raise LinkLost(CABLE_OUT, where=self._name)
                if due > now():
                    await self._wait(due)
        finally:
            self._connected = False

    async def start(self, order: StartOrder) -> None:
        self._need_link()
        if busy := self.machine.busy_with():
            raise Refused(MACHINE_NOT_READY, f"the machine is {busy}", where=self._name)
        if not self.machine.send_start(order):
            raise LinkLost(CABLE_OUT, f"the cable went while {order.run_id} was started", where=self._name)
        wait_s = self._settings.start_delay_s + EVIDENCE_WAIT_S
        self._look_again_at = now() + wait_s
        self.machine.changed()

    async def pause(self) -> None:
        self._need_link()
        self.machine.pause()

    async def resume(self) -> None:
        self._need_link()
        self.machine.resume()

    async def stop(self) -> None:
        self._need_link()
        self.machine.stop()

    async def recover(self) -> None:
        self._need_link()
        self.machine.recover()

    def estop(self) -> None:
        self._need_link()
        self.machine.estop()

    def _need_link(self) -> None:
        if not (self._connected and self.machine.cable_up()):
            raise Refused(MACHINE_NOT_READY, "there is no link; nothing was sent", where=self._name)

    def _observe(self, report: Report) -> None:
        report(self.machine.look())
        self.machine.told()

    def _tell(self, report: Report) -> float:
        """Tells all that happened by now; returns when there will be something to do again."""
        unit = self.machine
        machine = unit.simulated
        if not unit.cable_up():
            return now()
        if unit.outbox:
            while unit.outbox:
                event = unit.outbox.popleft()
                if isinstance(event, Started | Ended):
                    self._look_again_at = math.inf
                report(event)
            unit.told()
        if now() >= self._look_again_at:
            self._look_again_at = math.inf
            self._observe(report)
        progress = machine.progress()
        if progress is not None and now() >= self._telemetry_at:
            report(progress)
            self._telemetry_at = now() + self._settings.telemetry_s
        if unit.outbox:
            # Telling takes time too, and in a demo's hurried time a run may have ended meanwhile.
            return now()
        return min(
            machine.next_at(),
            unit.next_loss_at(),
            self._look_again_at,
            math.inf if progress is None else self._telemetry_at,
        )

    async def _wait(self, due: float) -> None:
        """Until `due`, or until something is done to the machine or its cable."""
        alarm: asyncio.Future[None] = (
            asyncio.get_running_loop().create_future()
            if due == math.inf
            else asyncio.ensure_future(sleep_until(due))
        )
        self.machine.changed = alarm.cancel
        try:
            await asyncio.wait({alarm})
        finally:
            self.machine.changed = nobody
            alarm.cancel()


def nature_of(machine: MachineSpec, settings: SimulatedSettings) -> Nature:
    """What a machine of that specification is like."""
    rest_s = machine.chamber.cooldown_s if machine.chamber is not None else 0.0
    return Nature(
        warmup_s=settings.warmup_s,
        layer_s=settings.layer_s,
        start_delay_s=settings.start_delay_s,
        rest_s=rest_s + (EJECT_S if machine.permit_from_machine else 0.0),
        ejects=machine.permit_from_machine,
        operation_s=machine.operation_s if machine.is_station else None,
    )
