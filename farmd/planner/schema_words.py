"""What the JSON Schemas of problems are put together from."""

from __future__ import annotations

from typing import Any

NAME = {"type": "string", "minLength": 1}
NAME_OR_NULL = {"type": ["string", "null"], "minLength": 1}
AMOUNT = {"type": "number", "minimum": 0}
AMOUNT_OR_NULL = {"type": ["number", "null"], "minimum": 0}
PAIR = {"type": "array", "items": AMOUNT, "minItems": 2, "maxItems": 2}
NUMBER_OF = {"type": "integer", "minimum": 1}


def an_object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these members and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def a_list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
