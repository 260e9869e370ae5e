"""Planning: every plan passes the checker, small optima are optima, and a seed gives the same bytes."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.model.errors import Refused
from farmd.planner import (
    POLICIES,
    Announced,
    Assignment,
    Budget,
    Build,
    Chamber,
    Changeover,
    Crew,
    Machine,
    Part,
    Plan,
    Problem,
    Value,
    check,
    plan,
    read_plan,
)
from farmd.planner.generate import fdm_shop, powder_shop, shift_windows, small_shop

SAMPLE = Problem(
    now_s=0,
    clear_s=300,
    changeover_s=Changeover(900, (("PLA-black-0.4", "PLA-red-0.4", 360),)),
    machines=(
        Machine("m1", "mk4", "MEX", 25200, "PLA-black-0.4"),
        Machine("p1", "sls", "PBF", 0, "PA12", Chamber(3600, 0.1, 60, 100000, 300, 1.0, 0)),
    ),
    windows={"day": ((25200, 79200), (111600, 165600))},
    crews=(Crew("day", "day", 2),),
    builds=(Build("b1", "PLA-red-0.4", {"mk4": 14400}, 0, 86400, 2, 1),),
    parts=(Part("q1", "PA12", 20000, 80, 900, 1.0, 0, None, 1),),
    announced=(Announced("b1#1", "m1", 30000),),
)


def objective(problem: Problem, value: Value) -> float:
    if problem.objective == "makespan":
        return value.makespan_s
    return value.weighted_tardiness_s + problem.operator_price * value.operator_s


@pytest.mark.parametrize("policy", POLICIES)
def test_the_formats_example(policy: str) -> None:
    """Work 300 + 360 s from 25200 s; then 14400 s. The batch: 3600 + 0.1*20000 + 60*80 = 10400 s."""
    made = plan(SAMPLE, budget=Budget(seconds=5), seed=0, policy=policy)
    assert made == Plan(
        "optimal",
        0.0,
        Value(0.0, 40260.0, 1, 660.0),
        (
            Assignment("p1", 0.0, 10400.0, parts=("q1",)),
            Assignment("m1", 25860.0, 40260.0, build="b1#1", crew="day", operator_start_s=25200.0),
        ),
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    runs=st.integers(0, 9),
    parts=st.integers(0, 6),
    policy=st.sampled_from(POLICIES),
)
def test_every_plan_passes_the_checker(seed: int, runs: int, parts: int, policy: str) -> None:
    problem = small_shop(seed, runs=runs, parts=parts)
    made = plan(problem, budget=Budget(effort=120), seed=seed, policy=policy)
    assert made.status != "infeasible"
    assert check(problem, made) == ()
    assert read_plan(made.as_dict()) == made


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_same_seed_and_effort_give_the_same_plan(seed: int) -> None:
    problem = small_shop(seed)
    first, second = (plan(problem, budget=Budget(effort=900), seed=seed) for _ in range(2))
    assert first == second


def test_the_exact_models_are_reproducible() -> None:
    for problem in (fdm_shop(5, 12, 3, people=1, load=1.5), powder_shop(5, 10, 2)):
        first, second = (plan(problem, budget=Budget(effort=1500), seed=4) for _ in range(2))
        assert first == second
        assert check(problem, first) == ()


def brute_force(problem: Problem) -> float:
    """The least objective over all orders and machines; whole seconds, at most one crew."""
    runs = [(run, build) for build in problem.builds for run in build.run_ids()]
    best = float("inf")
    for machines in itertools.product(problem.machines, repeat=len(runs)):
        if all(build.runs_on(machine) for (_, build), machine in zip(runs, machines, strict=True)):
            for order in itertools.permutations(range(len(runs))):
                best = min(best, _serial(problem, [(runs[i][1], machines[i]) for i in order]))
    return best


def _serial(problem: Problem, order: list[tuple[Build, Machine]]) -> float:
    free = {m.name: max(m.available_s, problem.now_s) for m in problem.machines}
    setup = {m.name: m.setup for m in problem.machines}
    pairs = {(a, b): s for a, b, s in problem.changeover_s.pairs}
    works: list[tuple[float, float]] = []
    total, last, operator = 0.0, problem.now_s, 0.0
    for build, machine in order:
        before = setup[machine.name]
        change = problem.changeover_s.default
        if before is not None:
            change = pairs.get((before, build.setup), 0.0 if before == build.setup else change)
        work = problem.clear_s + change
        at = _person(problem, max(free[machine.name], build.release_s), work, works)
        if at is None:
            return float("inf")
        works.append((at, at + work))
        end = at + work + build.duration_s[machine.type]
        free[machine.name], setup[machine.name] = end, build.setup
        if build.due_s is not None:
            total += build.weight * max(0.0, end - build.due_s)
        last, operator = max(last, end), operator + work
    return last if problem.objective == "makespan" else total + problem.operator_price * operator


def _person(problem: Problem, at: float, work: float, works: list[tuple[float, float]]) -> float | None:
    if not problem.crews:
        return at
    (crew,) = problem.crews
    windows = problem.windows_of(crew)
    for time_ in sorted({at, *(a for a, _ in windows if a > at), *(end for _, end in works if end > at)}):
        inside = any(a <= time_ and time_ + work <= b for a, b in windows)
        moments = [time_, *(a for a, _ in works if time_ < a < time_ + work)]
        peak = max(sum(a <= moment < b for a, b in works) for moment in moments)
        if inside and (crew.people is None or peak < crew.people):
            return time_
    return None


@pytest.mark.parametrize("seed", range(14))
def test_small_optima_are_optima(seed: int) -> None:
    rng = Random(seed)
    problem = small_shop(seed, runs=4, parts=0, whole=True)
    crews = rng.choice(((), (Crew("late", "late", 1),), (Crew("late", "late", None),)))
    problem = replace(problem, machines=problem.machines[:2], crews=crews, announced=())
    if not all(any(b.runs_on(m) for m in problem.machines) for b in problem.builds):
        problem = replace(
            problem, machines=tuple(replace(m, type=t) for m, t in zip(problem.machines, "xy", strict=False))
        )
        problem = replace(
            problem, builds=tuple(replace(b, duration_s={"x": 3000.0, "y": 2500.0}) for b in problem.builds)
        )
    made = plan(problem, budget=Budget(effort=20000), seed=seed)
    assert check(problem, made) == ()
    assert made.status == "optimal"
    assert objective(problem, made.value) == pytest.approx(brute_force(problem), abs=0.01)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("aim", ["makespan", "weighted_tardiness"])
def test_small_powder_optima_are_optima(seed: int, aim: str) -> None:
    """Against all ways to put five parts into ordered batches of two chambers."""
    problem = powder_shop(seed, 5, 2, objective=aim)
    made = plan(problem, budget=Budget(effort=12000), seed=seed)
    assert check(problem, made) == ()
    assert made.status == "optimal"
    assert objective(problem, made.value) == pytest.approx(_powder_optimum(problem), abs=0.1)


def _partitions(items: list[int]) -> list[list[list[int]]]:
    if not items:
        return [[]]
    out = []
    for rest in _partitions(items[1:]):
        out.append([[items[0]], *rest])
        out += [[*rest[:i], [items[0], *rest[i]], *rest[i + 1 :]] for i in range(len(rest))]
    return out


def _powder_optimum(problem: Problem) -> float:
    best = float("inf")
    for batches in _partitions(list(range(len(problem.parts)))):
        for machines in itertools.product(problem.machines, repeat=len(batches)):
            for order in itertools.permutations(range(len(batches))):
                best = min(best, _powder_value(problem, [(batches[i], machines[i]) for i in order]))
    return best


def _powder_value(problem: Problem, order: list[tuple[list[int], Machine]]) -> float:
    free = {m.name: max(m.available_s, problem.now_s) for m in problem.machines}
    total, last = 0.0, problem.now_s
    for members, machine in order:
        chamber, parts = machine.chamber, [problem.parts[i] for i in members]
        assert chamber is not None
        if not all(p.fits(machine) for p in parts) or sum(p.area_mm2 for p in parts) > chamber.area_mm2:
            return float("inf")
        begin = max(free[machine.name], *(p.release_s for p in parts))
        end = begin + chamber.setup_s + chamber.s_per_mm * max(p.height_mm for p in parts)
        end += chamber.s_per_mm3 * sum(p.volume_mm3 for p in parts)
        free[machine.name] = end + chamber.cooldown_s
        last = max(last, end)
        total += sum(p.weight * max(0.0, end - p.due_s) for p in parts if p.due_s is not None)
    return last if problem.objective == "makespan" else total


@pytest.mark.parametrize(
    "problem",
    [
        fdm_shop(1, 200, 10, people=2),
        fdm_shop(2, 200, 10),
        powder_shop(1, 50, 5),
        powder_shop(2, 50, 5, objective="weighted_tardiness"),
    ],
    ids=["200x10 two people", "200x10", "50 parts makespan", "50 parts tardiness"],
)
def test_larger_shops_hold_within_their_seconds_and_beat_the_rules(problem: Problem) -> None:
    began = time.perf_counter()
    made = plan(problem, budget=Budget(seconds=1.5), seed=1)
    assert time.perf_counter() - began < 2.0
    assert check(problem, made) == ()
    for policy in ("fifo", "edd", "atcs"):
        ruled = plan(problem, budget=Budget(effort=1), seed=1, policy=policy)
        assert check(problem, ruled) == ()
        assert objective(problem, made.value) <= objective(problem, ruled.value)


def test_a_mixed_shop_shares_its_people() -> None:
    machines = powder_shop(3, 1, 2).machines
    crewed = tuple(
        replace(m, chamber=replace(m.chamber, crewed=True)) for m in machines if m.chamber is not None
    )
    halls = fdm_shop(3, 30, 4, people=1)
    problem = replace(halls, machines=(*halls.machines, *crewed), parts=powder_shop(4, 20, 2).parts)
    problem = replace(problem, parts=tuple(p for p in problem.parts if any(p.fits(m) for m in crewed)))
    assert len(problem.parts) > 5
    for policy in POLICIES:
        made = plan(problem, budget=Budget(effort=200), seed=1, policy=policy)
        assert check(problem, made) == ()
        assert made.status != "infeasible"


def test_footprints_are_laid_out() -> None:
    chamber = Chamber(100, 0.01, 10, 10000, 200, 1, 0, size_mm=(100.0, 100.0))
    parts = tuple(Part(f"q{i}", "P", 100, 20, 2400, 1, 0, None, size_mm=(60.0, 40.0)) for i in range(6))
    problem = Problem(
        0, 0, Changeover(0), (Machine("p", "sls", "PBF", 0, "P", chamber),), objective="makespan", parts=parts
    )
    made = plan(problem, budget=Budget(effort=3000), seed=1)
    assert check(problem, made) == ()
    assert [len(a.placements) for a in made.assignments] == [len(a.parts) for a in made.assignments]
    assert len(made.assignments) == 2


def test_fifo_takes_the_first_come_and_edd_the_first_due() -> None:
    builds = tuple(
        Build(name, "A", {"x": 1000}, release, due)
        for name, release, due in (("late", 0, 9000), ("urgent", 10, 3000), ("middle", 5, 6000))
    )
    problem = Problem(20, 0, Changeover(0), (Machine("m", "x", "MEX", 0, "A"),), builds=builds)

    def order(policy: str) -> list[str | None]:
        return [a.build for a in plan(problem, budget=Budget(effort=1), seed=0, policy=policy).assignments]

    assert order("fifo") == ["late#1", "middle#1", "urgent#1"]
    assert order("edd") == ["urgent#1", "middle#1", "late#1"]


def test_work_that_does_not_fit_the_rest_of_the_shift_lets_another_go_first() -> None:
    builds = (Build("big", "B", {"x": 100}, 0, 1000, 9), Build("small", "A", {"x": 100}, 0, None))
    problem = Problem(
        0,
        300,
        Changeover(900),
        (Machine("m", "x", "MEX", 0, "A"),),
        windows={"w": ((0, 600), (5000, 9000))},
        crews=(Crew("c", "w", 1),),
        builds=builds,
    )
    made = plan(problem, budget=Budget(effort=1), seed=0, policy="atcs")
    assert [(a.build, a.operator_start_s) for a in made.assignments] == [("small#1", 0.0), ("big#1", 5000.0)]


def test_an_incumbent_stays_until_something_is_better() -> None:
    problem = fdm_shop(9, 40, 4, load=1.4)
    good = plan(problem, budget=Budget(effort=4000), seed=1)
    again = plan(problem, budget=Budget(effort=1), seed=2, incumbent=good)
    assert again.assignments == good.assignments
    broken = replace(good, assignments=good.assignments[1:])
    other = plan(problem, budget=Budget(effort=1), seed=2, incumbent=broken)
    assert check(problem, other) == ()
    poor = plan(problem, budget=Budget(effort=1), seed=1, policy="fifo")
    better = plan(problem, budget=Budget(effort=1), seed=1, incumbent=poor)
    assert better.value.weighted_tardiness_s < poor.value.weighted_tardiness_s


def test_a_wish_is_kept_for_its_price_and_not_beyond() -> None:
    machines = (Machine("fast", "f", "MEX", 0, "A"), Machine("slow", "s", "MEX", 0, "A"))
    build = Build("b", "A", {"f": 1000, "s": 4000}, 0, 0, 1)
    problem = Problem(
        0, 0, Changeover(0), machines, builds=(build,), announced=(Announced("b#1", "slow", 0),)
    )
    for price, machine in ((2999.0, "fast"), (3001.0, "slow")):
        made = plan(problem, budget=Budget(effort=2000), seed=1, stability_price_s=price)
        assert [a.machine for a in made.assignments] == [machine]


def test_operator_work_has_its_price() -> None:
    builds = (Build("a", "A", {"x": 1000}, 0, 2000), Build("b", "B", {"x": 1000}, 0, 1500))
    problem = Problem(
        0, 0, Changeover(400, (("B", "A", 900),)), (Machine("m", "x", "MEX", 0, "A"),), builds=builds
    )
    cheap = plan(problem, budget=Budget(effort=3000), seed=1)
    dear = plan(replace(problem, operator_price=3.0), budget=Budget(effort=3000), seed=1)
    assert [a.build for a in cheap.assignments] == ["a#1", "b#1"]
    assert dear.value.operator_s == 400
    assert dear.bound == pytest.approx(dear.value.weighted_tardiness_s + 3.0 * 400)


def test_infeasible_says_which_and_why() -> None:
    problem = Problem(
        0,
        600,
        Changeover(900),
        (Machine("m", "x", "MEX", 0, "A"),),
        windows={"w": ((0, 1000),)},
        crews=(Crew("c", "w", None),),
        builds=(Build("fits", "A", {"x": 10}, 0, None), Build("long", "B", {"x": 10}, 0, None)),
    )
    for policy in POLICIES:
        made = plan(problem, budget=Budget(effort=5), seed=0, policy=policy)
        assert (made.status, made.assignments, made.bound) == ("infeasible", (), None)
        assert len(made.reasons) == 1
        assert made.reasons[0].startswith("long: ")
        assert made.as_dict()["reasons"] == list(made.reasons)
        assert read_plan(made.as_dict()) == made


def test_infeasible_together_is_proven_when_small() -> None:
    problem = Problem(
        0,
        600,
        Changeover(0),
        (Machine("m", "x", "MEX", 0, "A"), Machine("n", "x", "MEX", 0, "A")),
        windows={"w": ((0, 1000),)},
        crews=(Crew("c", "w", 1),),
        builds=(Build("b", "A", {"x": 10}, 0, None, count=2),),
    )
    made = plan(problem, budget=Budget(effort=2000), seed=0)
    assert made.status == "infeasible"
    assert made.reasons == ("the crews' windows do not hold all the work together (proven)",)


def test_an_empty_problem_is_done() -> None:
    problem = Problem(50, 0, Changeover(0), (Machine("m", "x", "MEX", 0, None),))
    for policy in POLICIES:
        made = plan(problem, budget=Budget(effort=3), seed=0, policy=policy)
        assert made == Plan("optimal", 0.0, Value(0.0, 50.0, 0, 0.0), ())


def test_unknown_policies_and_bad_budgets_are_refused() -> None:
    with pytest.raises(Refused) as caught:
        plan(SAMPLE, budget=Budget(effort=1), seed=0, policy="luck")
    assert caught.value.where == "policy"
    for wrong in ({}, {"seconds": 1.0, "effort": 1}, {"seconds": -1.0}, {"effort": -1}):
        with pytest.raises(ValueError, match="budget"):
            Budget(**wrong)  # type: ignore[arg-type]


def test_a_pass_over_a_full_hall_is_quick() -> None:
    """150 runs on 25 machines with two people; the bound is loose for shared test machines."""
    from farmd.planner.compiled import Compiled
    from farmd.planner.greedy import RULE_OF_POLICY, Dispatcher

    hall = fdm_shop(1, 100, 25, people=2)
    hall = replace(
        hall,
        windows={"day": shift_windows(60)},
        builds=tuple(replace(b, count=1 + i % 2) for i, b in enumerate(hall.builds)),
    )
    compiled = Compiled(hall)
    dispatcher = Dispatcher(compiled)
    jobs, queues = compiled.with_batches([[] for _ in hall.machines])
    times = []
    for _ in range(10):
        began = time.perf_counter()
        assert dispatcher.run(RULE_OF_POLICY["atcs"], jobs, queues) is not None
        times.append(time.perf_counter() - began)
    assert min(times) < 0.02
