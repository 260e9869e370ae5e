"""Stations and routes in a problem's JSON: what is read, and each way to get it wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from farmd.planner import PlanningErrors, read_problem
from farmd.planner.routes.data import BatchRoom
from farmd.planner.routes.generate import finishing_shop, job_shop, tiny_routes

EXAMPLE: dict[str, Any] = {
    "format": "farmd-problem/1",
    "now_s": 0,
    "clear_s": 300,
    "changeover_s": {"default": 900},
    "machines": [{"name": "m1", "type": "mk4", "process": "MEX", "available_s": 0, "setup": "A"}],
    "builds": [
        {"id": "b1", "setup": "A", "duration_s": {"mk4": 3600}, "release_s": 0, "due_s": 9000, "count": 2}
    ],
    "stations": [
        {"name": "tub", "type": "washer", "available_s": 0, "capacity": 2, "shut": [[100, 200]]},
        {"name": "oven", "type": "oven", "available_s": 0, "batch": {"max_items": 4}},
    ],
    "routes": [
        {
            "id": "finish",
            "of": "b1",
            "operations": [
                {"id": "wash", "duration_s": {"washer": 600}, "load_s": 60},
                {"id": "cure", "duration_s": {"oven": 1800}, "recipe": "60C", "lag_max_s": 14400},
            ],
        },
        {
            "id": "spare",
            "release_s": 0,
            "due_s": None,
            "operations": [{"id": "cure", "duration_s": {"oven": 1800}, "recipe": "60C"}],
        },
    ],
}


def test_it_is_read_and_written_again() -> None:
    problem = read_problem(EXAMPLE)
    assert problem.stations[0].capacity == 2
    assert problem.stations[0].shut == ((100.0, 200.0),)
    assert problem.stations[1].batch == BatchRoom(max_items=4)
    finish, spare = problem.routes
    assert finish.of == "b1"
    assert finish.release_s is None
    assert finish.before(1) == (0,)
    assert spare.weight == 1.0
    assert read_problem(json.loads(json.dumps(problem.as_dict()))) == problem


@pytest.mark.parametrize("seed", range(20))
def test_drawn_problems_are_read_as_they_were_written(seed: int) -> None:
    for problem in (tiny_routes(seed), job_shop(seed, 4, 3), finishing_shop(seed, 5, 2)):
        assert read_problem(json.loads(json.dumps(problem.as_dict()))) == problem


def step(data: dict[str, Any], route: int = 0, operation: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = data["routes"][route]["operations"][operation]
    return found


WRONG: list[tuple[str, str, Callable[[dict[str, Any]], object]]] = [
    ("planning-circle", "routes[0].operations", lambda d: step(d).update(after=["cure"])),
    ("planning-circle", "routes[0].operations", lambda d: step(d).update(after=["wash"])),
    ("planning-unknown-name", "routes[0].operations[1].after[0]", lambda d: step(d, 0, 1).update(after=["dry"])),
    ("planning-wrong-type", "routes[0].operations[1].after[0]", lambda d: step(d, 0, 1).update(after=[3])),
    ("planning-unknown-name", "routes[0].of", lambda d: d["routes"][0].update(of="b9")),
    ("planning-duplicate-id", "routes[1].id", lambda d: d["routes"][1].update(id="finish")),
    ("planning-duplicate-id", "routes[1].id", lambda d: d["routes"][1].update(id="b1")),
    ("planning-duplicate-id", "stations[1].name", lambda d: d["stations"][1].update(name="tub")),
    ("planning-duplicate-id", "stations[1].name", lambda d: d["stations"][1].update(name="m1")),
    ("planning-duplicate-id", "routes[0].operations[1].id", lambda d: step(d, 0, 1).update(id="wash")),
    ("planning-bad-number", "routes[0].operations[0].id", lambda d: step(d).update(id="a/b")),
    ("planning-bad-number", "routes[0].operations[0].load_s", lambda d: step(d).update(load_s=-1)),
    (
        "planning-bad-number",
        "routes[0].operations[0].duration_s.washer",
        lambda d: step(d)["duration_s"].update(washer=-1),
    ),
    ("planning-bad-number", "routes[0].operations[1].lag_max_s", lambda d: step(d, 0, 1).update(lag_min_s=20000)),
    ("planning-bad-number", "routes[0].operations[0].items", lambda d: step(d).update(items=0)),
    ("planning-bad-number", "routes[0].operations", lambda d: d["routes"][0].update(operations=[])),
    ("planning-bad-number", "routes[1].release_s", lambda d: d["routes"][1].update(release_s=-5)),
    ("planning-missing-field", "routes[1].release_s", lambda d: d["routes"][1].pop("release_s")),
    ("planning-missing-field", "routes[1].due_s", lambda d: d["routes"][1].pop("due_s")),
    ("planning-missing-field", "routes[0].operations[0].duration_s", lambda d: step(d).pop("duration_s")),
    ("planning-missing-field", "routes[1].operations[0].recipe", lambda d: step(d, 1).pop("recipe")),
    ("planning-unknown-field", "routes[0].weight", lambda d: d["routes"][0].update(weight=2)),
    ("planning-unknown-field", "stations[0].speed", lambda d: d["stations"][0].update(speed=2)),
    ("planning-recipe", "routes[1].operations[0]", lambda d: step(d, 1)["duration_s"].update(oven=900)),
    ("planning-recipe", "routes[1].operations[0]", lambda d: step(d, 1).update(load_s=30)),
    ("planning-no-station", "routes[0].operations[0]", lambda d: step(d).update(duration_s={"lathe": 60})),
    ("planning-no-station", "routes[0].operations[0]", lambda d: step(d).update(duration_s={})),
    ("planning-no-station", "routes[0].operations[1]", lambda d: step(d, 0, 1).update(items=5)),
    ("planning-bad-number", "stations[1].capacity", lambda d: d["stations"][1].update(capacity=2)),
    ("planning-bad-number", "stations[0].available_s", lambda d: d["stations"][0].update(available_s=-1)),
    ("planning-bad-number", "stations[0].shut[0]", lambda d: d["stations"][0].update(shut=[[5, 5]])),
    ("planning-too-large", "routes", lambda d: d["routes"][1].update(count=60_000)),
    ("planning-too-large", "stations", lambda d: d.update(stations=[d["stations"][0]] * 600)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "where", "spoil"), WRONG)
def test_each_fault_is_one_clear_error(
    code: str, where: str, spoil: Callable[[dict[str, Any]], object]
) -> None:
    data = copy.deepcopy(EXAMPLE)
    spoil(data)
    with pytest.raises(PlanningErrors) as caught:
        read_problem(data)
    assert [(e.code.name, e.where) for e in caught.value.errors] == [(code, where)]
