"""Reading problems: the format's example, every refusal with its code and place, and the schema."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from farmd.planner import PlanningErrors, Problem, problem_schema, read_problem
from farmd.planner.generate import fdm_shop, powder_shop, small_shop

EXAMPLE: dict[str, Any] = {
    "format": "farmd-problem/1",
    "now_s": 0,
    "objective": "weighted_tardiness",
    "windows": {"day": [[25200, 79200], [111600, 165600]]},
    "crews": [{"name": "day", "window": "day", "people": 2}],
    "clear_s": 300,
    "changeover_s": {"default": 900, "pairs": [["PLA-black-0.4", "PLA-red-0.4", 360]]},
    "machines": [
        {"name": "m1", "type": "mk4", "process": "MEX", "available_s": 25200, "setup": "PLA-black-0.4"},
        {
            "name": "p1",
            "type": "sls",
            "process": "PBF",
            "available_s": 0,
            "setup": "PA12",
            "chamber": {
                "setup_s": 3600,
                "s_per_mm3": 0.1,
                "s_per_mm": 60,
                "area_mm2": 100000,
                "height_mm": 300,
                "precision": 1.0,
                "cooldown_s": 0,
            },
        },
    ],
    "builds": [
        {
            "id": "b1",
            "setup": "PLA-red-0.4",
            "duration_s": {"mk4": 14400},
            "release_s": 0,
            "due_s": 86400,
            "weight": 2,
            "count": 1,
        }
    ],
    "parts": [
        {
            "id": "q1",
            "setup": "PA12",
            "volume_mm3": 20000,
            "height_mm": 80,
            "area_mm2": 900,
            "precision": 1.0,
            "release_s": 0,
            "due_s": None,
            "weight": 1,
        }
    ],
    "announced": [{"id": "b1#1", "machine": "m1", "start_s": 30000}],
    "operator_price": 0,
}


def refusals(change: Callable[[dict[str, Any]], object]) -> list[tuple[str, str]]:
    """The (code, place) of every error in the example after a change."""
    data = copy.deepcopy(EXAMPLE)
    change(data)
    with pytest.raises(PlanningErrors) as caught:
        read_problem(data)
    return [(error.code.name, error.where) for error in caught.value.errors]


def test_example_reads_and_writes_the_same() -> None:
    problem = read_problem(EXAMPLE)
    assert problem.builds[0].run_ids() == ("b1#1",)
    assert problem.machines[1].chamber is not None
    assert problem.as_dict() == EXAMPLE
    assert read_problem(json.loads(json.dumps(problem.as_dict()))) == problem


@pytest.mark.parametrize(
    "problem",
    [fdm_shop(3, 12, 3), powder_shop(3, 9, 2), *(small_shop(seed) for seed in range(20))],
)
def test_every_problem_survives_json(problem: Problem) -> None:
    assert read_problem(json.loads(json.dumps(problem.as_dict()))) == problem


def test_what_may_be_left_out() -> None:
    data = copy.deepcopy(EXAMPLE)
    for key in ("objective", "windows", "crews", "parts", "announced", "operator_price"):
        del data[key]
    del data["builds"][0]["weight"], data["builds"][0]["count"], data["machines"][0]["setup"]
    problem = read_problem(data)
    assert problem.crews == ()
    assert problem.machines[0].setup is None
    assert (problem.builds[0].weight, problem.builds[0].count) == (1.0, 1)


def set_in(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "code", "where"),
    [
        (set_in("colour", value=1), "planning-unknown-field", "colour"),
        (set_in("builds", 0, "color", value=1), "planning-unknown-field", "builds[0].color"),
        (set_in("machines", 1, "chamber", "x", value=1), "planning-unknown-field", "machines[1].chamber.x"),
        (set_in("format", value="farmd-problem/2"), "planning-unknown-name", "format"),
        (without("format"), "planning-missing-field", "format"),
        (set_in("objective", value="profit"), "planning-unknown-name", "objective"),
        (set_in("builds", value={}), "planning-wrong-type", "builds"),
        (set_in("builds", 0, value=7), "planning-wrong-type", "builds[0]"),
        (set_in("builds", 0, "due_s", value="noon"), "planning-wrong-type", "builds[0].due_s"),
        (set_in("builds", 0, "release_s", value=True), "planning-wrong-type", "builds[0].release_s"),
        (set_in("builds", 0, "release_s", value=None), "planning-wrong-type", "builds[0].release_s"),
        (without("builds", 0, "release_s"), "planning-missing-field", "builds[0].release_s"),
        (without("builds", 0, "due_s"), "planning-missing-field", "builds[0].due_s"),
        (without("builds", 0, "duration_s"), "planning-missing-field", "builds[0].duration_s"),
        (without("machines", 0, "available_s"), "planning-missing-field", "machines[0].available_s"),
        (
            without("machines", 1, "chamber", "cooldown_s"),
            "planning-missing-field",
            "machines[1].chamber.cooldown_s",
        ),
        (without("clear_s"), "planning-missing-field", "clear_s"),
        (without("now_s"), "planning-missing-field", "now_s"),
        (without("changeover_s"), "planning-missing-field", "changeover_s"),
        (without("crews", 0, "people"), "planning-missing-field", "crews[0].people"),
        (set_in("builds", 0, "due_s", value=-5), "planning-bad-number", "builds[0].due_s"),
        (set_in("builds", 0, "due_s", value=math.nan), "planning-bad-number", "builds[0].due_s"),
        (set_in("now_s", value=math.inf), "planning-bad-number", "now_s"),
        (set_in("now_s", value=10**400), "planning-bad-number", "now_s"),
        (
            set_in("builds", 0, "duration_s", "mk4", value=-1),
            "planning-bad-number",
            "builds[0].duration_s.mk4",
        ),
        (set_in("builds", 0, "count", value=0), "planning-bad-number", "builds[0].count"),
        (set_in("builds", 0, "count", value=1.5), "planning-wrong-type", "builds[0].count"),
        (set_in("crews", 0, "people", value=-1), "planning-bad-number", "crews[0].people"),
        (set_in("windows", "day", 1, value=[20, 10]), "planning-bad-number", "windows.day[1]"),
        (set_in("windows", "day", 1, value=[20]), "planning-wrong-type", "windows.day[1]"),
        (
            set_in("changeover_s", "pairs", 0, value=["a", "b"]),
            "planning-wrong-type",
            "changeover_s.pairs[0]",
        ),
        (set_in("changeover_s", "pairs", 0, 2, value=-1), "planning-bad-number", "changeover_s.pairs[0][2]"),
        (set_in("crews", 0, "window", value="night"), "planning-unknown-name", "crews[0].window"),
        (set_in("machines", 1, "name", value="m1"), "planning-duplicate-id", "machines[1].name"),
        (set_in("parts", 0, "id", value="b1"), "planning-duplicate-id", "parts[0].id"),
        (set_in("machines", 0, "type", value="xl"), "planning-fits-nowhere", "builds[0]"),
        (set_in("parts", 0, "height_mm", value=301), "planning-fits-nowhere", "parts[0]"),
        (set_in("parts", 0, "precision", value=2), "planning-fits-nowhere", "parts[0]"),
        (set_in("parts", 0, "setup", value="PA11"), "planning-fits-nowhere", "parts[0]"),
        (
            set_in("parts", 0, "outline_mm", value=[[0, 0], [1, 1]]),
            "planning-wrong-type",
            "parts[0].outline_mm",
        ),
        (
            set_in("parts", 0, "outline_mm", value=[[1, 1], [5, 3], [3, 2]]),
            "planning-bad-number",
            "parts[0].outline_mm",
        ),
        (
            set_in("parts", 0, "outline_mm", value=[[2, 2], [2, 2], [2, 2]]),
            "planning-bad-number",
            "parts[0].outline_mm",
        ),
        (
            lambda data: data["machines"][1]["chamber"].update(area_mm2=0, packing_density=0.1),
            "planning-bad-number",
            "machines[1].chamber.area_mm2",
        ),
        (set_in("parts", 0, "id", value="b1#1"), "planning-duplicate-id", "parts[0].id"),
        (set_in("builds", 0, "id", value=["b1"]), "planning-wrong-type", "builds[0].id"),
        (set_in("builds", 0, "id", value={"b": 1}), "planning-wrong-type", "builds[0].id"),
    ],
)
def test_one_clear_refusal(change: Callable[[dict[str, Any]], object], code: str, where: str) -> None:
    assert refusals(change) == [(code, where)]


def test_a_part_may_be_called_as_a_run_that_does_not_exist() -> None:
    for name in ("b1#0", "b1#01", "b1#2", "b1#x", "q#1", "#1"):
        data = copy.deepcopy(EXAMPLE)
        data["parts"][0]["id"] = name
        assert read_problem(data).parts[0].id == name


def copies(path: str, number: int) -> Callable[[dict[str, Any]], None]:
    """`number` of the first thing in a list, each with a name of its own."""

    def change(data: dict[str, Any]) -> None:
        name = "id" if "id" in data[path][0] else "name"
        data[path] = [data[path][0] | {name: f"n{i}"} for i in range(number)]

    return change


def many_setups(data: dict[str, Any]) -> None:
    data["builds"] = [data["builds"][0] | {"id": f"b{i}", "setup": f"s{i}"} for i in range(1001)]


def many_windows(data: dict[str, Any]) -> None:
    data["windows"] |= {f"w{n}": [[0, 1]] * 2500 for n in range(4)}


def many_pairs(data: dict[str, Any]) -> None:
    copies("builds", 20_000)(data)
    copies("machines", 1001)(data)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (set_in("builds", 0, "count", value=1_000_000_000), "builds"),
        (set_in("builds", 0, "count", value=10**4000), "builds"),
        (set_in("builds", 0, "count", value=200_001), "builds"),
        (copies("builds", 200_001), "builds"),
        (copies("parts", 20_001), "parts"),
        (copies("machines", 2001), "machines"),
        (copies("crews", 201), "crews"),
        (many_setups, "builds"),
        (many_windows, "windows"),
        (many_pairs, "machines"),
    ],
)
def test_too_much_is_refused_before_it_is_made(change: Callable[[dict[str, Any]], None], where: str) -> None:
    assert refusals(change) == [("planning-too-large", where)]


def test_as_much_as_is_taken_is_read() -> None:
    data = copy.deepcopy(EXAMPLE)
    data["builds"][0]["count"] = 200_000
    assert read_problem(data).builds[0].count == 200_000


def test_all_faults_at_once_with_a_line_each() -> None:
    data = copy.deepcopy(EXAMPLE)
    data["builds"][0]["due_s"] = -1
    data["parts"][0]["height_mm"] = "high"
    data["speed"] = 1
    with pytest.raises(PlanningErrors) as caught:
        read_problem(data, where="shop.json")
    assert sorted(e.where for e in caught.value.errors) == [
        "shop.json.builds[0].due_s",
        "shop.json.parts[0].height_mm",
        "shop.json.speed",
    ]
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_not_an_object(data: object) -> None:
    with pytest.raises(PlanningErrors) as caught:
        read_problem(data)
    assert [e.code.name for e in caught.value.errors] == ["planning-wrong-type"]


def test_footprints_decide_what_fits() -> None:
    data = copy.deepcopy(EXAMPLE)
    data["machines"][1]["chamber"]["size_mm"] = [100, 50]
    data["parts"][0]["size_mm"] = [40, 90]
    assert read_problem(data).parts[0].box_mm() == (40, 90)
    data["parts"][0]["size_mm"] = None
    data["parts"][0]["outline_mm"] = [[-10, 0], [50, 0], [0, 60]]
    with pytest.raises(PlanningErrors) as caught:
        read_problem(data)
    assert [e.code.name for e in caught.value.errors] == ["planning-fits-nowhere"]


def fields_of(schema: dict[str, Any]) -> set[str]:
    """The names of all fields in a schema."""
    names = set(schema.get("properties", {}))
    children = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    children += [child for child in (schema.get("items"), schema.get("additionalProperties")) if child]
    return names.union(*(fields_of(child) for child in children))


def test_schema_names_every_field_the_reader_knows() -> None:
    from farmd.planner import reader
    from farmd.planner.routes import reading

    known = {"default", "pairs", "name", "window", "people", "id", "machine", "start_s", "share"}
    for names in (
        reader._PROBLEM, reader._MACHINE, reader._CHAMBER, reader._BUILD, reader._PART, reader._POWER_GROUP,
        reading._STATION, reading._ROUTE, reading._OPERATION, ("max_items",),
    ):  # fmt: skip
        known |= set(names)
    assert fields_of(problem_schema()) == known
