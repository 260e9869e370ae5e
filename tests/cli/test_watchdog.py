"""What the watchdog's feeder calls dead, and when the service manager wants to be told."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest

from farmd.cli import watchdog
from farmd.daemon.service import Service
from farmd.model.errors import FarmdError
from farmd.store.errors import STORE_FAILED, StoreFailed


def a_service(looked_at: float, node: object = lambda: "n") -> Service:
    """As much of one as the feeder looks at."""
    service = SimpleNamespace(
        dispatcher=SimpleNamespace(looked_at=looked_at), store=SimpleNamespace(node=node)
    )
    return cast(Service, service)


async def test_a_live_daemon_has_nothing_dead() -> None:
    service = a_service(asyncio.get_running_loop().time())
    assert await watchdog.what_is_dead(service, late_s=0.01) == ""


async def test_a_late_loop_a_quiet_dispatcher_and_a_dead_store_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = asyncio.get_running_loop().time()
    assert await watchdog.what_is_dead(a_service(now), late_s=3.0) == "the loop was 3.0 s late"
    quiet = a_service(now - watchdog.DISPATCHER_LATE_S - 1)
    assert (await watchdog.what_is_dead(quiet, 0)).startswith("the dispatcher has not looked for 9")

    def failing() -> str:
        raise StoreFailed(STORE_FAILED, "reading", where="journal")

    assert await watchdog.what_is_dead(a_service(now, failing), 0) == STORE_FAILED.meaning
    assert issubclass(StoreFailed, FarmdError)

    monkeypatch.setattr(watchdog, "STORE_WAIT_S", 0.05)
    hanging = a_service(now, lambda: time.sleep(0.3))
    assert (await watchdog.what_is_dead(hanging, 0)).startswith("the store has not answered")


async def test_it_is_fed_while_the_common_pool_has_much_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    fed = asyncio.Event()
    monkeypatch.setattr(watchdog, "tell_systemd", lambda state: fed.set())
    monkeypatch.setattr(watchdog, "STORE_WAIT_S", 0.3)
    loop.set_default_executor(ThreadPoolExecutor(1))
    reading = loop.run_in_executor(None, time.sleep, 1.5)
    feeding = asyncio.create_task(watchdog.feed(a_service(loop.time()), 0.03))
    async with asyncio.timeout(5):
        await fed.wait()
    assert not reading.done()
    feeding.cancel()
    await asyncio.wait({feeding, asyncio.ensure_future(reading)})


def test_only_who_is_meant_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    assert watchdog.watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog.watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog.watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog.watchdog_s() is None
    monkeypatch.delenv("WATCHDOG_PID")
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert watchdog.watchdog_s() is None
