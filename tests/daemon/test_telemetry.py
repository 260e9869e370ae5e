"""Telemetry: rolled up, bounded, expendable, and in nobody's way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farmd.daemon.telemetry import Collector
from farmd.driver import Temperatures
from farmd.driver.clock import Clock, set_clock
from farmd.sim.loop import WarpLoop
from farmd.store import Rolled, Telemetry, TelemetryFailed

BEGIN = 1_800_000_000.0


@pytest.fixture
def loop() -> Iterator[WarpLoop]:
    loop = WarpLoop()
    set_clock(loop, Clock(BEGIN, 0.0))
    yield loop
    loop.close()


def test_a_day_of_readings_becomes_minutes_and_hours(loop: WarpLoop, tmp_path: Path) -> None:
    file = Telemetry(tmp_path / "t.sqlite")

    async def measure() -> None:
        with ThreadPoolExecutor(1) as writer:
            collector = Collector(file, writer, minutes_days=1.0, hours_days=30.0)
            running = asyncio.create_task(collector.run())
            for second in range(3600 * 3):
                heat = Temperatures({"nozzle": 200.0 + second % 60, "bed": float("nan")}, {"nozzle": 210.0})
                collector.note_temperatures("m1", heat)
                await asyncio.sleep(1.0)
            running.cancel()
            await asyncio.wait({running})

    loop.run_until_complete(measure())
    minutes = [r for r in file.series("m1", 0, 2e9, "minute") if r.measure == "nozzle.actual_c"]
    assert len(minutes) == 180
    whole = minutes[5]
    assert (whole.n, whole.low, whole.high, whole.mean) == (60, 200.0, 259.0, 229.5)
    hours = [r for r in file.series("m1", 0, 2e9, "hour") if r.measure == "nozzle.actual_c"]
    assert sum(r.n for r in hours) == 3600 * 3
    assert {r.measure for r in file.series("m1", 0, 2e9, "hour")} == {"nozzle.actual_c", "nozzle.target_c"}
    file.close()


def test_a_flood_counts_once_a_second_and_costs_next_to_nothing(loop: WarpLoop, tmp_path: Path) -> None:
    file = Telemetry(tmp_path / "t.sqlite")

    async def flood() -> float:
        with ThreadPoolExecutor(1) as writer:
            collector = Collector(file, writer, minutes_days=1.0, hours_days=30.0)
            begun = time.perf_counter()
            for _ in range(10_000):
                collector.note("m1", "progress", {"fraction": 0.5})
            took = time.perf_counter() - begun
            await asyncio.sleep(200.0)
            await collector.flush()
        return took

    assert loop.run_until_complete(flood()) < 1.0
    assert [rolled.n for rolled in file.series("m1", 0, 2e9, "minute")] == [1]
    file.close()


def test_it_and_the_files_beside_it_are_for_the_owner_alone(tmp_path: Path) -> None:
    file = Telemetry(tmp_path / "t.sqlite")
    file.add([Rolled("m1", "x", BEGIN, 1, 1.0, 1.0, 1.0, 1.0)])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("t.sqlite", "t.sqlite-wal", "t.sqlite-shm"), 0o600)
    file.close()


def test_old_minutes_and_hours_are_forgotten(tmp_path: Path) -> None:
    file = Telemetry(tmp_path / "t.sqlite")
    file.add(Rolled("m1", "x", BEGIN + day * 86400.0, 1, 1.0, 1.0, 1.0, 1.0) for day in range(10))
    file.forget(BEGIN + 9.5 * 86400.0, 2.0, 5.0)
    assert len(file.series("m1", 0, 2e9, "minute")) == 2
    assert len(file.series("m1", 0, 2e9, "hour")) == 5
    file.close()


def test_a_damaged_file_is_put_aside_and_a_failing_one_stops_nothing(loop: WarpLoop, tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    path.write_bytes(b"not a database, by any means" * 100)
    file = Telemetry(path)
    assert (tmp_path / "t.sqlite.damaged").exists()
    file.close()

    async def go_on() -> None:
        with ThreadPoolExecutor(1) as writer:
            collector = Collector(file, writer, minutes_days=1.0, hours_days=30.0)
            running = asyncio.create_task(collector.run())
            for _ in range(300):
                collector.note("m1", "progress", {"fraction": 0.5})
                await asyncio.sleep(1.0)
            assert not running.done()
            running.cancel()
            await asyncio.wait({running})

    loop.run_until_complete(go_on())
    with pytest.raises(TelemetryFailed):
        Telemetry(tmp_path / "no" / "folder")
