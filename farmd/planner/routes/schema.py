"""The JSON Schema of stations and routes. Part of `schema.py`."""

from __future__ import annotations

from typing import Any

_NAME = {"type": "string", "minLength": 1}
_AMOUNT = {"type": "number", "minimum": 0}
_AMOUNT_OR_NULL = {"type": ["number", "null"], "minimum": 0}
_NUMBER_OF = {"type": "integer", "minimum": 1}


def _object(required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def stations_schema() -> dict[str, Any]:
    """Of the field `stations`."""
    span = {"type": "array", "items": _AMOUNT, "minItems": 2, "maxItems": 2}
    room = _object(
        {},
        {
            "max_items": {"type": ["integer", "null"], "minimum": 1},
            "area_mm2": _AMOUNT_OR_NULL,
            "volume_mm3": _AMOUNT_OR_NULL,
        },
    )
    station = _object(
        {"name": _NAME, "type": _NAME, "available_s": _AMOUNT},
        {
            "capacity": {**_NUMBER_OF, "default": 1},
            "batch": {"anyOf": [room, {"type": "null"}]},
            "shut": {"type": "array", "items": span},
        },
    )
    return {"type": "array", "items": station}


def routes_schema() -> dict[str, Any]:
    """Of the field `routes`. With `of` there is neither release, due date, weight nor count."""
    operation = _object(
        {
            "id": {**_NAME, "pattern": "^[^/]*$"},
            "duration_s": {"type": "object", "additionalProperties": _AMOUNT},
        },
        {
            "after": {"type": ["array", "null"], "items": _NAME},
            "lag_min_s": {**_AMOUNT, "default": 0},
            "lag_max_s": _AMOUNT_OR_NULL,
            "crewed": {"type": "boolean", "default": False},
            "load_s": {**_AMOUNT, "default": 0},
            "unload_s": {**_AMOUNT, "default": 0},
            "recipe": {"type": ["string", "null"], "minLength": 1},
            "items": {**_NUMBER_OF, "default": 1},
            "area_mm2": {**_AMOUNT, "default": 0},
            "volume_mm3": {**_AMOUNT, "default": 0},
        },
    )
    route = _object(
        {"id": _NAME, "operations": {"type": "array", "items": operation, "minItems": 1}},
        {
            "of": {"type": ["string", "null"], "minLength": 1},
            "release_s": _AMOUNT,
            "due_s": _AMOUNT_OR_NULL,
            "weight": {**_AMOUNT, "default": 1},
            "count": {**_NUMBER_OF, "default": 1},
        },
    )
    route["oneOf"] = [
        {"required": ["of"], "properties": {"of": _NAME}, "not": {"required": ["release_s"]}},
        {"required": ["release_s", "due_s"], "properties": {"of": {"type": "null"}}},
    ]
    return {"type": "array", "items": route}
