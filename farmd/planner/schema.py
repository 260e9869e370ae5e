"""The JSON Schema of `farmd-problem/1`, for editors and for other programs.

Says what a field is. What a schema cannot say (names twice, a build that fits nowhere, too much in
all) is said by `reader.py` alone.
"""

from __future__ import annotations

from typing import Any

from farmd.planner.problem import FORMAT, OBJECTIVES

_NAME = {"type": "string", "minLength": 1}
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
        {"crewed": {"type": "boolean", "default": False}, "size_mm": _PAIR},
    )
    machine = _object(
        {"name": _NAME, "type": _NAME, "process": _NAME, "available_s": _AMOUNT},
        {"setup": {"type": ["string", "null"]}, "chamber": {"anyOf": [chamber, {"type": "null"}]}},
    )
    build = _object(
        {
            "id": _NAME,
            "setup": _NAME,
            "duration_s": {"type": "object", "additionalProperties": _AMOUNT},
            "release_s": _AMOUNT,
            "due_s": _AMOUNT_OR_NULL,
        },
        {"weight": {**_AMOUNT, "default": 1}, "count": {"type": "integer", "minimum": 1, "default": 1}},
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
        },
    )
    change = {"type": "array", "prefixItems": [_NAME, _NAME, _AMOUNT], "minItems": 3, "maxItems": 3}
    crew = _object(
        {"name": _NAME, "window": _NAME, "people": {"type": ["integer", "null"], "minimum": 0}},
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
            "announced": _list(_object({"id": _NAME, "machine": _NAME, "start_s": _AMOUNT})),
            "operator_price": {**_AMOUNT, "default": 0},
            "buffers": _list(_PAIR),
        },
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FORMAT, **schema}
