"""A sign of life from the store, asked for once however many want it. Knows no HTTP."""

from __future__ import annotations

import asyncio

from farmd.driver import offload
from farmd.model.errors import FarmdError
from farmd.store import Store

STORE_WAIT_S = 5.0


class Probe:
    """Asks the store for a sign of life; however many ask at once, it is asked once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asking: asyncio.Task[str] | None = None

    async def trouble(self) -> str:
        """What is wrong with the store; empty when it answers within `STORE_WAIT_S`."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        asking = self._asking
        done, _ = await asyncio.wait({asking}, timeout=STORE_WAIT_S)
        return asking.result() if done else "the store does not answer"

    async def _ask(self) -> str:
        try:
            await offload(self._store.node)
        except FarmdError as error:
            return error.code.meaning
        return ""
