"""The search over orders finds the optima that CP-SAT proves, and a new plan goes on from the old one."""

from __future__ import annotations

import time
from dataclasses import replace
from random import Random

import pytest

from bench.planner.halls import copies_hall
from farmd.planner import Announced, Budget, Plan, Problem, check, exact, plan
from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.generate import fdm_shop
from farmd.planner.greedy import Dispatcher, Rule
from farmd.planner.search import improve


def searched(problem: Problem, effort: int) -> float:
    """What the search alone makes of the first come, first served."""
    c = Compiled(problem)
    jobs, queues = c.with_batches([[] for _ in c.ready])
    start = Dispatcher(c).run(Rule("fifo"), jobs, queues)
    assert start is not None
    return improve(c, start, Meter(Budget(effort=effort)), Random(1), 0.0).objective


@pytest.mark.parametrize("people", [None, 1])
@pytest.mark.parametrize("objective", ["weighted_tardiness", "makespan"])
def test_small_optima_are_found(objective: str, people: int | None) -> None:
    proven = 0
    for seed in range(5):
        problem = replace(fdm_shop(seed, 6, 2, load=1.5, people=people), objective=objective)
        best = exact.solve(Compiled(problem), None, Meter(Budget(effort=4000)), 1)
        if best is None or not best.optimal or best.schedule is None:
            continue
        proven += 1
        slack, rounding_s = (1.001, 1.0) if people is None else (1.02, 900.0)
        assert searched(problem, 1500) <= best.schedule.objective * slack + rounding_s
    assert proven >= 2


def test_a_plan_beats_what_rules_make_by_far() -> None:
    halls = ((fdm_shop(21, 150, 8, load=1.3), 0.6), (copies_hall(21, 150, 8, load=1.3, people=2), 0.9))
    for problem, share in halls:
        rule = plan(problem, budget=Budget(effort=1), seed=1, policy="atcs")
        made = plan(problem, budget=Budget(effort=6000), seed=1)
        assert check(problem, made) == ()
        assert made.value.weighted_tardiness_s < share * rule.value.weighted_tardiness_s


def test_the_machines_that_were_announced_keep_their_price() -> None:
    problem = fdm_shop(3, 60, 6, load=1.2)
    first = plan(problem, budget=Budget(effort=800), seed=1)
    wishes = tuple(Announced(a.build or "", a.machine, a.start_s) for a in first.assignments[:12])
    told = replace(problem, announced=wishes)

    def moves(made: Plan) -> int:
        machine = {a.build: a.machine for a in made.assignments}
        return sum(machine[wish.id] != wish.machine for wish in wishes)

    free = plan(told, budget=Budget(effort=800), seed=2, stability_price_s=0.0)
    priced = plan(told, budget=Budget(effort=800), seed=2, stability_price_s=1e7)
    assert moves(free) > 3
    assert moves(priced) == 0


@pytest.mark.parametrize("people", [None, 3])
def test_a_replan_goes_on_from_the_old_orders(people: int | None) -> None:
    problem = fdm_shop(5, 200, 12, load=1.3, people=people)
    before = replace(problem, builds=problem.builds[:-3])
    old = plan(before, budget=Budget(effort=8000), seed=1)
    done = {a.build for a in old.assignments[:4]}
    now = replace(problem, builds=tuple(b for b in problem.builds if f"{b.id}#1" not in done))
    cold = plan(now, budget=Budget(effort=40), seed=1)
    warm = plan(now, budget=Budget(effort=40), seed=1, incumbent=old)
    assert check(now, warm) == ()
    assert warm.value.weighted_tardiness_s < cold.value.weighted_tardiness_s
    assert warm == plan(now, budget=Budget(effort=40), seed=1, incumbent=old)


def test_an_old_plan_of_another_shop_does_no_harm() -> None:
    problem = fdm_shop(5, 30, 4, people=1)
    other = plan(fdm_shop(6, 40, 7), budget=Budget(effort=20), seed=1)
    renamed = replace(other, assignments=tuple(replace(a, machine="gone") for a in other.assignments))
    for old in (other, renamed):
        made = plan(problem, budget=Budget(effort=60), seed=1, incumbent=old)
        assert check(problem, made) == ()


def test_a_budget_in_seconds_is_kept_in_two_threads() -> None:
    """Loose, for shared test machines."""
    problem = fdm_shop(8, 600, 30, load=1.2)
    plan(problem, budget=Budget(effort=60), seed=1)
    began = time.perf_counter()
    made = plan(problem, budget=Budget(seconds=1.0), seed=1)
    assert time.perf_counter() - began < 4.0
    assert check(problem, made) == ()
