"""What is started now: never what a rule refuses, never too much, one start a machine, however old the plan."""

from __future__ import annotations

import random
from typing import Any

import pytest
from farmshop import (
    SHA,
    T0,
    build,
    farm_of,
    job,
    machine,
    permit,
    powder,
    powder_job,
    run,
    schedule,
    shop,
    spec,
    station,
    step,
)

from farmd.daemon.dispatch import BATCH_GRACE_S, NewBuild, dispatch
from farmd.daemon.rules import demand_of, fitness, readiness, unwanted, wrong_setup
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault


def started(farm: Any, plan: Any, the_shop: Any, at: float = T0) -> dict[str, Any]:
    return {start.machine: start.build for start in dispatch(farm, plan, the_shop, at)}


# --- what is started --------------------------------------------------------------------------


def test_first_step_that_is_wanted_is_started_with_the_machines_permit() -> None:
    farm = farm_of(machine(), job(parts_per_plate=3), job("J-2"))
    (start,) = dispatch(farm, schedule(step(work="J-9"), step(), step(work="J-2")), shop(spec()), T0)
    assert (start.machine, start.permit_id, start.step) == ("m1", "P-m1", step())
    assert start.build == NewBuild("print", (("J-1", 3),), 3600.0, "PLA", 0.4, SHA, 20.0)


def test_plate_starts_before_its_planned_time() -> None:
    assert started(farm_of(machine(), job()), schedule(step(start_at=T0 + 9e4)), shop(spec()))


@pytest.mark.parametrize(("missing", "machines"), [(1, 1), (2, 2), (3, 3), (0, 0)])
def test_no_more_of_a_job_than_is_missing(missing: int, machines: int) -> None:
    names = ("m1", "m2", "m3")
    farm = farm_of(*(machine(n) for n in names), job(quantity=4, in_work=4 - missing))
    plan = schedule(*(step(name) for name in names))
    assert len(started(farm, plan, shop(*(spec(n) for n in names)))) == machines


def test_plates_count_with_all_their_parts() -> None:
    names = ("m1", "m2", "m3")
    farm = farm_of(*(machine(n) for n in names), job(quantity=7, parts_per_plate=4))
    assert len(started(farm, schedule(*(step(n) for n in names)), shop(*(spec(n) for n in names)))) == 2


def test_one_start_a_machine_and_one_machine_a_queued_build() -> None:
    farm = farm_of(machine(), machine("m2"), job(in_work=1, open_builds=1, quantity=9), build())
    plan = schedule(step("m1", "B-1"), step("m1"), step("m2", "B-1"), step("m2"))
    found = started(farm, plan, shop(spec(), spec("m2")))
    assert found["m1"] == "B-1"
    assert found["m2"].items == (("J-1", 1),)


# --- what is not ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"state": MachineState.OFFLINE},
        {"state": MachineState.FAULT, "fault": Fault("x", "y", "z")},
        {"state": MachineState.FOREIGN},
        {"state": MachineState.BUSY, "run_id": "R-1"},
        {"run_id": "R-1"},
        {"held": "x"},
        {"permit": None},
        {"uncleared_run_id": "R-1"},
    ],
)
def test_nothing_is_started_on_a_machine_that_is_not_ready(changes: dict) -> None:
    farm = farm_of(machine(**changes), job(), run(state=RunState.SENT))
    assert not started(farm, schedule(step()), shop(spec()))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": JobState.HELD},
        {"state": JobState.CANCELLED, "open_builds": 1},
        {"state": JobState.DONE, "open_builds": 1},
        {"in_work": 4},
        {"group": "core"},
        {"process": "PBF"},
    ],
)
def test_stale_plan_starts_nothing_that_the_state_no_longer_allows(changes: dict) -> None:
    farm = farm_of(machine(), job(**changes), job("J-2"))
    assert not started(farm, schedule(step(), step(work="B-9")), shop(spec()))
    found = started(farm, schedule(step(), step(work="J-2")), shop(spec()))
    assert found["m1"].items == (("J-2", 1),)


@pytest.mark.parametrize("changes", [{"material": "PLA red"}, {"nozzle_mm": 0.6}, {"material": "PETG"}])
def test_wrong_setup_blocks_and_nothing_later_in_the_plan_overtakes(changes: dict) -> None:
    farm = farm_of(machine(), job(**changes), job("J-2"))
    assert not started(farm, schedule(step(), step(work="J-2")), shop(spec()))


def test_machine_that_left_the_configuration_is_left_alone() -> None:
    farm = farm_of(machine(), machine("m2"), job())
    assert set(started(farm, schedule(step(), step("m2")), shop(spec("m2")))) == {"m2"}


# --- powder -----------------------------------------------------------------------------------


def batch(**changes: Any) -> Any:
    return step("sls", None, items=(("J-1", 3), ("J-2", 2)), **changes)


def test_batch_waits_for_its_time() -> None:
    farm = farm_of(machine("sls"), powder_job(), powder_job("J-2"))
    plan = schedule(batch(start_at=T0 + 1000.0))
    assert not started(farm, plan, shop(powder()), T0 + 999.0 - BATCH_GRACE_S)
    assert started(farm, plan, shop(powder()), T0 + 1000.0 - BATCH_GRACE_S)


def test_batch_is_made_up_of_what_is_still_missing_and_takes_as_long_as_that() -> None:
    farm = farm_of(machine("sls"), powder_job(quantity=2), powder_job("J-2", mass_g=7.0), powder_job("J-3"))
    found = started(farm, schedule(batch()), shop(powder()))["sls"]
    assert found.items == (("J-1", 2), ("J-2", 2))
    assert found.duration_s == pytest.approx(600.0 + 0.01 * 4 * 20_000.0 + 20.0 * 30.0)
    assert (found.mass_g, found.material, found.file_sha256) == (2 * 20.0 + 2 * 7.0, "PA12", None)
    held = farm_of(machine("sls"), powder_job(state=JobState.HELD), powder_job("J-2"))
    assert started(held, schedule(batch()), shop(powder()))["sls"].items == (("J-2", 2),)
    wrong = farm_of(machine("sls", material="PA11"), powder_job(material=None))
    assert not started(wrong, schedule(batch()), shop(powder())), "another powder is loaded"
    none = farm_of(machine("sls"), powder_job(in_work=4), powder_job("J-2", state=JobState.HELD))
    assert not started(none, schedule(batch()), shop(powder()))


def test_two_chambers_do_not_make_the_same_parts() -> None:
    farm = farm_of(machine("sls1"), machine("sls2"), powder_job(quantity=4))
    plan = schedule(*(step(name, None, items=(("J-1", 3),)) for name in ("sls1", "sls2")))
    found = started(farm, plan, shop(powder("sls1"), powder("sls2")))
    assert [found["sls1"].items, found["sls2"].items] == [(("J-1", 3),), (("J-1", 1),)]


# --- queued builds ----------------------------------------------------------------------------

ROUTED: dict[str, Any] = {"route": ("print", "wash"), "in_work": 2, "open_builds": 1, "quantity": 2}
WASH: dict[str, Any] = {"operation": "wash", "follows": "B-0"}


@pytest.mark.parametrize(
    ("first", "second", "goes"),
    [
        ({}, {}, True),
        ({"state": JobState.CANCELLED}, {}, True),
        ({"state": JobState.DONE}, {}, True),
        ({"state": JobState.HELD}, {}, False),
        ({"state": JobState.CANCELLED}, {"state": JobState.CANCELLED}, False),
        ({"state": JobState.CANCELLED}, {"state": JobState.HELD}, False),
    ],
)
def test_parts_that_are_together_go_on_while_one_job_wants_them_and_none_is_held(
    first: dict, second: dict, goes: bool
) -> None:
    farm = farm_of(
        machine("wash"),
        job(**{**ROUTED, **first}),
        job("J-2", **{**ROUTED, **second}),
        build("B-1", ("J-1", 2), ("J-2", 2), **WASH),
    )
    assert bool(started(farm, schedule(step("wash", "B-1")), shop(station()))) is goes


def test_build_under_way_is_not_started_again() -> None:
    farm = farm_of(machine(), job(in_work=1, open_builds=1), build(state=BuildState.ASSIGNED, machine="m2"))
    assert not started(farm, schedule(step("m1", "B-1")), shop(spec()))


# --- any farm, any plan -----------------------------------------------------------------------


def random_farm(chance: random.Random) -> tuple[Any, Any, Any]:
    specs = [spec(f"m{n}", group=chance.choice(("mk4", "core"))) for n in range(4)]
    specs += [powder("sls"), station("wash")]
    machines = [
        machine(
            each.name,
            state=chance.choice((*MachineState, *[MachineState.IDLE] * 30)),
            held=chance.choice((*[None] * 9, "x")),
            run_id=chance.choice((*[None] * 9, "R-1")),
            uncleared_run_id=chance.choice((*[None] * 9, "R-2")),
            material="PA12" if each.chamber else chance.choice((*["PLA black"] * 5, "PLA red", "PETG", None)),
            permit=chance.choice((*[permit(each.name)] * 9, None)),
        )
        for each in specs
    ]
    jobs = [
        chance.choice((job, powder_job))(
            f"J-{n}",
            state=chance.choice((*JobState, *[JobState.OPEN] * 4)),
            quantity=chance.randint(1, 6),
            good=chance.choice((0, 0, 1)),
            in_work=chance.choice((0, 0, 1, 4)),
            open_builds=1,
            parts_per_plate=chance.randint(1, 3),
            group=chance.choice((None, None, "core", "m1")),
            route=("print", "wash"),
        )
        for n in range(6)
    ]
    builds = []
    for n in range(4):
        items = [(each.id, chance.randint(1, 2)) for each in chance.sample(jobs, chance.randint(1, 2))]
        made = chance.choice(({}, WASH))
        builds.append(build(f"B-{n}", *items, state=chance.choice(tuple(BuildState)), **made))
    steps = []
    for _ in range(20):
        name = chance.choice(specs).name
        if name == "sls" and chance.random() < 0.7:
            items = tuple((each.id, chance.randint(1, 3)) for each in chance.sample(jobs, 2))
            steps.append(step(name, None, T0 + chance.uniform(-9e3, 9e3), items=items))
        else:
            steps.append(step(name, chance.choice([*(each.id for each in jobs + builds), "J-77", "B-77"])))
    farm = farm_of(
        *machines, *jobs, *builds, run("R-1", state=RunState.SENT), run("R-2", state=RunState.ENDED)
    )
    return farm, schedule(*steps), shop(*specs)


@pytest.mark.parametrize("seed", range(20))
def test_of_any_farm_and_any_plan_nothing_is_started_that_a_rule_refuses(seed: int) -> None:
    chance, some = random.Random(seed), 0
    for _ in range(100):
        farm, plan, the_shop = random_farm(chance)
        starts = dispatch(farm, plan, the_shop, T0)
        assert len({start.machine for start in starts}) == len(starts)
        queued = [start.build for start in starts if isinstance(start.build, str)]
        assert len(set(queued)) == len(queued)
        before: dict[str, int] = {}
        for start in starts:
            some += 1
            the_machine, the_spec = farm.machines[start.machine], the_shop.specs[start.machine]
            assert the_machine.permit is not None
            assert start.permit_id == the_machine.permit.id
            assert readiness(the_machine, farm) is None
            if isinstance(start.build, str):
                wanted: Any = farm.builds[start.build]
                assert wanted.state is BuildState.QUEUED
                assert not unwanted(farm, wanted)
                items = [(item.job_id, item.parts) for item in wanted.items]
            else:
                wanted, items = start.build, list(start.build.items)
                for job_id, parts in items:
                    assert farm.jobs[job_id].missing > before.get(job_id, 0)
                    assert farm.jobs[job_id].state is JobState.OPEN
                    before[job_id] = before.get(job_id, 0) + parts
            assert wrong_setup(the_machine, the_spec, wanted) is None
            for job_id, _ in items:
                assert farm.jobs[job_id].state is not JobState.HELD
                assert (
                    fitness(demand_of(farm, farm.jobs[job_id], wanted.operation), the_spec, the_shop) is None
                )
    assert some > 30
