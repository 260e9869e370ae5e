"""The JSON Schema of `farmd-problem/1`, for editors and for other programs.

Says what a field is. What a schema cannot say (names twice, a build that fits nowhere, too much in
all) is said by `reader.py` alone.
"""

from __future__ import annotations

from typing import Any

from farmd.planner.problem import FORMAT, OBJECTIVES
from farmd.planner.reader import MOST_GRAMS
from farmd.planner.routes.schema import routes_schema, stations_schema

_NAME = {"type": "string", "minLength": 1}
_NAME_OR_NULL = {"type": ["string", "null"], "minLength": 1}
_AMOUNT = {"type": "number", "minimum": 0}
_AMOUNT_OR_NULL = {"type": ["number", "null"], "minimum": 0}
_PAIR = {"type": "array", "items": _AMOUNT, "minItems": 2, "maxItems": 2}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def problem_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a planning problem; times in seconds on the problem's clock."""
    chamber = _object(
        {
            "setup_s": _AMOUNT,
            "s_per_mm3": _AMOUNT,
            "s_per_mm": _AMOUNT,
            "area_mm2": _AMOUNT,
            "height_mm": _AMOUNT,
            "precision": _AMOUNT,
            "cooldown_s": _AMOUNT,
        },
        {
            "crewed": {"type": "boolean", "default": False},
            "size_mm": _PAIR,
            "boxes": {"type": "integer", "minimum": 1, "default": 1},
            "packing_density": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
        },
    )
    machine = _object(
        {"name": _NAME, "type": _NAME, "process": _NAME, "available_s": _AMOUNT},
        {
            "setup": {"type": ["string", "null"]},
            "chamber": {"anyOf": [chamber, {"type": "null"}]},
            "shut": _list(_PAIR),
            "wear_price": {**_AMOUNT, "default": 0},
            "grams_left": {**_AMOUNT_OR_NULL, "maximum": MOST_GRAMS},
        },
    )
    build = _object(
        {
            "id": _NAME,
            "setup": _NAME,
            "duration_s": {"type": "object", "additionalProperties": _AMOUNT},
            "release_s": _AMOUNT,
            "due_s": _AMOUNT_OR_NULL,
        },
        {
            "weight": {**_AMOUNT, "default": 1},
            "count": {"type": "integer", "minimum": 1, "default": 1},
            "deadline_s": _AMOUNT_OR_NULL,
            "grams": {**_AMOUNT, "maximum": MOST_GRAMS, "default": 0},
            "owner": _NAME_OR_NULL,
        },
    )
    point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    part = _object(
        {
            "id": _NAME,
            "setup": _NAME,
            "volume_mm3": _AMOUNT,
            "height_mm": _AMOUNT,
            "area_mm2": _AMOUNT,
            "precision": _AMOUNT,
            "release_s": _AMOUNT,
            "due_s": _AMOUNT_OR_NULL,
        },
        {
            "weight": {**_AMOUNT, "default": 1},
            "size_mm": {"anyOf": [_PAIR, {"type": "null"}]},
            "outline_mm": {"anyOf": [{**_list(point), "minItems": 3}, {"type": "null"}]},
            "deadline_s": _AMOUNT_OR_NULL,
            "owner": _NAME_OR_NULL,
        },
    )
    change = {"type": "array", "prefixItems": [_NAME, _NAME, _AMOUNT], "minItems": 3, "maxItems": 3}
    crew = _object(
        {"name": _NAME, "window": _NAME, "people": {"type": ["integer", "null"], "minimum": 0}},
    )
    group = _object(
        {
            "name": _NAME,
            "machines": _list(_NAME),
            "at_once": {"type": "integer", "minimum": 1},
            "warm_up_s": _AMOUNT,
        },
    )
    schema = _object(
        {
            "format": {"const": FORMAT},
            "now_s": _AMOUNT,
            "clear_s": _AMOUNT,
            "changeover_s": _object({"default": _AMOUNT}, {"pairs": _list(change)}),
            "machines": _list(machine),
        },
        {
            "objective": {"enum": list(OBJECTIVES), "default": OBJECTIVES[0]},
            "windows": {"type": "object", "additionalProperties": _list(_PAIR)},
            "crews": _list(crew),
            "builds": _list(build),
            "parts": _list(part),
            "announced": _list(
                _object(
                    {"id": _NAME, "machine": _NAME, "start_s": _AMOUNT}, {"share": {**_AMOUNT, "default": 1}}
                )
            ),
            "operator_price": {**_AMOUNT, "default": 0},
            "buffers": _list(_PAIR),
            "flow_price": {**_AMOUNT, "default": 0},
            "power_groups": _list(group),
            "spool_change_s": {**_AMOUNT, "default": 0},
            "stations": stations_schema(),
            "routes": routes_schema(),
        },
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FORMAT, **schema}
