"""Explanations of plans made by hand: what binds each step, what it would cost elsewhere, why it is late or idle."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from farmd.planner import (
    Announced,
    Assignment,
    Build,
    Chamber,
    Changeover,
    Crew,
    Machine,
    Part,
    Plan,
    Problem,
    check,
    measure,
)
from farmd.planner.elsewhere import Ahead, Alternative
from farmd.planner.explain import Explainer, Lateness
from farmd.planner.rota import Rota, Work

PROBLEM = Problem(
    now_s=0,
    clear_s=300,
    changeover_s=Changeover(900, (("A", "B", 400), ("B", "A", 500))),
    machines=(
        Machine("m1", "x", "MEX", 0, "A"),
        Machine("m2", "y", "MEX", 3400, "B"),
        Machine("m3", "x", "MEX", 0, None),
    ),
    windows={"day": ((1000.0, 5000.0), (20000.0, 30000.0))},
    crews=(Crew("team", "day", 1),),
    builds=(
        Build("a", "A", {"x": 2000, "y": 2500}, 0, 3000, 1),
        Build("b", "B", {"x": 3000, "y": 1500}, 1200, 10000, 2),
        Build("c", "A", {"x": 1000}, 0, 6000, 5),
        Build("d", "A", {"y": 1000}, 0, 20000, 2),
        Build("e", "A", {"x": 500}, 0, None, 1),
        Build("g", "A", {"x": 3000}, 0, 10000, 1),
    ),
)


def at(machine: str, build: str, operator_s: float, start_s: float, end_s: float) -> Assignment:
    return Assignment(machine, start_s, end_s, build=build, crew="team", operator_start_s=operator_s)


def plan_of(problem: Problem, *assignments: Assignment) -> Plan:
    """A plan that the checker accepts."""
    plan = Plan("feasible", None, measure(problem, Plan("feasible", None, None, assignments)), assignments)  # type: ignore[arg-type]
    assert check(problem, plan) == ()
    return plan


PLAN = plan_of(
    PROBLEM,
    at("m1", "a#1", 1000, 1300, 3300),
    at("m1", "c#1", 3300, 3600, 4600),
    at("m2", "b#1", 3600, 3900, 5400),
    at("m2", "d#1", 20000, 20800, 21800),
    at("m1", "e#1", 21000, 21300, 21800),
    at("m3", "g#1", 22000, 23200, 26200),
)
EXPLAINER = Explainer(PROBLEM, PLAN)


def told(name: str) -> list[tuple[str, float]]:
    (link,) = EXPLAINER.find(name)
    waits = EXPLAINER.waits(link)
    if waits:
        assert waits[0].from_s == PROBLEM.now_s
        assert waits[-1].until_s == link.assignment.start_s
    assert all(one.until_s == two.from_s for one, two in pairwise(waits))
    return [(wait.kind, wait.until_s) for wait in waits]


@pytest.mark.parametrize(
    ("name", "binds", "waits"),
    [
        ("a#1", "shift", [("shift", 1000), ("clear", 1300)]),
        ("c#1", "busy", [("busy", 3300), ("clear", 3600)]),
        ("b#1", "people", [("available", 3400), ("people", 3600), ("clear", 3900)]),
        ("d#1", "shift", [("busy", 5400), ("shift", 20000), ("clear", 20300), ("changeover", 20800)]),
        ("e#1", "choice", [("busy", 4600), ("choice", 21000), ("clear", 21300)]),
        (
            "g#1",
            "choice",
            [("shift", 1000), ("people", 1300), ("choice", 22000), ("clear", 22300), ("changeover", 23200)],
        ),
    ],
)
def test_each_step_tells_what_it_waits_for_one_after_another(name: str, binds: str, waits: list) -> None:
    assert told(name) == waits
    assert EXPLAINER.step(EXPLAINER.chains.by_name[name]).binds == binds


def test_waits_name_what_they_are_about() -> None:
    waits = {(n, w.kind): w for n in ("b#1", "c#1", "d#1") for w in EXPLAINER.waits(EXPLAINER.find(n)[0])}
    assert waits["b#1", "people"].by == ("c#1",)
    assert waits["b#1", "people"].what == "all people of team are at work"
    assert waits["c#1", "busy"].what == "m1 has a#1 first"
    assert waits["d#1", "changeover"].what == "changeover from B to A"
    assert waits["d#1", "shift"].what == "it is nobody's working time"


def test_too_little_left_of_a_shift_is_told_apart_from_none() -> None:
    problem = replace(
        PROBLEM, builds=PROBLEM.builds[:1], machines=(replace(PROBLEM.machines[0], available_s=4800),)
    )
    plan = plan_of(problem, at("m1", "a#1", 20000, 20300, 22300))
    explainer = Explainer(problem, plan)
    available, shift, _ = explainer.waits(explainer.find("a")[0])
    assert (available.kind, available.until_s) == ("available", 4800)
    assert (shift.what, shift.by) == ("too little is left of team", ("team",))


def test_what_is_begun_at_once_waits_for_nothing() -> None:
    problem = replace(PROBLEM, builds=PROBLEM.builds[:1], crews=(), clear_s=0)
    plan = plan_of(problem, Assignment("m1", 0, 2000, build="a#1", operator_start_s=0))
    step = Explainer(problem, plan).step(Explainer(problem, plan).find("a#1")[0])
    assert (step.binds, step.waits, step.late) == ("now", (), None)


def test_release_counts_where_it_is_later_than_the_machine() -> None:
    problem = replace(PROBLEM, builds=(replace(PROBLEM.builds[0], release_s=2000),))
    plan = plan_of(problem, at("m1", "a#1", 2000, 2300, 4300))
    step = Explainer(problem, plan).step(Explainer(problem, plan).find("a#1")[0])
    assert [(wait.kind, wait.until_s) for wait in step.waits] == [("release", 2000), ("clear", 2300)]
    assert step.binds == "release"


@pytest.mark.parametrize(
    ("name", "others"),
    [
        # m3 as soon as the one person can; m2 only behind d and when the person has prepared m3 for g.
        (
            "a#1",
            [
                Alternative("m3", 2200, 4200, 1200, 1200, 900),
                Alternative("m2", 23500, 26000, 300, 23000, 22700),
            ],
        ),
        (
            "b#1",
            [Alternative("m3", 2500, 5500, 1200, 0, 0), Alternative("m1", 23900, 26900, 700, 33800, 33800)],
        ),
        ("c#1", [Alternative("m3", 2500, 3500, 1200, 0, 0)]),
        ("d#1", []),
        # In the gap between c and e, which keeps its times.
        ("g#1", [Alternative("m1", 4900, 7900, 300, 0, -16200)]),
    ],
)
def test_other_machines_give_their_first_gap(name: str, others: list[Alternative]) -> None:
    assert list(EXPLAINER.step(EXPLAINER.chains.by_name[name]).alternatives) == others


def test_an_alternative_is_a_plan_that_holds() -> None:
    moved = {"g#1": at("m1", "g#1", 4600, 4900, 7900), "a#1": at("m3", "a#1", 1000, 2200, 4200)}
    for name, instead in moved.items():
        plan_of(PROBLEM, *(instead if a.build == name else a for a in PLAN.assignments))


def test_a_gap_whose_next_step_would_need_a_longer_changeover_is_none() -> None:
    builds = (*PROBLEM.builds, Build("h", "B", {"x": 1000}, 0, None))
    problem = replace(PROBLEM, builds=builds)
    plan = plan_of(problem, *PLAN.assignments, at("m3", "h#1", 27000, 27700, 28700))
    explainer = Explainer(problem, plan)
    (other,) = explainer.step(explainer.find("h#1")[0]).alternatives
    assert (other.machine, other.start_s) == ("m1", 22000 + 1200 + 700), "behind e, when g is prepared"


def test_a_machine_that_never_gets_its_person_is_told_as_such() -> None:
    problem = replace(PROBLEM, windows={"day": ((1000.0, 1400.0),)}, builds=PROBLEM.builds[:1])
    plan = plan_of(problem, at("m1", "a#1", 1000, 1300, 3300))
    explainer = Explainer(problem, plan)
    step = explainer.step(explainer.find("a#1")[0])
    assert {(each.machine, each.end_s) for each in step.alternatives} == {("m2", math.inf), ("m3", math.inf)}
    assert {each["end_s"] for each in step.as_dict()["alternatives"]} == {None}


def test_late_steps_tell_what_it_would_cost_to_be_first() -> None:
    late = EXPLAINER.step(EXPLAINER.chains.by_name["d#1"]).late
    assert late == Lateness(1800, 3600, 5200, (Ahead("b#1", 2, 10000, 5400, 20800),))
    assert EXPLAINER.step(EXPLAINER.chains.by_name["g#1"]).late == Lateness(16200, 16200, 4300, ())
    assert EXPLAINER.step(EXPLAINER.chains.by_name["c#1"]).late is None


def test_the_order_that_is_told_to_cost_more_does() -> None:
    swapped = plan_of(
        PROBLEM,
        *(a for a in PLAN.assignments if a.machine != "m2" and a.build != "e#1"),
        at("m2", "d#1", 3600, 4400, 5400),
        at("m2", "b#1", 20000, 20700, 22200),
        at("m1", "e#1", 21000, 21300, 21800),
    )
    assert swapped.value.weighted_tardiness_s - PLAN.value.weighted_tardiness_s == 20800


def test_costliest_steps_come_first_and_free_ones_not_at_all() -> None:
    assert [link.name for link in EXPLAINER.costliest()] == ["g#1", "d#1", "a#1"]
    assert [link.name for link in EXPLAINER.costliest(1)] == ["g#1"]
    priced = Explainer(replace(PROBLEM, operator_price=1.0), PLAN).costliest()
    assert len(priced) == 6, "people's work costs too"
    last = Explainer(replace(PROBLEM, objective="makespan"), PLAN).costliest(2)
    assert [link.name for link in last] == ["g#1", "d#1"]


def test_for_the_makespan_no_step_costs_anything_by_itself() -> None:
    explainer = Explainer(replace(PROBLEM, objective="makespan"), PLAN)
    step = explainer.step(explainer.chains.by_name["d#1"])
    assert step.late == Lateness(1800, 3600, 5200, ())
    assert {each.more_s for each in explainer.step(explainer.chains.by_name["a#1"]).alternatives} == {0}


@pytest.mark.parametrize(
    ("name", "makes_s", "idle"),
    [
        ("m1", 3500, [("shift", 0, 1000), ("choice", 4600, 21000), ("done", 21800, 26200)]),
        ("m2", 2500, [("people", 3400, 3600), ("shift", 5400, 20000), ("done", 21800, 26200)]),
        ("m3", 3000, [("shift", 0, 1000), ("people", 1000, 1300), ("choice", 1300, 22000)]),
    ],
)
def test_machines_tell_why_they_stand_idle(name: str, makes_s: float, idle: list) -> None:
    story = EXPLAINER.machine(name)
    assert story is not None
    assert story.makes_s == makes_s
    assert [(wait.kind, wait.from_s, wait.until_s) for wait in story.idle] == idle
    assert story.idle_s == sum(until - start for _, start, until in idle)


def test_machines_without_work_say_whether_there_could_be_some() -> None:
    machines = (*PROBLEM.machines, Machine("spare", "x", "MEX", 0, None), Machine("odd", "z", "MEX", 0, None))
    explainer = Explainer(replace(PROBLEM, machines=machines), PLAN)
    for name, what in (("spare", "the plan does not need it"), ("odd", "nothing in the problem runs on it")):
        story = explainer.machine(name)
        assert story is not None
        assert [(wait.kind, wait.what) for wait in story.idle] == [("done", what)]
    assert explainer.machine("none") is None
    assert explainer.find("none") == ()


def test_a_broken_wish_is_told() -> None:
    wishes = (
        Announced("a#1", "m2", 0),
        Announced("c#1", "m1", 0),
        Announced("x#1", "m1", 0),
        Announced("b#1", "old", 0),
    )
    explainer = Explainer(replace(PROBLEM, announced=wishes), PLAN)
    announced = {
        a.build: explainer.step(explainer.chains.by_name[a.build or ""]).announced for a in PLAN.assignments
    }
    assert {name: machine for name, machine in announced.items() if machine} == {"a#1": "m2"}


CHAMBER = Chamber(
    setup_s=1000, s_per_mm3=0.1, s_per_mm=10, area_mm2=1000, height_mm=100, precision=1, cooldown_s=500
)
POWDER = Problem(
    now_s=0,
    clear_s=300,
    changeover_s=Changeover(900),
    machines=(
        Machine("p1", "sls", "PBF", 0, "P", CHAMBER),
        Machine("p2", "sls", "PBF", 0, "P", replace(CHAMBER, crewed=True, area_mm2=700)),
        Machine("p3", "sls", "PBF", 0, "Q", CHAMBER),
    ),
    parts=(
        Part("q1", "P", 1000, 50, 600, 1, 2000, 3000, 3),
        Part("q2", "P", 500, 20, 300, 1, 0, None),
        Part("q3", "P", 100, 10, 400, 1, 0, None),
    ),
)
BATCHES = plan_of(
    POWDER, Assignment("p1", 2000, 3650, parts=("q1", "q2")), Assignment("p1", 4150, 5260, parts=("q3",))
)


def test_batches_wait_for_their_last_part_and_for_cooling() -> None:
    explainer = Explainer(POWDER, BATCHES)
    (first,), (second,) = explainer.find("q2"), explainer.find("q3")
    assert first.name == "q1, q2"
    (wait,) = explainer.waits(first)
    assert (wait.kind, wait.until_s, wait.by) == ("release", 2000, ("q1",))
    assert [(w.kind, w.until_s) for w in explainer.waits(second)] == [("busy", 3650), ("cooldown", 4150)]
    assert explainer.step(second).binds == "cooldown"
    assert explainer.step(first).late == Lateness(650, 1950, 3650, ())


def test_batches_go_where_their_parts_fit_together() -> None:
    explainer = Explainer(POWDER, BATCHES)
    assert explainer.step(explainer.find("q1")[0]).alternatives == (), "900 mm2 do not go on 700 mm2"
    (other,) = explainer.step(explainer.find("q3")[0]).alternatives
    assert (other.machine, other.start_s, other.end_s, other.work_s) == ("p2", 300, 1410, 300)


def test_long_batches_are_named_by_their_first_parts() -> None:
    parts = tuple(Part(f"q{i}", "P", 1, 1, 1, 1, 0, None) for i in range(1, 8))
    problem = replace(POWDER, parts=parts)
    plan = plan_of(problem, Assignment("p1", 0, 1010.7, parts=tuple(part.id for part in parts)))
    (link,) = Explainer(problem, plan).find("q5")
    assert link.name == "q1, q2 and 5 more"


def test_the_rota_finds_the_first_stretch_with_somebody_free() -> None:
    problem = replace(PROBLEM, crews=(Crew("team", "day", 2), Crew("none", "day", 0)))
    works = [
        Work("team", 1000, 600),
        Work("team", 1200, 600),
        Work("team", 2000, 100),
        Work("gone", 1000, 9000),
    ]
    rota = Rota(problem, works)
    assert rota.earliest(1000, 100) == 1000
    assert rota.earliest(1000, 300) == 1600, "both are at work from 1200 to 1600"
    assert rota.earliest(1000, 300, without=works[1]) == 1000
    assert rota.earliest(1000, 300, anyone=True) == 1000
    assert rota.earliest(4900, 300) == 20000
    assert rota.earliest(0, 20000) == math.inf
    assert rota.steps("team") == ([-math.inf, 1000, 1200, 1600, 1800, 2000, 2100], [0, 1, 2, 1, 0, 1, 0])
    assert [crew.name for crew in rota.at_work(1000)] == ["team"]
