"""The planner's pieces: people's calendars, boxes on plates, replays and meters."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.planner import Budget, Changeover, Crew, Machine, Problem
from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.generate import small_shop
from farmd.planner.greedy import Dispatcher, Rule
from farmd.planner.people import NOBODY, People
from farmd.planner.powder.boxes import place
from farmd.planner.schedule import replay, valued


def people(*crews: Crew, **windows: tuple[tuple[float, float], ...]) -> People:
    return People(
        Problem(0, 0, Changeover(0), (Machine("m", "x", "MEX", 0, None),), windows=windows, crews=crews)
    )


def test_without_crews_anybody_works_at_any_time() -> None:
    assert people().earliest(17.0, 500.0) == (17.0, NOBODY)


def test_work_lies_inside_one_window() -> None:
    team = people(Crew("a", "w", None), w=((0, 100), (100, 250), (1000, 1100)))
    assert team.earliest(0, 100) == (0, 0)
    assert team.earliest(50, 60) == (100, 0)
    assert team.earliest(200, 60) == (1000, 0)
    assert team.earliest(0, 151)[0] == float("inf")


def test_overlapping_windows_are_each_their_own() -> None:
    team = people(Crew("a", "w", 1), w=((0, 50), (10, 400), (20, 60)))
    assert team.earliest(0, 60) == (10, 0)
    team.take(0, 0, 50)
    assert team.earliest(0, 60) == (50, 0)


def test_the_earliest_crew_with_a_free_person_works() -> None:
    team = people(Crew("a", "w", 1), Crew("b", "v", 1), w=((0, 1000),), v=((40, 1000),))
    assert team.earliest(0, 100) == (0, 0)
    team.take(0, 0, 100)
    assert team.earliest(0, 100) == (40, 1)
    team.take(1, 40, 100)
    assert team.earliest(0, 100) == (100, 0)
    team.reset()
    assert team.earliest(0, 100) == (0, 0)


@settings(max_examples=80, deadline=None)
@given(
    heads=st.integers(1, 3),
    asks=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from((5, 9, 20)), st.booleans()), min_size=1, max_size=40
    ),
)
def test_a_pass_over_the_clock_finds_what_a_search_finds(
    heads: int, asks: list[tuple[int, int, bool]]
) -> None:
    windows = ((5, 40), (50, 90), (85, 120), (300, 900))
    team = people(Crew("a", "w", heads), Crew("b", "v", 1), w=windows, v=((60, 400),))
    at = 0.0
    for step, work, takes in asks:
        at += step
        start, crew = team.soonest(at, work)
        assert (start, crew) == team.earliest(at, work)
        if takes and crew != NOBODY:
            team.take(crew, start, work)


@settings(max_examples=80, deadline=None)
@given(
    heads=st.integers(1, 3),
    asks=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 25)), min_size=1, max_size=25),
)
def test_never_more_at_work_than_there_are(heads: int, asks: list[tuple[int, int]]) -> None:
    """Against counting heads second by second: nothing is taken twice, and no earlier second was free."""
    team = people(Crew("a", "w", heads), w=((5, 40), (50, 90), (100, 900)))
    windows = ((5, 40), (50, 90), (100, 900))
    busy = [heads] * 5 + [0] * 35 + [heads] * 10 + [0] * 40 + [heads] * 10 + [0] * 800
    for at, work in asks:
        start, crew = team.earliest(at, work)
        first = next(
            s
            for s in range(at, 900)
            if max(busy[s : s + work]) < heads and any(a <= s and s + work <= b for a, b in windows)
        )
        assert (start, crew) == (first, 0)
        team.take(crew, start, work)
        busy[first : first + work] = [b + 1 for b in busy[first : first + work]]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 60), st.floats(1, 60)), max_size=12))
def test_placed_boxes_lie_apart_on_the_plate(boxes: list[tuple[float, float]]) -> None:
    spots = place(boxes, (100.0, 80.0))
    if spots is None:
        assert len(boxes) > 1
        return
    rectangles = []
    for (w, h), (x, y, turned) in zip(boxes, spots, strict=True):
        rectangles.append((x, y, x + (h if turned else w), y + (w if turned else h)))
    for i, (x0, y0, x1, y1) in enumerate(rectangles):
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= 100.001
        assert y1 <= 80.001
        for a0, b0, a1, b1 in rectangles[:i]:
            assert min(x1, a1) - max(x0, a0) < 1e-6 or min(y1, b1) - max(y0, b0) < 1e-6


def test_a_plate_can_be_filled_to_its_edges() -> None:
    assert place([(50.0, 40.0)] * 4, (100.0, 80.0)) is not None
    assert place([(80.0, 100.0)], (100.0, 80.0)) == [(0.0, 0.0, True)]
    assert place([(50.0, 40.0)] * 5, (100.0, 80.0)) is None
    assert place([(100.1, 1.0)], (100.0, 80.0)) is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_replay_of_a_pass_is_never_later_in_total_without_a_limit_of_people(seed: int) -> None:
    c = Compiled(small_shop(seed, parts=0))
    jobs, queues = c.with_batches([[] for _ in c.ready])
    made = Dispatcher(c).run(Rule("atcs"), jobs, queues)
    assert made is not None
    rows = made.sequences(len(c.ready))
    placed = replay(c, jobs, rows)
    assert placed is not None
    again = valued(c, jobs, placed)
    assert again.sequences(len(c.ready)) == rows
    assert again.value.changeovers == made.value.changeovers
    if not c.people.limited:
        # The two add the same times up in different orders.
        for name, value in made.value.as_dict().items():
            assert again.value.as_dict()[name] == pytest.approx(value, rel=1e-12, abs=1e-6)


def test_effort_is_counted_and_seconds_are_not() -> None:
    meter = Meter(Budget(effort=10))
    phase = meter.share(0.5)
    assert [phase.spend() for _ in range(7)] == [True] * 5 + [False] * 2
    assert phase.progress() == 1.0
    assert meter.used == 5
    assert meter.spend(5)
    assert not meter.spend()
    timed = Meter(Budget(seconds=0.02))
    assert timed.spend()
    time.sleep(0.03)
    assert not timed.spend()
    assert timed.progress() == 1.0
    assert timed.seconds_left() == 0.0
