"""The ledger: the one writer of the farm's state.

`record` applies facts to the state in memory at once, or refuses them and changes nothing. They
are then written by one writer thread, everything that came meanwhile in one transaction (group
commit). Whoever needs a fact to be durable before going on awaits what `record` returned. Readers
see facts as soon as they are recorded. When the store fails the ledger raises, and with it the
daemon ends: a farm whose record is not written does not run. Who still waits then, a request of the
API, is told the same error. Where the store says that nothing was written and that it may be tried again
(no room, a locked database), it is, while nothing is started.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from farmd.daemon.claims import claimed
from farmd.driver.clock import offload
from farmd.model.apply import apply
from farmd.model.facts import Fact
from farmd.model.farm import Entity, Farm
from farmd.store import DATABASE_BUSY, Answer, Entry, StoreBlocked, StoreFailed, require_storable

RECENT = 2000
"""How many of the newest records are kept in memory for followers of the event stream."""
TELL_S = 0.1
"""So long after the store failed, those are told who wait (seconds of the loop). By then the daemon's own
tasks have been cancelled, so that none of them takes the failure for its machine's."""
RETRY_S = 1.0
"""So long after the store could write nothing it is asked again (seconds of the loop)."""
BUSY_S = 60.0
"""For so long, at most, another program may hold the database, each try's own patience aside."""
SOON_S = 2.0
"""Whoever must not wait for a disk waits so long for it."""


@dataclass(frozen=True, slots=True)
class Record:
    """A fact with its number in the journal, and the entities as they are after it, closed ones included."""

    seq: int
    fact: Fact
    changed: tuple[Entity, ...] = ()


Listener = Callable[[tuple[Record, ...]], None]


class Writes(Protocol):
    """What the ledger needs of a store."""

    def commit(self, entries: Sequence[Entry]) -> int: ...


class Ledger:
    """Holds the farm's open state and is alone in changing it."""

    def __init__(self, store: Writes, farm: Farm, writer: Executor) -> None:
        self.farm = farm
        self.recent: deque[Record] = deque(maxlen=RECENT)
        self._store = store
        self._writer = writer
        self._listeners: list[Listener] = []
        self._pending: list[tuple[Entry, asyncio.Future[tuple[Entity, ...]]]] = []
        self._wake = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._failure: Exception | None = None
        self.blocked: StoreBlocked | None = None
        """Why nothing can be written for now; then nothing may be started."""
        self._on_blocked: list[Callable[[StoreBlocked], None]] = []

    def on_blocked(self, listener: Callable[[StoreBlocked], None]) -> None:
        """Call `listener` once each time when nothing can be written any more for a while."""
        self._on_blocked.append(listener)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each batch of records right after it was applied; returns the way out."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def record(self, *facts: Fact) -> Awaitable[tuple[Entity, ...]]:
        """Apply facts as one: all or none. Raises `Refused`.

        Returns an awaitable that is done when they are on disk; it gives the entities as they are
        after the facts, in the order of change, closed ones included. It raises what the store raised.
        What the request in whose course this happens claims is written in the same transaction.
        """
        steps: list[tuple[Entity, ...]] = []
        trial = self.farm if len(facts) == 1 else self.farm.copy()
        for fact in facts:
            require_storable(fact)
            steps.append(apply(trial, fact))
            if trial is not self.farm:
                trial.merge(steps[-1])
        changed = tuple(entity for step in steps for entity in step)
        self.farm.merge(changed)
        first = self.farm.revision + 1
        self.farm.revision += len(facts)
        records = tuple(
            Record(first + i, fact, step) for i, (fact, step) in enumerate(zip(facts, steps, strict=True))
        )
        self.recent.extend(records)
        claim = claimed.get()
        answer = claim.take(changed) if claim is not None else None
        durable = self._write_soon(Entry(facts, changed, answer))
        for listener in tuple(self._listeners):
            listener(records)
        return durable

    def remember(self, answer: Answer) -> Awaitable[object]:
        """Keep the answer to a request; done when it is on disk."""
        return self._write_soon(Entry(answer=answer))

    def _write_soon(self, entry: Entry) -> asyncio.Future[tuple[Entity, ...]]:
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[tuple[Entity, ...]] = loop.create_future()
        self._pending.append((entry, durable))
        self._wake.set()
        if self._failure is not None:
            loop.call_later(TELL_S, self._tell, self._failure)
        return durable

    async def soon(self, durable: Awaitable[object]) -> None:
        """Wait until it is on disk, but not for a store that is blocked: it is in effect already."""
        written = asyncio.ensure_future(durable)
        while not written.done():
            await asyncio.wait({written}, timeout=SOON_S)
            if self.blocked is not None:
                return
        written.result()

    async def run(self) -> None:
        """Write what is recorded, for ever. Raises what the store raises."""
        while True:
            await self._wake.wait()
            await self.flush()

    async def flush(self, *, once: bool = False) -> None:
        """Write everything recorded so far; when this returns, it is on disk. Raises what the store raises.

        With `once` it also returns when the store is blocked; what is not written yet is left to `run`.
        """
        async with self._flushing:
            if self._failure is not None:
                raise self._failure
            self._wake.clear()
            batch, self._pending = self._pending, []
            if not batch:
                return
            entries = [entry for entry, _ in batch]
            try:
                if not await self._commit(entries, once):
                    self._pending[:0] = batch
                    self._wake.set()
                    return
            except Exception as error:
                self._failure = error
                self._pending[:0] = batch
                asyncio.get_running_loop().call_later(TELL_S, self._tell, error)
                raise
            except BaseException:
                # Cancelled: the writer may have written it all the same.
                for _, durable in batch:
                    durable.cancel()
                raise
            for entry, durable in batch:
                if not durable.done():
                    durable.set_result(entry.changed)

    async def _commit(self, entries: Sequence[Entry], once: bool) -> bool:
        loop = asyncio.get_running_loop()
        since = loop.time()
        while True:
            try:
                await offload(lambda: self._store.commit(entries), self._writer)
                self.blocked = None
                return True
            except StoreBlocked as blocked:
                if blocked.code is DATABASE_BUSY and loop.time() - since > BUSY_S:
                    raise StoreFailed(blocked.code, blocked.what) from blocked
                if self.blocked is None:
                    self.blocked = blocked
                    for listener in self._on_blocked:
                        listener(blocked)
            if once:
                return False
            await asyncio.sleep(RETRY_S)

    def _tell(self, error: Exception) -> None:
        """Tell all who wait that nothing more is written."""
        for _, durable in self._pending:
            if not durable.done():
                durable.set_exception(error)
                # Looked at here, so that the loop does not complain where nobody waits.
                durable.exception()
        self._pending.clear()
