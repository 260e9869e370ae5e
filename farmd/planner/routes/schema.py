"""The JSON Schema of stations and routes. Part of `schema.py`."""

from __future__ import annotations

from typing import Any

from farmd.planner.schema_words import AMOUNT, AMOUNT_OR_NULL, NAME, NUMBER_OF, PAIR, a_list, an_object


def stations_schema() -> dict[str, Any]:
    """Of the field `stations`."""
    room = an_object(
        {},
        {
            "max_items": {"type": ["integer", "null"], "minimum": 1},
            "area_mm2": AMOUNT_OR_NULL,
            "volume_mm3": AMOUNT_OR_NULL,
        },
    )
    station = an_object(
        {"name": NAME, "type": NAME, "available_s": AMOUNT},
        {
            "capacity": {**NUMBER_OF, "default": 1},
            "batch": {"anyOf": [room, {"type": "null"}]},
            "shut": a_list(PAIR),
        },
    )
    return {"type": "array", "items": station}


def routes_schema() -> dict[str, Any]:
    """Of the field `routes`. With `of` there is neither release, due date, weight nor count."""
    operation = an_object(
        {
            "id": {**NAME, "pattern": "^[^/]*$"},
            "duration_s": {"type": "object", "additionalProperties": AMOUNT},
        },
        {
            "after": {"type": ["array", "null"], "items": NAME},
            "lag_min_s": {**AMOUNT, "default": 0},
            "lag_max_s": AMOUNT_OR_NULL,
            "crewed": {"type": "boolean", "default": False},
            "load_s": {**AMOUNT, "default": 0},
            "unload_s": {**AMOUNT, "default": 0},
            "recipe": {"type": ["string", "null"], "minLength": 1},
            "items": {**NUMBER_OF, "default": 1},
            "area_mm2": {**AMOUNT, "default": 0},
            "volume_mm3": {**AMOUNT, "default": 0},
        },
    )
    route = an_object(
        {"id": NAME, "operations": {"type": "array", "items": operation, "minItems": 1}},
        {
            "of": {"type": ["string", "null"], "minLength": 1},
            "release_s": AMOUNT,
            "due_s": AMOUNT_OR_NULL,
            "weight": {**AMOUNT, "default": 1},
            "count": {**NUMBER_OF, "default": 1},
        },
    )
    route["oneOf"] = [
        {"required": ["of"], "properties": {"of": NAME}, "not": {"required": ["release_s"]}},
        {"required": ["release_s", "due_s"], "properties": {"of": {"type": "null"}}},
    ]
    return {"type": "array", "items": route}
