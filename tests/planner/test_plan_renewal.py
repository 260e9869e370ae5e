"""A plan renewed from the orders of the last one: what is left stays, what is new goes in, and it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farmd.planner import Announced, Budget, Plan, Problem, check, plan
from farmd.planner.generate import fdm_shop, powder_shop
from farmd.planner.renewal import renewed


def again(problem: Problem, last: Plan, effort: int = 40) -> Plan | None:
    return renewed(problem, last, budget=Budget(effort=effort), seed=1, stability_price_s=600.0)


@pytest.mark.parametrize("people", [None, 2])
def test_what_is_new_goes_in_and_what_is_gone_goes(people: int | None) -> None:
    whole = fdm_shop(5, 60, 6, people=people)
    before = replace(whole, builds=whole.builds[:50])
    last = plan(before, budget=Budget(effort=60), seed=1)
    after = replace(whole, builds=whole.builds[5:], machines=whole.machines[1:])
    made = again(after, last)
    assert made is not None
    assert check(after, made) == ()
    assert made.status == "feasible"
    assert made.bound is None


def test_it_is_hardly_worse_than_the_plan_that_it_comes_from() -> None:
    problem = fdm_shop(5, 120, 6, load=1.3)
    last = plan(problem, budget=Budget(effort=400), seed=1)
    made = again(problem, last)
    assert made is not None
    assert made.value.weighted_tardiness_s <= 1.05 * last.value.weighted_tardiness_s


def test_a_late_clock_moves_everything() -> None:
    problem = fdm_shop(5, 40, 4)
    last = plan(problem, budget=Budget(effort=40), seed=1)
    later = replace(problem, now_s=problem.now_s + 50_000.0)
    assert check(later, last)
    made = again(later, last)
    assert made is not None
    assert check(later, made) == ()


def test_what_was_announced_stays_for_its_price() -> None:
    problem = fdm_shop(5, 60, 6)
    last = plan(problem, budget=Budget(effort=60), seed=1)
    told = tuple(Announced(a.build or "", a.machine, a.start_s) for a in last.assignments[:12])
    made = renewed(
        replace(problem, announced=told), last, budget=Budget(effort=60), seed=2, stability_price_s=1e9
    )
    assert made is not None
    where = {a.build: a.machine for a in made.assignments}
    assert all(where[wish.id] == wish.machine for wish in told)


def test_what_it_cannot_do_is_left_to_the_whole_planner() -> None:
    powder = powder_shop(1, 8, 2)
    assert again(powder, plan(powder, budget=Budget(effort=10), seed=1)) is None
    problem = fdm_shop(5, 10, 2)
    last = plan(problem, budget=Budget(effort=10), seed=1)
    assert again(replace(problem, builds=()), last) is None
    assert again(replace(problem, windows={"day": ()}), last) is None
    assert again(problem, replace(last, assignments=())) is None
    too_soon = replace(problem.builds[0], deadline_s=1.0)
    assert again(replace(problem, builds=(too_soon, *problem.builds[1:])), last) is None


def test_search_that_is_broken_off_answers_nothing() -> None:
    problem = fdm_shop(5, 40, 4)
    broken = plan(problem, budget=Budget(seconds=60.0, stopped=lambda: True), seed=1)
    assert broken.status == "infeasible"
    assert broken.assignments == ()
