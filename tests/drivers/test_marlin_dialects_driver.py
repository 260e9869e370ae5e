"""The real driver on pseudo-terminals, with a machine of every firmware at the other end."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from farmd.driver import Ended, Event, Faulted, Observed, Recovered, RunFile, Started, StartOrder
from farmd.model.machine import MachineSpec
from farmd.model.work import Outcome
from farmd_drivers.marlin.driver import ADDED_COMMANDS, MarlinDriver
from farmd_drivers.marlin.emulator.firmwares import MACHINES, machine_of
from farmd_drivers.marlin.emulator.klipper import Klipper, Setup
from farmd_drivers.marlin.emulator.machine import Marlin
from farmd_drivers.marlin.peer import PtyPeer
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.wire.dialects import DIALECTS

SPEC = MachineSpec("voron-01", "marlin", "voron", "MEX", (250.0, 210.0, 210.0))
LINES = [b"G28", b"G90", *[b"G1 X%d Y%d E0.1" % (n, n % 7) for n in range(60)], b"M107"]


def order(lines: list[bytes], run_id: str = "R-1") -> StartOrder:
    data = b"\n".join(lines)
    file = RunFile("part.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
    return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file, mass_g=10.0)


class Served:
    """A driver being served, with what it told."""

    def __init__(self, driver: MarlinDriver) -> None:
        self.driver = driver
        self.events: list[Event] = []
        self.task = asyncio.create_task(driver.serve(self.events.append))

    async def until(self, kind: type) -> Event:
        async with asyncio.timeout(20):
            while True:
                for event in reversed(self.events):
                    if isinstance(event, kind):
                        return event
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.002)


@asynccontextmanager
async def served(machine: Marlin | Klipper, folder: Path) -> AsyncIterator[tuple[PtyPeer, Served]]:
    with PtyPeer(machine=machine) as peer:
        settings = MarlinSettings(port=peer.port, banner_wait_s=0.05)
        here = Served(MarlinDriver(SPEC, settings, state_dir=folder))
        try:
            yield peer, here
        finally:
            here.task.cancel()
            await asyncio.gather(here.task, return_exceptions=True)


@pytest.mark.parametrize("name", [*MACHINES, "klipper"])
async def test_driver_prints_on_every_firmware(name: str, tmp_path: Path) -> None:
    async with served(machine_of(name), tmp_path) as (peer, here):
        observed = await here.until(Observed)
        assert isinstance(observed, Observed)
        assert observed.fault is None
        assert any(words in f"{observed.firmware} ".lower() for words in DIALECTS[name].says)
        before = len(peer.executed)
        await here.driver.start(order(LINES))
        ended = await here.until(Ended)
        assert isinstance(ended, Ended)
        assert ended.outcome is Outcome.OK
        executed = peer.executed[before:]
        assert executed[: len(LINES) + 2] == [b"M110 N0", b"M105", *LINES]
        assert all(ADDED_COMMANDS.fullmatch(command) for command in executed[len(LINES) + 2 :])


async def test_refusal_of_klippers_is_the_reason_of_the_failed_run(tmp_path: Path) -> None:
    async with served(machine_of("klipper"), tmp_path) as (peer, here):
        await here.until(Observed)
        await here.driver.start(order([*LINES, b"G1 Y4000", *LINES]))
        await here.until(Started)
        ended = await here.until(Ended)
        assert isinstance(ended, Ended)
        assert ended.outcome is Outcome.FAILED
        assert "Move out of range" in ended.reason
        assert ended.place is not None
        assert ended.place.line == len(LINES)
        assert [line for line in peer.executed if line == LINES[-2]] == [LINES[-2]]


async def test_klipper_comes_back_from_an_emergency_stop(tmp_path: Path) -> None:
    machine = Klipper(Setup(restart_s=0.1))
    async with served(machine, tmp_path) as (peer, here):
        await here.until(Observed)
        here.driver.estop()
        await here.until(Faulted)
        await asyncio.sleep(0.5)
        assert b"M112" in peer.executed
        await here.driver.recover()
        await here.until(Recovered)
        await here.driver.start(order(LINES))
        ended = await here.until(Ended)
        assert isinstance(ended, Ended)
        assert ended.outcome is Outcome.OK


def test_peer_speaks_the_dialect_it_is_told_to() -> None:
    command = [sys.executable, "-m", "farmd_drivers.marlin.peer", "--dialect", "klipper"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().decode().strip()
            fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
            os.write(fd, b"M115\n")
            said = b""
            while not said.endswith(b"\n") or b"FIRMWARE" not in said:
                said += os.read(fd, 1000)
            os.close(fd)
            assert b"ok FIRMWARE_NAME:Klipper" in said
        finally:
            process.terminate()
            process.wait(5)
