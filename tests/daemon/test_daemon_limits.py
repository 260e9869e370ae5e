"""Maintenance, shared power and short lots: in the problem, and against what would start in spite of a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from farmshop import T0, build, farm_of, job, machine, powder, run, schedule, shop, spec, station, step

from farmd.daemon.dispatch import dispatch
from farmd.daemon.limits import not_now
from farmd.daemon.shop import PowerGroup
from farmd.daemon.snapshot import take_snapshot
from farmd.daemon.walk import walk_list
from farmd.daemon.why import why
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, MachineState, RunState
from farmd.model.work import Lot
from farmd.planner import Budget, check, plan

HALL = PowerGroup("hall", ("m1", "m2", "m3"), 1, 600.0)
SPECS = (spec("m1"), spec("m2"), spec("m3"))


def running(name: str, started_at: float) -> tuple[Any, ...]:
    """A machine that makes a run of J-9."""
    return (
        machine(name, state=MachineState.BUSY, permit=None, run_id=f"R-{name}"),
        run(f"R-{name}", build_id=f"B-{name}", machine=name, state=RunState.RUNNING, started_at=started_at),
        build(f"B-{name}", machine=name, state=BuildState.ASSIGNED, mass_g=35.0),
    )


def started(farm: Farm, the_shop: Any, *names: str, at: float = T0) -> list[str]:
    return [s.machine for s in dispatch(farm, schedule(*(step(name) for name in names)), the_shop, at)]


# --- maintenance ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_s", "until_s", "starts"),
    [
        (-10.0, 10.0, False),
        (3599.0, 9000.0, False),
        (3600.0, 9000.0, True),
        (-10.0, 0.0, True),
    ],
)
def test_no_run_of_an_hour_starts_into_maintenance(from_s: float, until_s: float, starts: bool) -> None:
    the_shop = shop(spec(), shut={"m1": ((T0 + from_s, T0 + until_s),)})
    farm = farm_of(machine(), job())
    assert started(farm, the_shop, "m1") == (["m1"] if starts else [])
    answer = why(farm, schedule(step()), the_shop, farm.jobs["J-1"], now_s=T0).machines[0]
    assert answer.rule == ("planned" if starts else "maintenance")


def test_maintenance_that_is_ahead_is_in_the_problem_and_told_as_a_wait() -> None:
    hours = ((T0 - 7200.0, T0 - 3600.0), (T0 - 60.0, T0 + 600.0), (T0 + 4000.0, T0 + 9000.0))
    the_shop = shop(spec(), shut={"m1": hours}, clear_s=0.0)
    farm = farm_of(machine(), job(quantity=1, due_at=T0 - 500.0))
    snapshot = take_snapshot(farm, the_shop, T0)
    now_s = snapshot.problem.now_s
    assert snapshot.problem.machines[0].shut == ((now_s, now_s + 600.0), (now_s + 4000.0, now_s + 9000.0))
    made = plan(snapshot.problem, budget=Budget(effort=50), seed=0)
    assert check(snapshot.problem, made) == ()
    assert made.assignments[0].start_s == now_s + 9000.0


def test_a_station_that_is_shut_is_planned_for_later() -> None:
    shut = {"wash": ((T0 - 60.0, T0 + 50_000.0),)}
    the_shop = shop(spec(), station("wash"), shut=shut, clear_s=0.0)
    farm = farm_of(
        machine(),
        machine("wash"),
        job(quantity=1, route=("print", "wash")),
        build("B-1", operation="wash", state=BuildState.QUEUED),
    )
    snapshot = take_snapshot(farm, the_shop, T0)
    now_s = snapshot.problem.now_s
    assert snapshot.problem.stations[0].shut == ((now_s, now_s + 50_000.0),)
    made = plan(snapshot.problem, budget=Budget(effort=50), seed=0)
    assert check(snapshot.problem, made) == ()
    assert min(o.start_s for o in made.operations) == now_s + 50_000.0


def test_a_shop_without_any_is_planned_as_ever() -> None:
    farm = farm_of(machine(lot_id="L-1"), job(owner="ann"), Lot("L-1", "PLA black", 5.0))
    problem = take_snapshot(farm, shop(spec()), T0).problem
    bare = problem.as_dict()
    assert not {"power_groups", "spool_change_s"} & set(bare)
    assert not {"shut", "grams_left", "wear_price"} & set(bare["machines"][0])
    assert not {"grams", "owner", "deadline_s"} & set(bare["builds"][0])
    assert started(farm, shop(spec()), "m1") == ["m1"]


# --- power ------------------------------------------------------------------------------------


def test_no_more_start_at_once_than_may_warm_up() -> None:
    farm = farm_of(machine("m1"), machine("m2"), machine("m3"), job(quantity=9))
    assert started(farm, shop(*SPECS, power_groups=(HALL,)), "m1", "m2", "m3") == ["m1"]
    two = replace(HALL, at_once=2)
    assert started(farm, shop(*SPECS, power_groups=(two,)), "m1", "m2", "m3") == ["m1", "m2"]
    apart = replace(HALL, machines=("m1", "m3"))
    assert started(farm, shop(*SPECS, power_groups=(apart,)), "m1", "m2", "m3") == ["m1", "m2"]


@pytest.mark.parametrize(("ago_s", "starts"), [(599.0, False), (600.0, True)])
def test_what_really_started_counts_until_it_is_warm(ago_s: float, starts: bool) -> None:
    farm = farm_of(*running("m2", T0 - ago_s), machine("m1"), job(), job("J-9"))
    the_shop = shop(*SPECS, power_groups=(HALL,))
    assert started(farm, the_shop, "m1") == (["m1"] if starts else [])
    told = not_now(farm, the_shop, farm.machines["m1"], farm.jobs["J-1"], T0)
    assert (told is None) == starts
    if told is not None:
        assert (told.rule, told.what) == ("power", "m2 warms up; hall has power for 1 at once")


def test_groups_are_in_the_problem_as_far_as_their_machines_are() -> None:
    farm = farm_of(machine("m1"), machine("m2", state=MachineState.FAULT), machine("m3"), job())
    problem = take_snapshot(farm, shop(*SPECS, power_groups=(HALL,)), T0).problem
    assert [(g.name, g.machines, g.at_once, g.warm_up_s) for g in problem.power_groups] == [
        ("hall", ("m1", "m3"), 1, 600.0)
    ]


# --- lots -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left_g", "starts"), [(20.0, True), (19.9, False)])
def test_a_run_waits_for_a_spool_that_is_enough(left_g: float, starts: bool) -> None:
    farm = farm_of(machine(lot_id="L-1"), job(), Lot("L-1", "PLA black", left_g))
    the_shop = shop(spec(), spool_change_s=180.0)
    assert started(farm, the_shop, "m1") == (["m1"] if starts else [])
    assert started(farm, shop(spec()), "m1") == ["m1"]
    tasks = [task for task in walk_list(farm, schedule(step()), the_shop, T0) if task.kind == "load"]
    assert [task.command for task in tasks] == (
        [] if starts else ["farmctl load m1 'PLA black' --lot NEW --grams G"]
    )
    if not starts:
        assert tasks[0].what == "change the spool: L-1 has 19 g left, a run takes 20 g"


def test_what_is_left_is_what_the_run_on_the_machine_leaves() -> None:
    busy, its_run, its_build = running("m1", T0)
    farm = farm_of(
        replace(busy, lot_id="L-1"), its_run, its_build, job(), job("J-9"), Lot("L-1", "PLA black", 50.0)
    )
    problem = take_snapshot(farm, shop(spec(), spool_change_s=180.0), T0).problem
    assert problem.spool_change_s == 180.0
    assert problem.machines[0].grams_left == 15.0
    assert {b.id: b.grams for b in problem.builds}["J-1"] == 20.0


def test_powder_is_not_counted_by_the_spool() -> None:
    farm = farm_of(machine("sls", lot_id="L-1"), Lot("L-1", "PA12", 1.0), job())
    problem = take_snapshot(farm, shop(powder(), spec("m1"), spool_change_s=180.0), T0).problem
    assert [m.grams_left for m in problem.machines] == [None]
