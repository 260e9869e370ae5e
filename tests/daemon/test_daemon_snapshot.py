"""The farm as a planning problem: what is in it, what is left out and why, and what the ids mean."""

from __future__ import annotations

from typing import Any

import pytest
from farmshop import (
    T0,
    build,
    farm_of,
    job,
    machine,
    powder,
    powder_job,
    run,
    shop,
    spec,
    station,
)

from farmd.daemon.planned_names import job_of_part, pieces_of_part, work_of_run
from farmd.daemon.schedule import schedule_of
from farmd.daemon.snapshot import MOST_OF_A_JOB, take_snapshot
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.work import PartShape
from farmd.planner import Announced, Assignment, Crew, Plan, Value

HOUR = 3600.0


def setups(snapshot: Any) -> dict[str, str]:
    return {each.id: each.setup for each in snapshot.problem.builds}


def machines_of(snapshot: Any, build_id: str) -> set[str]:
    (asked,) = [each for each in snapshot.problem.builds if each.id == build_id]
    return {each.name for each in snapshot.problem.machines if asked.runs_on(each)}


def test_powder_job_for_some_of_its_chambers_is_planned_in_loads_for_these_alone() -> None:
    """The planner knows chambers by their powder; what may not go into all of them must not be a part."""
    asked = powder_job(quantity=30, group="sls1")
    farm = farm_of(machine("sls1"), machine("sls2"), asked, powder_job("J-2", quantity=4))
    problem = take_snapshot(farm, shop(powder("sls1"), powder("sls2")), T0).problem
    assert {job_of_part(part.id) for part in problem.parts} == {"J-2"}
    (load,) = problem.builds
    assert load.id == "J-1"
    assert {each.name for each in problem.machines if load.runs_on(each)} == {"sls1"}
    chamber, shape = powder("sls1").chamber, asked.shape
    assert chamber is not None
    assert shape is not None
    parts = min(30, int(chamber.area_mm2 / shape.area_mm2))
    assert load.count == -(-30 // parts)
    expected_s = (
        chamber.setup_s + chamber.s_per_mm3 * shape.volume_mm3 * parts + chamber.s_per_mm * shape.height_mm
    )
    assert set(load.duration_s.values()) == {expected_s}


# --- jobs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "good", "in_work", "plate", "runs"),
    [(4, 0, 0, 1, 4), (5, 0, 0, 4, 2), (4, 0, 0, 4, 1), (9, 2, 3, 2, 2), (1, 0, 0, 12, 1)],
)
def test_missing_parts_become_runs_of_whole_plates(
    quantity: int, good: int, in_work: int, plate: int, runs: int
) -> None:
    farm = farm_of(machine(), job(quantity=quantity, good=good, in_work=in_work, parts_per_plate=plate))
    (made,) = take_snapshot(farm, shop(spec()), T0).problem.builds
    assert (made.id, made.count, set(made.duration_s.values())) == ("J-1", runs, {HOUR})


def test_job_without_missing_parts_or_held_or_over_is_not_planned() -> None:
    farm = farm_of(
        machine(),
        job("J-1", in_work=4, open_builds=1),
        job("J-2", state=JobState.HELD),
        job("J-3", state=JobState.CANCELLED, in_work=1, open_builds=1),
        job("J-4", state=JobState.DONE, good=4, in_work=1, open_builds=1),
    )
    snapshot = take_snapshot(farm, shop(spec()), T0)
    assert snapshot.is_empty
    assert snapshot.left_out == {}


def test_overdue_job_moves_the_clocks_zero_so_that_no_time_is_negative() -> None:
    farm = farm_of(machine(), job(due_at=T0 - 5 * HOUR), job("J-2", due_at=T0 + HOUR, priority=4.0))
    snapshot = take_snapshot(farm, shop(spec()), T0)
    assert (snapshot.origin_s, snapshot.problem.now_s) == (T0 - 5 * HOUR, 5 * HOUR)
    assert {each.id: (each.due_s, each.weight) for each in snapshot.problem.builds} == {
        "J-1": (0.0, 1.0),
        "J-2": (6 * HOUR, 4.0),
    }


def test_job_that_no_available_machine_can_make_is_left_out_with_the_reason() -> None:
    farm = farm_of(machine(), machine("m2", state=MachineState.OFFLINE), job(group="m2"), job("J-2"))
    snapshot = take_snapshot(farm, shop(spec(), spec("m2")), T0)
    assert snapshot.left_out == {"J-1": "no machine that can make it is available"}
    assert [each.id for each in snapshot.problem.builds] == ["J-2"]


def test_beyond_the_horizon_jobs_wait_in_order_of_due_date_and_priority() -> None:
    jobs = [
        job("J-1", quantity=100),
        job("J-2", due_at=T0 + 9 * HOUR, quantity=100),
        job("J-3", due_at=T0 + 8 * HOUR, quantity=100),
        job("J-4", quantity=100, priority=2.0),
    ]
    the_shop = shop(spec(), horizon_s=100 * HOUR)
    snapshot = take_snapshot(farm_of(machine(), *jobs), the_shop, T0)
    assert {each.id: each.count for each in snapshot.problem.builds} == {"J-3": 100, "J-2": 50}
    assert set(snapshot.left_out) == {"J-1", "J-4"}
    assert snapshot.left_out["J-1"].startswith("later")
    less = take_snapshot(farm_of(machine(), *jobs), the_shop, T0, backlog_share=0.1)
    assert {each.id: each.count for each in less.problem.builds} == {"J-3": 15}


@pytest.mark.parametrize("changes", [{"duration_s": 0.0}, {"duration_s": 1.0}, {"quantity": 10**9}])
def test_one_huge_job_does_not_fill_the_problem(changes: dict) -> None:
    farm = farm_of(machine(), job(**{"quantity": 10**8, **changes}))
    (made,) = take_snapshot(farm, shop(spec()), T0).problem.builds
    assert made.count <= MOST_OF_A_JOB
    farm = farm_of(machine("sls"), powder_job(**{"quantity": 10**8, **changes}))
    assert len(take_snapshot(farm, shop(powder()), T0).problem.parts) <= MOST_OF_A_JOB


@pytest.mark.parametrize(
    ("quantity", "area_mm2", "pieces"),
    [(2, 1600.0, [1]), (80, 300.0, [20, 20, 20, 19]), (80, 3000.0, [2] * 39 + [1]), (9, 70_000.0, [1] * 8)],
)
def test_missing_powder_parts_are_planned_in_bundles(
    quantity: int, area_mm2: float, pieces: list[int]
) -> None:
    shape = PartShape(20_000.0, 30.0, area_mm2)
    farm = farm_of(machine("sls"), powder_job(quantity=quantity, good=1, due_at=T0 + HOUR, shape=shape))
    snapshot = take_snapshot(farm, shop(powder()), T0)
    parts = snapshot.problem.parts
    assert [each.id for each in parts] == [f"J-1/{n}x{each}" for n, each in enumerate(pieces, 1)]
    assert [pieces_of_part(each.id) for each in parts] == pieces
    assert sum(pieces) == quantity - 1
    for part, count in zip(parts, pieces, strict=True):
        assert (part.volume_mm3, part.area_mm2, part.height_mm) == (20_000.0 * count, area_mm2 * count, 30.0)
        assert (part.setup, part.due_s) == ("PA12", HOUR)
    assert snapshot.problem.builds == ()


def test_ids_lead_back_to_the_work() -> None:
    assert (work_of_run("J-7#2"), work_of_run("B-12#1"), job_of_part("J-7/3x8")) == ("J-7", "B-12", "J-7")


# --- materials --------------------------------------------------------------------------------


def loaded(*materials: str | None, nozzle_mm: float | None = 0.4) -> list:
    return [machine(f"m{n}", material=m, nozzle_mm=nozzle_mm) for n, m in enumerate(materials)]


def printers(count: int) -> list:
    return [spec(f"m{n}") for n in range(count)]


@pytest.mark.parametrize(
    ("on_machines", "wanted", "nozzle_mm", "setup"),
    [
        (("PLA black", "PLA red", "PLA red"), "PLA", 0.4, "PLA red|0.4"),
        (("PLA black", "PLA red"), "PLA black", 0.4, "PLA black|0.4"),
        (("PLA black", "PLA red"), "PLA blue", 0.4, "PLA blue|0.4"),
        (("PETG", "PETG", "PLA black"), None, 0.4, "PETG|0.4"),
        (("PETG", "PETG", "PLA black"), "ABS", 0.4, "ABS|0.4"),
        (("PLA", "PLA black", "PLA black"), "PLA", None, "PLA black|0.4"),
        ((None, None), None, None, "-"),
        ((None, None), "PLA", 0.6, "PLA|0.6"),
    ],
)
def test_family_or_no_wish_is_planned_as_what_most_machines_have(
    on_machines: tuple, wanted: str | None, nozzle_mm: float | None, setup: str
) -> None:
    farm = farm_of(*loaded(*on_machines), job(material=wanted, nozzle_mm=nozzle_mm))
    snapshot = take_snapshot(farm, shop(*printers(len(on_machines))), T0)
    assert setups(snapshot) == {"J-1": setup}


def test_what_other_kinds_of_machines_have_loaded_does_not_count() -> None:
    others = [machine(f"sls{n}", material="PA12") for n in range(3)]
    farm = farm_of(machine(), *others, job(material=None))
    snapshot = take_snapshot(farm, shop(spec(), *(powder(each.name) for each in others)), T0)
    assert setups(snapshot) == {"J-1": "PLA black|0.4"}
    assert {each.name: each.setup for each in snapshot.problem.machines} == {
        "m1": "PLA black|0.4",
        **dict.fromkeys(("sls0", "sls1", "sls2"), "PA12"),
    }


def test_machines_with_the_wanted_nozzle_decide_on_the_material() -> None:
    farm = farm_of(
        machine("m0", material="PLA black", nozzle_mm=0.6),
        *loaded(None, "PLA red", "PLA red")[1:],
        job(material="PLA", nozzle_mm=0.6),
    )
    assert setups(take_snapshot(farm, shop(*printers(3)), T0)) == {"J-1": "PLA black|0.6"}


def test_changeovers_are_told_for_every_nozzle_in_use() -> None:
    farm = farm_of(machine(), job(nozzle_mm=0.4), job("J-2", nozzle_mm=0.6))
    the_shop = shop(spec(), changeovers=(("PLA", "PETG", 60.0),), changeover_s=500.0)
    changeover = take_snapshot(farm, the_shop, T0).problem.changeover_s
    assert changeover.default == 500.0
    assert set(changeover.pairs) == {
        ("PLA", "PETG", 60.0),
        ("PLA|0.4", "PETG|0.4", 60.0),
        ("PLA|0.6", "PETG|0.6", 60.0),
    }


# --- machines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"state": MachineState.OFFLINE},
        {"state": MachineState.FAULT},
        {"state": MachineState.FOREIGN},
        {"held": "smells"},
        {"run_id": "R-9"},
    ],
)
def test_nothing_is_planned_on_a_machine_that_needs_a_person(changes: dict) -> None:
    farm = farm_of(machine(), machine("m2", **changes), job(), run("R-9", state=RunState.UNCERTAIN))
    snapshot = take_snapshot(
        farm, shop(spec(), spec("m2")), T0, [("J-1#1", "m2", T0), ("J-1#2", "m1", T0 - 60.0)]
    )
    assert [each.name for each in snapshot.problem.machines] == ["m1"]
    assert snapshot.problem.announced == (Announced("J-1#2", "m1", 0.0),)


def test_machine_is_free_when_its_run_should_end_and_it_has_cooled() -> None:
    farm = farm_of(
        machine("m1", state=MachineState.BUSY, run_id="R-1", permit=None),
        machine("sls", state=MachineState.BUSY, run_id="R-2", permit=None),
        machine("m2", ready_at=T0 + 50.0),
        job(),
        build("B-1", state=BuildState.ASSIGNED),
        build("B-2", state=BuildState.ASSIGNED),
        run("R-1", state=RunState.RUNNING, started_at=T0 - 600.0),
        run("R-2", state=RunState.SENT, build_id="B-2", intent_at=T0 - 60.0, machine="sls"),
    )
    snapshot = take_snapshot(farm, shop(spec(), spec("m2"), powder()), T0)
    assert {each.name: each.available_s for each in snapshot.problem.machines} == {
        "m1": HOUR - 600.0,
        "m2": 50.0,
        "sls": HOUR - 60.0 + 7200.0,
    }


def test_machines_are_of_one_type_only_when_they_fit_the_same_work() -> None:
    """A job that asks for one machine by name, or that a limit keeps off one, must not land on its twin."""
    specs = [spec("m1"), spec("m2"), spec("m3", process="VPP"), spec("m4", group="core")]
    farm = farm_of(
        *(machine(each.name) for each in specs), job("J-1"), job("J-2", group="m2"), job("J-3", group="mk4")
    )
    snapshot = take_snapshot(farm, shop(*specs), T0)
    assert machines_of(snapshot, "J-1") == {"m1", "m2", "m4"}
    assert machines_of(snapshot, "J-2") == {"m2"}
    assert machines_of(snapshot, "J-3") == {"m1", "m2"}


def test_twins_are_of_one_type() -> None:
    farm = farm_of(machine("m1"), machine("m2"), job())
    snapshot = take_snapshot(farm, shop(spec("m1"), spec("m2")), T0)
    assert len({each.type for each in snapshot.problem.machines}) == 1


# --- builds that are queued already -----------------------------------------------------------


def washing(*items: tuple[str, int], build_id: str = "B-2") -> Any:
    return build(
        build_id, *items, operation="wash", follows="B-1", file_sha256=None, duration_s=0.0, material=None
    )


def test_follow_on_build_is_planned_at_the_stations_that_do_it() -> None:
    farm = farm_of(
        machine(),
        machine("wash"),
        machine("pack"),
        job(quantity=4, in_work=4, open_builds=1, route=("print", "wash"), due_at=T0 + HOUR, priority=3.0),
        washing(("J-1", 4)),
    )
    snapshot = take_snapshot(farm, shop(spec(), station("wash"), station("pack", "pack")), T0)
    (route,) = snapshot.problem.routes
    assert (route.id, route.of, route.count, route.due_s, route.weight) == ("B-2", None, 1, HOUR, 3.0)
    (wash,) = route.operations
    assert (wash.id, set(wash.duration_s.values()), wash.load_s) == ("wash", {900.0}, 300.0)
    assert [s.name for s in snapshot.problem.stations if wash.runs_on(s)] == ["wash"]
    assert not snapshot.problem.builds
    assert snapshot.at_stations == {"B-2"}


def test_what_comes_behind_prints_is_planned_with_them_and_as_far_as_it_goes() -> None:
    finish = {"route": ("print", "wash", "pack"), "due_at": T0 + 90 * HOUR}
    farm = farm_of(
        machine(state=MachineState.BUSY, run_id="R-1"),
        machine("wash"),
        machine("pack"),
        job("J-1", quantity=9, in_work=1, open_builds=1, **finish),
        job("J-2", quantity=400, **finish),
        build("B-1", ("J-1", 1), state=BuildState.ASSIGNED, machine="m1", duration_s=7200.0),
        run(started_at=T0 - 3600.0, state=RunState.RUNNING),
    )
    problem = take_snapshot(farm, shop(spec(), station("wash"), station("pack", "pack")), T0).problem
    behind = {route.id: route for route in problem.routes}
    assert set(behind) == {"B-1+", "J-1+"}
    assert behind["B-1+"].release_s == 3600.0
    assert [o.id for o in behind["B-1+"].operations] == ["wash", "pack"]
    assert behind["J-1+"].of == "J-1"
    dues = {each.id: each.due_s for each in problem.builds}
    assert dues == {"J-1": 90 * HOUR, "J-2": 90 * HOUR - 2 * (900.0 + 300.0)}


def test_build_queued_again_is_planned_where_it_fits() -> None:
    farm = farm_of(machine(), machine("m2"), job(quantity=1, in_work=1, open_builds=1, group="m2"), build())
    snapshot = take_snapshot(farm, shop(spec(), spec("m2")), T0)
    assert machines_of(snapshot, "B-1") == {"m2"}
    assert setups(snapshot) == {"B-1": "PLA black|0.4"}
    powder_farm = farm_of(machine("sls"), powder_job(quantity=1, in_work=1, open_builds=1), build())
    assert setups(take_snapshot(powder_farm, shop(powder()), T0)) == {"B-1": "PA12"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"state": JobState.HELD}, "J-2, whose parts are in B-2, is held"),
        ({"state": JobState.CANCELLED}, None),
    ],
)
def test_parts_that_are_together_wait_together(other: dict, reason: str | None) -> None:
    route = {"route": ("print", "wash"), "in_work": 2, "open_builds": 1, "quantity": 2}
    farm = farm_of(
        machine("wash"), job(**route), job("J-2", **route, **other), washing(("J-1", 2), ("J-2", 2))
    )
    snapshot = take_snapshot(farm, shop(station()), T0)
    assert snapshot.left_out == ({} if reason is None else {"J-1": reason, "J-2": reason})
    assert [each.id for each in snapshot.problem.routes] == ([] if reason else ["B-2"])


def test_queued_build_without_a_machine_or_wanted_by_nobody_or_left_out_on_purpose() -> None:
    work = {"route": ("print", "wash"), "in_work": 1, "open_builds": 1, "quantity": 1}
    farm = farm_of(
        machine(),
        job("J-1", **work),
        job("J-2", **{**work, "state": JobState.CANCELLED}),
        job("J-3", in_work=1, open_builds=1, quantity=1),
        washing(("J-1", 1)),
        washing(("J-2", 1), build_id="B-3"),
        build("B-4", ("J-3", 1)),
    )
    snapshot = take_snapshot(farm, shop(spec()), T0, without={"B-4": "no window is left"})
    assert snapshot.left_out == {"J-1": "no machine for wash is available", "J-3": "no window is left"}
    assert snapshot.is_empty


# --- people -----------------------------------------------------------------------------------


def test_windows_and_crews_are_told_on_the_problems_clock() -> None:
    asked: list[tuple[float, float]] = []

    def windows(begin: float, end: float) -> dict:
        asked.append((begin, end))
        return {"day": [(T0 + HOUR, T0 + 9 * HOUR)]}

    the_shop = shop(spec(), people={"day": 2}, windows=windows, clear_s=120.0, operator_price=0.5)
    problem = take_snapshot(farm_of(machine(), job(due_at=T0 - HOUR)), the_shop, T0).problem
    assert problem.windows == {"day": ((2 * HOUR, 10 * HOUR),)}
    assert problem.crews == (Crew("day", "day", 2),)
    assert (problem.clear_s, problem.operator_price) == (120.0, 0.5)
    assert asked[0][0] == T0
    assert asked[0][1] >= T0 + 14 * 86400.0


# --- the way back -----------------------------------------------------------------------------


def test_plan_becomes_steps_in_utc_machine_by_machine() -> None:
    farm = farm_of(machine(), machine("sls"), job(due_at=T0 - HOUR), powder_job("J-2"), powder_job("J-3"))
    snapshot = take_snapshot(farm, shop(spec(), powder()), T0)
    plan = Plan(
        "feasible",
        None,
        Value(0.0, 0.0, 0, 0.0),
        (
            Assignment("m1", 3 * HOUR, 4 * HOUR, "J-1#2", operator_start_s=2.5 * HOUR),
            Assignment("sls", HOUR, 2 * HOUR, parts=("J-3/1x2", "J-2/1x3", "J-3/2x1")),
            Assignment("m1", HOUR, 2 * HOUR, "J-1#1"),
        ),
        ("why not",),
    )
    made = schedule_of(plan, snapshot, made_at=T0, policy="edd")
    first, second = made.steps["m1"]
    assert (first.work, first.run_name, first.start_at, first.operator_at) == ("J-1", "J-1#1", T0, None)
    assert (second.start_at, second.end_at, second.operator_at) == (
        T0 + 2 * HOUR,
        T0 + 3 * HOUR,
        T0 + 1.5 * HOUR,
    )
    (batch,) = made.steps["sls"]
    assert (batch.work, batch.items, batch.run_name) == (None, (("J-3", 3), ("J-2", 3)), "J-3/1x2")
    assert [each.machine for each in made.all_steps()] == ["m1", "sls", "m1"]
    assert (made.revision, made.policy, made.status, made.reasons) == (7, "edd", "feasible", ("why not",))
    left = made.after([first, batch])
    assert [each.run_name for each in left.all_steps()] == ["J-1#2"]
    assert len(made.all_steps()) == 3


def test_shape_that_decides_is_the_jobs_own() -> None:
    tall = powder_job(shape=PartShape(1.0, 500.0, 1.0))
    snapshot = take_snapshot(farm_of(machine("sls"), tall), shop(powder()), T0)
    assert snapshot.left_out["J-1"] == "no machine that can make it is available"
