"""Safe mode: what leads into it, what is refused in it, and the ways out of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from farmshop import T0

from farmd.app import Setup, run_farm
from farmd.config import Config, load_config
from farmd.daemon.desk import Order, Upload
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import RETRY_S, Record
from farmd.daemon.safety import CLOCK_S, WATCH_S, Disk
from farmd.daemon.service import Service
from farmd.daemon.why import why
from farmd.driver import now, sleep
from farmd.driver.clock import Clock, set_clock
from farmd.model import facts as f
from farmd.model.errors import Refused
from farmd.model.lifecycle import JobState, MachineState, RunState
from farmd.model.safe_mode import Cause
from farmd.sim.demand import file_name, file_of, upload
from farmd.sim.loop import WarpLoop
from farmd.sim.planners import CountedPlanner
from farmd.sim.scenario import Product
from farmd.store import DISK_FULL, Entry, Store, StoreBlocked, StoreFailed

PLATE = Product(name="clip", material="PLA", size_mm=(60, 60, 20), minutes=45, grams=12, parts_per_plate=1)
FARM = """
[farm]
name = "safe"
data_dir = "{data}"
[[machine]]
name = "m"
count = 2
driver = "simulated"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.4
material = "PLA black"
link = {{ truth_dir = "{truth}", seed = 1 }}
"""

Body = Callable[[Service], Awaitable[None]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name in ("data", "truth"):
        (tmp_path / name).mkdir()
    file = tmp_path / "farm.toml"
    file.write_text(FARM.format(data=tmp_path / "data", truth=tmp_path / "truth"))
    return load_config(file)


def live(config: Config, body: Body, at: float = T0) -> None:
    """One life of the daemon on virtual time, from a wall time on."""
    loop = WarpLoop()
    set_clock(loop, Clock(at, 0.0))
    planner = CountedPlanner(policy="plan", effort=0, seed=1, stability_price_s=9000.0)
    try:
        loop.run_until_complete(run_farm(Setup(config, planner, ids=IdSource(1)), body))
    finally:
        loop.close()


async def ready(service: Service) -> Upload:
    """Machines linked and cleared, and a file at hand."""
    await sleep(60.0)
    for name in ("m-01", "m-02"):
        await service.floor.clear(name, "anna")
    return await upload(service, file_name(PLATE), file_of(PLATE))


def order(quantity: int = 1) -> Order:
    return Order(quantity=quantity, material="PLA")


def causes(service: Service) -> list[str]:
    return [safe.cause.value for safe in service.safety.causes]


async def refused(work: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.code.name


def test_in_safe_mode_the_farm_is_watched_runs_are_ended_and_nothing_else_is_done(config: Config) -> None:
    async def body(service: Service) -> None:
        file = await ready(service)
        first = await service.desk.submit(file, order(), "anna")
        await sleep(600.0)
        (run,) = service.farm.runs.values()
        assert run.state is RunState.RUNNING
        second = await service.desk.submit(file, order(50), "anna")
        service.safety.enter(Cause.DAMAGE, "a page is torn")
        started = len(service.farm.runs)
        await sleep(6000.0)
        assert len(service.farm.runs) == started, "nothing was started"
        assert service.farm.runs[run.id].state is RunState.ENDED, "what ran was watched to its end"
        floor, desk = service.floor, service.desk
        for act in (
            desk.submit(file, order(), "anna"),
            desk.edit(second.id, "anna", priority=3.0),
            floor.clear("m-01", "anna"),
            floor.load("m-01", "anna", "PLA red"),
            floor.resume("m-01", "anna"),
            floor.release("m-01", "anna"),
        ):
            assert await refused(act) == "safe-mode"
        other = next(run for run in service.farm.runs.values() if run.machine != "m-00")
        await floor.hold("m-02", "anna")
        assert await floor.estop(None, "anna") == ["m-01", "m-02"]
        assert (await desk.cancel(second.id, "anna")).id == second.id
        told = why(service.farm, service.planning.schedule, service.shop, first)
        assert told.what == "the farm is in safe mode (damage): a page is torn"
        assert "farmd restore" in told.remedy
        assert other.id

    live(config, body)


def test_a_start_on_its_way_is_called_off_by_safe_mode(config: Config) -> None:
    async def body(service: Service) -> None:
        file = await ready(service)
        loop = asyncio.get_running_loop()

        def intended(records: tuple[Record, ...]) -> None:
            if any(isinstance(record.fact, f.RunIntended) for record in records):
                loop.call_soon(service.safety.enter, Cause.DAMAGE, "just now")

        service.ledger.subscribe(intended)
        await service.desk.submit(file, order(), "anna")
        await sleep(30.0)
        assert not service.farm.runs, "its build is queued again"
        kinds = [event.kind for event in service.store.events(limit=100)]
        assert "RunIntended" in kinds
        assert "RunSent" not in kinds

    live(config, body)


def test_a_full_disk_stops_starts_before_anything_is_sent_and_ends_when_there_is_room(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up between the intent and its place on the disk."""
    commit, full = Store.commit, [False]

    def committing(self: Store, entries: list[Entry]) -> int:
        if full[0]:
            raise StoreBlocked(DISK_FULL, "writing: database or disk is full")
        return commit(self, entries)

    async def body(service: Service) -> None:
        file = await ready(service)
        monkeypatch.setattr(Store, "commit", committing)
        await service.desk.submit(file, order(3), "anna")
        full[0] = True
        await sleep(3600.0)
        assert causes(service) == ["disk-full"]
        assert service.ledger.blocked is not None
        starts = [service.attendants[name].driver.machine.starts() for name in ("m-01", "m-02")]  # type: ignore[attr-defined]
        assert not any(starts), "nothing was sent without its intent on the disk"
        assert await service.floor.estop(None, "anna") == ["m-01", "m-02"], "it waits for no disk"
        assert await refused(service.safety.leave("anna")) == "safe-mode-stays"
        full[0] = False
        await sleep(2 * RETRY_S)
        assert service.ledger.blocked is None
        await service.safety.leave("anna", "deleted old films")
        assert causes(service) == []
        for name in ("m-01", "m-02"):
            await sleep(60.0)
            await service.floor.release(name, "anna")

    live(config, body)


def test_what_is_found_while_a_person_leaves_safe_mode_is_not_left_with_it(config: Config) -> None:
    async def body(service: Service) -> None:
        await ready(service)
        service.safety.enter(Cause.DAMAGE, "a false alarm")
        leaving = asyncio.create_task(service.safety.leave("anna", "looked"))
        await asyncio.sleep(0)
        assert not leaving.done(), "the whole record is looked through"
        service.safety.enter(Cause.CLOCK_BACK, "the clock was set back")
        await leaving
        assert causes(service) == ["clock-back"]

    live(config, body)


def test_on_a_full_disk_a_hold_is_answered_and_a_cancelled_job_is_stopped(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, full = Store.commit, [True]

    def committing(self: Store, entries: list[Entry]) -> int:
        if full[0]:
            raise StoreBlocked(DISK_FULL, "writing: database or disk is full")
        return commit(self, entries)

    async def body(service: Service) -> None:
        job = await service.desk.submit(await ready(service), order(), "anna")
        await sleep(600.0)
        (run,) = service.farm.runs.values()
        assert run.state is RunState.RUNNING
        monkeypatch.setattr(Store, "commit", committing)
        async with asyncio.timeout(60.0):
            await service.floor.hold(run.machine, "anna")
        cancelling = asyncio.create_task(service.desk.cancel(job.id, "anna"))
        await sleep(600.0)
        assert service.farm.runs[run.id].state is RunState.ENDED
        assert not cancelling.done(), "that it is on record is not said before it is"
        full[0] = False
        assert (await cancelling).state is JobState.CANCELLED

    live(config, body)


def test_little_room_is_found_before_the_disk_is_full(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [50]

    def usage(path: object) -> shutil._ntuple_diskusage:
        return shutil._ntuple_diskusage(1000, 1000 - free[0], free[0])

    async def body(service: Service) -> None:
        await sleep(60.0)
        assert causes(service) == []
        free[0] = 49
        await sleep(2 * WATCH_S)
        assert causes(service) == ["disk-full"]
        assert await refused(service.safety.leave("anna")) == "safe-mode-stays"
        free[0] = 51
        await service.safety.leave("anna")
        free[0] = 10
        await sleep(2 * WATCH_S)
        assert causes(service) == ["disk-full"]

    async def later(service: Service) -> None:
        assert causes(service) == []

    monkeypatch.setattr(shutil, "disk_usage", usage)
    live(config, body)
    free[0] = 900
    live(config, later, T0 + 3600.0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_remounted_read_only_is_seen(tmp_path: Path) -> None:
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        watched = Disk(disk, 5.0)
        assert watched.trouble() is None
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        found = watched.trouble()
        assert found is not None
        assert found[0] is Cause.READ_ONLY
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        (disk / "film").write_bytes(bytes((1 << 20) - (32 << 10)))
        found = watched.trouble()
        assert found is not None
        assert found[0] is Cause.DISK_FULL
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_clock_set_back_between_two_starts_is_safe_mode_until_it_is_right(config: Config) -> None:
    seen: list[list[str]] = []

    async def note(service: Service) -> None:
        seen.append(causes(service))
        await sleep(30.0)

    live(config, note, T0)
    live(config, note, T0 - 3 * 86400.0)
    live(config, note, T0 - 3 * 86400.0 + 600.0)
    live(config, note, T0 + 60.0)
    assert seen == [[], ["clock-back"], ["clock-back"], []], "a restart alone does not end it"


def test_a_clock_set_back_while_the_daemon_runs_is_noticed_and_left_by_a_person(config: Config) -> None:
    async def body(service: Service) -> None:
        await ready(service)
        loop = asyncio.get_running_loop()
        set_clock(loop, Clock(now() - 86400.0, loop.time()))
        await asyncio.sleep(2 * WATCH_S)
        assert causes(service) == ["clock-back"]
        await service.safety.leave("anna", "it was a day ahead")
        await asyncio.sleep(2 * WATCH_S)
        assert causes(service) == [], "once is enough"
        set_clock(loop, Clock(now() + 86400.0, loop.time()))
        await asyncio.sleep(2 * WATCH_S)
        assert causes(service) == [], "forward is flagged and goes on"
        jumps = [e.body["by_s"] for e in service.store.events(limit=100) if e.kind == "ClockJumped"]
        assert [round(by_s) for by_s in jumps] == [-86400, 86400]
        set_clock(loop, Clock(now() - 0.9 * CLOCK_S, loop.time()))
        await asyncio.sleep(2 * WATCH_S)
        assert causes(service) == [], "clocks are set by seconds every day"

    live(config, body)


def test_runs_last_as_long_as_they_do_whatever_the_wall_clock_says(config: Config) -> None:
    async def body(service: Service) -> None:
        file = await ready(service)
        await service.desk.submit(file, order(), "anna")
        await asyncio.sleep(600.0)
        (run,) = service.farm.runs.values()
        assert run.state is RunState.RUNNING
        loop = asyncio.get_running_loop()
        set_clock(loop, Clock(now() + 86400.0, loop.time()))
        await asyncio.sleep(10.0)
        assert service.farm.runs[run.id].state is not RunState.UNCERTAIN
        assert all(m.permit or m.run_id or m.uncleared_run_id for m in service.farm.machines.values())

    live(config, body)


def flip(database: Path, where: str) -> None:
    """Damage the file behind everybody's back."""
    if where == "chain":
        with sqlite3.connect(database) as connection:
            connection.execute("DROP TRIGGER journal_no_update")
            connection.execute("UPDATE journal SET hash = prev_hash WHERE seq = 3")
        connection.close()
    elif where == "schema":
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
    else:
        content = bytearray(database.read_bytes())
        page = 4096
        for start in range(2 * page, len(content) - page, 3 * page):
            content[start : start + 40] = bytes(40)
        database.write_bytes(content)


@pytest.mark.parametrize(
    ("where", "cause"), [("chain", "damage"), ("pages", "damage"), ("schema", "newer-schema")]
)
def test_a_record_that_is_out_of_order_is_left_alone_and_the_farm_only_watched(
    config: Config, where: str, cause: str
) -> None:
    database = config.farm.data_dir / "farmd.sqlite"
    run_ids: list[str] = []

    async def first(service: Service) -> None:
        file = await ready(service)
        await service.desk.submit(file, order(40), "anna")
        await sleep(600.0)
        run_ids.extend(service.farm.runs)

    async def second(service: Service) -> None:
        await sleep(120.0)
        assert causes(service) == [cause]
        assert all(machine.state is not MachineState.OFFLINE for machine in service.farm.machines.values()), (
            "machines are watched"
        )
        assert all(machine.permit is None for machine in service.farm.machines.values())
        if where != "pages":
            assert set(run_ids) <= service.farm.runs.keys(), "what can be read is shown"
        await sleep(7200.0)
        assert set(service.farm.runs) <= set(run_ids), "nothing is started"
        assert await refused(service.safety.leave("anna")) == "safe-mode-stays"
        assert await service.floor.estop(None, "anna")

    live(config, first)
    assert len(run_ids) == 2
    flip(database, where)
    damaged = database.read_bytes()
    live(config, second, T0 + 1800.0)
    live(config, second, T0 + 36000.0) if where != "pages" else None
    assert database.read_bytes() == damaged, "the record is kept for study as it is"


def test_damage_is_found_at_night(config: Config) -> None:
    async def body(service: Service) -> None:
        await ready(service)
        assert await service.safety.check_record() == ""
        with sqlite3.connect(config.farm.data_dir / "farmd.sqlite") as connection:
            connection.execute("DROP TRIGGER journal_no_update")
            connection.execute("UPDATE journal SET body = x'7b7d' WHERE seq = 2")
        connection.close()
        await sleep(86400.0)
        assert causes(service) == ["damage"]
        assert "journal row 2" in service.safety.causes[0].what
        assert await refused(service.safety.leave("anna")) == "safe-mode-stays"

    live(config, body)


def test_another_that_holds_the_database_pauses_dispatch_and_then_ends_the_daemon(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farmd.store import DATABASE_BUSY

    commit, held = Store.commit, [0]

    def committing(self: Store, entries: list[Entry]) -> int:
        if held[0]:
            held[0] -= 1
            raise StoreBlocked(DATABASE_BUSY, "process 7 (sqlite3) holds the database")
        return commit(self, entries)

    async def body(service: Service) -> None:
        file = await ready(service)
        monkeypatch.setattr(Store, "commit", committing)
        held[0] = 10
        job = asyncio.create_task(service.desk.submit(file, order(), "anna"))
        await sleep(5.0)
        assert service.ledger.blocked is not None
        assert causes(service) == [], "that passes by itself"
        await job
        await sleep(60.0)
        assert service.farm.runs
        held[0] = 1000
        service.safety.enter(Cause.DAMAGE, "to write something")
        await sleep(600.0)
        raise AssertionError("the daemon has ended by then")

    with pytest.raises(StoreFailed, match="process 7"):
        live(config, body)
