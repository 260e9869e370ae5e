"""What people are told: the walk list, and why a job waits."""

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
    schedule,
    shop,
    spec,
    station,
    step,
)

from farmd.daemon.walk import walk_list
from farmd.daemon.why import why
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import Outcome

JAM = Fault("jam", "the nozzle is jammed", "clear it")


def tasks(farm: Any, *steps: Any, specs: Any = None) -> list[tuple[str, str, str]]:
    the_shop = shop(*(specs or (spec(),)))
    return [(t.machine, t.kind, t.command) for t in walk_list(farm, schedule(*steps), the_shop, T0)]


# --- the walk list ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"run_id": "R-1", "permit": None}, [("resolve", "farmctl resolve R-1 printing|not-started|failed")]),
        (
            {"run_id": "R-1", "permit": None, "state": MachineState.OFFLINE},
            [("resolve", "farmctl resolve R-1 printing|not-started|failed")],
        ),
        ({"state": MachineState.FAULT, "fault": JAM, "permit": None}, [("fault", "farmctl release m1")]),
        ({"state": MachineState.OFFLINE}, [("link", "farmctl machine m1")]),
        ({"permit": None}, [("clear", "farmctl clear m1")]),
        ({"permit": None, "uncleared_run_id": "R-2"}, [("clear", "farmctl clear m1")]),
        ({"permit": None, "held": "x"}, [("held", "farmctl release m1")]),
        ({"permit": None, "state": MachineState.FOREIGN}, []),
        ({"permit": None, "run_id": "R-3", "state": MachineState.BUSY}, []),
    ],
)
def test_each_state_of_a_machine_asks_for_one_thing(changes: dict, expected: list) -> None:
    farm = farm_of(
        machine(**changes),
        run("R-1", state=RunState.UNCERTAIN),
        run("R-2", state=RunState.ENDED, outcome=Outcome.OK),
        run("R-3", state=RunState.RUNNING),
    )
    assert [(kind, command) for _, kind, command in tasks(farm)] == expected


def test_fault_is_told_with_its_remedy() -> None:
    farm = farm_of(machine(state=MachineState.FAULT, fault=JAM))
    (task,) = walk_list(farm, schedule(), shop(spec()), T0)
    assert task.what == "the nozzle is jammed: clear it"


@pytest.mark.parametrize(
    ("on_machine", "wanted", "command"),
    [
        ({}, {"material": "PETG"}, "farmctl load m1 'PETG'"),
        ({}, {"material": "PLA red"}, "farmctl load m1 'PLA red'"),
        ({}, {"nozzle_mm": 0.6}, "farmctl load m1 'PLA black' --nozzle 0.6"),
        ({"material": None}, {}, "farmctl load m1 'PLA'"),
        ({}, {}, None),
    ],
)
def test_loading_is_asked_for_what_comes_next(on_machine: dict, wanted: dict, command: str | None) -> None:
    farm = farm_of(machine(**on_machine), job(**wanted))
    found = tasks(farm, step(work="J-9"), step())
    assert found == ([("m1", "load", command)] if command else [])


def test_chamber_with_another_powder_is_to_be_loaded_with_its_own() -> None:
    farm = farm_of(machine("sls", material="PA11"), powder_job(material=None))
    found = tasks(farm, step("sls", None, items=(("J-1", 2),)), specs=(powder(),))
    assert found == [("sls", "load", "farmctl load sls 'PA12'")]


@pytest.mark.parametrize(
    ("items", "outcome", "command"),
    [
        ((("J-1", 4),), Outcome.OK, "farmctl clear wash"),
        ((("J-1", 4),), Outcome.CANCELLED, "farmctl clear wash --good N"),
        ((("J-1", 4), ("J-2", 1)), Outcome.FAILED, "farmctl clear wash --good J-1=N --good J-2=N"),
    ],
)
def test_failed_run_at_a_station_is_cleared_with_numbers(
    items: tuple, outcome: Outcome, command: str
) -> None:
    farm = farm_of(
        machine("wash", permit=None, uncleared_run_id="R-1"),
        build("B-1", *items, operation="wash", follows="B-0"),
        run(state=RunState.ENDED, outcome=outcome, machine="wash"),
    )
    assert tasks(farm, specs=(station(),)) == [("wash", "clear", command)]


def test_machine_to_be_loaded_and_cleared_is_told_both_with_their_times() -> None:
    farm = farm_of(machine(permit=None, ready_at=T0 + 50.0), job(material="PETG"))
    plan = schedule(step(start_at=T0 + 500.0, operator_at=T0 + 200.0))
    clear, load = walk_list(farm, plan, shop(spec()), T0)
    assert (clear.kind, clear.at) == ("clear", T0 + 200.0)
    assert (load.kind, load.at, load.material) == ("load", T0 + 200.0, "PETG")
    made = farm_of(
        machine(permit=None, uncleared_run_id="R-1", ready_at=T0 + 50.0), run(state=RunState.ENDED)
    )
    (clear,) = walk_list(made, schedule(step(operator_at=T0 + 900.0)), shop(spec()), T0)
    assert (clear.at, clear.run_id) == (T0 + 50.0, "R-1"), "what is made is fetched when it has cooled"


def test_most_urgent_first_then_by_time_and_name() -> None:
    names = [f"m{n}" for n in range(1, 7)]
    farm = farm_of(
        machine("m1", state=MachineState.OFFLINE),
        machine("m2", permit=None, since=T0 - 10.0),
        machine("m3", permit=None, since=T0 - 20.0),
        machine("m4", state=MachineState.FAULT, fault=JAM),
        machine("m5", run_id="R-1", permit=None),
        machine("m6", permit=None, since=T0 - 20.0),
        machine("gone", permit=None),
        run("R-1", state=RunState.UNCERTAIN),
    )
    found = [name for name, _, _ in tasks(farm, specs=[spec(name) for name in names])]
    assert found == ["m5", "m4", "m3", "m6", "m2", "m1"]


# --- why --------------------------------------------------------------------------------------


def answer(farm: Any, *steps: Any, specs: Any = None, job_id: str = "J-1", **of_plan: Any) -> Any:
    return why(farm, schedule(*steps, **of_plan), shop(*(specs or (spec(),))), farm.jobs[job_id])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"state": JobState.HELD}, "a person holds the job"),
        ({"state": JobState.DONE, "open_builds": 1}, "the job is done"),
        ({"state": JobState.CANCELLED, "open_builds": 1}, "the job is cancelled"),
        ({"in_work": 4}, "all missing parts are in work (4)"),
        ({}, "the plan does not have it yet"),
    ],
)
def test_job_tells_its_own_reason(changes: dict, what: str) -> None:
    found = answer(farm_of(machine(), job(**changes)))
    assert (found.what, found.start_at, found.machine) == (what, None, None)


def test_job_that_is_over_is_not_in_an_older_plan() -> None:
    for state in (JobState.DONE, JobState.CANCELLED):
        farm = farm_of(machine(), job(state=state, open_builds=1))
        found = answer(farm, step(), step("m2", None, items=(("J-1", 2),)))
        assert (found.start_at, found.end_at) == (None, None)


def test_job_in_the_plan_tells_where_and_when() -> None:
    plan = (step("m2", start_at=T0 + 900.0), step("m1", start_at=T0 + 90.0), step("m1", "J-2", T0))
    found = answer(farm_of(machine(), machine("m2"), job(), job("J-2")), *plan, specs=(spec(), spec("m2")))
    assert (found.what, found.start_at, found.end_at, found.machine) == (
        "planned on m1",
        T0 + 90.0,
        T0 + 4500.0,
        "m1",
    )


def test_job_left_out_tells_the_planners_reason() -> None:
    assert answer(farm_of(machine(), job()), left_out={"J-1": "later"}).what == "later"


@pytest.mark.parametrize(
    ("on_machine", "of_job", "steps", "rule"),
    [
        ({}, {"group": "core"}, (), "group"),
        ({"state": MachineState.OFFLINE}, {}, (), "offline"),
        ({"state": MachineState.FAULT, "fault": JAM}, {}, (), "fault"),
        ({"held": "x"}, {}, (), "held"),
        ({"state": MachineState.FOREIGN}, {}, (), "foreign-run"),
        ({"run_id": "R-1", "permit": None}, {}, (), "uncertain"),
        ({"run_id": "R-2", "permit": None}, {}, (), "busy"),
        ({"permit": None}, {}, (), "not-clear"),
        ({}, {"material": "PETG"}, (), "wrong-material"),
        ({}, {"nozzle_mm": 0.6}, (), "wrong-nozzle"),
        ({}, {}, (step(),), "planned"),
        ({}, {}, (step(work="J-2"), step()), "behind"),
        ({}, {}, (step(work=None, items=(("J-2", 1),)),), "behind"),
        ({}, {}, (step(work=None, items=(("J-2", 1), ("J-1", 1))),), "planned"),
        ({}, {}, (), "not-planned"),
    ],
)
def test_each_machine_tells_the_first_rule_that_fails(
    on_machine: dict, of_job: dict, steps: tuple, rule: str
) -> None:
    farm = farm_of(
        machine(**on_machine),
        job(**of_job),
        job("J-2"),
        run("R-1", state=RunState.UNCERTAIN),
        run("R-2", state=RunState.RUNNING),
    )
    (found,) = answer(farm, *steps).machines
    assert (found.machine, found.rule) == ("m1", rule)
    assert found.what
    assert found.remedy


def test_parts_that_wait_at_a_station_ask_the_stations() -> None:
    farm = farm_of(
        machine(),
        machine("sls"),
        machine("wash"),
        job(in_work=4, open_builds=1, route=("print", "wash")),
        build("B-2", ("J-1", 4), operation="wash", follows="B-1"),
        build("B-3", ("J-1", 1), state=BuildState.ASSIGNED),
    )
    found = answer(farm, step("wash", "B-2"), specs=(spec(), powder(), station()))
    assert found.what == "planned on wash"
    assert [(each.machine, each.rule) for each in found.machines] == [
        ("m1", "operation"),
        ("sls", "operation"),
        ("wash", "planned"),
    ]
