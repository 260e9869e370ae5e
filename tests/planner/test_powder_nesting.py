"""Exact nesting of boxes: layouts that no rule finds, sets proven not to lie together, and what is not known."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.planner import Budget, Chamber, Changeover, Machine, Part, Problem, check, plan
from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.powder.aim import objective as objective_of
from farmd.planner.powder.aim import sparing
from farmd.planner.powder.boxes import Box, Place, place
from farmd.planner.powder.by_area import by_area
from farmd.planner.powder.nesting import Verdict, core, nested
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import sequence, spread, value
from farmd.planner.powder.search import filled, improve

PINWHEEL = [(30.0, 20.0)] * 4 + [(10.0, 10.0)]
"""Around the small one in the middle of 50 x 50 the others go like the sails of a mill, and in no other way."""


def meter(effort: int = 4000) -> Meter:
    return Meter(Budget(effort=effort))


def hall(boxes: list[Box], plate: Box, machines: int = 1) -> Problem:
    chamber = Chamber(3600.0, 0.01, 60.0, plate[0] * plate[1], 300.0, 1.0, 0.0, size_mm=plate)
    parts = tuple(
        Part(f"q{i}", "P", 1000.0, 20.0, w * h, 1.0, 0.0, None, size_mm=(w, h))
        for i, (w, h) in enumerate(boxes)
    )
    beds = tuple(Machine(f"p{i}", "sls", "PBF", 0.0, "P", chamber) for i in range(machines))
    return Problem(0.0, 0.0, Changeover(0.0), beds, objective="makespan", parts=parts)


def apart(boxes: list[Box], spots: list[Place], plate: Box) -> bool:
    corners = []
    for (w, h), (x, y, turned) in zip(boxes, spots, strict=True):
        corners.append((x, y, x + (h if turned else w), y + (w if turned else h)))
    inside = all(
        min(x, y) >= -1e-9 and u <= plate[0] + 1e-9 and v <= plate[1] + 1e-9 for x, y, u, v in corners
    )
    return inside and not any(
        min(a[2], b[2]) - max(a[0], b[0]) > 1e-9 and min(a[3], b[3]) - max(a[1], b[1]) > 1e-9
        for i, a in enumerate(corners)
        for b in corners[:i]
    )


def test_a_layout_that_no_rule_finds_is_found() -> None:
    assert place(PINWHEEL, (50.0, 50.0)) is None
    spots = nested(PINWHEEL, (50.0, 50.0), meter(), 1)
    assert isinstance(spots, list)
    assert apart(PINWHEEL, spots, (50.0, 50.0))
    problem = hall(PINWHEEL, (50.0, 50.0))
    made = plan(problem, budget=Budget(effort=8000), seed=1)
    assert not check(problem, made)
    assert len(made.assignments) == 1
    assert made.status == "optimal"


def test_what_cannot_lie_together_is_proven_and_shrunk() -> None:
    boxes = [(60.0, 60.0), (10.0, 10.0), (55.0, 55.0), (20.0, 5.0)]
    assert nested(boxes, (100.0, 100.0), meter(), 1) is Verdict.IMPOSSIBLE
    assert sorted(core(boxes, (100.0, 100.0), meter(), 1)) == [0, 2]
    problem = hall(boxes, (100.0, 100.0))
    made = plan(problem, budget=Budget(effort=8000), seed=1)
    assert not check(problem, made)
    assert len(made.assignments) == 2
    assert made.status == "optimal"


def test_what_is_not_decided_in_time_is_unknown_and_proves_nothing() -> None:
    hard = [(23.0 + 2 * i, 31.0 - i) for i in range(12)]
    plate = (102.0, 102.0)
    assert nested(hard, plate, meter(0), 1) is Verdict.UNKNOWN
    problem = hall(hard, plate, 2)
    made = plan(problem, budget=Budget(effort=300), seed=1)
    assert not check(problem, made)
    longer = plan(problem, budget=Budget(effort=6000), seed=1)
    assert made.bound is not None
    assert made.bound <= longer.value.makespan_s + 1e-6


def test_sizes_between_grains_are_never_a_proof() -> None:
    third = 100.0 / 3
    assert nested([(2 * third, third)] * 2 + [(third, 2 * third)], (2 * third, 2 * third), meter(), 1) in (
        Verdict.UNKNOWN,
        Verdict.IMPOSSIBLE,
    )
    tight = nested([(third + 4e-4, third)] * 2, (2 * third + 8e-4, third), meter(), 1)
    assert tight is not Verdict.IMPOSSIBLE


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5))
def test_the_exact_answer_is_that_of_all_places(whole: list[tuple[int, int]]) -> None:
    """On a plate of 5 x 5 every place and turn of every box can be tried."""
    boxes = [(float(w), float(h)) for w, h in whole]
    answer = nested(boxes, (5.0, 5.0), meter(), 1)
    possible = _tried(whole, frozenset())
    assert isinstance(answer, list) == possible
    if isinstance(answer, list):
        assert apart(boxes, answer, (5.0, 5.0))
    else:
        assert answer is Verdict.IMPOSSIBLE


def _tried(boxes: list[tuple[int, int]], taken: frozenset[tuple[int, int]]) -> bool:
    if not boxes:
        return True
    if sum(w * h for w, h in boxes) > 25 - len(taken):
        return False
    w, h = boxes[0]
    for a, b in {(w, h), (h, w)}:
        for x in range(6 - a):
            for y in range(6 - b):
                cells = frozenset((x + i, y + j) for i in range(a) for j in range(b))
                if not cells & taken and _tried(boxes[1:], taken | cells):
                    return True
    return False


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_effort_gives_the_same_layouts(seed: int) -> None:
    problem = hall([(17.0 + 3 * i, 40.0 - 2 * i) for i in range(9)], (100.0, 80.0), 2)
    first, again = (plan(problem, budget=Budget(effort=3000), seed=seed) for _ in range(2))
    assert first == again
    assert not check(problem, first)


def angles(count: int, seed: int, objective: str) -> Problem:
    """Angle irons, whose boxes are twice their area, and two plates that hold about eight of them."""
    rng = Random(seed)
    parts = []
    for i in range(count):
        a, b, t = rng.uniform(20.0, 50.0), rng.uniform(20.0, 50.0), rng.uniform(8.0, 15.0)
        outline = ((0.0, 0.0), (a, 0.0), (a, t), (t, t), (t, b), (0.0, b))
        due = rng.uniform(1.0, 4.0) * 3600.0
        area = t * (a + b - t)
        parts.append(
            Part(f"q{i}", "P", 1e4, rng.uniform(10.0, 90.0), area, 1.0, 0.0, due, outline_mm=outline)
        )
    beds = hall([(1.0, 1.0)], (100.0, 100.0), 2).machines
    return Problem(0.0, 0.0, Changeover(0.0), beds, objective=objective, parts=tuple(parts))


@pytest.mark.parametrize("objective", ["makespan", "weighted_tardiness"])
def test_outlines_batched_by_area_lie_and_are_better_than_what_was_filled(objective: str) -> None:
    won = 0
    for seed in range(3):
        problem = angles(24, seed, objective)
        c = Compiled(problem)
        plates = Plates(c)
        aim = objective_of(c, plates)
        start = filled(c, plates, [[] for _ in c.ready], sequence(c, "due"), Random(seed))
        made = by_area(c, plates, start, aim, meter(60_000), Random(seed), 0.0, 0.0)
        assert sorted(p for row in made for batch in row for p in batch.parts) == list(range(24))
        assert all(plates.hold(m, batch.parts) for m, row in enumerate(made) for batch in row)
        assert value(c, made) <= value(c, start)
        won += value(c, made) < value(c, start)
        whole = plan(problem, budget=Budget(effort=60_000), seed=seed)
        assert not check(problem, whole)
    assert won >= 2


def test_builds_that_the_makespan_does_not_need_are_joined() -> None:
    boxes = [(90.0, 90.0), *[(20.0, 20.0)] * 6]
    problem = hall(boxes, (100.0, 100.0), 2)
    tall = replace(problem.parts[0], height_mm=290.0)
    c = Compiled(replace(problem, parts=(tall, *problem.parts[1:])))
    plates = Plates(c)
    rows = [[c.batch(0, (0,))], [c.batch(1, (p,)) for p in (1, 2, 3)] + [c.batch(1, (4, 5, 6))]]
    aim = sparing(c, plates, value(c, rows))
    made = improve(c, plates, rows, aim, meter(4000), Random(1), 0.0)
    assert value(c, made) <= value(c, rows)
    assert sum(map(len, made)) == 2
    assert aim.score(made) == pytest.approx(spread(c, made))
    assert aim.score(made) < aim.score(rows)
