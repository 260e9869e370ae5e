"""Shops with routes, drawn from a seed: plain job shops, farms with finishing, and tiny ones of everything.

For tests, benchmarks and warming up. Knows no planner.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from farmd.planner.generate import fdm_shop
from farmd.planner.problem import OBJECTIVES, Build, Changeover, Crew, Machine, Problem
from farmd.planner.routes.data import BatchRoom, Operation, Route, Station

HOUR_S = 3600.0
DAY_S = 86400.0
SHIFT_SHARE = 15 / 24
OVEN_ITEMS = 12


def job_shop(seed: int, jobs: int, stations: int, *, steps: int = 5, choices: int = 2) -> Problem:
    """A flexible job shop: each operation runs on up to `choices` of the stations; the makespan is at stake."""
    rng = Random(seed)
    names = [f"s{k + 1}" for k in range(stations)]
    routes = []
    for j in range(jobs):
        operations = tuple(
            Operation(
                f"o{i + 1}",
                {name: float(rng.randint(1, 20)) for name in rng.sample(names, rng.randint(1, min(choices, stations)))},
            )
            for i in range(rng.randint(max(1, steps - 2), steps + 2))
        )  # fmt: skip
        routes.append(Route(f"j{j + 1}", operations, release_s=0.0))
    return Problem(
        now_s=0.0,
        clear_s=0.0,
        changeover_s=Changeover(0.0),
        machines=(),
        objective="makespan",
        stations=tuple(Station(name, name, 0.0) for name in names),
        routes=tuple(routes),
    )


def finishing_shop(seed: int, builds: int, machines: int, *, load: float = 0.9) -> Problem:
    """A farm whose builds are washed, cured in furnaces, perhaps blasted, and inspected, by the people of a shift.

    There are as many stations and people as have to do, with the builds in a row, about `load` of what they can.
    """
    rng = Random(seed)
    base = fdm_shop(seed, builds, machines, load=load)
    routes, dued = [], []
    for build in base.builds:
        recipe, items = rng.choice(("60C", "80C")), rng.choice((1, 2, 4))
        steps = [
            Operation("wash", {"washer": _s(rng, 1200.0)}, load_s=120.0, unload_s=60.0),
            Operation(
                "cure", {"oven": {"60C": 14400.0, "80C": 7200.0}[recipe]}, load_s=180.0, unload_s=180.0,
                recipe=recipe, items=items, lag_min_s=600.0, lag_max_s=72 * HOUR_S,
            ),
        ]  # fmt: skip
        if rng.random() < 0.4:
            steps.append(Operation("blast", {"blaster": _s(rng, 1800.0)}, load_s=300.0, unload_s=120.0))
        steps.append(Operation("inspect", {"bench": _s(rng, 900.0)}, crewed=True))
        routes.append(Route(f"{build.id}-finish", tuple(steps), of=build.id))
        due = build.due_s
        dued.append(replace(build, due_s=None if due is None else due + 12 * HOUR_S))
    works: dict[str, float] = {}
    people_s = sum(1.5 * base.clear_s for _ in base.builds)
    for route in routes:
        for step in route.operations:
            (kind, seconds), share = next(iter(step.duration_s.items())), 1.0
            share = step.items / OVEN_ITEMS / 0.7 if kind == "oven" else 1.0
            works[kind] = works.get(kind, 0.0) + share * (step.load_s + seconds + step.unload_s)
            people_s += share * (step.load_s + step.unload_s) + (seconds if step.crewed else 0.0)
    span_s = load * max((b.due_s or 0.0 for b in base.builds), default=DAY_S) * SHIFT_SHARE

    def number(work_s: float) -> int:
        return max(1, round(work_s / span_s + 0.3))

    stations = [
        Station(
            f"{kind}-{i + 1}", kind, 0.0, batch=BatchRoom(max_items=OVEN_ITEMS) if kind == "oven" else None
        )
        for kind in ("washer", "oven", "blaster")
        for i in range(number(works.get(kind, 0.0)))
    ]
    stations.append(Station("bench", "bench", 0.0, capacity=number(works.get("bench", 0.0))))
    crews = tuple(replace(crew, people=number(people_s) + 1) for crew in base.crews)
    return replace(base, builds=tuple(dued), crews=crews, stations=tuple(stations), routes=tuple(routes))


def _s(rng: Random, mean_s: float) -> float:
    return float(round(rng.uniform(0.5, 1.5) * mean_s))


def tiny_routes(seed: int, *, operations: int = 6, whole: bool = True) -> Problem:
    """A few of everything that stations and routes know, in combinations drawn from the seed; it may be infeasible."""
    rng = Random(seed)

    def seconds(low: float, high: float) -> float:
        value = rng.uniform(low, high)
        return float(round(value)) if whole else value

    shut = ((3000.0, 4000.0),) if rng.random() < 0.3 else ()
    stations = [
        Station("s1", "a", seconds(0, 500), capacity=rng.choice((1, 1, 2)), shut=shut),
        Station("s2", rng.choice(("a", "b")), 0.0),
        Station("f1", "f", seconds(0, 300), batch=BatchRoom(max_items=rng.choice((1, 2, 3)))),
    ]
    types = sorted({station.type for station in stations})
    machines: tuple[Machine, ...] = ()
    builds: list[Build] = []
    routes: list[Route] = []
    if rng.random() < 0.5:
        machines = (Machine("m1", "x", "MEX", 0.0, "A"),)
        weight, count = rng.choice((1.0, 2.0)), rng.randint(1, 2)
        builds.append(Build("b1", "A", {"x": seconds(500, 2000)}, 0.0, seconds(2000, 6000), weight, count))
    recipes = {"r1": (seconds(300, 900), seconds(0, 60)), "r2": (seconds(300, 900), 0.0)}
    left = operations
    while left > 0:
        mine: list[Operation] = []
        for i in range(min(left, rng.randint(1, 3))):
            kinds = rng.sample(types, rng.choice((1, 1, 2)))
            recipe = rng.choice(("r1", "r2")) if "f" in kinds else None
            times = {kind: seconds(100, 900) for kind in kinds}
            load, unload, crewed = rng.choice((0.0, 50.0)), rng.choice((0.0, 0.0, 50.0)), rng.random() < 0.2
            if recipe is not None:
                times["f"], load = recipes[recipe]
                unload, crewed = 0.0, False
            low = rng.choice((0.0, 0.0, 100.0))
            after = None if rng.random() < 0.7 else tuple(o.id for o in mine if rng.random() < 0.5)
            mine.append(
                Operation(
                    f"o{i + 1}", times, after=after, lag_min_s=low,
                    lag_max_s=low + 300.0 if rng.random() < 0.2 else None,
                    crewed=crewed, load_s=load, unload_s=unload, recipe=recipe, items=1,
                )
            )  # fmt: skip
        left -= len(mine)
        if builds and not routes:
            routes.append(Route("after", tuple(mine), of="b1"))
            left -= len(mine) * (builds[0].count - 1)
        else:
            due = seconds(500, 5000) if rng.random() < 0.8 else None
            routes.append(
                Route(f"r{len(routes)}", tuple(mine), None, seconds(0, 1000), due, rng.choice((1.0, 3.0)), 1)
            )
    windows = {"day": ((0.0, 6000.0), (10000.0, 40000.0))}
    crews = (Crew("day", "day", rng.choice((None, 1, 2))),) if rng.random() < 0.5 else ()
    return Problem(
        now_s=0.0,
        clear_s=100.0,
        changeover_s=Changeover(200.0),
        machines=machines,
        objective=rng.choice(OBJECTIVES),
        windows=windows,
        crews=crews,
        builds=tuple(builds),
        stations=tuple(stations),
        routes=tuple(routes),
        operator_price=rng.choice((0.0, 0.0, 0.5)),
    )
