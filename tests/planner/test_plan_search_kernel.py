"""The search kernel: after any number of moves its rows are whole, its people counted and its costs true."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.planner import Budget, Build, Chamber, Changeover, Crew, Machine, Part, Problem, check
from farmd.planner import kernel_data as k
from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled, Jobs
from farmd.planner.generate import fdm_shop, small_shop
from farmd.planner.greedy import Dispatcher, Rule
from farmd.planner.kernel import anneal, insert
from farmd.planner.kernel_arrays import (
    cost_of,
    draft_of,
    placed_of,
    rows_of,
    shop_of,
    state_in_order,
    state_of,
)
from farmd.planner.kernel_data import Shop, State
from farmd.planner.passes import tuned_pass
from farmd.planner.plans import Plan
from farmd.planner.schedule import Placed, Schedule, replay, to_plan, valued
from farmd.planner.search import gather, improve, shares_of
from farmd.planner.solve import plan

AWKWARD = Problem(
    100.5,
    0.0,
    Changeover(0.0, (("A", "B", 130.0), ("B", "A", 70.0))),
    (
        Machine("m1", "x", "MEX", 0.0, "A"),
        Machine("m2", "x", "MEX", 3000.0, None),
        Machine("idle", "z", "MEX", 0.0, "B"),
        Machine("bed", "x", "PBF", 0.0, "A", Chamber(600.0, 0.0, 10.0, 10000.0, 200.0, 2.0, 900.0)),
    ),
    windows={
        "twice": ((0.0, 4000.0), (2000.0, 9000.0), (9000.0, 9200.0), (40000.0, 90000.0)),
        "late": ((5000.0, 12000.0), (30000.0, 60000.0)),
    },
    crews=(Crew("a", "twice", 1), Crew("b", "late", 1), Crew("nobody", "late", 0)),
    builds=(
        Build("copies", "A", {"x": 1800.0}, 0.0, 9000.0, 1.0, 8),
        Build("other", "B", {"x": 2500.0}, 1000.0, 12000.0, 3.0, 3),
        Build("never-late", "A", {"x": 10.0}, 0.0, None, 0.0, 2),
    ),
)
"""Overlapping windows, work of no length, a crew with nobody, a machine for nothing, a chamber that takes builds."""


def state_of_rule(problem: Problem) -> tuple[Compiled, Jobs, Shop, State]:
    c = Compiled(problem)
    jobs, queues = c.with_batches([[] for _ in c.ready])
    made = Dispatcher(c).run(Rule("edd"), jobs, queues)
    assert made is not None
    shop = shop_of(c, jobs)
    state = state_of(c, shop, made.placed)
    assert state is not None
    return c, jobs, shop, state


def moved(shop: Shop, state: State, moves: int, seed: int) -> float:
    """Some moves, hot first; by how much they say that the cost has changed."""
    draft = draft_of(state, Random(seed))
    everybody = np.arange(len(state.length), dtype=np.int32)
    heat = 1.0 + cost_of(state) / len(shop.job_s)
    return sum(
        anneal(shop, state, draft, everybody, moves // 4, heat * share) for share in (1.0, 0.1, 0.01, 0.0)
    )


def assert_whole(problem: Problem, c: Compiled, jobs: Jobs, shop: Shop, state: State) -> None:
    rows = rows_of(state)
    assert sorted(job for row in rows for job in row) == list(range(len(jobs.release)))
    for m, row in enumerate(rows):
        assert [tuple(state.where[job]) for job in row] == [(m, i) for i in range(len(row))]
    used = np.zeros_like(state.used)
    for m, row in enumerate(rows):
        for i in range(len(row)):
            _, crew, first, count = state.row[m, i]
            if crew >= 0:
                used[crew, first : first + count] += 1
    assert (used == state.used).all()
    placed = placed_of(c, jobs, shop, state) if shop.terms[k.MODE] == k.GRAINS else replay(c, jobs, rows)
    assert placed is not None
    assert_valid(problem, c, jobs, placed)
    ends = {p.job: p.end for p in placed}
    for m, row in enumerate(rows):
        for i, job in enumerate(row):
            free = state.times[m, i + 1, k.FREE_AT] - c.cooldown[m]
            assert ends[job] == pytest.approx(free, abs=1e-3)


def assert_valid(problem: Problem, c: Compiled, jobs: Jobs, placed: list[Placed]) -> Plan:
    made = to_plan(c, valued(c, jobs, placed), "feasible", None, lambda machine, parts: ())
    assert check(problem, made) == ()
    return made


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), runs=st.integers(2, 14), moves=st.integers(4, 4000))
def test_rows_stay_whole_and_costs_true(seed: int, runs: int, moves: int) -> None:
    problem = small_shop(seed, runs=runs, parts=0)
    if not problem.builds:
        return
    c, jobs, shop, state = state_of_rule(problem)
    before = cost_of(state)
    changed = moved(shop, state, moves, seed)
    assert_whole(problem, c, jobs, shop, state)
    if not c.makespan:
        assert cost_of(state) == pytest.approx(before + changed, rel=1e-9, abs=1e-3)
        again = state_in_order(c, shop, [(job, m) for m, row in enumerate(rows_of(state)) for job in row])
        if shop.terms[k.MODE] != k.GRAINS:
            assert again is not None
            assert cost_of(again) == pytest.approx(cost_of(state), rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("people", [None, 1, 3])
def test_a_hall_stays_whole(people: int | None) -> None:
    problem = fdm_shop(4, 80, 6, load=1.4, people=people)
    c, jobs, shop, state = state_of_rule(problem)
    before = cost_of(state)
    moved(shop, state, 60_000, 1)
    assert_whole(problem, c, jobs, shop, state)
    assert cost_of(state) < 0.7 * before


@pytest.mark.parametrize("people", [1, 2, 5])
def test_shares_of_the_people_add_up(people: int) -> None:
    """What two threads do with rows, and people, of their own is whole when it comes together."""
    problem = fdm_shop(6, 90, 8, load=1.4, people=people)
    c, jobs, shop, state = state_of_rule(problem)
    before = cost_of(state)
    rng = Random(people)
    for stretch in range(20):
        shares = shares_of(shop, state, rng, 2)
        for i, share in enumerate(shares):
            assert (share.used <= shop.people[:, None]).all()
            crowd = np.arange((i + stretch) % 2, len(state.length), 2, dtype=np.int32)
            anneal(shop, share, draft_of(state, rng), crowd, 2_000, 1e-3 * before / len(shop.job_s))
        gather(shop, state, shares)
        assert (state.used >= 0).all()
    assert_whole(problem, c, jobs, shop, state)
    assert cost_of(state) < 0.8 * before


def test_awkward_windows_and_machines() -> None:
    for crews in (AWKWARD.crews, (), (Crew("a", "twice", None), Crew("b", "late", None))):
        problem = replace(AWKWARD, crews=crews)
        c, jobs, shop, state = state_of_rule(problem)
        moved(shop, state, 20_000, 3)
        assert_whole(problem, c, jobs, shop, state)
        assert len(rows_of(state)[2]) == 0


@pytest.mark.parametrize("spans", [((0.0, 1e12),), ((0.0, 600.0), (1.7e9, 1.7e9 + 9e4))])
def test_people_of_windows_that_reach_very_far_are_planned(spans: tuple[tuple[float, float], ...]) -> None:
    problem = replace(
        AWKWARD, windows={"far": spans}, crews=(Crew("few", "far", 1), Crew("crowd", "far", 10**12))
    )
    plan_ = plan(problem, budget=Budget(effort=200), seed=1)
    assert plan_.status != "infeasible"
    assert check(problem, plan_) == ()
    c = Compiled(problem)
    assert shop_of(c, c.jobs).next_open.size < 3_000_000


def test_batches_stay_on_their_chamber_and_builds_go_between() -> None:
    parts = tuple(Part(f"q{i}", "A", 100.0, 20.0 + i, 6000.0, 1.0, 0.0, 9000.0, 2.0) for i in range(4))
    problem = replace(AWKWARD, parts=parts)
    c = Compiled(problem)
    bed = 3
    batches = [[c.batch(bed, (p,)) for p in range(4)] if m == bed else [] for m in range(len(c.ready))]
    jobs, queues = c.with_batches(batches)
    made = Dispatcher(c).run(Rule("edd"), jobs, queues)
    assert made is not None
    shop = shop_of(c, jobs)
    state = state_of(c, shop, made.placed)
    assert state is not None
    moved(shop, state, 20_000, 5)
    assert_whole(problem, c, jobs, shop, state)
    assert {job for job in rows_of(state)[bed] if job >= c.runs} == set(range(c.runs, c.runs + 4))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), left_out=st.integers(1, 4))
def test_what_is_put_in_goes_where_it_costs_least(seed: int, left_out: int) -> None:
    """Against laying the rows anew with the job in every place."""
    problem = replace(small_shop(seed, runs=8, parts=0), objective="weighted_tardiness")
    if sum(build.count for build in problem.builds) < 8:
        return
    problem = replace(problem, crews=tuple(replace(crew, people=None) for crew in problem.crews))
    c, _jobs, shop, full = state_of_rule(problem)
    rows = [[job for job in row if job >= left_out] for row in rows_of(full)]
    order = [(job, m) for m, row in enumerate(rows) for job in row]
    state = state_in_order(c, shop, order)
    assert state is not None
    before = cost_of(state)
    least = np.inf
    for m in range(len(rows)):
        if np.isinf(shop.job_s[0, k.DURATION + c.class_of[m]]):
            continue
        for place in range(len(rows[m]) + 1):
            tried = [[*row] for row in rows]
            tried[m].insert(place, 0)
            laid = state_in_order(c, shop, [(job, x) for x, row in enumerate(tried) for job in row])
            least = min(least, np.inf if laid is None else cost_of(laid))
    paid = insert(shop, state, draft_of(state, Random(1)), 0, 100)
    assert before + paid == pytest.approx(least, rel=1e-9, abs=1e-6)
    assert cost_of(state) == pytest.approx(least, rel=1e-9, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), runs=st.integers(1, 14))
def test_compiled_passes_hold(seed: int, runs: int) -> None:
    problem = small_shop(seed, runs=runs, parts=0)
    if not problem.builds:
        return
    c = Compiled(problem)
    made = tuned_pass(c, Dispatcher(c), Meter(Budget(effort=6)), Random(seed))
    assert made is not None
    assert check(problem, to_plan(c, made, "feasible", None, lambda machine, parts: ())) == ()


def test_a_search_is_never_worse_than_its_start_and_the_same_twice() -> None:
    for seed in range(3):
        for people in (None, 1):
            c = Compiled(fdm_shop(seed, 60, 5, load=1.2, people=people))
            jobs, queues = c.with_batches([[] for _ in c.ready])
            start = Dispatcher(c).run(Rule("atcs"), jobs, queues)
            assert start is not None
            ends: list[Schedule] = []
            for effort in (1, 30, 600, 600):
                ends.append(improve(c, start, Meter(Budget(effort=effort)), Random(seed), 0.0))
                assert ends[-1].rank <= start.rank
            assert ends[2].placed == ends[3].placed
            assert ends[3].cost < 0.8 * start.cost
