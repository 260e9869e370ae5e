"""What people ask the store: events, jobs, builds, runs, throughput. One small known day of a shop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.codec import encode
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, RunState
from farmd.model.work import FileRecord, Job, Outcome
from farmd.store import Entry, Store, ThroughputRow

NOON = datetime(2025, 7, 1, 12, tzinfo=UTC).timestamp()
H = 3600.0


def job(number: int, design: str, **more: Any) -> Job:
    return Job(
        id=f"J-{number}",
        design=design,
        file_sha256=f"{number:064x}",
        file_name="a.gcode",
        process="MEX",
        quantity=4,
        submitted_at=NOON,
        parts_per_plate=3,
        **more,
    )


def day() -> Iterator[f.Fact]:
    """m1 makes 3 A and 1 B in 2 h, of which one A is scrap; then fails at 4 B. m2 finishes the B, and runs."""
    who = {"actor": "anna"}
    yield f.DaemonStarted(at=NOON, actor="daemon", boot_id="b", version="0", fence=1)
    for name in ("m1", "m2"):
        yield f.MachineAdded(at=NOON, **who, machine=name)
        yield f.MachineConnected(at=NOON, **who, machine=name, seen="idle")
        yield f.MachineCleared(at=NOON, **who, machine=name, permit_id=f"P-{name}-1")
    yield f.FileStored(at=NOON, **who, file=FileRecord(f"{1:064x}", "a.gcode", 9, "gcode"))
    yield f.JobSubmitted(at=NOON, **who, job=job(1, "A@1"))
    yield f.JobSubmitted(at=NOON, **who, job=job(2, "B@1", route=("print", "wash")))
    yield from run(NOON + H, "m1", 1, "print", (("J-1", 3), ("J-2", 1)), Outcome.OK, 2 * H)
    counts = (f.ItemCount("J-1", 2, 1), f.ItemCount("J-2", 1, 0))
    yield f.MachineCleared(
        at=NOON + 4 * H, **who, machine="m1", permit_id="P-m1-2", run_id="R-1", counts=counts
    )
    yield from run(NOON + 5 * H, "m1", 2, "print", (("J-2", 4),), Outcome.FAILED, H)
    yield f.MachineCleared(
        at=NOON + 7 * H,
        **who,
        machine="m1",
        permit_id="P-m1-3",
        run_id="R-2",
        counts=(f.ItemCount("J-2", 0, 2),),
    )
    yield from run(NOON + 11 * H, "m2", 3, "wash", (("J-2", 1),), Outcome.OK, 2 * H, follows="B-1")
    yield f.MachineCleared(
        at=NOON + 14 * H,
        **who,
        machine="m2",
        permit_id="P-m2-2",
        run_id="R-3",
        counts=(f.ItemCount("J-2", 1, 0),),
    )
    yield from run(NOON + 15 * H, "m2", 4, "print", (("J-1", 2),), None, 0.0)


def run(
    at: float, name: str, n: int, op: str, items: Any, outcome: Outcome | None, takes: float, **more: Any
) -> Iterator[f.Fact]:
    who = {"actor": f"machine:{name}"}
    build, run_id, permit = f"B-{n}", f"R-{n}", f"P-{name}-{n if name == 'm1' else n - 2}"
    yield f.BuildQueued(at=at, **who, build_id=build, operation=op, items=items, duration_s=takes, **more)
    yield f.RunIntended(at=at, **who, run_id=run_id, build_id=build, machine=name, permit_id=permit, fence=1)
    yield f.RunSent(at=at, **who, run_id=run_id)
    yield f.RunStarted(at=at, **who, run_id=run_id, evidence="seen")
    if outcome is not None:
        made = sum(n for _, n in items) if outcome is Outcome.OK else 0
        yield f.RunEnded(at=at + takes, **who, run_id=run_id, outcome=outcome, made=made)


@pytest.fixture
def shop(store: Store) -> Store:
    farm = Farm()
    for number, fact in enumerate(day()):
        changed = apply(farm, fact)
        farm.merge(changed)
        store.commit([Entry((fact,), changed)])
        if number == 20:
            store._head = None  # as after a restart; nothing of what a fact is about is lost
    return store


def kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events]


def test_events_of_a_job_are_those_of_its_builds_too(shop: Store) -> None:
    assert kinds(shop.events(job="J-1")) == [
        "JobSubmitted",
        *("BuildQueued", "RunIntended", "RunSent", "RunStarted", "RunEnded", "MachineCleared"),
        *("BuildQueued", "RunIntended", "RunSent", "RunStarted"),
    ]
    assert len(shop.events(job="J-2")) == 1 + 3 * 6
    assert shop.events(job="J-9") == []


def test_events_by_machine_and_run(shop: Store) -> None:
    run_kinds = ["RunIntended", "RunSent", "RunStarted", "RunEnded", "MachineCleared"]
    assert kinds(shop.events(run="R-2")) == run_kinds
    assert kinds(shop.events(machine="m1"))[:3] == ["MachineAdded", "MachineConnected", "MachineCleared"]
    assert kinds(shop.events(machine="m1"))[3:] == run_kinds * 2
    assert kinds(shop.events(machine="m2", run="R-4")) == run_kinds[:3]
    assert shop.events(machine="m1", run="R-4") == []


def test_events_in_pages(shop: Store) -> None:
    everything = shop.events(limit=1000)
    assert [event.seq for event in everything] == list(range(1, len(everything) + 1))
    assert shop.events(after_seq=3, limit=2) == everything[3:5]
    assert shop.events(limit=2, newest_first=True) == everything[:-3:-1]
    first = everything[0]
    assert (first.at, first.actor, first.kind) == (NOON, "daemon", "DaemonStarted")
    assert first.body == encode(next(day()))


def test_work(shop: Store) -> None:
    assert [found.id for found in shop.jobs()] == ["J-2", "J-1"]
    assert [found.id for found in shop.jobs(limit=1, offset=1)] == ["J-1"]
    assert [found.id for found in shop.jobs(states=[JobState.DONE, JobState.HELD])] == []
    found = shop.job("J-2")
    assert found is not None
    assert (found.good, found.scrap, found.route) == (1, 2, ("print", "wash"))
    assert [build.id for build in shop.builds_of("J-2")] == ["B-3", "B-2", "B-1"]
    assert [item.id for item in shop.runs(machine="m1")] == ["R-2", "R-1"]
    assert [item.id for item in shop.runs(job="J-1")] == ["R-4", "R-1"]
    assert [item.id for item in shop.runs(limit=1)] == ["R-4"]
    build, last = shop.build("B-2"), shop.run("R-4")
    assert build is not None
    assert last is not None
    assert (build.state, build.is_closed) == (BuildState.FAILED, True)
    assert last.state is RunState.RUNNING
    assert shop.file(f"{1:064x}") == FileRecord(f"{1:064x}", "a.gcode", 9, "gcode")
    assert [shop.job("x"), shop.build("x"), shop.run("x"), shop.file("x")] == [None] * 4


def test_throughput_by_machine(shop: Store) -> None:
    assert shop.throughput(NOON, NOON + 16 * H) == [
        ThroughputRow("m1", good=2, passed=1, scrap=3, runs_ok=1, runs_failed=1, busy_s=3 * H),
        # Two hours of that is still running.
        ThroughputRow("m2", good=1, runs_ok=1, busy_s=3 * H),
    ]


def test_throughput_by_design_shares_a_run_by_parts(shop: Store) -> None:
    assert shop.throughput(NOON, NOON + 15 * H, "design") == [
        ThroughputRow("A@1", good=2, scrap=1, runs_ok=1, busy_s=pytest.approx(2 * H * 3 / 4)),
        ThroughputRow(
            "B@1",
            good=1,
            passed=1,
            scrap=2,
            runs_ok=2,
            runs_failed=1,
            busy_s=pytest.approx(2 * H / 4 + H + 2 * H),
        ),
    ]


def test_throughput_by_day_of_the_shop(shop: Store) -> None:
    """R-3 runs from 23:00 to 01:00 UTC; in Berlin it is past midnight already."""
    assert shop.throughput(NOON, NOON + 15 * H, "day") == [
        ThroughputRow("2025-07-01", 2, 1, 3, runs_ok=1, runs_failed=1, busy_s=4 * H),
        ThroughputRow("2025-07-02", good=1, runs_ok=1, busy_s=H),
    ]
    berlin = shop.throughput(NOON, NOON + 15 * H, "day", zone=ZoneInfo("Europe/Berlin"))
    assert [(row.key, row.busy_s) for row in berlin] == [("2025-07-01", 3 * H), ("2025-07-02", 2 * H)]


def test_throughput_is_clipped_to_its_span(shop: Store) -> None:
    [row] = shop.throughput(NOON + 1.5 * H, NOON + 2 * H)
    assert row == ThroughputRow("m1", busy_s=0.5 * H)
    assert shop.throughput(NOON - H, NOON) == []
    assert shop.throughput(NOON, NOON, "day") == []


def test_reading_from_many_threads_while_writing(shop: Store) -> None:
    """Every reader sees whole commits: two machines come and go together."""
    seen: list[int] = []

    def read() -> None:
        for _ in range(20):
            seen.append(len(shop.load().farm.machines.keys() & {"x1", "x2"}))

    def pair(make: Any) -> Entry:
        facts = tuple(make(name) for name in ("x1", "x2"))
        changed: list[Any] = []
        for fact in facts:
            changed += apply(farm, fact)
        farm.merge(changed)
        return Entry(facts, tuple(changed))

    farm = Farm()
    readers = [Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    while any(thread.is_alive() for thread in readers):
        shop.commit([pair(lambda name: f.MachineAdded(at=NOON, actor="d", machine=name))])
        shop.commit([pair(lambda name: f.MachineRemoved(at=NOON, actor="d", machine=name))])
    assert len(seen) == 60
    assert set(seen) <= {0, 2}
