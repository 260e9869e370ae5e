"""The simulated driver: the machine outlives the daemon, the cable does not matter to it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from farmd.driver import (
    MACHINE_NOT_READY,
    Activity,
    BedCleared,
    DriverSettings,
    Ended,
    Event,
    ForeignStarted,
    Observed,
    Progressed,
    Started,
    StartOrder,
    now,
)
from farmd.driver.clock import Clock, set_clock
from farmd.model.errors import LinkLost, Refused
from farmd.model.machine import STATION, ChamberSpec, MachineSpec
from farmd.model.work import Outcome
from farmd_drivers.simulated.driver import EJECT_S, SimulatedDriver, SimulatedSettings, nature_of
from farmd_drivers.simulated.machine import Answer
from farmd_drivers.simulated.truth import TruthFiles

SPEC = MachineSpec("m1", "simulated", "mk4", "MEX", (250.0, 210.0, 220.0))
T0 = 1_700_000_000.0
SPEED = 10_000.0


def order(run_id: str = "R-1", duration_s: float = 3600.0) -> StartOrder:
    return StartOrder(run_id, "print", duration_s, 1, fence=3, mass_g=40.0)


def driver(folder: Path, spec: MachineSpec = SPEC, **settings: object) -> SimulatedDriver:
    return SimulatedDriver(spec, SimulatedSettings.model_validate(settings), state_dir=folder)


@pytest.fixture(autouse=True)
async def fast_shop() -> None:
    loop = asyncio.get_running_loop()
    set_clock(loop, Clock(T0, loop.time(), SPEED))


class Told(asyncio.Queue[Event]):
    """What a driver told, in order."""

    async def until(self, kind: type[Event]) -> Event:
        async with asyncio.timeout(5.0):
            while not isinstance(event := await self.get(), kind):
                pass
        return event


@asynccontextmanager
async def served(made: SimulatedDriver) -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(made.serve(told.put_nowait))
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_machine_in_memory_keeps_running_while_its_cable_is_out(tmp_path: Path) -> None:
    made = driver(tmp_path)
    told = Told()
    serving = asyncio.create_task(made.serve(told.put_nowait))
    await told.until(Observed)
    await made.start(order())
    await told.until(Started)
    made.machine.pull_cable(now() + 7200.0)
    with pytest.raises(LinkLost):
        await serving
    with pytest.raises(LinkLost):
        await made.serve(told.put_nowait)
    with pytest.raises(Refused) as refused:
        await made.start(order("R-2"))
    assert refused.value.code is MACHINE_NOT_READY
    await asyncio.sleep(7300.0 / SPEED)
    async with served(made) as again:
        seen = await again.get()
    assert isinstance(seen, Observed)
    assert seen.activity is Activity.IDLE
    assert [(past.run_id, past.outcome, past.used_g) for past in seen.history] == [("R-1", Outcome.OK, 40.0)]
    assert [start.run_id for start in made.machine.starts()] == ["R-1"]


async def test_machine_on_disk_outlives_the_daemon(tmp_path: Path) -> None:
    first = driver(tmp_path, truth_dir=tmp_path / "truth", truth_fsync=True)
    async with served(first) as told:
        await told.until(Observed)
        await first.start(order())
        await told.until(Started)
    second = driver(tmp_path, truth_dir=tmp_path / "truth")
    async with served(second) as told:
        seen = await told.get()
        assert isinstance(seen, Observed)
        assert (seen.activity, seen.run_id) == (Activity.RUNNING, "R-1")
        ended = await told.until(Ended)
    assert ended == Ended("R-1", Outcome.OK, used_g=40.0)
    third = driver(tmp_path, truth_dir=tmp_path / "truth")
    async with served(third) as told:
        seen = await told.get()
    assert isinstance(seen, Observed)
    assert [past.run_id for past in seen.history] == ["R-1"]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from farmd.driver import Started, StartOrder
from farmd.model.machine import MachineSpec
from farmd_drivers.simulated.driver import SimulatedDriver, SimulatedSettings

async def main():
    spec = MachineSpec("m1", "simulated", "mk4", "MEX", (250.0, 210.0, 220.0))
    settings = SimulatedSettings(truth_dir=Path(sys.argv[1]), start_delay_s=60.0)
    driver = SimulatedDriver(spec, settings, state_dir=Path(sys.argv[1]))
    asyncio.get_running_loop().create_task(driver.serve(lambda event: None))
    await asyncio.sleep(0.01)
    await driver.start(StartOrder("R-1", "print", 1e9, 1, fence=1))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_start_survives_kill_9_between_send_and_evidence(tmp_path: Path) -> None:
    set_clock(asyncio.get_running_loop(), Clock(0.0, 0.0))
    child = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(tmp_path)], timeout=30, check=False
    )
    assert child.returncode == -9
    files = TruthFiles(tmp_path, "m1")
    (start,) = files.starts()
    assert (start.run_id, start.answer) == ("R-1", Answer.TAKEN)
    loop = asyncio.get_running_loop()
    set_clock(loop, Clock(start.at + 10.0, loop.time()))
    async with served(driver(tmp_path, truth_dir=tmp_path, start_delay_s=60.0)) as told:
        seen = await told.get()
    assert isinstance(seen, Observed)
    assert seen.run_id == "R-1"


async def test_both_starts_of_two_daemons_are_logged_and_one_is_taken(tmp_path: Path) -> None:
    one, two = (driver(tmp_path, truth_dir=tmp_path / "truth") for _ in range(2))
    one.machine.send_start(order())
    two.machine.send_start(order())
    assert [start.answer for start in two.machine.starts()] == [Answer.TAKEN, Answer.BUSY]
    lines = (tmp_path / "truth" / "m1.starts").read_text().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == ["R-1", "R-1"]
    assert one.machine.starts() == two.machine.starts()


async def test_dropped_start_is_seen_by_looking_again(tmp_path: Path) -> None:
    made = driver(tmp_path, drop_rate=1.0)
    async with served(made) as told:
        await told.until(Observed)
        begin = now()
        await made.start(order())
        seen = await told.get()
        assert now() - begin >= 35.0
    assert isinstance(seen, Observed)
    assert (seen.activity, seen.run_id, seen.history) == (Activity.IDLE, None, ())
    assert [start.answer for start in made.machine.starts()] == [Answer.DROPPED]


@pytest.mark.parametrize("arrives", [True, False])
async def test_cable_that_goes_with_the_start_leaves_it_open(arrives: bool, tmp_path: Path) -> None:
    made = driver(tmp_path)
    async with served(made) as told:
        await told.until(Observed)
        made.machine.cut_next_start(arrives=arrives)
        with pytest.raises(LinkLost):
            await made.start(order())
    made.machine.plug_cable()
    async with served(made) as told:
        seen = await told.get()
    assert isinstance(seen, Observed)
    assert (seen.run_id == "R-1") is arrives
    assert len(made.machine.starts()) == arrives


async def test_what_happened_unseen_is_said_once(tmp_path: Path) -> None:
    made = driver(tmp_path)
    made.machine.panel_start("benchy", 60.0)
    made.machine.reboot()
    for expected in (True, False):
        async with served(made) as told:
            seen = await told.get()
        assert isinstance(seen, Observed)
        assert (seen.unseen_start, seen.rebooted) == (expected, expected)
    async with served(made) as told:
        await told.until(Observed)
        made.machine.panel_start("benchy", 6000.0)
        assert await told.until(ForeignStarted) == ForeignStarted("benchy")
    async with served(made) as told:
        seen = await told.get()
    assert isinstance(seen, Observed)
    assert (seen.run_id, seen.unseen_start) == ("benchy", False)


async def test_telemetry_comes_only_when_asked_for(tmp_path: Path) -> None:
    for telemetry_s, wanted in ((0.0, 0), (600.0, 5)):
        made = driver(tmp_path, telemetry_s=telemetry_s)
        async with served(made) as told:
            await told.until(Observed)
            await made.start(order())
            progress = 0
            while not isinstance(event := await told.get(), Ended):
                progress += isinstance(event, Progressed)
        assert wanted <= progress <= wanted + 2


async def test_ejecting_machine_tells_its_clear_bed(tmp_path: Path) -> None:
    spec = MachineSpec("e1", "simulated", "e", "MEX", (250.0, 210.0, 220.0), permit_from_machine=True)
    made = driver(tmp_path, spec)
    async with served(made) as told:
        assert isinstance(await told.get(), Observed)
        assert await told.get() == BedCleared()
        await made.start(order())
        ended = await told.until(Ended)
        assert isinstance(ended, Ended)
        assert ended.ready_in_s == EJECT_S
        await told.until(BedCleared)


async def test_seeded_runs_repeat(tmp_path: Path) -> None:
    async def outcomes() -> list[tuple[str, Outcome, str]]:
        found = []
        made = driver(tmp_path, noise=0.1, failure_rate=0.5, seed=11)
        async with served(made) as told:
            await told.until(Observed)
            for number in range(6):
                await made.start(order(f"R-{number}", 600.0))
                ended = await told.until(Ended)
                assert isinstance(ended, Ended)
                found.append((ended.run_id, ended.outcome, ended.reason))
        return found

    first = await outcomes()
    assert first == await outcomes()
    assert {outcome for _, outcome, _ in first} == {Outcome.OK, Outcome.FAILED}


def test_nature_follows_the_specification() -> None:
    settings = SimulatedSettings()
    chamber = ChamberSpec((340.0, 340.0), 600.0, 3600.0, 0.001, 60.0, cooldown_s=43200.0)
    powder = MachineSpec("p1", "simulated", "p", "PBF", (340.0, 340.0, 600.0), chamber=chamber)
    station = MachineSpec("s1", "simulated", "wash", STATION, (0.0, 0.0, 0.0), operation_s=900.0)
    assert nature_of(powder, settings).rest_s == 43200.0
    assert nature_of(station, settings).operation_s == 900.0
    assert nature_of(SPEC, settings).operation_s is None


def test_settings_are_all_described_and_checked(tmp_path: Path) -> None:
    assert all(field.description for field in SimulatedSettings.model_fields.values())
    with pytest.raises(ValidationError):
        SimulatedSettings.model_validate({"faliure_rate": 0.1})
    with pytest.raises(ValidationError):
        SimulatedSettings.model_validate({"failure_rate": 1.5})
    with pytest.raises(TypeError):
        SimulatedDriver(SPEC, DriverSettings(), state_dir=tmp_path)
