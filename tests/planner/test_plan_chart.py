"""Charts of plans: well-formed, told in words, every step in its place, and no larger than they need be."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

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
    Value,
)
from farmd.planner.chart import html, svg
from farmd.planner.times import day_clock, length

SVG = "{http://www.w3.org/2000/svg}"
CHAMBER = Chamber(1000, 0.1, 10, 1000, 100, 1, cooldown_s=3600)
HOUR = 3600.0
PROBLEM = Problem(
    now_s=6 * HOUR,
    clear_s=300,
    changeover_s=Changeover(900),
    machines=(
        Machine("m<1>", "x", "MEX", 8 * HOUR, "A"),
        Machine("m2", "x", "MEX", 0, "B & C"),
        Machine("p1", "sls", "PBF", 0, "P", CHAMBER),
    ),
    windows={"day": ((6 * HOUR, 18 * HOUR), (30 * HOUR, 42 * HOUR))},
    crews=(Crew("day", "day", 2),),
    builds=(
        Build("long-build", "A", {"x": 10 * HOUR}, 0, 20 * HOUR, 1),
        Build("late", "B & C", {"x": 8 * HOUR}, 0, 10 * HOUR, 3),
        Build("a-name-that-is-too-long-for-its-place", "A", {"x": HOUR}, 0, None, 1),
    ),
    parts=(Part("q1", "P", 1, 1, 1, 1, 0, None), Part("q2", "P", 1, 1, 1, 1, 0, None)),
    announced=(Announced("late#1", "m<1>", 0),),
)
STEPS = (
    Assignment(
        "m<1>", 8 * HOUR + 300, 18 * HOUR + 300, "long-build#1", crew="day", operator_start_s=8 * HOUR
    ),
    Assignment("m2", 6 * HOUR + 300, 14 * HOUR + 300, "late#1", crew="day", operator_start_s=6 * HOUR),
    Assignment(
        "m2",
        15 * HOUR,
        16 * HOUR,
        "a-name-that-is-too-long-for-its-place#1",
        crew="day",
        operator_start_s=14 * HOUR + 300,
    ),
    Assignment("p1", 6 * HOUR, 6 * HOUR + 1010.2, parts=("q1", "q2")),
)
PLAN = Plan("feasible", None, Value(3 * (4 * HOUR + 300), 18 * HOUR + 300, 1, 1800), STEPS)


def drawn(problem: Problem = PROBLEM, plan: Plan = PLAN) -> ElementTree.Element:
    return ElementTree.fromstring(svg(problem, plan))


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    found = [each for each in root.iter() if name in each.get("class", "").split()]
    return [each for each in found if each.tag != f"{SVG}pattern"]


def titles(root: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in root.iter(f"{SVG}title")]


def test_every_step_is_drawn_once_and_tells_itself() -> None:
    root = drawn()
    assert len(of_class(root, "p")) == len(STEPS)
    assert len(of_class(root, "clr")) == 3
    assert len(of_class(root, "chg")) == 1
    told = "\n".join(titles(root))
    for words in (
        "late#1 on m2",
        "B & C, day 1 06:05 to day 1 14:05 (8 h 00 min)",
        "4 h 05 min late, weight 3",
        "was announced for m<1>",
        "due day 1 20:00",
        "20 min of work by day from day 1 14:05, of it 15 min changeover",
        "2 parts on p1: q1, q2",
        "cools down until day 1 07:17",
        "m<1> is not available before day 1 08:00",
        "day: 2 people, at most 1 at work at once",
    ):
        assert words in told


def test_late_steps_broken_wishes_and_cooling_are_marked() -> None:
    root = drawn()
    for name, number in (("late", 1), ("due", 1), ("wish", 1), ("cool", 1), ("na", 1)):
        assert len(of_class(root, name)) == number, name
    kept = drawn(replace(PROBLEM, announced=(Announced("late#1", "m2", 0),)))
    assert of_class(kept, "wish") == []


def test_bars_stand_where_their_times_are() -> None:
    root = drawn()
    left, right = (float(of_class(root, "night")[0].get(key, "")) for key in ("x", "width"))
    first, last = 6 * HOUR, 18 * HOUR + 300
    bar = of_class(root, "p")[0]
    x, width = float(bar.get("x", "")), float(bar.get("width", ""))
    assert (x - left) / right == pytest.approx((STEPS[0].start_s - first) / (last - first), abs=1e-3)
    assert width / right == pytest.approx(10 * HOUR / (last - first), abs=1e-3)


def test_text_stands_only_where_it_fits() -> None:
    labels = [each.text for each in of_class(drawn(), "b")]
    assert labels == ["long-build#1", "late#1"]
    batch = replace(STEPS[3], end_s=12 * HOUR)
    plan = replace(PLAN, assignments=(*STEPS[:3], batch))
    assert [each.text for each in of_class(drawn(PROBLEM, plan), "b")][-1] == "2 parts"


def test_the_axis_tells_days_and_hours() -> None:
    root = drawn()
    assert [each.text for each in of_class(root, "day")] == ["day 1"]
    assert [each.text for each in of_class(root, "h")][:3] == ["06", "07", "08"]
    weeks = replace(PLAN, assignments=(replace(STEPS[0], end_s=400 * 24 * HOUR),))
    far = drawn(PROBLEM, weeks)
    days = [each.text for each in of_class(far, "day")]
    assert days[0] == "day 1"
    assert 50 < len(days) < 120
    assert of_class(far, "h") == []


@pytest.mark.parametrize("draw", [svg, html])
def test_a_chart_stands_alone(draw: Callable[[Problem, Plan], str]) -> None:
    text = draw(PROBLEM, PLAN)
    assert "<script" not in text
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme:dark" in text
    assert 'role="img" aria-labelledby="t d"' in text
    assert '<desc id="d">' in text
    assert "m<1>" not in text
    assert text == draw(PROBLEM, PLAN)


def test_a_page_has_a_legend_of_what_is_on_it() -> None:
    page = html(PROBLEM, PLAN)
    for words in (
        "cools down",
        "late, and when it was due",
        "B &amp; C",
        "not available yet",
        "announced for",
    ):
        assert words in page.partition('<div class="chart">')[0]
    plain = replace(PROBLEM, announced=(), machines=PROBLEM.machines[1:])
    page = html(plain, replace(PLAN, assignments=STEPS[2:]))
    for words in ("cools down", "late, and"):
        assert (words in page.partition('<div class="chart">')[0]) == (words == "cools down")


def test_a_page_is_one_document() -> None:
    page = html(PROBLEM, PLAN)
    assert page.count("<title>Plan of 4 steps on 3 machines</title>") == 1
    body = page[page.index("<body>") : page.index("</html>")].replace(' xmlns="', ' xmlns:x="')
    assert ElementTree.fromstring(body).tag == "body"


def test_nothing_planned_is_drawn_as_nothing() -> None:
    reasons = tuple(f"late#{i}: no time" for i in range(7))
    root = drawn(PROBLEM, Plan("infeasible", None, Value(0, 0, 0, 0), (), reasons))
    assert of_class(root, "p") == []
    told = root.findtext(f"{SVG}desc") or ""
    assert "late#4: no time. And 2 reasons more." in told


def test_what_the_problem_does_not_have_is_left_out() -> None:
    strange = (
        replace(STEPS[0], machine="gone"),
        replace(STEPS[1], build="x#1"),
        replace(STEPS[3], parts=("q9",)),
    )
    assert of_class(drawn(PROBLEM, replace(PLAN, assignments=strange)), "p") == []


def test_a_large_plan_stays_small() -> None:
    machines = tuple(Machine(f"m{i}", "x", "MEX", 0, None) for i in range(250))
    builds = tuple(Build(f"b{i}", f"s{i % 40}", {"x": 4 * HOUR}, 0, 30 * HOUR) for i in range(5000))
    steps = tuple(
        Assignment(
            f"m{i % 250}",
            HOUR * (1 + 6 * (i // 250)),
            HOUR * (5 + 6 * (i // 250)),
            f"b{i}#1",
            crew="day",
            operator_start_s=HOUR * 6 * (i // 250),
        )
        for i in range(5000)
    )
    problem = replace(PROBLEM, now_s=0, machines=machines, builds=builds, parts=(), announced=())
    text = svg(problem, replace(PLAN, assignments=steps))
    assert text.count("<title>b") == 5000
    assert len(text) < 2_500_000


@pytest.mark.parametrize(
    ("seconds", "clock", "span"),
    [
        (0, "day 1 00:00", "0 s"),
        (59, "day 1 00:01", "59 s"),
        (7 * HOUR, "day 1 07:00", "7 h 00 min"),
        (86_399, "day 2 00:00", "24 h 00 min"),
        (200_000, "day 3 07:33", "2 d 8 h"),
    ],
)
def test_times_are_told_in_days_and_hours(seconds: float, clock: str, span: str) -> None:
    assert day_clock(seconds) == clock
    assert length(seconds) == span
    assert length(-seconds).removeprefix("-") == span
