"""Time as the shop sees it: `now()`, `sleep_until()` and `offload()`, all of the running loop.

Wall time is `now()`, seconds since the epoch, UTC. On an ordinary loop it is the system's clock.
A loop may carry a `Clock` of its own: the demo's, whose time runs faster, or the simulation's,
whose time jumps. Nothing else in farmd knows which of them it lives under. Timeouts of links are
plain `asyncio.timeout`; waits of the shop go through `sleep_until`.
"""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time as a function of loop time: `wall_s + (loop.time() - loop_s) * speed`."""

    wall_s: float
    loop_s: float
    speed: float = 1.0

    def wall(self, loop_time_s: float) -> float:
        return self.wall_s + (loop_time_s - self.loop_s) * self.speed


_clocks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Clock] = weakref.WeakKeyDictionary()


def set_clock(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    """Give a loop its own wall time."""
    _clocks[loop] = clock


def now() -> float:
    """Wall time of the running loop, in seconds since the epoch."""
    loop = asyncio.get_running_loop()
    clock = _clocks.get(loop)
    return time.time() if clock is None else clock.wall(loop.time())


def speed() -> float:
    """How much faster than real time the running loop's wall clock goes; 1 unless in a demo."""
    clock = _clocks.get(asyncio.get_running_loop())
    return 1.0 if clock is None else clock.speed


async def sleep_until(wall_s: float) -> None:
    """Return when `now() >= wall_s`."""
    while (left := wall_s - now()) > 0:
        # A step smaller than the float grain of the loop's time would never end.
        grain = math.ulp(asyncio.get_running_loop().time())
        await asyncio.sleep(max(left / speed(), grain))


async def wait_until(event: asyncio.Event, wall_s: float) -> bool:
    """Wait for `event`, but not beyond `wall_s`; whether it was set."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(loop.time() + max(0.0, wall_s - now()) / speed()):
            await event.wait()
    except TimeoutError:
        return False
    return True


def shop_s(real_s: float) -> float:
    """How much of the shop's time passes in `real_s` seconds."""
    return real_s * speed()


async def sleep(shop_s: float) -> None:
    """Wait `shop_s` seconds of the shop's time."""
    await sleep_until(now() + shop_s)


async def offload(work: Callable[[], T], executor: Executor | None = None) -> T:
    """Run blocking `work` off the loop, in `executor` or in a common pool, and return its result.

    On a simulation's loop time stands still meanwhile, and results come in the order of submission.
    """
    loop = asyncio.get_running_loop()
    ordered = getattr(loop, "offload", None)
    if ordered is not None:
        result: T = await ordered(work, executor)
        return result
    return await loop.run_in_executor(executor, work)
