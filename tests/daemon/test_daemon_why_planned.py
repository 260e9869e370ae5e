"""Why a job that is planned waits: the plan's own reasons, in the shop's words, for prints, batches and stations."""

from __future__ import annotations

from dataclasses import replace
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

from farmd.daemon.schedule import Schedule, schedule_of
from farmd.daemon.snapshot import take_snapshot
from farmd.daemon.views import why_view
from farmd.daemon.waits import tell
from farmd.daemon.why import Why, next_steps, why
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, MachineState, RunState
from farmd.planner import Assignment, Plan, Value, check, measure
from farmd.planner.plans import Placement
from farmd.planner.routes.data import PlannedOperation

BLACK = {"material": "PLA black", "quantity": 1}


def day(from_s: float, until_s: float) -> dict[str, Any]:
    """One shift of two people, in seconds from `T0`."""
    return {"people": {"day": 2}, "windows": lambda a, b: {"day": [(T0 + from_s, T0 + until_s)]}}


def at(
    name: str, run_name: str, operator_s: float, start_s: float, end_s: float, crew: str | None
) -> Assignment:
    return Assignment(name, start_s, end_s, build=run_name, crew=crew, operator_start_s=operator_s)


def washed(work: str, start_s: float, number: str = "#1") -> PlannedOperation:
    """A quarter of an hour in `wash`, and five minutes to load it."""
    return PlannedOperation(f"{work}{number}/wash", "wash", start_s, start_s + 1200)


def explained(
    farm: Farm, specs: tuple, *steps: Assignment | PlannedOperation, **of_shop: Any
) -> tuple[Why, Schedule]:
    """The answer for J-1 by a plan of these assignments, in seconds from `T0`, which the checker accepts."""
    the_shop = shop(*specs, **of_shop)
    snapshot = take_snapshot(farm, the_shop, T0)
    moved = tuple(
        replace(
            each,
            start_s=each.start_s + T0 - snapshot.origin_s,
            end_s=each.end_s + T0 - snapshot.origin_s,
            operator_start_s=None
            if each.operator_start_s is None
            else each.operator_start_s + T0 - snapshot.origin_s,
        )
        for each in steps
        if isinstance(each, Assignment)
    )
    by_s = T0 - snapshot.origin_s
    operations = tuple(
        replace(each, start_s=each.start_s + by_s, end_s=each.end_s + by_s)
        for each in steps
        if isinstance(each, PlannedOperation)
    )
    plan = Plan("feasible", None, Value(0, 0, 0, 0), moved, operations=operations)
    plan = replace(plan, value=measure(snapshot.problem, plan))
    assert check(snapshot.problem, plan) == ()
    published = schedule_of(plan, snapshot, made_at=T0, policy="plan")
    asked = farm.jobs["J-1"]
    told = tell(plan, snapshot, next_steps(farm, published, asked))
    return why(farm, published, the_shop, asked, told), published


def waits(answer: Why, number: int = 0) -> list[tuple[str, str, float]]:
    return [(each.kind, each.what, each.until - T0) for each in answer.waiting[number].waits]


def busy_farm(*more: Any) -> Farm:
    """`m1` makes R-1 until T0 + 1800; `m2` is ready."""
    return farm_of(
        machine("m1", state=MachineState.BUSY, run_id="R-1", permit=None),
        machine("m2"),
        job("J-9", in_work=4, open_builds=1, **BLACK | {"quantity": 4}),
        build("B-1", ("J-9", 1), state=BuildState.ASSIGNED, machine="m1"),
        run(state=RunState.RUNNING, started_at=T0 - 1800.0),
        *more,
    )


def test_it_waits_for_the_run_that_the_machine_makes_then_for_the_shift() -> None:
    farm = busy_farm(job(**BLACK, group="m1"))
    answer, _ = explained(
        farm,
        (spec("m1"), spec("m2")),
        at("m1", "J-1#1", 7200, 7500, 11100, "day"),
        **day(7200, 20000),
    )
    assert waits(answer) == [
        ("available", "m1 makes R-1", 1800.0),
        ("shift", "it is nobody's working time; the next shift is day", 7200.0),
        ("clear", "the machine is cleared", 7500.0),
    ]
    assert answer.what == (
        "planned on m1: m1 makes R-1, then it is nobody's working time; the next shift is day"
    )
    assert answer.waiting[0].late_s == 0
    rows = {each.machine: each for each in answer.machines}
    assert rows["m1"].end_at == T0 + 11100
    assert (rows["m2"].rule, rows["m2"].end_at) == ("group", None)


def test_it_waits_behind_another_job_and_tells_what_passing_it_would_cost() -> None:
    farm = farm_of(
        machine("m1"),
        machine("m2"),
        job("J-1", **BLACK, due_at=T0 + 4000.0),
        job("J-2", **BLACK, due_at=T0 + 4000.0, priority=5.0),
        job("J-3", **BLACK),
    )
    answer, _ = explained(
        farm,
        (spec("m1"), spec("m2", group="xl")),
        at("m1", "J-2#1", 0, 300, 3900, None),
        at("m1", "J-1#1", 3900, 4200, 7800, None),
        at("m2", "J-3#1", 0, 300, 3900, None),
    )
    (waiting,) = answer.waiting
    assert [wait.what for wait in waiting.waits] == ["m1 has J-2 first", "the machine is cleared"]
    assert answer.what == "planned on m1: m1 has J-2 first"
    assert (waiting.late_s, waiting.alone_end_at) == (3800.0, T0 + 3900.0)
    (passed,) = waiting.passed
    assert (passed.work, passed.priority) == ("J-2", 5.0)
    assert passed.more_s == 5 * 3800 - 3800
    ends = {each.machine: each.end_at for each in answer.machines}
    assert ends == {"m1": T0 + 7800, "m2": T0 + 7800}, "behind J-3, as soon"


def test_what_has_begun_is_told_by_its_run() -> None:
    farm = farm_of(
        machine("m1", state=MachineState.BUSY, run_id="R-7", permit=None),
        job("J-1", **BLACK),
        job("J-2", **BLACK),
    )
    idle = replace(farm.machines["m1"], run_id=None, state=MachineState.IDLE)
    before = farm.copy()
    before.merge((idle,))
    steps = (at("m1", "J-2#1", 0, 300, 3900, None), at("m1", "J-1#1", 3900, 4200, 7800, None))
    the_shop = shop(spec("m1"))
    snapshot = take_snapshot(before, the_shop, T0)
    plan = Plan("feasible", None, Value(0, 0, 0, 0), steps)
    published = schedule_of(plan, snapshot, made_at=T0, policy="plan")
    begun = published.after(published.steps["m1"][:1])
    told = tell(plan, snapshot, next_steps(farm, begun, farm.jobs["J-1"]))
    answer = why(farm, begun, the_shop, farm.jobs["J-1"], told)
    assert waits(answer)[0] == ("busy", "m1 makes R-7 (J-2)", 3900.0)


def test_people_who_are_elsewhere_are_told_with_their_work() -> None:
    farm = farm_of(machine("m1"), machine("m2"), machine("m3"), *(job(f"J-{n}", **BLACK) for n in (1, 2, 3)))
    answer, _ = explained(
        farm,
        (spec("m1"), spec("m2"), spec("m3")),
        at("m1", "J-2#1", 0, 300, 3900, "day"),
        at("m2", "J-3#1", 0, 300, 3900, "day"),
        at("m3", "J-1#1", 300, 600, 4200, "day"),
        **day(0, 20000),
    )
    assert waits(answer)[0] == ("people", "all people of day are at work, at J-2, J-3", 300.0)


def test_a_changeover_is_told_with_both_setups() -> None:
    farm = farm_of(machine("m1"), job(**BLACK | {"material": "PETG clear"}))
    answer, _ = explained(farm, (spec("m1"),), at("m1", "J-1#1", 0, 1200, 4800, None), changeover_s=900.0)
    assert waits(answer) == [
        ("clear", "the machine is cleared", 300.0),
        ("changeover", "changeover from PLA black 0.4 to PETG clear 0.4", 1200.0),
    ]
    assert answer.what == "planned on m1", "nothing but the work itself"


def test_plates_and_parts_at_a_station_are_told_apart() -> None:
    farm = farm_of(
        machine("m1"),
        machine("wash"),
        machine("wash2"),
        job(**BLACK | {"quantity": 6}, in_work=4, open_builds=1, route=("print", "wash")),
        build("B-2", ("J-1", 4), operation="wash", follows="B-1"),
    )
    specs = (spec("m1"), station("wash"), station("wash2"))
    answer, _ = explained(
        farm,
        specs,
        at("m1", "J-1#1", 0, 300, 3900, None),
        at("m1", "J-1#2", 3900, 4200, 7800, None),
        washed("B-2", 600),
        washed("J-1", 3900),
        washed("J-1", 7800, "#2"),
    )
    told = [(w.work, w.operation, w.machine, w.start_at, w.more) for w in answer.waiting]
    assert told == [("J-1", "print", "m1", T0 + 300, 1), ("B-2", "wash", "wash", T0 + 900, 0)]
    assert waits(answer, 1)[0][:2] == (
        "choice",
        "machine, work and people are there; the plan leaves it until then",
    )
    rows = {each.machine: each.rule for each in answer.machines}
    assert rows == {"m1": "planned", "wash": "planned", "wash2": "not-planned"}


def test_parts_that_no_plan_has_are_told_too() -> None:
    farm = farm_of(
        machine("m1"),
        machine("wash", state=MachineState.OFFLINE),
        job(**BLACK | {"quantity": 5}, in_work=4, open_builds=1),
        build("B-2", ("J-1", 4), operation="wash", follows="B-1"),
    )
    answer, _ = explained(farm, (spec("m1"), station("wash")), at("m1", "J-1#1", 0, 300, 3900, None))
    (plates, parts) = answer.waiting
    assert (plates.work, plates.machine) == ("J-1", "m1")
    assert (parts.work, parts.operation, parts.machine) == ("B-2", "wash", None)
    assert parts.what == "no machine for wash is available"
    assert {each.machine: each.rule for each in answer.machines} == {"m1": "planned", "wash": "offline"}


def test_batches_wait_for_the_chamber_to_cool() -> None:
    farm = farm_of(machine("sls"), powder_job("J-1", quantity=1), powder_job("J-2", quantity=1))
    first = Assignment("sls", 300, 300 + 1400.0, parts=("J-2/1x1",), operator_start_s=0)
    first = replace(first, placements=(Placement("J-2/1x1", 0, 0),))
    second = Assignment("sls", 9200, 9200 + 1400.0, parts=("J-1/1x1",), operator_start_s=8900)
    second = replace(second, placements=(Placement("J-1/1x1", 0, 0),))
    answer, published = explained(farm, (powder(),), first, second)
    assert [w[:2] for w in waits(answer)] == [
        ("busy", "sls has J-2 first"),
        ("cooldown", "sls cools down"),
        ("clear", "the machine is cleared"),
    ]
    assert [step.run_name for step in published.all_steps()] == ["J-2/1x1", "J-1/1x1"]


def test_without_a_plan_only_the_rules_answer() -> None:
    farm = farm_of(machine("m1"), job(**BLACK))
    empty = Schedule(0, 0.0)
    assert tell(None, None, next_steps(farm, empty, farm.jobs["J-1"])).steps == {}
    answer = why(farm, empty, shop(spec("m1")), farm.jobs["J-1"])
    (waiting,) = answer.waiting
    assert (waiting.work, waiting.what, waiting.waits) == ("J-1", "the plan does not have it yet", ())


@pytest.mark.parametrize("field", ["start_at", "end_at", "alone_end_at"])
def test_the_view_has_its_times_in_iso(field: str) -> None:
    farm = farm_of(machine("m1"), job(**BLACK, due_at=T0 + 60.0))
    answer, _ = explained(farm, (spec("m1"),), at("m1", "J-1#1", 0, 300, 3900, None))
    view = why_view(answer)
    (waiting,) = view["waiting"]
    assert waiting[field].startswith("2026-01-05T")
    assert waiting["waits"] == [
        {"kind": "clear", "what": "the machine is cleared", "until": "2026-01-05T08:05:00.000Z"}
    ]
    assert view["machines"][0]["end_at"] == waiting["end_at"]
