"""The facts as a feed that anybody can follow from any point, at their own pace.

A follower is a number: the last fact it has seen. The newest facts come from memory, older ones
from the store, so however slow followers are, nothing waits for them and nothing is kept for them.
What a fact is about is told as the journal's own index tells it. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from farmd.daemon.ledger import RECENT, Ledger, Record
from farmd.daemon.views import View, event_view, fact_view
from farmd.driver import offload
from farmd.store import Store
from farmd.store.journal import Subjects

PAGE = 200
COMMIT_S = 0.05
"""About how long a group commit takes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Which facts to tell: those about all that is named; None is any."""

    job: str | None = None
    machine: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    record: Record
    machine: str | None
    run: str | None
    jobs: tuple[str, ...]

    def is_about(self, subject: Subject) -> bool:
        return (
            subject.machine in (None, self.machine)
            and subject.run in (None, self.run)
            and (subject.job is None or subject.job in self.jobs)
        )


class Feed:
    """Follows the ledger for as long as the app lives."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._farm = ledger.farm
        self._store = store
        self._subjects = Subjects.of(ledger.farm)
        self._since = ledger.farm.revision
        self._recent: deque[_Told] = deque(maxlen=RECENT)
        self._wakes: set[asyncio.Event] = set()
        ledger.subscribe(self._on_records)

    @property
    def revision(self) -> int:
        return self._farm.revision

    @property
    def followers(self) -> int:
        return len(self._wakes)

    async def follow(self, after: int, subject: Subject, pause_s: float) -> AsyncGenerator[list[View], None]:
        """Pages of facts after a number, for ever; an empty page after each `pause_s` without any."""
        wake = asyncio.Event()
        self._wakes.add(wake)
        try:
            while True:
                wake.clear()
                floor = self._floor()
                if after < floor:
                    page, after = await self._older(after, floor, subject)
                else:
                    page, after = self._newer(after, subject)
                if page:
                    yield page
                elif after >= self._farm.revision:
                    try:
                        async with asyncio.timeout(pause_s):
                            await wake.wait()
                    except TimeoutError:
                        yield []
        finally:
            self._wakes.discard(wake)

    def _on_records(self, records: tuple[Record, ...]) -> None:
        for record in records:
            indexed = self._subjects.index(record.seq, record.fact)
            self._subjects.close(record.changed)
            columns = indexed.columns
            self._recent.append(_Told(record, columns["machine"], columns["run_id"], indexed.job_ids))
        for wake in self._wakes:
            wake.set()

    def _floor(self) -> int:
        """The last fact that is not in memory here."""
        return self._recent[0].record.seq - 1 if self._recent else self._since

    async def _older(self, after: int, floor: int, subject: Subject) -> tuple[list[View], int]:
        await self._written(floor)
        records = await offload(
            lambda: self._store.events(after, PAGE, job=subject.job, machine=subject.machine, run=subject.run)
        )
        # A page that is not full is the end of what the store has, which is at least all below the floor.
        last = records[-1].seq if len(records) == PAGE else max([floor, *(r.seq for r in records)])
        return [event_view(r.seq, r.kind, r.body) for r in records], last

    async def _written(self, seq: int) -> None:
        """Wait until the store has a fact; nearly always it has long had it."""
        while True:
            if await offload(lambda: self._store.events(seq - 1, 1)):
                return
            await asyncio.sleep(COMMIT_S)

    def _newer(self, after: int, subject: Subject) -> tuple[list[View], int]:
        page: list[View] = []
        for told in self._after(after):
            after = told.record.seq
            if told.is_about(subject):
                page.append(fact_view(after, told.record.fact))
                if len(page) == PAGE:
                    break
        return page, after

    def _after(self, after: int) -> Iterator[_Told]:
        newest = self._farm.revision - after
        # Numbers have no gaps, so the place of the next one is known.
        start = max(0, len(self._recent) - newest)
        for at in range(start, len(self._recent)):
            yield self._recent[at]
