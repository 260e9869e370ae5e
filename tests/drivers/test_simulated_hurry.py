"""A demo's time is fast: while one event is told, the whole run may go by."""

from __future__ import annotations

import asyncio
from pathlib import Path

from farmd.driver import Ended, Event, Started, StartOrder, now
from farmd.driver.clock import Clock, set_clock
from farmd.model.machine import MachineSpec
from farmd_drivers.simulated.driver import SimulatedDriver, SimulatedSettings

WALL = 1_800_000_000.0


async def test_a_run_that_ends_while_its_start_is_told_is_told_too(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    set_clock(loop, Clock(WALL, loop.time(), 600.0))
    spec = MachineSpec("m1", "simulated", "g", "MEX", (250.0, 210.0, 220.0))
    driver = SimulatedDriver(spec, SimulatedSettings(), state_dir=tmp_path)
    told: list[Event] = []
    over = asyncio.Event()

    def report(event: Event) -> None:
        told.append(event)
        if isinstance(event, Started):
            # A stall of the whole process: hours of the shop are over when telling returns.
            set_clock(loop, Clock(now() + 7200.0, loop.time(), 600.0))
        if isinstance(event, Ended):
            over.set()

    serving = asyncio.create_task(driver.serve(report))
    await asyncio.sleep(0.01)
    await driver.start(StartOrder("R-1", "print", 1200.0, parts=1, fence=1))
    try:
        async with asyncio.timeout(5.0):
            await over.wait()
    finally:
        serving.cancel()
        await asyncio.wait({serving})
    assert [type(event).__name__ for event in told] == ["Observed", "Started", "Ended"]
