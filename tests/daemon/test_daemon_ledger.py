"""The ledger: all or none, one commit for many, durable when awaited, and the end when the store fails."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from farmshop import T0, MemoryStore, farm_of, job, machine, warped

from farmd.daemon.ledger import Ledger, Record
from farmd.model import facts as f
from farmd.model.errors import Refused
from farmd.model.lifecycle import JobState
from farmd.model.work import Job
from farmd.store import Entry, StoreFailed
from farmd.store.errors import NOT_STORABLE, STORE_FAILED

WHO = {"at": T0, "actor": "anna"}


def hold(job_id: str = "J-1") -> f.JobHeld:
    return f.JobHeld(**WHO, job_id=job_id)


class GatedStore(MemoryStore):
    """Commits when let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.arrived = threading.Event()

    def commit(self, entries: Sequence[Entry]) -> int:
        self.arrived.set()
        assert self.gate.wait(5.0)
        return super().commit(entries)


@warped
async def test_facts_of_one_record_are_applied_all_or_none() -> None:
    store = MemoryStore()
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(job(), job("J-2")), writer)
        before = ledger.farm.copy()
        with pytest.raises(Refused) as refused:
            ledger.record(hold("J-1"), hold("J-2"), hold("J-3"))
        assert refused.value.code.name == "unknown-job"
        assert ledger.farm == before
        assert not ledger.recent
        await ledger.flush()
        assert store.facts == []
        await asyncio.gather(ledger.record(hold("J-1"), hold("J-2")), ledger.flush())
        assert {each.state for each in ledger.farm.jobs.values()} == {JobState.HELD}
        assert ledger.farm.revision == before.revision + 2
        assert [record.seq for record in ledger.recent] == [8, 9]


@pytest.mark.parametrize("reason", ["a\0b", "\udc80"])
@warped
async def test_what_no_database_keeps_is_refused_and_the_writer_lives(reason: str) -> None:
    store = MemoryStore()
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(job()), writer)
        with pytest.raises(Refused) as refused:
            ledger.record(f.JobHeld(**WHO, job_id="J-1", reason=reason))
        assert refused.value.code is NOT_STORABLE
        assert ledger.farm.jobs["J-1"].state is JobState.OPEN


async def test_what_comes_while_the_writer_writes_is_committed_together() -> None:
    store = GatedStore()
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(*(job(f"J-{n}") for n in range(1, 6))), writer)
        running = asyncio.create_task(ledger.run())
        first = ledger.record(hold("J-1"))
        await asyncio.to_thread(store.arrived.wait, 5.0)
        others = [ledger.record(hold(f"J-{n}")) for n in range(2, 6)]
        assert ledger.farm.jobs["J-5"].state is JobState.HELD, "readers see it before it is written"
        assert not any(durable.done() for durable in others)  # type: ignore[attr-defined]
        store.gate.set()
        await asyncio.gather(first, *others)
        assert [len(entries) for entries in store.commits] == [1, 4]
        running.cancel()


async def test_flush_waits_for_what_is_being_written() -> None:
    store = GatedStore()
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(job()), writer)
        running = asyncio.create_task(ledger.run())
        ledger.record(hold())
        await asyncio.to_thread(store.arrived.wait, 5.0)
        flushing = asyncio.create_task(ledger.flush())
        await asyncio.sleep(0.02)
        assert not flushing.done()
        store.gate.set()
        await flushing
        assert store.facts == [hold()]
        running.cancel()


@warped
async def test_awaited_record_gives_the_entities_also_when_they_close() -> None:
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(MemoryStore(), farm_of(job()), writer)
        running = asyncio.create_task(ledger.run())
        changed = await ledger.record(f.JobCancelled(**WHO, job_id="J-1"))
        (cancelled,) = changed
        assert isinstance(cancelled, Job)
        assert cancelled.state is JobState.CANCELLED
        assert "J-1" not in ledger.farm.jobs
        running.cancel()


@warped
async def test_store_that_fails_ends_the_ledger_and_nobody_is_told_it_is_durable() -> None:
    store = MemoryStore()
    store.fails = StoreFailed(STORE_FAILED, "the disk is gone")
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(job()), writer)
        running = asyncio.create_task(ledger.run())
        waiting = [ledger.record(hold()), ledger.record(f.JobReleased(**WHO, job_id="J-1"))]
        with pytest.raises(StoreFailed):
            await running
        waiting.append(ledger.record(hold()))
        for durable in waiting:
            with pytest.raises(StoreFailed, match="the disk is gone"):
                await durable
        with pytest.raises(StoreFailed):
            await ledger.flush()
        assert store.commits == [], "after a failure nothing is tried again"


@warped
async def test_nobody_has_to_look_at_a_failed_record() -> None:
    store = MemoryStore()
    store.fails = StoreFailed(STORE_FAILED, "the disk is gone")
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(job()), writer)
        ledger.record(hold())
        with pytest.raises(StoreFailed):
            await ledger.flush()
        await asyncio.sleep(1.0)
        ledger.record(f.JobReleased(**WHO, job_id="J-1"))
        await asyncio.sleep(1.0)
        gc.collect()
    assert complaints == []


async def test_flush_that_is_cancelled_leaves_nobody_waiting() -> None:
    store = GatedStore()
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(job()), writer)
        flushing = asyncio.create_task(ledger.flush())
        durable = ledger.record(hold())
        await asyncio.to_thread(store.arrived.wait, 5.0)
        flushing.cancel()
        store.gate.set()
        for waited in (flushing, durable):
            with pytest.raises(asyncio.CancelledError):
                await waited
        await ledger.flush()
    assert store.facts == [hold()], "what the writer had in hand is not written twice"


@warped
async def test_task_group_of_a_daemon_ends_by_the_store_not_by_a_cancelled_waiter() -> None:
    store = MemoryStore()
    store.fails = StoreFailed(STORE_FAILED, "the disk is gone")
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(store, farm_of(job()), writer)

        async def daemon() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ledger.run())
                tasks.create_task(wait(ledger.record(hold())))
                tasks.create_task(keep())
                await ledger.record(f.JobReleased(**WHO, job_id="J-1"))

        async def wait(durable: Awaitable[object]) -> None:
            await durable

        async def keep() -> None:
            """As an attendant keeps its driver's task: nobody's fault is the machine's."""
            driver = asyncio.create_task(wait(ledger.record(hold())))
            try:
                await asyncio.wait({driver})
            finally:
                driver.cancel()
                await asyncio.wait({driver})
                ends.append("cancelled" if driver.cancelled() else repr(driver.exception()))

        ends: list[str] = []
        with pytest.raises(ExceptionGroup) as group:
            await daemon()
        assert [type(error) for error in group.value.exceptions] == [StoreFailed]
        assert ends == ["cancelled"]


@warped
async def test_listeners_are_told_in_order_of_subscription_until_they_leave() -> None:
    told: list[tuple[str, int]] = []

    def listener(name: str) -> object:
        return lambda records: told.extend((name, record.seq) for record in records)

    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(MemoryStore(), farm_of(job(), machine()), writer)
        leave = ledger.subscribe(listener("first"))  # type: ignore[arg-type]
        ledger.subscribe(listener("second"))  # type: ignore[arg-type]
        ledger.record(hold(), f.MachineHeld(**WHO, machine="m1"))
        leave()
        ledger.record(f.JobReleased(**WHO, job_id="J-1"))
        await ledger.flush()
    assert told == [("first", 8), ("first", 9), ("second", 8), ("second", 9), ("second", 10)]


@warped
async def test_listener_sees_the_state_after_the_facts_and_what_each_changed() -> None:
    seen: list[Record] = []
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(MemoryStore(), farm_of(job()), writer)

        def look(records: tuple[Record, ...]) -> None:
            assert ledger.farm.jobs["J-1"].state is JobState.OPEN
            seen.extend(records)

        ledger.subscribe(look)
        ledger.record(hold(), f.JobReleased(**WHO, job_id="J-1"))
        await ledger.flush()
    assert [record.changed[0].state for record in seen] == [JobState.HELD, JobState.OPEN]  # type: ignore[union-attr]
