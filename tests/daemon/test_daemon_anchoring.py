"""The journal's end is noted at the start, after so many facts, when asked, and again when the disk is mended."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from farmd.daemon.anchoring import Anchoring
from farmd.daemon.ledger import Ledger
from farmd.model import facts as f
from farmd.model.farm import Farm
from farmd.store import Store, check_anchors

AT = 1_790_000_000.0


def noted(path: Path) -> list[int]:
    return [json.loads(line.rpartition(" ")[0])["seq"] for line in path.read_text().splitlines()]


async def test_when_the_end_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "anchors"
    with (
        ThreadPoolExecutor(1) as writer,
        Store.open("sqlite:///farm.sqlite", data_dir=tmp_path) as store,
    ):
        ledger = Ledger(store, Farm(), writer)
        anchoring = Anchoring(store, ledger, path, every_s=3600.0, facts=10)
        writing = asyncio.create_task(ledger.run())

        async def add(first: int, count: int) -> None:
            for number in range(first, first + count):
                await ledger.record(f.MachineAdded(at=AT, actor="daemon", machine=f"m{number}"))

        await add(0, 3)
        with structlog.testing.capture_logs() as logs:
            await anchoring.note()
            await anchoring.note()
            path.parent.mkdir()
            await anchoring.note()
        assert [(each["log_level"], each["event"]) for each in logs] == [
            ("error", "the journal's end is not noted"),
            ("info", "the journal's end is noted again"),
        ]
        assert noted(path) == [3]
        await anchoring.note()
        assert noted(path) == [3], "nothing has happened since"
        running = asyncio.create_task(anchoring.run())
        # It begins by noting, which must not see the facts to come.
        await asyncio.sleep(0.2)
        await add(3, 9)
        await asyncio.sleep(0.1)
        assert noted(path) == [3], "too few facts, too soon"
        await add(12, 1)
        for _ in range(100):
            if len(noted(path)) > 1:
                break
            await asyncio.sleep(0.05)
        # Only what is on disk is noted, and the tenth fact may be on its way there.
        assert noted(path) in ([3, 12], [3, 13])
        for task in (running, writing):
            task.cancel()
        await asyncio.wait({running, writing})
        assert list(check_anchors(store, path)) == []
