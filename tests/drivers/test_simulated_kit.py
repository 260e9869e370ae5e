"""The simulated driver keeps every promise, its truth outliving its instances on disk."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from farmd.driver.clock import Clock, set_clock
from farmd.driver.kit import check_driver
from farmd_drivers.simulated.rig import SPEED, SimulatedRig


async def test_simulated_driver_keeps_its_promises(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    set_clock(loop, Clock(1_700_000_000.0, loop.time(), SPEED))
    numbers = itertools.count()
    verdict = await check_driver(lambda: SimulatedRig(tmp_path / str(next(numbers))))
    # It can do everything and adopts, so two promises have nothing to try.
    assert verdict.skipped == ("run-is-not-adopted", "unsupported-is-refused"), str(verdict)
    assert len(verdict.kept) >= 24
