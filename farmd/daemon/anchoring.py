"""Notes the journal's end outside it: at the start, at the end, and now and then while things happen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from farmd.daemon.ledger import Ledger
from farmd.driver import now, offload
from farmd.driver.clock import wait_until
from farmd.store import Anchor, Store

log = structlog.get_logger("housekeeping")


class Anchoring:
    """Of one farm's journal. An anchor that cannot be written is tried again later, and told of once."""

    def __init__(self, store: Store, ledger: Ledger, path: Path, *, every_s: float, facts: int) -> None:
        """Notes every `every_s` seconds in which something happened, and after `facts` facts at the latest."""
        self._store = store
        self._ledger = ledger
        self._path = path
        self._every_s = every_s
        self._facts = facts
        self._noted = 0
        self._many = asyncio.Event()
        self._failed = False
        ledger.subscribe(lambda records: self._count())

    async def run(self) -> None:
        """For ever. Raises what the store raises."""
        while True:
            await self.note()
            await wait_until(self._many, now() + self._every_s)

    async def note(self) -> None:
        """Note the end of what is on disk, where it is not noted yet."""
        self._many.clear()
        if self._ledger.farm.revision == self._noted:
            return
        try:
            at = now()
            self._noted = await offload(lambda: self._append(at))
        except OSError as error:
            if not self._failed:
                log.error("the journal's end is not noted", file=str(self._path), why=str(error))
            self._failed = True
            return
        if self._failed:
            log.info("the journal's end is noted again", file=str(self._path))
        self._failed = False

    def _append(self, at: float) -> int:
        anchor = Anchor.of(self._store, at)
        if anchor.seq > self._noted:
            anchor.append(self._path)
        return anchor.seq

    def _count(self) -> None:
        if self._ledger.farm.revision - self._noted >= self._facts:
            self._many.set()
