"""The note of being alive, and answers that are forgotten after a week."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farmd.daemon.housekeeping import ALIVE_S, ANSWERS_KEPT_S, keep_house, last_alive
from farmd.driver.clock import Clock, set_clock
from farmd.sim.loop import WarpLoop
from farmd.store import Answer, Entry, Store

BEGIN = 1_800_000_000.0


@pytest.fixture
def loop() -> Iterator[WarpLoop]:
    loop = WarpLoop()
    set_clock(loop, Clock(BEGIN, 0.0))
    yield loop
    loop.close()


def _keep(loop: WarpLoop, store: Store, folder: Path, for_s: float) -> None:
    async def keep() -> None:
        with ThreadPoolExecutor(1) as writer:
            task = asyncio.create_task(keep_house(store, writer, folder))
            await asyncio.sleep(for_s)
            task.cancel()
            await asyncio.wait({task})

    loop.run_until_complete(keep())


def test_the_note_says_when_the_daemon_last_lived(loop: WarpLoop, tmp_path: Path) -> None:
    assert last_alive(tmp_path) == 0.0
    with Store.open("sqlite:///a.sqlite", data_dir=tmp_path) as store:
        _keep(loop, store, tmp_path, 3 * ALIVE_S + 1.0)
    assert last_alive(tmp_path) == BEGIN + 3 * ALIVE_S


def test_a_damaged_note_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "last-alive").write_text("not a time")
    assert last_alive(tmp_path) == 0.0


def test_answers_are_forgotten_after_a_week(loop: WarpLoop, tmp_path: Path) -> None:
    with Store.open("sqlite:///a.sqlite", data_dir=tmp_path) as store:
        store.commit([Entry(answer=Answer("old", "0" * 64, 201, "{}", BEGIN))])
        _keep(loop, store, tmp_path, ANSWERS_KEPT_S - ALIVE_S)
        assert store.idempotent("old") is not None
        _keep(loop, store, tmp_path, 2 * 86400.0)
        assert store.idempotent("old") is None
