"""The loop whose time jumps: order, offloaded work, large times, deadlocks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from farmd.driver import now, offload, sleep, sleep_until
from farmd.driver.clock import Clock, set_clock
from farmd.sim.loop import Deadlock, WarpLoop


@pytest.fixture
def loop() -> Iterator[WarpLoop]:
    loop = WarpLoop()
    set_clock(loop, Clock(1_000_000.0, 0.0))
    yield loop
    loop.close()


def test_a_year_of_sleeping_takes_no_time(loop: WarpLoop) -> None:
    async def year() -> float:
        await sleep(365 * 86400.0)
        return now()

    began = time.monotonic()
    assert loop.run_until_complete(year()) == 1_000_000.0 + 365 * 86400.0
    assert time.monotonic() - began < 5.0


def test_timers_fire_in_the_order_of_their_times(loop: WarpLoop) -> None:
    seen: list[tuple[str, float]] = []

    async def note(name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        seen.append((name, loop.time()))

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for name, after_s in (("late", 30.0), ("early", 1.5), ("middle", 7.25)):
                group.create_task(note(name, after_s))

    loop.run_until_complete(all_of_them())
    assert seen == [("early", 1.5), ("middle", 7.25), ("late", 30.0)]


def test_time_stands_still_while_work_is_outstanding(loop: WarpLoop) -> None:
    async def work() -> float:
        ticking = asyncio.create_task(asyncio.sleep(10.0))
        await offload(lambda: time.sleep(0.05))
        at = loop.time()
        await ticking
        return at

    assert loop.run_until_complete(work()) == 0.0


def test_results_come_in_the_order_of_submission(loop: WarpLoop) -> None:
    """The first work waits for the second, so the second is ready long before."""
    order: list[str] = []
    second_done = threading.Event()

    async def one(pool: ThreadPoolExecutor) -> None:
        await offload(second_done.wait, pool)
        order.append("first")

    async def two(pool: ThreadPoolExecutor) -> None:
        await offload(second_done.set, pool)
        order.append("second")

    async def both() -> None:
        with ThreadPoolExecutor(2) as pool:
            await asyncio.gather(one(pool), two(pool))

    loop.run_until_complete(both())
    assert order == ["first", "second"]


def test_an_error_off_the_loop_is_raised_where_it_is_awaited(loop: WarpLoop) -> None:
    def fail() -> None:
        raise ValueError("off the loop")

    with pytest.raises(ValueError, match="off the loop"):
        loop.run_until_complete(offload(fail))


def test_a_timeout_is_of_the_shops_time(loop: WarpLoop) -> None:
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600.0):
                await asyncio.Event().wait()
        return loop.time()

    assert loop.run_until_complete(wait()) == 3600.0


def test_waiting_for_nothing_is_a_deadlock(loop: WarpLoop) -> None:
    with pytest.raises(Deadlock):
        loop.run_until_complete(asyncio.Event().wait())


@pytest.mark.parametrize("far_s", [3.2e7, 1.8e9])
def test_small_steps_advance_large_times(loop: WarpLoop, far_s: float) -> None:
    async def steps() -> None:
        await asyncio.sleep(far_s)
        for _ in range(50):
            await sleep_until(now() + 1e-7)
            await asyncio.sleep(1e-9)

    async def bounded(work: Coroutine[Any, Any, None]) -> None:
        await work

    began = time.monotonic()
    loop.run_until_complete(bounded(steps()))
    assert time.monotonic() - began < 5.0
