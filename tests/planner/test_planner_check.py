"""The checker on hand-made plans: the good one holds, and each broken rule is named, alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farmd.planner import (
    Assignment,
    Build,
    Chamber,
    Changeover,
    Crew,
    Machine,
    Part,
    Placement,
    Plan,
    PlanningErrors,
    Problem,
    Value,
    check,
    measure,
    read_plan,
)

CHAMBER = Chamber(
    setup_s=1000, s_per_mm3=0.1, s_per_mm=10, area_mm2=1000, height_mm=100, precision=1, cooldown_s=500
)
PROBLEM = Problem(
    now_s=100,
    clear_s=300,
    changeover_s=Changeover(900, (("A", "B", 400), ("B", "B", 60))),
    machines=(
        Machine("m1", "x", "MEX", 1000, "A"),
        Machine("m2", "y", "MEX", 0, None),
        Machine("p1", "sls", "PBF", 0, "P", CHAMBER),
        Machine("p2", "sls", "PBF", 0, "P", replace(CHAMBER, crewed=True)),
    ),
    windows={"day": ((1000.0, 5000.0), (20000.0, 30000.0)), "night": ((1000.0, 1500.0),)},
    crews=(Crew("team", "day", 1), Crew("owl", "night", None)),
    builds=(
        Build("b1", "B", {"x": 2000}, 0, 4000, 2, 2),
        Build("b2", "A", {"x": 500, "y": 700}, 1500, None),
    ),
    parts=(
        Part("q1", "P", 1000, 50, 600, 1, 2000, 3000, 3),
        Part("q2", "P", 500, 20, 300, 1, 0, None),
        Part("q3", "P", 100, 10, 900, 1, 0, None),
    ),
)
# b1#1: A to B 400 s; b1#2: B to B 60 s, only tomorrow; b2: unknown to A 900 s.
FIRST = Assignment("m1", 1700, 3700, build="b1#1", crew="team", operator_start_s=1000)
SECOND = Assignment("m1", 20360, 22360, build="b1#2", crew="team", operator_start_s=20000)
THIRD = Assignment("m2", 2900, 3600, build="b2#1", crew="team", operator_start_s=1700)
BATCH = Assignment("p1", 2000, 3650, parts=("q1", "q2"))
CREWED = Assignment("p2", 1300, 2410, parts=("q3",), crew="owl", operator_start_s=1000)
VALUE = Value(2 * (22360 - 4000) + 3 * 650, 22360, 2, 700 + 360 + 1200 + 300)
PLAN = Plan("feasible", None, VALUE, (FIRST, SECOND, THIRD, BATCH, CREWED))


def codes(plan: Plan, problem: Problem = PROBLEM) -> list[str]:
    """The codes of all violations but those of a stated value that no longer fits."""
    return sorted({v.code for v in check(problem, plan)} - {"value-off"})


def with_(old: Assignment, **changes: object) -> Plan:
    new = replace(old, **changes)  # type: ignore[arg-type]
    return replace(PLAN, assignments=tuple(new if a is old else a for a in PLAN.assignments))


def test_the_good_plan_holds() -> None:
    assert check(PROBLEM, PLAN) == ()
    assert measure(PROBLEM, PLAN) == VALUE
    assert read_plan(PLAN.as_dict()) == PLAN


def test_a_second_of_tolerance() -> None:
    assert codes(with_(FIRST, operator_start_s=999.2)) == []
    assert codes(with_(FIRST, end_s=3700.9)) == []


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (with_(FIRST, machine="m9"), "unknown-machine"),
        (with_(FIRST, build="b9#1"), "unknown-name"),
        (with_(BATCH, parts=("q1", "q2", "q9")), "unknown-name"),
        (with_(FIRST, build="b1"), "unknown-name"),
        (replace(PLAN, assignments=PLAN.assignments[1:]), "not-scheduled"),
        (with_(BATCH, parts=("q1",), end_s=3600), "not-scheduled"),
        (with_(SECOND, build="b1#1"), "scheduled-twice"),
        (with_(CREWED, parts=("q2",)), "scheduled-twice"),
        (with_(CREWED, parts=()), "empty-assignment"),
        (with_(THIRD, machine="p1"), "wrong-machine"),
        (with_(BATCH, machine="m2"), "wrong-machine"),
        (with_(BATCH, start_s=1000, end_s=2650), "before-release"),
        (with_(THIRD, operator_start_s=1400), "before-release"),
        (with_(FIRST, end_s=3800), "wrong-duration"),
        (with_(BATCH, end_s=3600), "wrong-duration"),
        (with_(FIRST, operator_start_s=1002), "work-too-short"),
        (with_(SECOND, operator_start_s=20002), "work-too-short"),
        (with_(THIRD, operator_start_s=1702), "work-too-short"),
        (with_(FIRST, operator_start_s=None), "work-missing"),
        (with_(CREWED, operator_start_s=None), "work-missing"),
        (with_(FIRST, crew=None), "unknown-crew"),
        (with_(FIRST, crew="guests"), "unknown-crew"),
        (with_(SECOND, operator_start_s=4800, start_s=5160, end_s=7160), "outside-window"),
        (with_(CREWED, crew="owl", operator_start_s=1300, start_s=1600, end_s=2710), "outside-window"),
        (with_(THIRD, operator_start_s=1600, start_s=2800, end_s=3500), "too-few-people"),
        (with_(SECOND, operator_start_s=3600, start_s=3960, end_s=5960), "overlap"),
    ],
)
def test_each_broken_rule_is_named(plan: Plan, code: str) -> None:
    assert code in codes(plan)


@pytest.mark.parametrize(
    ("plan", "only"),
    [
        (with_(BATCH, start_s=1000, end_s=2650), "before-release"),
        (with_(FIRST, end_s=3800), "wrong-duration"),
        (with_(FIRST, operator_start_s=None), "work-missing"),
        (with_(THIRD, operator_start_s=1600, start_s=2800, end_s=3500), "too-few-people"),
        (with_(SECOND, operator_start_s=3600, start_s=3960, end_s=5960), "overlap"),
    ],
)
def test_one_fault_is_one_violation(plan: Plan, only: str) -> None:
    assert codes(plan) == [only]


def test_before_now_and_before_available() -> None:
    later = replace(PROBLEM, now_s=1002)
    assert codes(PLAN, later) == ["before-now"]
    machine = replace(PROBLEM.machines[0], available_s=1002)
    assert codes(PLAN, replace(PROBLEM, machines=(machine, *PROBLEM.machines[1:]))) == ["before-available"]


def test_chamber_rules() -> None:
    def chamber(**changes: object) -> Problem:
        machine = replace(PROBLEM.machines[2], chamber=replace(CHAMBER, **changes))  # type: ignore[arg-type]
        return replace(PROBLEM, machines=(*PROBLEM.machines[:2], machine, PROBLEM.machines[3]))

    assert codes(PLAN, chamber(height_mm=49)) == ["too-high"]
    assert codes(PLAN, chamber(precision=0.5)) == ["too-precise"]
    assert codes(PLAN, chamber(area_mm2=899)) == ["overfull"]
    other = replace(PROBLEM.machines[2], setup="Q")
    assert codes(PLAN, replace(PROBLEM, machines=(*PROBLEM.machines[:2], other, PROBLEM.machines[3]))) == [
        "setup-mismatch"
    ]


def test_a_chamber_cools_down_before_the_next_batch() -> None:
    early = Assignment("p1", 3700, 4910, parts=("q3",))
    plan = replace(PLAN, assignments=(FIRST, SECOND, THIRD, BATCH, early))
    assert "overlap" in codes(plan)
    assert "overlap" not in codes(
        replace(plan, assignments=(FIRST, SECOND, THIRD, BATCH, replace(early, start_s=4150, end_s=5260)))
    )


def test_a_chamber_takes_only_builds_of_its_own_setup() -> None:
    builds = (*PROBLEM.builds, Build("b3", "A", {"sls": 100}, 0, None))
    run = Assignment("p1", 21700, 21800, build="b3#1", crew="team", operator_start_s=20500)
    plan = replace(PLAN, assignments=(*PLAN.assignments, run))
    assert codes(plan, replace(PROBLEM, builds=builds)) == ["setup-mismatch"]


def test_no_crews_is_any_time_and_nobody_to_name() -> None:
    free = replace(PROBLEM, crews=())
    assert codes(PLAN, free) == ["unknown-crew"]
    anonymous = replace(PLAN, assignments=tuple(replace(a, crew=None) for a in PLAN.assignments))
    assert codes(anonymous, free) == []


def test_a_crew_of_nobody_cannot_work() -> None:
    nobody = replace(PROBLEM, crews=(Crew("team", "day", 0), Crew("owl", "night", None)))
    assert codes(PLAN, nobody) == ["too-few-people"]


@pytest.mark.parametrize(
    "value",
    [
        replace(VALUE, weighted_tardiness_s=VALUE.weighted_tardiness_s + 2),
        replace(VALUE, makespan_s=22358),
        replace(VALUE, changeovers=3),
        replace(VALUE, operator_s=0),
    ],
)
def test_a_stated_value_must_be_the_plans_own(value: Value) -> None:
    assert [v.code for v in check(PROBLEM, replace(PLAN, value=value))] == ["value-off"]


def test_bounds_and_status() -> None:
    value = VALUE.weighted_tardiness_s
    assert check(PROBLEM, replace(PLAN, status="optimal", bound=value)) == ()
    assert codes(replace(PLAN, status="optimal", bound=None)) == ["bound-off"]
    assert codes(replace(PLAN, status="optimal", bound=value - 10)) == ["bound-off"]
    assert codes(replace(PLAN, bound=value + 10)) == ["bound-off"]
    assert codes(replace(PLAN, status="infeasible")) == ["wrong-status"]
    priced = replace(PROBLEM, operator_price=0.5)
    assert check(priced, replace(PLAN, status="optimal", bound=value + 0.5 * VALUE.operator_s)) == ()


def sized() -> tuple[Problem, Plan]:
    machine = replace(PROBLEM.machines[2], chamber=replace(CHAMBER, size_mm=(40.0, 30.0)))
    parts = (
        replace(PROBLEM.parts[0], size_mm=(30.0, 20.0)),
        replace(PROBLEM.parts[1], outline_mm=((5.0, 0.0), (15.0, 0.0), (10.0, 30.0))),
        PROBLEM.parts[2],
    )
    problem = replace(PROBLEM, machines=(*PROBLEM.machines[:2], machine, PROBLEM.machines[3]), parts=parts)
    batch = replace(BATCH, placements=(Placement("q1", 0, 0), Placement("q2", 30, 0)))
    return problem, replace(PLAN, assignments=(FIRST, SECOND, THIRD, batch, CREWED))


def test_layouts() -> None:
    problem, plan = sized()
    assert check(problem, plan) == ()
    assert read_plan(plan.as_dict()) == plan

    def placed(*placements: Placement) -> list[str]:
        batch = replace(BATCH, placements=placements)
        return codes(replace(plan, assignments=(FIRST, SECOND, THIRD, batch, CREWED)), problem)

    q1 = Placement("q1", 0, 0)
    assert placed(q1) == ["layout"]
    assert placed(q1, Placement("q2", 29, 0)) == ["layout"]
    assert placed(q1, Placement("q2", 31, 0)) == ["layout"]
    assert placed(q1, Placement("q2", 0, 20, rotated=True)) == []
    assert placed(q1, Placement("q2", 0, 21, rotated=True)) == ["layout"]
    assert placed(q1, q1, Placement("q2", 30, 0)) == ["layout"]


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("status", "good", "status"),
        ("format", "farmd-plan/2", "format"),
        ("bound", -1, "bound"),
        ("value", {}, "value.changeovers"),
        ("assignments", [{"machine": "m", "start_s": 0, "end_s": 1}], "assignments[0]"),
        ("assignments", [{"machine": "m", "build": "b#1", "start_s": 0}], "assignments[0].end_s"),
        (
            "assignments",
            [{"machine": "m", "parts": [1], "start_s": 0, "end_s": 1}],
            "assignments[0].parts[0]",
        ),
        ("extra", 1, "extra"),
    ],
)
def test_a_plan_is_read_strictly(field: str, value: object, where: str) -> None:
    with pytest.raises(PlanningErrors) as caught:
        read_plan({**PLAN.as_dict(), field: value})
    assert where in [error.where for error in caught.value.errors]
