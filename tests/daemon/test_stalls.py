"""A loop that stands still is noticed while it does, with the stack of what blocks it."""

from __future__ import annotations

import asyncio
import time

from structlog.testing import capture_logs

from farmd.daemon.stalls import StallWatch


def a_careless_call(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_stall_is_told_with_its_stack() -> None:
    with capture_logs() as told, StallWatch(limit_s=0.1) as watch:
        await asyncio.sleep(0.1)
        a_careless_call(0.4)
        await asyncio.sleep(0.5)
    assert watch.count == 1
    assert 0.3 < watch.longest_s < 5
    blocked, over = told
    assert blocked["event"] == "the loop stands still"
    assert blocked["where"][-1].endswith("a_careless_call"), blocked["where"]
    assert over["event"] == "the loop goes on"
    assert over["stalled_s"] >= 0.3


async def test_a_turning_loop_is_left_in_peace() -> None:
    with capture_logs() as told, StallWatch(limit_s=1.0) as watch:
        for _ in range(30):
            await asyncio.sleep(0.01)
    assert (watch.count, told) == (0, [])
