"""The JSON Schema of `farmd-problem/1`, for editors and for other programs.

Says what a field is. What a schema cannot say (names twice, a build that fits nowhere, too much in
all) is said by `reader.py` alone.
"""

from __future__ import annotations

from typing import Any

from farmd.planner.problem import FORMAT, OBJECTIVES
from farmd.planner.reader import MOST_GRAMS
from farmd.planner.routes.schema import routes_schema, stations_schema
from farmd.planner.schema_words import AMOUNT, AMOUNT_OR_NULL, NAME, NAME_OR_NULL, PAIR, a_list, an_object


def problem_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a planning problem; times in seconds on the problem's clock."""
    chamber = an_object(
        {
            "setup_s": AMOUNT,
            "s_per_mm3": AMOUNT,
            "s_per_mm": AMOUNT,
            "area_mm2": AMOUNT,
            "height_mm": AMOUNT,
            "precision": AMOUNT,
            "cooldown_s": AMOUNT,
        },
        {
            "crewed": {"type": "boolean", "default": False},
            "size_mm": PAIR,
            "boxes": {"type": "integer", "minimum": 1, "default": 1},
            "packing_density": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
        },
    )
    machine = an_object(
        {"name": NAME, "type": NAME, "process": NAME, "available_s": AMOUNT},
        {
            "setup": {"type": ["string", "null"]},
            "chamber": {"anyOf": [chamber, {"type": "null"}]},
            "shut": a_list(PAIR),
            "wear_price": {**AMOUNT, "default": 0},
            "grams_left": {**AMOUNT_OR_NULL, "maximum": MOST_GRAMS},
        },
    )
    build = an_object(
        {
            "id": NAME,
            "setup": NAME,
            "duration_s": {"type": "object", "additionalProperties": AMOUNT},
            "release_s": AMOUNT,
            "due_s": AMOUNT_OR_NULL,
        },
        {
            "weight": {**AMOUNT, "default": 1},
            "count": {"type": "integer", "minimum": 1, "default": 1},
            "deadline_s": AMOUNT_OR_NULL,
            "grams": {**AMOUNT, "maximum": MOST_GRAMS, "default": 0},
            "owner": NAME_OR_NULL,
        },
    )
    point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    part = an_object(
        {
            "id": NAME,
            "setup": NAME,
            "volume_mm3": AMOUNT,
            "height_mm": AMOUNT,
            "area_mm2": AMOUNT,
            "precision": AMOUNT,
            "release_s": AMOUNT,
            "due_s": AMOUNT_OR_NULL,
        },
        {
            "weight": {**AMOUNT, "default": 1},
            "size_mm": {"anyOf": [PAIR, {"type": "null"}]},
            "outline_mm": {"anyOf": [{**a_list(point), "minItems": 3}, {"type": "null"}]},
            "deadline_s": AMOUNT_OR_NULL,
            "owner": NAME_OR_NULL,
        },
    )
    change = {"type": "array", "prefixItems": [NAME, NAME, AMOUNT], "minItems": 3, "maxItems": 3}
    crew = an_object(
        {"name": NAME, "window": NAME, "people": {"type": ["integer", "null"], "minimum": 0}},
    )
    group = an_object(
        {
            "name": NAME,
            "machines": a_list(NAME),
            "at_once": {"type": "integer", "minimum": 1},
            "warm_up_s": AMOUNT,
        },
    )
    schema = an_object(
        {
            "format": {"const": FORMAT},
            "now_s": AMOUNT,
            "clear_s": AMOUNT,
            "changeover_s": an_object({"default": AMOUNT}, {"pairs": a_list(change)}),
            "machines": a_list(machine),
        },
        {
            "objective": {"enum": list(OBJECTIVES), "default": OBJECTIVES[0]},
            "windows": {"type": "object", "additionalProperties": a_list(PAIR)},
            "crews": a_list(crew),
            "builds": a_list(build),
            "parts": a_list(part),
            "announced": a_list(
                an_object(
                    {"id": NAME, "machine": NAME, "start_s": AMOUNT}, {"share": {**AMOUNT, "default": 1}}
                )
            ),
            "operator_price": {**AMOUNT, "default": 0},
            "buffers": a_list(PAIR),
            "flow_price": {**AMOUNT, "default": 0},
            "power_groups": a_list(group),
            "spool_change_s": {**AMOUNT, "default": 0},
            "stations": stations_schema(),
            "routes": routes_schema(),
        },
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FORMAT, **schema}
