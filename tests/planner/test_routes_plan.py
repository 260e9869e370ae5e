"""Plans of routes: the checker holds each to the rules, tiny ones are optimal, the same seed gives the same plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.planner import Budget, Plan, Problem, check, plan, read_plan
from farmd.planner.problem import Build, Crew, Machine
from farmd.planner.routes.data import BatchRoom, Operation, PlannedOperation, Route, Station
from farmd.planner.routes.exact_model import Model
from farmd.planner.routes.finishing import Finishing
from farmd.planner.routes.generate import finishing_shop, job_shop, tiny_routes
from farmd.planner.routes.slate import Unit

EFFORT = Budget(effort=400)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.booleans())
def test_every_plan_passes_the_checker(seed: int, whole: bool) -> None:
    problem = tiny_routes(seed, whole=whole)
    made = plan(problem, budget=Budget(effort=60), seed=seed)
    assert read_plan(made.as_dict()) == made
    if made.status == "infeasible":
        assert made.reasons
    else:
        assert check(problem, made) == ()
        again = plan(problem, budget=Budget(effort=60), seed=seed, incumbent=made)
        assert check(problem, again) == ()
        assert objective(problem, again) <= objective(problem, made) + 1e-6


@pytest.mark.parametrize("policy", ["fifo", "edd", "wspt", "atcs"])
def test_rules_plan_too(policy: str) -> None:
    problem = finishing_shop(2, 12, 3)
    made = plan(problem, budget=EFFORT, seed=1, policy=policy)
    assert made.status == "feasible"
    assert check(problem, made) == ()


def objective(problem: Problem, made: Plan) -> float:
    if problem.objective == "makespan":
        return made.value.makespan_s
    return (
        made.value.weighted_tardiness_s + problem.operator_price * made.value.operator_s + made.value.wear_s
    )


def brute_force(problem: Problem) -> float:
    """The best of all orders and stations, each operation as early as can be; without batches or lags that is all."""
    f = Finishing(problem, {})
    best = float("inf")
    for order in itertools.permutations(range(len(f.ops))):
        at = {v: i for i, v in enumerate(order)}
        if any(at[b.op] > at[v] for v in order for b in f.ops[v].before):
            continue
        for stations in itertools.product(*([k for k, _ in f.ops[v].choices] for v in order)):
            slate = f.decode([Unit((v,), k) for v, k in zip(order, stations, strict=True)])
            if not slate.broken:
                best = min(best, slate.objective)
    return best


def plain(problem: Problem) -> Problem:
    """Without batches, builds, most lags and waiting to be unloaded: then serial schedules hold an optimum."""
    stations = tuple(replace(s, batch=None) for s in problem.stations)
    routes = tuple(
        replace(
            route,
            of=None,
            release_s=route.release_s or 0.0,
            due_s=800.0,
            operations=tuple(replace(o, lag_max_s=None, unload_s=0.0) for o in route.operations),
        )
        for route in problem.routes
    )
    return replace(problem, stations=stations, routes=routes, builds=(), machines=())


@pytest.mark.parametrize("objective_", ["makespan", "weighted_tardiness"])
@pytest.mark.parametrize("seed", range(12))
def test_tiny_plans_are_optimal(seed: int, objective_: str) -> None:
    problem = replace(plain(tiny_routes(seed, operations=4)), objective=objective_)
    made = plan(problem, budget=Budget(effort=4000), seed=1)
    assert made.status == "optimal"
    assert objective(problem, made) == pytest.approx(brute_force(problem), abs=1e-3)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_and_effort_give_the_same_plan(seed: int) -> None:
    for problem in (job_shop(seed, 6, 4), finishing_shop(seed, 8, 3), tiny_routes(seed)):
        first, second = (plan(problem, budget=Budget(effort=1500), seed=7) for _ in range(2))
        assert first == second


def test_job_shops_reach_known_optima() -> None:
    for seed in range(3):
        problem = job_shop(seed, 8, 4, choices=3)
        made = plan(problem, budget=Budget(effort=12_000), seed=1)
        assert check(problem, made) == ()
        assert made.bound is not None
        assert made.value.makespan_s <= 1.02 * made.bound


def oven_shop(releases: tuple[float, ...], due_s: float) -> Problem:
    routes = tuple(
        Route(f"r{i}", (Operation("cure", {"oven": 1000.0}, recipe="60C"),), None, release, due_s)
        for i, release in enumerate(releases)
    )
    oven = Station("oven", "oven", 0.0, batch=BatchRoom(max_items=3))
    return replace(job_shop(1, 1, 1), stations=(oven,), routes=routes, objective="weighted_tardiness")


def test_a_furnace_waits_until_it_is_fuller() -> None:
    problem = oven_shop((0.0, 300.0, 500.0), 1500.0)
    made = plan(problem, budget=EFFORT, seed=1)
    assert made.status == "optimal"
    assert made.value.weighted_tardiness_s == 0.0
    assert {o.start_s for o in made.operations} == {500.0}
    assert len({o.batch for o in made.operations}) == 1


def test_a_build_is_made_when_its_route_can_follow_at_once() -> None:
    base = finishing_shop(1, 1, 1)
    build = replace(
        base.builds[0], duration_s={"mk4": 40_000.0, "xl": 40_000.0, "mini": 40_000.0}, release_s=0.0
    )
    wash = Operation("wash", {"washer": 600.0}, load_s=60.0, lag_max_s=1800.0)
    problem = replace(base, builds=(build,), routes=(Route("w", (wash,), of=build.id),))
    made = plan(problem, budget=EFFORT, seed=1)
    assert check(problem, made) == ()
    assert made.operations[0].start_s <= made.assignments[0].end_s + 1800.0
    assert made.operations[0].start_s % 86400 >= 7 * 3600


def test_what_cannot_be_has_a_reason() -> None:
    wash = Operation("wash", {"washer": 600.0}, crewed=True)
    problem = replace(
        job_shop(1, 1, 1),
        stations=(Station("tub", "washer", 0.0),),
        routes=(Route("r", (wash,), None, 0.0, None),),
        windows={"short": ((0.0, 300.0),)},
        crews=(Crew("short", "short", 1),),
    )
    made = plan(problem, budget=EFFORT, seed=1)
    assert made.status == "infeasible"
    assert "r#1/wash" in made.reasons[0]


def test_what_begins_too_late_after_its_release_has_a_reason() -> None:
    wash = Operation("wash", {"washer": 600.0}, lag_max_s=100.0)
    problem = replace(
        job_shop(1, 1, 1),
        now_s=1000.0,
        stations=(Station("tub", "washer", 0.0),),
        routes=(Route("r", (wash,), None, 0.0, None),),
    )
    made = plan(problem, budget=EFFORT, seed=1)
    assert made.status == "infeasible"
    assert "lag_max_s" in made.reasons[0]


def test_work_of_no_length_has_its_person() -> None:
    glance = Operation("glance", {"bench": 0.0}, crewed=True)
    problem = replace(
        job_shop(1, 1, 1),
        stations=(Station("table", "bench", 0.0),),
        routes=(Route("r", (glance,), None, 0.0, None),),
        windows={"short": ((500.0, 900.0),)},
        crews=(Crew("short", "short", 1),),
    )
    made = plan(problem, budget=EFFORT, seed=1)
    assert check(problem, made) == ()
    assert (made.operations[0].crew, made.operations[0].start_s) == ("short", 500.0)


def test_no_build_is_put_off_beyond_its_deadline() -> None:
    base = finishing_shop(1, 1, 1)
    durations = {"mk4": 60_000.0, "xl": 60_000.0, "mini": 60_000.0}
    build = replace(base.builds[0], duration_s=durations, release_s=0.0)
    wash = Operation("wash", {"washer": 600.0}, load_s=60.0, lag_max_s=1800.0)
    problem = replace(base, builds=(build,), routes=(Route("w", (wash,), of=build.id),))
    made = plan(problem, budget=EFFORT, seed=1)
    late = made.assignments[0].end_s
    tight = replace(problem, builds=(replace(build, deadline_s=late - 3600.0),))
    refused = plan(tight, budget=EFFORT, seed=1)
    assert refused.status == "infeasible"
    assert all("lag_max_s" in reason for reason in refused.reasons)
    within = replace(problem, builds=(replace(build, deadline_s=late),))
    assert plan(within, budget=EFFORT, seed=1).status != "infeasible"


def test_rules_are_the_last_resort_of_a_search_that_finds_nothing() -> None:
    """Its weight brings the heavy one first; put off until somebody polishes it, it leaves the other no time."""
    builds = (
        Build("light", "A", {"mk4": 5_000.0}, 0.0, None, 1.0, deadline_s=16_000.0),
        Build("heavy", "A", {"mk4": 10_000.0}, 0.0, 0.0, 100.0),
    )
    polish = Operation("polish", {"bench": 600.0}, lag_max_s=60.0)
    problem = replace(
        finishing_shop(1, 1, 1),
        machines=(Machine("mill", "mk4", "MEX", 0.0, "A"),),
        builds=builds,
        crews=(),
        windows={},
        stations=(Station("table", "bench", 0.0, shut=((10_200.0, 15_000.0),)),),
        routes=(Route("r", (polish,), of="heavy"),),
    )
    made = plan(problem, budget=EFFORT, seed=1)
    assert check(problem, made) == ()
    assert [a.build for a in made.assignments] == ["light#1", "heavy#1"]


def test_a_station_that_is_only_shut_is_no_constraint_of_the_model() -> None:
    """Without presolve CP-SAT's local search reads past its end on a constraint of constants alone."""
    glance = Operation("glance", {"bench": 100.0})
    problem = replace(
        job_shop(1, 1, 1),
        stations=(
            Station("tub", "washer", 0.0, capacity=2, shut=((10.0, 20.0), (30.0, 40.0))),
            Station("table", "bench", 0.0),
        ),
        routes=(Route("r", (glance,), None, 0.0, None),),
    )
    f = Finishing(problem, {})
    slate = f.decode([Unit((0,), 1)])
    model = Model(f, slate, frozenset({0}), 1.0, 1, 1000.0)
    proto = model.cp.proto
    moving = {i for i, c in enumerate(proto.constraints) if c.has_interval() and list(c.enforcement_literal)}
    for c in proto.constraints:
        for intervals in (c.cumulative.intervals, c.no_overlap.intervals):
            if list(intervals):
                assert moving & set(intervals)


def test_a_broken_deadline_of_a_build_is_told_as_without_routes() -> None:
    base = finishing_shop(1, 3, 1)
    problem = replace(base, builds=tuple(replace(b, deadline_s=100.0) for b in base.builds))
    made = plan(problem, budget=EFFORT, seed=1)
    assert made.status == "infeasible"
    assert made.reasons


# --- the checker ------------------------------------------------------------------------------


def sound() -> tuple[Problem, Plan]:
    """Two items through a tub of one and an oven of three, with a person to load."""
    steps = (
        Operation("wash", {"washer": 600.0, "spare": 600.0}, load_s=60.0, unload_s=60.0),
        Operation("cure", {"oven": 1000.0}, recipe="60C", lag_min_s=100.0, lag_max_s=5000.0),
    )
    problem = replace(
        job_shop(1, 1, 1),
        stations=(
            Station("tub", "washer", 0.0, shut=((50_000.0, 60_000.0),)),
            Station("oven", "oven", 0.0, batch=BatchRoom(max_items=3)),
            Station("late", "spare", 40_000.0),
        ),
        routes=(Route("r", steps, None, 0.0, 3000.0, 2.0, 2),),
        windows={"day": ((0.0, 80_000.0),)},
        crews=(Crew("day", "day", 1),),
        objective="weighted_tardiness",
    )
    made = plan(problem, budget=EFFORT, seed=1)
    assert check(problem, made) == ()
    return problem, made


def changed(made: Plan, name: str, **fields: object) -> Plan:
    operations = tuple(replace(o, **fields) if o.operation == name else o for o in made.operations)  # type: ignore[arg-type]
    return replace(made, operations=operations)


def shifted(made: Plan, name: str, by_s: float) -> Plan:
    o = next(o for o in made.operations if o.operation == name)
    return changed(made, name, start_s=o.start_s + by_s, end_s=o.end_s + by_s)


def moved_in_oven(problem: Problem, made: Plan) -> tuple[Problem, Plan]:
    room = replace(problem.stations[1], batch=BatchRoom(max_items=1))
    return replace(problem, stations=(problem.stations[0], room, problem.stations[2])), together(made)


def together(made: Plan) -> Plan:
    cures = [o for o in made.operations if o.operation.endswith("cure")]
    last = max(cures, key=lambda o: o.start_s)
    for o in cures:
        made = changed(made, o.operation, start_s=last.start_s, end_s=last.end_s, batch="oven#1")
    return made


BROKEN: list[tuple[str, Callable[[Problem, Plan], tuple[Problem, Plan]]]] = [
    ("not-scheduled", lambda p, m: (p, replace(m, operations=m.operations[1:]))),
    ("scheduled-twice", lambda p, m: (p, replace(m, operations=(*m.operations, m.operations[0])))),
    ("unknown-name", lambda p, m: (p, replace(m, operations=(*m.operations, PlannedOperation("x/y", "tub", 0, 1))))),
    ("unknown-station", lambda p, m: (p, changed(m, "r#1/wash", station="sea"))),
    ("wrong-station", lambda p, m: (p, changed(m, "r#1/wash", station="oven"))),
    ("before-available", lambda p, m: (p, changed(m, "r#1/wash", station="late"))),
    ("station-shut", lambda p, m: (p, shifted(m, "r#1/wash", 50_100.0))),
    ("station-full", lambda p, m: (p, changed(m, "r#1/wash", start_s=0.0, end_s=2000.0))),
    ("wrong-duration", lambda p, m: (p, changed(m, "r#1/wash", start_s=0.0, end_s=300.0))),
    ("wrong-duration", lambda p, m: (p, changed(m, "r#1/cure", end_s=9000.0))),
    ("unknown-crew", lambda p, m: (p, changed(m, "r#1/wash", crew=None))),
    ("unknown-crew", lambda p, m: (p, changed(m, "r#2/wash", unload_crew="night"))),
    ("outside-window", lambda p, m: (replace(p, windows={"day": ((10_000.0, 80_000.0),)}), m)),
    ("too-few-people", lambda p, m: (p, changed(m, "r#2/wash", start_s=0.0, end_s=720.0, station="tub"))),
    ("too-early", lambda p, m: (p, shifted(m, "r#2/cure", -600.0))),
    ("too-early", lambda p, m: (replace(p, now_s=500.0), m)),
    ("too-late", lambda p, m: (p, shifted(m, "r#1/cure", 9000.0))),
    ("no-batch", lambda p, m: (p, changed(m, "r#1/cure", batch=None))),
    ("overfull", moved_in_oven),
    ("batch-apart", lambda p, m: (p, shifted(changed(together(m), "r#1/cure"), "r#1/cure", 50.0))),
    ("overlap", lambda p, m: (p, changed(shifted(together(m), "r#2/cure", 50.0), "r#2/cure", batch="oven#9"))),
    ("value-off", lambda p, m: (p, replace(m, value=replace(m.value, weighted_tardiness_s=1e6)))),
    ("bound-off", lambda p, m: (p, replace(m, bound=1e9))),
]  # fmt: skip


@pytest.mark.parametrize(("code", "spoil"), BROKEN)
def test_the_checker_names_each_broken_rule(
    code: str, spoil: Callable[[Problem, Plan], tuple[Problem, Plan]]
) -> None:
    problem, made = spoil(*sound())
    assert code in {violation.code for violation in check(problem, made)}


def test_recipes_do_not_mix() -> None:
    problem, made = sound()
    wash, cure = problem.routes[0].operations
    other = Route("q", (wash, replace(cure, recipe="80C")), None, 0.0, None)
    problem = replace(problem, routes=(replace(problem.routes[0], count=1), other))
    operations = tuple(
        replace(o, operation=o.operation.replace("r#2", "q#1")) for o in together(made).operations
    )
    assert "mixed-recipes" in {v.code for v in check(problem, replace(made, operations=operations))}
