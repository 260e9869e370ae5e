"""`apply`, fact by fact: what each changes, and why it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault, Permit
from farmd.model.work import FileRecord, Job, Lot, Outcome, Place

HOT = Fault("hot", "the nozzle is too hot", "let it cool")


class Shop:
    """A farm with one idle clear machine `m1` and one open job `J-1` of five parts."""

    def __init__(self, route: tuple[str, ...] = ("print",)) -> None:
        self.farm = Farm()
        self.at = 0.0
        self.tell(f.DaemonStarted, boot_id="b1", version="1", fence=1)
        self.tell(f.FileStored, file=FileRecord("aa", "x.gcode", 10, "gcode"))
        self.submit("J-1", quantity=5, route=route)
        self.tell(f.MachineAdded, machine="m1", material="PLA", nozzle_mm=0.4)
        self.tell(f.MachineConnected, machine="m1", seen="idle")
        self.tell(f.MachineCleared, machine="m1", permit_id="P-1")

    def tell(self, cls: type[f.Fact], **values: Any) -> None:
        self.at += 1.0
        self.farm.merge(apply(self.farm, cls(at=self.at, actor="ann", **values)))

    def refused(self, cls: type[f.Fact], **values: Any) -> str:
        before = self.farm.copy()
        with pytest.raises(Refused) as caught:
            self.tell(cls, **values)
        assert self.farm == before
        return caught.value.code.name

    def submit(self, job_id: str, **values: Any) -> None:
        self.tell(f.JobSubmitted, job=_job(job_id, **values))

    def queue(self, build_id: str = "B-1", *items: tuple[str, int], **values: Any) -> None:
        values = {"operation": "print", "duration_s": 60.0} | values
        self.tell(f.BuildQueued, build_id=build_id, items=items or (("J-1", 3),), **values)

    def run(self, run_id: str = "R-1", build_id: str = "B-1", permit_id: str = "P-1") -> None:
        self.tell(f.RunIntended, run_id=run_id, build_id=build_id, machine="m1", permit_id=permit_id, fence=1)
        self.tell(f.RunSent, run_id=run_id)
        self.tell(f.RunStarted, run_id=run_id, evidence="seen")

    def end(self, outcome: Outcome = Outcome.OK, made: int = 0, run_id: str = "R-1", **values: Any) -> None:
        self.tell(f.RunEnded, run_id=run_id, outcome=outcome, made=made, **values)

    def clear(self, *counts: f.ItemCount, run_id: str | None = "R-1", permit_id: str = "P-2") -> None:
        self.tell(f.MachineCleared, machine="m1", permit_id=permit_id, run_id=run_id, counts=counts)

    @property
    def job(self) -> Job:
        return self.farm.jobs["J-1"]


def _job(job_id: str, **values: Any) -> Job:
    values = {"quantity": 5, "submitted_at": 1.0} | values
    return Job(job_id, "bracket", "aa", "x.gcode", "MEX", **values)


@pytest.fixture
def shop() -> Shop:
    return Shop()


# --- the daemon and demand ------------------------------------------------------------------


def test_each_start_of_the_daemon_raises_the_fence(shop: Shop) -> None:
    assert shop.refused(f.DaemonStarted, boot_id="b0", version="1", fence=1) == "stale-fence"
    shop.tell(f.DaemonStarted, boot_id="b2", version="1", fence=7)
    assert shop.farm.counters["fence"] == 7
    before = shop.farm.copy()
    shop.tell(f.DaemonStopped, boot_id="b2")
    assert shop.farm == before


def test_a_job_is_taken_as_it_is(shop: Shop) -> None:
    assert shop.job == _job("J-1")
    assert shop.farm.counters["job"] == 1
    assert shop.farm.files.keys() == {"aa"}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"job_id": "J-1"}, "bad-count"),
        ({"quantity": 0}, "bad-count"),
        ({"parts_per_plate": 0}, "bad-count"),
        ({"made": 2}, "bad-count"),
        ({"in_work": 1}, "bad-count"),
        ({"state": JobState.DONE}, "bad-count"),
        ({"route": ()}, "bad-route"),
        ({"route": ("wash", "print")}, "bad-route"),
    ],
)
def test_a_job_that_is_not_taken(shop: Shop, values: dict[str, Any], code: str) -> None:
    assert shop.refused(f.JobSubmitted, job=_job(**({"job_id": "J-2"} | values))) == code


def test_editing_a_job(shop: Shop) -> None:
    shop.tell(f.JobEdited, job_id="J-1", due_at=99.0, priority=3.0)
    assert (shop.job.due_at, shop.job.priority, shop.job.quantity) == (99.0, 3.0, 5)
    shop.tell(f.JobEdited, job_id="J-1", clear_due=True, quantity=8)
    assert (shop.job.due_at, shop.job.priority, shop.job.quantity) == (None, 3.0, 8)
    assert shop.refused(f.JobEdited, job_id="J-1", quantity=0) == "bad-count"
    assert shop.refused(f.JobEdited, job_id="J-9") == "unknown-job"


def test_a_quantity_that_is_reached_already_closes_the_job_and_more_reopens_it(shop: Shop) -> None:
    shop.queue("B-1", ("J-1", 2))
    shop.queue("B-2", ("J-1", 3))
    shop.run()
    shop.end(made=2)
    shop.clear(f.ItemCount("J-1", 2, 0))
    shop.tell(f.JobEdited, job_id="J-1", quantity=2)
    assert (shop.job.state, shop.job.closed_at) == (JobState.DONE, shop.at)
    shop.tell(f.JobEdited, job_id="J-1", quantity=6)
    assert (shop.job.state, shop.job.closed_at, shop.job.missing) == (JobState.OPEN, None, 1)


def test_hold_release_and_cancel(shop: Shop) -> None:
    assert shop.refused(f.JobReleased, job_id="J-1") == "illegal-transition"
    shop.tell(f.JobHeld, job_id="J-1")
    assert shop.job.state is JobState.HELD
    assert shop.refused(f.JobHeld, job_id="J-1") == "illegal-transition"
    shop.tell(f.JobReleased, job_id="J-1")
    assert shop.job.state is JobState.OPEN
    shop.tell(f.JobCancelled, job_id="J-1")
    assert (shop.farm.jobs, shop.farm.files) == ({}, {})
    for cls in (f.JobHeld, f.JobReleased, f.JobCancelled):
        assert shop.refused(cls, job_id="J-1") == "unknown-job"


# --- builds ---------------------------------------------------------------------------------


def test_a_queued_build_takes_parts_into_work(shop: Shop) -> None:
    shop.queue(material="PLA", file_sha256="aa", mass_g=12.0)
    build = shop.farm.builds["B-1"]
    assert (build.state, build.parts, build.material, build.mass_g) == (BuildState.QUEUED, 3, "PLA", 12.0)
    assert (shop.job.in_work, shop.job.open_builds, shop.job.missing) == (3, 1, 2)
    assert shop.farm.counters["build"] == 1
    shop.tell(f.BuildWithdrawn, build_id="B-1")
    assert (shop.job.in_work, shop.job.open_builds, shop.farm.builds) == (0, 0, {})
    assert shop.refused(f.BuildWithdrawn, build_id="B-1") == "unknown-build"


@pytest.mark.parametrize(
    ("items", "values", "code"),
    [
        ((), {}, "bad-count"),
        ((("J-1", 0),), {}, "bad-count"),
        ((("J-1", 1), ("J-1", 1)), {}, "bad-count"),
        ((("J-9", 1),), {}, "unknown-job"),
        ((("J-1", 1),), {"build_id": "B-1"}, "bad-count"),
        ((("J-1", 1),), {"operation": "wash"}, "bad-route"),
        ((("J-1", 1),), {"operation": "wash", "follows": "B-1"}, "bad-route"),
        ((("J-1", 1),), {"follows": "B-1"}, "bad-route"),
    ],
)
def test_a_build_that_is_not_taken(shop: Shop, items: Any, values: dict[str, Any], code: str) -> None:
    shop.queue()
    given = {"build_id": "B-2", "operation": "print", "items": items, "duration_s": 1.0} | values
    assert shop.refused(f.BuildQueued, **given) == code


def test_nothing_more_is_made_for_a_cancelled_job(shop: Shop) -> None:
    shop.queue()
    shop.tell(f.JobCancelled, job_id="J-1")
    assert shop.job.state is JobState.CANCELLED
    given = {"build_id": "B-2", "operation": "print", "items": (("J-1", 1),), "duration_s": 1.0}
    assert shop.refused(f.BuildQueued, **given) == "unknown-job"
    shop.tell(f.BuildWithdrawn, build_id="B-1")
    assert shop.farm.jobs == {}


def test_an_assigned_build_is_not_withdrawn(shop: Shop) -> None:
    shop.queue()
    shop.run()
    assert shop.refused(f.BuildWithdrawn, build_id="B-1") == "illegal-transition"


# --- runs -----------------------------------------------------------------------------------


def test_a_run_from_intent_to_its_parts(shop: Shop) -> None:
    shop.tell(f.MaterialLoaded, machine="m1", material="PLA red", lot_id="L-1", grams=500.0)
    shop.queue()
    intend = {"run_id": "R-1", "build_id": "B-1", "machine": "m1", "permit_id": "P-1", "fence": 1}
    shop.tell(f.RunIntended, **intend)
    machine, run = shop.farm.machines["m1"], shop.farm.runs["R-1"]
    assert (machine.permit, machine.run_id, run.state, run.permit_id) == (None, "R-1", RunState.INTENT, "P-1")
    assert shop.farm.builds["B-1"].machine == "m1"
    shop.tell(f.RunSent, run_id="R-1")
    assert shop.farm.runs["R-1"].sent_at == shop.at
    shop.tell(f.RunStarted, run_id="R-1", evidence="it shows R-1")
    started = shop.at
    assert shop.farm.machines["m1"].state is MachineState.BUSY
    shop.tell(f.RunPaused, run_id="R-1", reason="filament")
    assert (shop.farm.runs["R-1"].state, shop.farm.runs["R-1"].reason) == (RunState.PAUSED, "filament")
    shop.tell(f.RunResumed, run_id="R-1")
    shop.end(made=3, used_g=20.0, ready_at=900.0)
    run = shop.farm.runs["R-1"]
    assert (run.state, run.started_at, run.evidence) == (RunState.ENDED, started, "it shows R-1")
    assert (run.outcome, run.reason) == (Outcome.OK, "")
    machine = shop.farm.machines["m1"]
    assert (machine.state, machine.run_id, machine.uncleared_run_id) == (MachineState.IDLE, None, "R-1")
    assert machine.ready_at == 900.0
    assert shop.farm.lots["L-1"] == Lot("L-1", "PLA red", 480.0, 20.0)
    assert (shop.job.made, shop.job.good, shop.job.in_work) == (3, 0, 3)
    shop.clear(f.ItemCount("J-1", 2, 1))
    assert (shop.job.good, shop.job.scrap, shop.job.in_work, shop.job.missing) == (2, 1, 0, 3)
    assert (shop.farm.runs, shop.farm.builds) == ({}, {})
    machine = shop.farm.machines["m1"]
    assert (machine.permit, machine.uncleared_run_id, machine.ready_at) == (
        Permit("P-2", shop.at, "ann"),
        None,
        0.0,
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"machine": "m9"}, "unknown-machine"),
        ({"build_id": "B-9"}, "unknown-build"),
        ({"fence": 0}, "stale-fence"),
        ({"fence": 2}, "stale-fence"),
        ({"permit_id": "P-9"}, "not-startable"),
    ],
)
def test_an_intent_that_is_refused(shop: Shop, change: dict[str, Any], code: str) -> None:
    shop.queue()
    intend = {"run_id": "R-1", "build_id": "B-1", "machine": "m1", "permit_id": "P-1", "fence": 1}
    assert shop.refused(f.RunIntended, **(intend | change)) == code


@pytest.mark.parametrize(
    "spoil",
    [
        lambda shop: shop.tell(f.MachineHeld, machine="m1"),
        lambda shop: shop.tell(f.MachineLost, machine="m1", reason="cable"),
        lambda shop: shop.tell(f.MachineFaulted, machine="m1", fault=HOT),
        lambda shop: shop.tell(f.PermitVoided, machine="m1", reason="unseen"),
        lambda shop: shop.tell(f.ForeignRunStarted, machine="m1"),
        lambda shop: shop.tell(f.MachineConnected, machine="m1", seen="foreign"),
        lambda shop: shop.run("R-0", "B-2"),
    ],
)
def test_a_machine_that_is_not_ready_is_not_started(shop: Shop, spoil: Callable[[Shop], None]) -> None:
    shop.queue()
    shop.queue("B-2", ("J-1", 1))
    spoil(shop)
    intend = {"run_id": "R-1", "build_id": "B-1", "machine": "m1", "permit_id": "P-1", "fence": 1}
    assert shop.refused(f.RunIntended, **intend) == "not-startable"


def test_an_open_run_id_and_an_assigned_build_are_taken(shop: Shop) -> None:
    shop.queue()
    shop.queue("B-2", ("J-1", 1))
    shop.run()
    shop.tell(f.MachineAdded, machine="m2")
    shop.tell(f.MachineConnected, machine="m2", seen="idle")
    shop.tell(f.MachineCleared, machine="m2", permit_id="P-3")
    intend = {"run_id": "R-1", "build_id": "B-2", "machine": "m2", "permit_id": "P-3", "fence": 1}
    assert shop.refused(f.RunIntended, **intend) == "not-startable"
    assert (
        shop.refused(f.RunIntended, **(intend | {"run_id": "R-2", "build_id": "B-1"})) == "illegal-transition"
    )


def test_a_run_that_surely_did_not_start_puts_its_build_back_and_gives_no_permit_back(shop: Shop) -> None:
    shop.queue()
    shop.tell(f.RunIntended, run_id="R-1", build_id="B-1", machine="m1", permit_id="P-1", fence=1)
    shop.end(Outcome.NOT_STARTED)
    build, machine = shop.farm.builds["B-1"], shop.farm.machines["m1"]
    assert (build.state, build.machine, shop.farm.runs) == (BuildState.QUEUED, None, {})
    assert (machine.run_id, machine.uncleared_run_id, machine.permit) == (None, None, None)
    assert (shop.job.in_work, shop.job.made) == (3, 0)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED])
def test_a_failed_run_reopens_the_demand_and_may_leave_some_good_parts(shop: Shop, outcome: Outcome) -> None:
    shop.queue()
    shop.run()
    shop.end(outcome, reason="spaghetti", place=Place(layer=7))
    assert (shop.job.in_work, shop.job.missing, shop.job.made) == (0, 5, 0)
    assert shop.farm.runs["R-1"].place == Place(layer=7)
    assert shop.farm.builds["B-1"].state is BuildState.FAILED
    assert shop.refused(f.MachineCleared, **_cleared(4, 0)) == "bad-count"
    shop.clear(f.ItemCount("J-1", 1, 1))
    assert (shop.job.made, shop.job.good, shop.job.scrap, shop.job.missing) == (2, 1, 1, 4)


def test_doubt_is_left_by_evidence_or_by_a_person(shop: Shop) -> None:
    shop.queue()
    shop.run()
    shop.tell(f.RunDoubted, run_id="R-1", reason="link lost")
    assert shop.farm.runs["R-1"].state is RunState.UNCERTAIN
    assert shop.refused(f.RunSent, run_id="R-1") == "illegal-transition"
    assert shop.refused(f.RunDoubted, run_id="R-1", reason="again") == "illegal-transition"
    shop.tell(f.RunStarted, run_id="R-1", evidence="another")
    assert (shop.farm.runs["R-1"].evidence, shop.farm.runs["R-1"].reason) == ("seen", "")


def test_who_says_that_a_run_goes_on_does_not_bring_back_the_link(shop: Shop) -> None:
    shop.queue()
    shop.run()
    shop.tell(f.MachineLost, machine="m1", reason="cable")
    shop.tell(f.RunDoubted, run_id="R-1", reason="link lost")
    shop.tell(f.RunStarted, run_id="R-1", evidence="seen by ann")
    assert shop.farm.runs["R-1"].state is RunState.RUNNING
    assert shop.farm.machines["m1"].state is MachineState.OFFLINE


def test_how_many_parts_a_run_can_have_made(shop: Shop) -> None:
    shop.queue()
    shop.run()
    for outcome, made in ((Outcome.OK, 2), (Outcome.OK, 4), (Outcome.FAILED, 1), (Outcome.NOT_STARTED, 3)):
        assert shop.refused(f.RunEnded, run_id="R-1", outcome=outcome, made=made) == "bad-count"
    shop.end(made=3)
    assert shop.refused(f.RunEnded, run_id="R-1", outcome=Outcome.OK, made=3) == "illegal-transition"


@pytest.mark.parametrize(
    "cls", [f.RunSent, f.RunStarted, f.RunPaused, f.RunResumed, f.RunDoubted, f.RunEnded]
)
def test_facts_of_a_run_that_is_not_open(shop: Shop, cls: type[f.Fact]) -> None:
    more = {f.RunStarted: {"evidence": ""}, f.RunDoubted: {"reason": ""}, f.RunEnded: {"outcome": Outcome.OK}}
    assert shop.refused(cls, run_id="R-9", **more.get(cls, {})) == "unknown-run"


# --- counting -------------------------------------------------------------------------------


def _cleared(good: int, scrap: int, **values: Any) -> dict[str, Any]:
    counts = (f.ItemCount("J-1", good, scrap),)
    return {"machine": "m1", "permit_id": "P-2", "run_id": "R-1", "counts": counts} | values


def test_clearing_is_refused_when_the_numbers_do_not_fit(shop: Shop) -> None:
    assert shop.refused(f.MachineCleared, machine="m1", permit_id="P-2") == "already-clear"
    shop.queue()
    shop.run()
    assert shop.refused(f.MachineCleared, **_cleared(3, 0)) == "not-clearable"
    shop.end(made=3)
    for good, scrap in ((4, 0), (2, 0), (-1, 4), (4, -1)):
        assert shop.refused(f.MachineCleared, **_cleared(good, scrap)) == "bad-count"
    one = f.ItemCount("J-1", 3, 0)
    for counts in ((), (one, one), (f.ItemCount("J-2", 3, 0),), (one, f.ItemCount("J-2", 0, 0))):
        assert shop.refused(f.MachineCleared, **_cleared(3, 0, counts=counts)) == "bad-count"
    for run_id in (None, "R-2"):
        assert shop.refused(f.MachineCleared, **_cleared(3, 0, run_id=run_id)) == "bad-count"
    shop.clear(one)
    assert shop.refused(f.MachineCleared, **_cleared(3, 0)) == "already-clear"


def test_a_job_is_done_when_its_good_parts_are_there_and_the_rest_is_surplus(shop: Shop) -> None:
    shop.queue("B-1", ("J-1", 7))
    shop.run()
    shop.end(made=7)
    before = shop.farm.copy()
    fact = f.MachineCleared(at=99.0, actor="ann", **_cleared(6, 1))
    changed = {type(entity): entity for entity in apply(before, fact)}
    job = changed[Job]
    assert isinstance(job, Job)
    assert (job.state, job.good, job.scrap, job.surplus, job.closed_at) == (JobState.DONE, 5, 1, 1, 99.0)
    assert job.is_closed
    shop.farm.merge(apply(shop.farm, fact))
    assert shop.farm.jobs == {}


def test_parts_of_a_cancelled_job_are_surplus(shop: Shop) -> None:
    shop.queue()
    shop.run()
    shop.tell(f.JobCancelled, job_id="J-1")
    shop.end(made=3)
    job = next(
        e
        for e in apply(shop.farm, f.MachineCleared(at=9.0, actor="ann", **_cleared(3, 0)))
        if isinstance(e, Job)
    )
    assert (job.state, job.good, job.surplus, job.is_closed) == (JobState.CANCELLED, 0, 3, True)


def test_a_powder_build_of_several_jobs(shop: Shop) -> None:
    shop.submit("J-2", quantity=2)
    shop.queue("B-1", ("J-1", 3), ("J-2", 2))
    shop.run()
    shop.end(made=5)
    shop.clear(f.ItemCount("J-2", 2, 0), f.ItemCount("J-1", 1, 2))
    assert shop.farm.jobs.keys() == {"J-1"}
    assert (shop.job.good, shop.job.scrap, shop.job.missing) == (1, 2, 4)


def test_parts_go_through_their_route() -> None:
    shop = Shop(("print", "depowder", "wash"))
    shop.queue()
    shop.run()
    shop.end(made=3)
    assert shop.refused(f.BuildQueued, **_follow("depowder", 1)) == "bad-count"
    shop.clear(f.ItemCount("J-1", 2, 1))
    assert (shop.job.made, shop.job.good, shop.job.scrap, shop.job.in_work, shop.job.missing) == (
        3,
        0,
        1,
        2,
        3,
    )
    assert shop.refused(f.BuildQueued, **_follow("depowder", 3)) == "bad-count"
    shop.tell(f.BuildQueued, **_follow("depowder", 2))
    assert (shop.job.in_work, shop.job.open_builds) == (2, 1)
    assert shop.refused(f.BuildQueued, **(_follow("wash", 1) | {"build_id": "B-3"})) == "bad-count"
    shop.run("R-2", "B-2", "P-2")
    shop.end(made=2, run_id="R-2")
    assert shop.refused(f.MachineCleared, **_cleared(1, 0, run_id="R-2", permit_id="P-3")) == "bad-count"
    shop.clear(f.ItemCount("J-1", 2, 0), run_id="R-2", permit_id="P-3")
    shop.tell(f.BuildQueued, **(_follow("wash", 2) | {"build_id": "B-3"}))
    shop.run("R-3", "B-3", "P-3")
    shop.end(Outcome.FAILED, run_id="R-3")
    assert (shop.job.in_work, shop.job.missing) == (0, 5)
    assert shop.refused(f.MachineCleared, **_cleared(1, 0, run_id="R-3", permit_id="P-4")) == "bad-count"
    shop.clear(f.ItemCount("J-1", 1, 1), run_id="R-3", permit_id="P-4")
    assert (shop.job.made, shop.job.good, shop.job.scrap, shop.job.in_work) == (3, 1, 2, 0)


def test_made_parts_that_will_not_be_finished_are_surplus() -> None:
    shop = Shop(("print", "wash"))
    shop.queue()
    shop.run()
    shop.end(made=3)
    shop.clear(f.ItemCount("J-1", 3, 0))
    shop.tell(f.BuildQueued, **_follow("wash", 3))
    shop.tell(f.BuildWithdrawn, build_id="B-2")
    assert (shop.job.made, shop.job.surplus, shop.job.in_work, shop.job.open_builds) == (3, 3, 0, 0)


def _follow(operation: str, parts: int) -> dict[str, Any]:
    items = (("J-1", parts),)
    return {"build_id": "B-2", "operation": operation, "items": items, "duration_s": 1.0, "follows": "B-1"}


# --- machines -------------------------------------------------------------------------------


def test_a_machine_is_added_once_and_removed_when_nothing_is_on_it(shop: Shop) -> None:
    machine = shop.farm.machines["m1"]
    assert (machine.material, machine.nozzle_mm, machine.state) == ("PLA", 0.4, MachineState.IDLE)
    assert shop.refused(f.MachineAdded, machine="m1") == "machine-known"
    shop.queue()
    shop.run()
    assert shop.refused(f.MachineRemoved, machine="m1") == "run-open"
    shop.end(made=3)
    assert shop.refused(f.MachineRemoved, machine="m1") == "run-open"
    shop.clear(f.ItemCount("J-1", 3, 0))
    shop.tell(f.MachineRemoved, machine="m1")
    assert shop.farm.machines == {}


def test_what_the_link_tells(shop: Shop) -> None:
    since = shop.farm.machines["m1"].since
    shop.tell(f.MachineConnected, machine="m1", seen="idle")
    assert shop.farm.machines["m1"].since == since
    shop.tell(f.MachineLost, machine="m1", reason="cable")
    assert (shop.farm.machines["m1"].state, shop.farm.machines["m1"].since) == (MachineState.OFFLINE, shop.at)
    assert shop.farm.machines["m1"].permit is not None
    shop.tell(f.MachineConnected, machine="m1", seen="busy")
    assert shop.farm.machines["m1"].state is MachineState.BUSY
    assert shop.refused(f.MachineConnected, machine="m1", seen="dancing") == "illegal-transition"


def test_a_fault_and_its_end(shop: Shop) -> None:
    shop.tell(f.MachineFaulted, machine="m1", fault=HOT)
    assert (shop.farm.machines["m1"].state, shop.farm.machines["m1"].fault) == (MachineState.FAULT, HOT)
    shop.tell(f.MachineLost, machine="m1", reason="cable")
    shop.tell(f.MachineConnected, machine="m1", seen="fault")
    assert shop.farm.machines["m1"].fault == HOT
    shop.tell(f.MachineRecovered, machine="m1")
    assert (shop.farm.machines["m1"].state, shop.farm.machines["m1"].fault) == (MachineState.IDLE, None)
    shop.queue()
    shop.run()
    shop.tell(f.MachineFaulted, machine="m1", fault=HOT)
    shop.tell(f.MachineRecovered, machine="m1")
    assert shop.farm.machines["m1"].state is MachineState.BUSY


def test_a_foreign_run_takes_the_permit(shop: Shop) -> None:
    shop.tell(f.ForeignRunStarted, machine="m1", name="benchy")
    machine = shop.farm.machines["m1"]
    assert (machine.state, machine.foreign, machine.permit) == (MachineState.FOREIGN, "benchy", None)
    assert shop.refused(f.MachineCleared, machine="m1", permit_id="P-2") == "not-clearable"
    shop.tell(f.ForeignRunEnded, machine="m1")
    machine = shop.farm.machines["m1"]
    assert (machine.state, machine.foreign, machine.permit) == (MachineState.IDLE, None, None)
    shop.clear(run_id=None)
    shop.tell(f.MachineConnected, machine="m1", seen="foreign")
    machine = shop.farm.machines["m1"]
    assert (machine.state, machine.foreign, machine.permit) == (MachineState.FOREIGN, "unnamed", None)


def test_holding_and_releasing_a_machine(shop: Shop) -> None:
    permit = shop.farm.machines["m1"].permit
    shop.tell(f.MachineHeld, machine="m1")
    assert shop.farm.machines["m1"].held == "held"
    shop.tell(f.MachineHeld, machine="m1", reason="new belt")
    assert shop.farm.machines["m1"].held == "new belt"
    shop.tell(f.MachineReleased, machine="m1")
    assert shop.farm.machines["m1"] == replace(shop.farm.machines["m1"], held=None, permit=permit)
    shop.tell(f.PermitVoided, machine="m1", reason="unseen")
    assert shop.farm.machines["m1"].permit is None


def test_loading_material(shop: Shop) -> None:
    shop.tell(f.MaterialLoaded, machine="m1", material="PETG")
    machine = shop.farm.machines["m1"]
    assert (machine.material, machine.lot_id, machine.nozzle_mm, shop.farm.lots) == ("PETG", None, 0.4, {})
    shop.tell(f.MaterialLoaded, machine="m1", material="PETG", lot_id="L-1", grams=800.0, nozzle_mm=0.6)
    assert (shop.farm.machines["m1"].lot_id, shop.farm.machines["m1"].nozzle_mm) == ("L-1", 0.6)
    shop.tell(f.MaterialLoaded, machine="m1", material="PETG", lot_id="L-1")
    assert shop.farm.lots == {"L-1": Lot("L-1", "PETG", 800.0)}
    shop.queue()
    shop.run()
    assert shop.refused(f.MaterialLoaded, machine="m1", material="PLA") == "run-open"


def test_what_somebody_asked_changes_nothing_by_itself(shop: Shop) -> None:
    before = shop.farm.copy()
    shop.tell(f.MachineAsked, machine="m1", act="pause", reason="look at it")
    shop.tell(f.CommandSent, machine="m1", command="M114", reason="where is it")
    shop.tell(f.CommandAnswered, machine="m1", command="M114", answer="X:0.00 Y:0.00")
    assert replace(shop.farm, revision=before.revision) == before


@pytest.mark.parametrize(
    ("cls", "more"),
    [
        (f.MachineRemoved, {}),
        (f.MachineConnected, {"seen": "idle"}),
        (f.MachineLost, {"reason": ""}),
        (f.MachineFaulted, {"fault": HOT}),
        (f.MachineRecovered, {}),
        (f.MachineHeld, {}),
        (f.MachineReleased, {}),
        (f.ForeignRunStarted, {}),
        (f.ForeignRunEnded, {}),
        (f.PermitVoided, {"reason": ""}),
        (f.MachineCleared, {"permit_id": "P-2"}),
        (f.MachineAsked, {"act": "pause"}),
        (f.CommandSent, {"command": "M105"}),
        (f.CommandAnswered, {"command": "M105"}),
        (f.MaterialLoaded, {"material": "PLA"}),
    ],
)
def test_facts_of_a_machine_that_is_not_there(shop: Shop, cls: type[f.Fact], more: dict[str, Any]) -> None:
    assert shop.refused(cls, machine="m9", **more) == "unknown-machine"


# --- what is kept in memory -----------------------------------------------------------------


def test_a_file_stays_as_long_as_a_job_needs_it(shop: Shop) -> None:
    shop.submit("J-2")
    shop.tell(f.JobCancelled, job_id="J-1")
    assert shop.farm.files.keys() == {"aa"}
    shop.tell(f.JobCancelled, job_id="J-2")
    assert shop.farm.files == {}


def test_a_snapshot_does_not_change_with_the_farm(shop: Shop) -> None:
    snapshot = shop.farm.copy()
    assert snapshot == shop.farm
    shop.queue()
    assert snapshot.builds == {}
    assert snapshot.jobs["J-1"].in_work == 0
