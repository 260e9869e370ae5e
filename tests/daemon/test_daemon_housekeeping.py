"""The note of being alive, and answers that are forgotten after a week."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from farmd.daemon.housekeeping import ALIVE_S, ANSWERS_KEPT_S, keep_house, last_alive
from farmd.driver.clock import Clock, set_clock
from farmd.sim.loop import WarpLoop
from farmd.store import Answer, Entry, Store, StoreFailed

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


def test_a_full_disk_ends_nothing_and_the_note_is_tried_again(
    loop: WarpLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_from = BEGIN + 2.5 * ALIVE_S
    write = Path.write_text
    tries: list[float] = []

    def full(self: Path, text: str, **how: Any) -> int:
        if self.name.startswith("last-alive"):
            tries.append(float(text))
            if tries[-1] < room_from:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, **how)

    monkeypatch.setattr(Path, "write_text", full)
    with Store.open("sqlite:///a.sqlite", data_dir=tmp_path) as store, capture_logs() as logged:
        store.commit([Entry(answer=Answer("old", "0" * 64, 201, "{}", BEGIN - 8 * 86400.0))])
        _keep(loop, store, tmp_path, 4 * ALIVE_S + 1.0)
        assert store.idempotent("old") is None, "the rest of the house is kept"
    assert tries == [BEGIN + n * ALIVE_S for n in range(5)]
    assert last_alive(tmp_path) == BEGIN + 4 * ALIVE_S
    told = [(line["log_level"], line["event"], line.get("why", "")) for line in logged]
    assert told == [
        ("warning", "note of being alive not written", "[Errno 28] No space left on device"),
        ("info", "note of being alive written again", ""),
    ], "once when it fails and once when it is back"


def test_a_store_that_cannot_forget_has_failed(loop: WarpLoop, tmp_path: Path) -> None:
    store = Store.open("sqlite:///a.sqlite", data_dir=tmp_path)
    store.close()

    async def keep() -> None:
        with ThreadPoolExecutor(1) as writer:
            await keep_house(store, writer, tmp_path)

    with pytest.raises(StoreFailed):
        loop.run_until_complete(keep())


def test_answers_are_forgotten_after_a_week(loop: WarpLoop, tmp_path: Path) -> None:
    with Store.open("sqlite:///a.sqlite", data_dir=tmp_path) as store:
        store.commit([Entry(answer=Answer("old", "0" * 64, 201, "{}", BEGIN))])
        _keep(loop, store, tmp_path, ANSWERS_KEPT_S - ALIVE_S)
        assert store.idempotent("old") is not None
        _keep(loop, store, tmp_path, 2 * 86400.0)
        assert store.idempotent("old") is None
