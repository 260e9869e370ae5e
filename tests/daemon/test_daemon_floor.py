"""The floor: clearing counts once and gives one permit, people's verdicts, emergency stops."""

from __future__ import annotations

import pytest
from farmshop import (
    T0,
    UNSURE,
    bench,
    build,
    farm_of,
    job,
    machine,
    powder,
    run,
    running_farm,
    spec,
    warped,
)

from farmd.daemon.counting import Counted
from farmd.driver import MACHINE_NOT_READY, Activity, Faulted, Observed, Started
from farmd.model import facts as f
from farmd.model.errors import FarmdError, MachineFault, Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import Lot, Outcome

OFFLINE = {"state": MachineState.OFFLINE}


def ended(
    outcome: Outcome = Outcome.OK, *jobs: tuple[str, int], operation: str = "print", **changes: object
) -> Farm:
    """m1 with an ended, uncleared run on it."""
    items = jobs or (("J-1", 4),)
    ok = outcome is Outcome.OK
    printed = operation == "print"
    state = BuildState.DONE if ok else BuildState.FAILED
    return farm_of(
        machine(**OFFLINE, permit=None, uncleared_run_id="R-1"),
        *(
            job(
                name,
                quantity=4,
                in_work=parts if ok else 0,
                open_builds=1,
                made=parts if ok or not printed else 0,
                **changes,
            )
            for name, parts in items
        ),
        build(
            "B-1", *items, state=state, machine="m1", operation=operation, follows=None if printed else "B-0"
        ),
        run(state=RunState.ENDED, outcome=outcome),
    )


# --- clearing ---------------------------------------------------------------------------------


@warped
async def test_clearing_counts_all_parts_of_an_ok_run_once() -> None:
    async with bench(ended()) as b:
        assert await b.floor.clear("m1", "anna") == {"good": 4, "scrap": 0}
        assert "J-1" not in b.farm.jobs, "done, and nothing of it open"
        assert not b.farm.builds
        assert not b.farm.runs
        permit = b.machine().permit
        assert permit is not None
        assert permit.by == "anna"
        for counts in ({}, {"good": 4}, {"good": 0, "scrap": 4}):
            with pytest.raises(Refused):
                await b.floor.clear("m1", "bert", **counts)
        assert b.machine().permit == permit
        assert b.kinds().count("MachineCleared") == 1


@pytest.mark.parametrize(
    ("good", "scrap", "expected"),
    [
        (3, 1, (3, 1)),
        (0, 4, (0, 4)),
        (None, 1, (3, 1)),
        (2, None, (2, 2)),
        (4, 1, None),
        (2, 1, None),
        (-1, 5, None),
        (5, -1, None),
        (None, 5, None),
    ],
)
@warped
async def test_counts_must_add_up_to_what_was_made(
    good: int | None, scrap: int | None, expected: tuple[int, int] | None
) -> None:
    async with bench(ended()) as b:
        if expected is None:
            with pytest.raises(Refused) as refused:
                await b.floor.clear("m1", "anna", good=good, scrap=scrap)
            assert refused.value.code.name == "bad-count"
            assert b.machine().permit is None
            return
        counted = await b.floor.clear("m1", "anna", good=good, scrap=scrap)
        assert (counted["good"], counted["scrap"]) == expected
        left = b.farm.jobs["J-1"]
        assert (left.good, left.scrap, left.missing) == (*expected, 4 - expected[0])
        assert left.state is JobState.OPEN, "scrap leaves the demand open"


@pytest.mark.parametrize(
    ("good", "scrap", "expected"),
    [(None, None, (0, 0)), (1, None, (1, 0)), (1, 2, (1, 2)), (4, 0, (4, 0)), (4, 1, None)],
)
@warped
async def test_of_a_failed_print_some_parts_may_be_good(
    good: int | None, scrap: int | None, expected: tuple[int, int] | None
) -> None:
    async with bench(ended(Outcome.FAILED)) as b:
        if expected is None:
            with pytest.raises(Refused):
                await b.floor.clear("m1", "anna", good=good, scrap=scrap)
            return
        counted = await b.floor.clear("m1", "anna", good=good, scrap=scrap)
        assert (counted["good"], counted["scrap"]) == expected
        if expected[0] < 4:
            left = b.farm.jobs["J-1"]
            assert (left.good, left.made, left.in_work, left.open_builds) == (
                expected[0],
                sum(expected),
                0,
                0,
            )


OK, FAILED = Outcome.OK, Outcome.FAILED


@pytest.mark.parametrize(
    ("outcome", "total", "by_job", "expected"),
    [
        (OK, {}, {}, [(2, 0), (3, 0)]),
        (OK, {"good": 5}, {}, [(2, 0), (3, 0)]),
        (OK, {"good": 0}, {}, [(0, 2), (0, 3)]),
        (OK, {"scrap": 5}, {}, [(0, 2), (0, 3)]),
        (OK, {}, {"J-2": Counted(scrap=1)}, [(2, 0), (2, 1)]),
        (OK, {}, {"J-1": Counted(good=0), "J-2": Counted(2, 1)}, [(0, 2), (2, 1)]),
        (FAILED, {}, {}, [(0, 0), (0, 0)]),
        (FAILED, {"scrap": 5}, {}, [(0, 2), (0, 3)]),
        (FAILED, {}, {"J-2": Counted(good=1)}, [(0, 0), (1, 0)]),
    ],
)
@warped
async def test_parts_of_several_jobs_are_counted_by_job(
    outcome: Outcome, total: dict, by_job: dict, expected: list[tuple[int, int]]
) -> None:
    async with bench(ended(outcome, ("J-1", 2), ("J-2", 3))) as b:
        counted = await b.floor.clear("m1", "anna", by_job=by_job, **total)
        (fact,) = [r.fact for r in b.ledger.recent if isinstance(r.fact, f.MachineCleared)]
        assert [(count.job_id, count.good, count.scrap) for count in fact.counts] == [
            ("J-1", *expected[0]),
            ("J-2", *expected[1]),
        ]
        assert counted == {"good": sum(g for g, _ in expected), "scrap": sum(s for _, s in expected)}


@pytest.mark.parametrize(
    ("outcome", "total", "by_job", "what"),
    [
        (
            OK,
            {"good": 3, "scrap": 2},
            {},
            "the 5 parts are of J-1, J-2: whose are the 3 good and the 2 scrap?",
        ),
        (OK, {"scrap": 1}, {}, "the 5 parts are of J-1, J-2: whose are the 4 good and the 1 scrap?"),
        (FAILED, {"good": 2}, {}, "the 5 parts are of J-1, J-2: whose are the 2 good and the 0 scrap?"),
        (
            OK,
            {"good": 5},
            {"J-1": Counted(2, 0)},
            "give numbers for the whole build or for its jobs, not both",
        ),
        (OK, {}, {"J-9": Counted(1, 0)}, "J-9 has no parts in B-1, which is of J-1, J-2"),
        (OK, {}, {"J-1": Counted(1, 0)}, "1 good and 0 scrap do not add up to 2 parts of J-1"),
        (FAILED, {}, {"J-1": Counted(3, 0)}, "3 good and 0 scrap do not add up to 2 parts of J-1"),
    ],
)
@warped
async def test_numbers_that_do_not_say_whose_the_parts_are_are_refused(
    outcome: Outcome, total: dict, by_job: dict, what: str
) -> None:
    async with bench(ended(outcome, ("J-1", 2), ("J-2", 3))) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.clear("m1", "anna", by_job=by_job, **total)
        assert (refused.value.code.name, refused.value.what) == ("bad-count", what)
        if "whose" in what:
            assert "`farmctl clear m1 --scrap J-2=1`" in refused.value.remedy
        assert b.machine().permit is None


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED])
@pytest.mark.parametrize(
    ("said", "expected"),
    [({"good": 4}, (4, 0)), ({"good": 0}, (0, 4)), ({"scrap": 1}, (3, 1)), ({"good": 1, "scrap": 1}, None)],
)
@warped
async def test_parts_of_a_run_that_failed_at_a_station_are_for_a_person_to_count(
    outcome: Outcome, said: dict, expected: tuple[int, int] | None
) -> None:
    async with bench(ended(outcome, operation="wash", route=("print", "wash"))) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.clear("m1", "anna")
        assert refused.value.code.name == "bad-count"
        assert "`farmctl clear m1 --good N`" in refused.value.remedy
        assert b.machine().permit is None
        if expected is None:
            with pytest.raises(Refused):
                await b.floor.clear("m1", "anna", **said)
            return
        counted = await b.floor.clear("m1", "anna", **said)
        assert (counted["good"], counted["scrap"]) == expected


@warped
async def test_each_job_of_a_run_that_failed_at_a_station_is_counted() -> None:
    farm = ended(Outcome.FAILED, ("J-1", 2), ("J-2", 3), operation="wash", route=("print", "wash"))
    async with bench(farm) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.clear("m1", "anna", by_job={"J-1": Counted(good=2)})
        assert "3 parts of J-2" in refused.value.what
        assert "`farmctl clear m1 --good J-1=N --good J-2=N`" in refused.value.remedy
        counted = await b.floor.clear("m1", "anna", by_job={"J-1": Counted(2), "J-2": Counted(scrap=1)})
        assert counted == {"good": 4, "scrap": 1}


@warped
async def test_good_parts_go_on_in_their_routes() -> None:
    farm = ended(Outcome.OK, ("J-1", 2), ("J-2", 3), route=("print", "wash", "pack"))
    async with bench(farm) as b:
        await b.floor.clear("m1", "anna", by_job={"J-2": Counted(2, 1)})
        (onward,) = b.farm.builds.values()
        assert (onward.operation, onward.follows, onward.state) == ("wash", "B-1", BuildState.QUEUED)
        assert [(item.job_id, item.parts) for item in onward.items] == [("J-1", 2), ("J-2", 2)]
        assert b.farm.jobs["J-2"].in_work == 2
        assert b.farm.jobs["J-2"].scrap == 1
        assert b.farm.jobs["J-2"].missing == 2


@warped
async def test_last_operation_makes_parts_good() -> None:
    farm = ended(operation="wash", route=("print", "wash"))
    async with bench(farm) as b:
        await b.floor.clear("m1", "anna")
        assert not b.farm.builds
        assert not b.farm.jobs


@pytest.mark.parametrize("state", [RunState.INTENT, RunState.SENT, RunState.RUNNING, RunState.UNCERTAIN])
@warped
async def test_machine_with_an_open_run_cannot_be_cleared(state: RunState) -> None:
    farm = running_farm(state, **OFFLINE)
    async with bench(farm) as b:
        b.farm.machines["m1"] = machine(**OFFLINE, permit=None, run_id="R-1")
        with pytest.raises(Refused) as refused:
            await b.floor.clear("m1", "anna")
        assert refused.value.code.name == "not-clearable"


@warped
async def test_machine_without_a_link_cannot_be_made_ready() -> None:
    """Nobody stands by when its link comes back, so nothing may start by itself then."""
    async with bench(farm_of(machine(**OFFLINE, permit=None), job())) as b:
        b.attendants["m1"].look_again()
        b.farm.machines["m1"] = machine(**OFFLINE, permit=None)
        with pytest.raises(Refused) as refused:
            await b.floor.clear("m1", "anna")
        assert refused.value.code.name == "not-clearable"
        assert b.farm.machines["m1"].permit is None


@warped
async def test_foreign_run_must_end_before_clearing_and_is_not_counted() -> None:
    async with bench(farm_of(machine(**OFFLINE, permit=None), job())) as b:
        b.driver().seen = Observed(Activity.RUNNING, "benchy")
        b.attendants["m1"].look_again()
        await b.settle(2.0)
        with pytest.raises(Refused):
            await b.floor.clear("m1", "anna")
        b.driver().seen = Observed(Activity.IDLE)
        b.attendants["m1"].look_again()
        # A link that was up only shortly is opened again after a pause.
        await b.settle(10.0)
        with pytest.raises(Refused) as refused:
            await b.floor.clear("m1", "anna", good=1)
        assert refused.value.code.name == "bad-count"
        assert await b.floor.clear("m1", "anna") == {"good": 0, "scrap": 0}


@warped
async def test_clearing_in_a_fault_counts_and_leaves_the_fault() -> None:
    async with bench(ended(Outcome.FAILED)) as b:
        b.driver().report(Faulted(Fault("jam", "jammed", "mend it")))
        await b.floor.clear("m1", "anna")
        assert b.machine().state is MachineState.FAULT
        assert b.machine().permit is not None


@warped
async def test_hot_machine_is_not_opened() -> None:
    farm = ended()
    farm.merge([machine(**OFFLINE, permit=None, uncleared_run_id="R-1", ready_at=T0 + 600.0)])
    async with bench(farm) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.clear("m1", "anna")
        assert (refused.value.code.name, refused.value.what) == ("still-cooling", "it cools for 10 min more")
        await b.settle(600.0)
        await b.floor.clear("m1", "anna")


@pytest.mark.parametrize("ask", ["clear", "hold", "release", "pause", "resume", "stop", "estop"])
@warped
async def test_unknown_machine_is_refused(ask: str) -> None:
    async with bench(farm_of(machine())) as b:
        with pytest.raises(Refused) as refused:
            await getattr(b.floor, ask)("m9", "anna")
        assert refused.value.code.name == "unknown-machine"
        assert b.machine().held is None


# --- material ---------------------------------------------------------------------------------


@warped
async def test_loading_a_material_a_new_lot_and_a_known_lot() -> None:
    farm = farm_of(machine(**OFFLINE), Lot("L-7", "PETG", 300.0))
    async with bench(farm) as b:
        loaded = await b.floor.load("m1", "anna", "PLA red", nozzle_mm=0.6)
        assert (loaded.material, loaded.lot_id, loaded.nozzle_mm) == ("PLA red", None, 0.6)
        loaded = await b.floor.load("m1", "anna", "PLA red", grams=1000.0)
        assert loaded.lot_id is not None
        assert b.farm.lots[loaded.lot_id].grams_left == 1000.0
        loaded = await b.floor.load("m1", "anna", "L-7")
        assert (loaded.material, loaded.lot_id, loaded.nozzle_mm) == ("PETG", "L-7", 0.6)
        assert b.farm.lots["L-7"].grams_left == 300.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"grams": -1.0},
        {"grams": float("nan")},
        {"nozzle_mm": 0.0},
        {"nozzle_mm": float("inf")},
        {"material": " "},
    ],
)
@warped
async def test_impossible_load_is_refused(wrong: dict) -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.load("m1", "anna", **{"material": "PLA", **wrong})
        assert refused.value.code.name == "bad-load"
        assert "MaterialLoaded" not in b.kinds()


@pytest.mark.parametrize(
    ("material", "lot_id", "loaded"),
    [
        ("PETG", "L-7", ("PETG clear", "L-7")),
        ("L-7", "L-7", ("PETG clear", "L-7")),
        ("L-7", None, ("PETG clear", "L-7")),
        ("PLA", "L-9", ("PLA", "L-9")),
        ("PLA", "L-7", None),
        ("PETG red", "L-7", None),
        ("L-7", "L-8", None),
        ("L-7", "L-9", None),
    ],
)
@warped
async def test_lot_is_of_its_own_material(
    material: str, lot_id: str | None, loaded: tuple[str, str] | None
) -> None:
    lots = (Lot("L-7", "PETG clear", 300.0), Lot("L-8", "PLA", 300.0))
    async with bench(farm_of(machine(**OFFLINE), *lots)) as b:
        if loaded is None:
            with pytest.raises(Refused) as refused:
                await b.floor.load("m1", "anna", material, lot_id=lot_id)
            assert (refused.value.code.name, refused.value.where) == ("bad-load", "lot")
            assert "MaterialLoaded" not in b.kinds()
            return
        found = await b.floor.load("m1", "anna", material, lot_id=lot_id)
        assert (found.material, found.lot_id) == loaded


@warped
async def test_lot_that_is_loaded_elsewhere_is_not_there_any_more() -> None:
    there = machine("m2", **OFFLINE, lot_id="L-7")
    async with bench(
        farm_of(machine(**OFFLINE), there, Lot("L-7", "PLA black", 300.0)), spec(), spec("m2")
    ) as b:
        await b.floor.load("m1", "anna", "L-7")
        assert (b.machine().lot_id, b.machine("m2").lot_id, b.machine("m2").material) == ("L-7", None, None)
        await b.floor.load("m1", "anna", "L-7", grams=200.0)
        assert (b.machine().lot_id, b.farm.lots["L-7"].grams_left) == ("L-7", 200.0)


@warped
async def test_lot_under_an_open_run_is_not_loaded_elsewhere() -> None:
    farm = running_farm(**OFFLINE, lot_id="L-7")
    farm.merge([machine("m2", **OFFLINE), Lot("L-7", "PLA black", 300.0)])
    async with bench(farm, spec(), spec("m2")) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.load("m2", "anna", "L-7")
        assert (refused.value.code.name, refused.value.where) == ("run-open", "m1")
        assert (b.machine().lot_id, b.machine("m2").lot_id) == ("L-7", None)


@pytest.mark.parametrize(
    ("material", "taken"), [("PA12", True), ("PA12 used", True), ("L-7", False), ("PA11", False)]
)
@warped
async def test_chamber_takes_its_own_powder_only(material: str, taken: bool) -> None:
    async with bench(farm_of(machine("sls", **OFFLINE), Lot("L-7", "PA11", 9000.0)), powder()) as b:
        if taken:
            assert (await b.floor.load("sls", "anna", material)).material == material
            return
        with pytest.raises(Refused) as refused:
            await b.floor.load("sls", "anna", material)
        assert (refused.value.code.name, refused.value.where) == ("bad-load", "material")
        assert b.machine("sls").material == "PA12"


@warped
async def test_nothing_is_loaded_under_an_open_run() -> None:
    async with bench(running_farm()) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.load("m1", "anna", "PETG")
        assert refused.value.code.name == "run-open"


# --- verdicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "state", "outcome", "build_state"),
    [
        ("printing", RunState.RUNNING, None, BuildState.ASSIGNED),
        ("not-started", RunState.ENDED, Outcome.NOT_STARTED, BuildState.QUEUED),
        ("failed", RunState.ENDED, Outcome.FAILED, BuildState.FAILED),
    ],
)
@warped
async def test_person_says_what_became_of_an_uncertain_run(
    verdict: str, state: RunState, outcome: Outcome | None, build_state: BuildState
) -> None:
    async with bench(running_farm(RunState.UNCERTAIN)) as b:
        b.farm.runs["R-1"] = run(state=RunState.UNCERTAIN)
        b.farm.merge([machine(permit=None, run_id="R-1"), job(in_work=1, open_builds=1)])
        b.farm.merge([build(state=BuildState.ASSIGNED, machine="m1")])
        found = await b.floor.resolve("R-1", verdict, "anna")
        assert (found.state, found.outcome) == (state, outcome)
        assert b.farm.builds["B-1"].state is build_state
        assert b.machine().permit is None, "a permit is never given back"
        with pytest.raises(Refused):
            await b.floor.resolve("R-1", verdict, "anna")


@warped
async def test_only_uncertain_runs_are_resolved_and_only_by_known_verdicts() -> None:
    async with bench(running_farm(RunState.UNCERTAIN, **OFFLINE), capabilities=UNSURE) as b:
        with pytest.raises(Refused) as refused:
            await b.floor.resolve("R-1", "perhaps", "anna")
        assert refused.value.code.name == "bad-verdict"
        with pytest.raises(Refused) as refused:
            await b.floor.resolve("R-9", "failed", "anna")
        assert refused.value.code.name == "unknown-run"
        b.driver().report(Started("R-1", "it shows it"))
        with pytest.raises(Refused) as refused:
            await b.floor.resolve("R-1", "failed", "anna")
        assert refused.value.code.name == "not-uncertain"


# --- holding, releasing, stopping -------------------------------------------------------------


@warped
async def test_hold_and_release() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        assert (await b.floor.hold("m1", "anna", "smells")).held == "smells"
        assert (await b.floor.release("m1", "anna")).held is None
        before = b.kinds()
        await b.floor.release("m1", "anna")
        assert b.kinds() == before, "releasing again is no news"


@warped
async def test_release_of_a_fault_asks_the_driver_and_keeps_the_hold_when_it_cannot() -> None:
    async with bench(farm_of(machine(**OFFLINE, held="smells"))) as b:
        b.driver().report(Faulted(Fault("jam", "jammed", "mend it")))
        b.driver().raises["recover"] = Refused(MACHINE_NOT_READY)
        with pytest.raises(Refused):
            await b.floor.release("m1", "anna")
        assert b.machine().held == "smells"
        b.driver().raises.clear()
        assert (await b.floor.release("m1", "anna")).held is None
        assert b.driver().asked.count("recover") == 2


@pytest.mark.parametrize("ask", ["pause", "resume", "stop"])
@warped
async def test_bug_in_a_command_is_a_fault_that_can_be_released(ask: str) -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        b.driver().raises[ask] = ZeroDivisionError("boom")
        with pytest.raises(MachineFault) as raised:
            await getattr(b.floor, ask)("m1", "anna")
        assert raised.value.code.name == "driver-bug"
        assert b.machine().state is MachineState.FAULT
        await b.floor.release("m1", "anna")
        await b.settle(2.0)
        assert b.machine().state is MachineState.IDLE


@warped
async def test_emergency_stop_reaches_all_machines_past_one_buggy_driver() -> None:
    names = ("m1", "m2", "m3")
    async with bench(farm_of(*(machine(n, **OFFLINE) for n in names)), *(spec(n) for n in names)) as b:
        b.driver("m2").raises["estop"] = RuntimeError("boom")
        assert await b.floor.estop(None, "anna") == ["m1", "m3"]
        assert [b.driver(name).asked for name in names] == [["estop"]] * 3
        assert [b.machine(name).held for name in names] == ["emergency stop"] * 3, "nothing starts anywhere"


@warped
async def test_emergency_stop_of_one_machine_that_cannot_be_sent_is_told_and_holds_it() -> None:
    async with bench(farm_of(machine(**OFFLINE), machine("m2", **OFFLINE)), spec(), spec("m2")) as b:
        b.driver().raises["estop"] = RuntimeError("boom")
        with pytest.raises(FarmdError) as raised:
            await b.floor.estop("m1", "anna")
        assert raised.value.code.name == "driver-bug"
        assert b.machine().held == "emergency stop"
        assert b.machine("m2").held is None
        assert b.driver("m2").asked == []
