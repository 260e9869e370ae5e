"""Strict reading of JSON objects: every wrong field is collected with its place, none stops the reading.

Knows JSON's types and the planner's error codes. Knows nothing of machines or of plans.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from farmd.model.errors import ErrorCode, Refused

WRONG_TYPE = ErrorCode(
    "planning-wrong-type",
    "a value of a planning file has another type than its field",
    "compare the file with `farmd plan --schema`",
)
UNKNOWN_FIELD = ErrorCode(
    "planning-unknown-field",
    "a planning file has a field that the format does not know",
    "remove the field or correct its name; `farmd plan --schema` lists all",
)
MISSING_FIELD = ErrorCode(
    "planning-missing-field",
    "a planning file lacks a field that has no default",
    "add the field",
)
BAD_NUMBER = ErrorCode(
    "planning-bad-number",
    "a number of a planning file is negative, not finite or out of its range",
    "correct the number",
)
DUPLICATE_ID = ErrorCode(
    "planning-duplicate-id",
    "two things of a planning file have the same name",
    "give each its own name",
)
UNKNOWN_NAME = ErrorCode(
    "planning-unknown-name",
    "a planning file refers to a name, or uses a word, that does not exist",
    "correct the name, or declare what it refers to",
)


NOTHING: Mapping[str, Any] = {}
"""What is read of something that should be an object and is none."""


class PlanningErrors(Exception):
    """a planning file is not usable; `errors` holds one `Refused` for each fault and is never empty."""

    def __init__(self, errors: Iterable[Refused]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


def join(where: str, key: str | int) -> str:
    """The place of a member: `builds`, 3, `due_s` -> `builds[3].due_s`."""
    if isinstance(key, int):
        return f"{where}[{key}]"
    return f"{where}.{key}" if where else key


def kind(value: object) -> str:
    """The JSON name of a value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, Mapping) else "an array" if isinstance(value, list) else "no JSON"


class Reader:
    """Collects the faults of one document in `errors`, in the order of reading."""

    def __init__(self) -> None:
        self.errors: list[Refused] = []

    def refuse(self, code: ErrorCode, what: str, where: str) -> None:
        self.errors.append(Refused(code, what, where=where or "the document"))

    def finish(self) -> None:
        """Raise `PlanningErrors` if anything was refused."""
        if self.errors:
            raise PlanningErrors(self.errors)

    def missing(self, parent: Mapping[str, Any], key: str, where: str) -> None:
        """Refuse a missing field, unless its whole object was refused already."""
        if parent is not NOTHING:
            self.refuse(MISSING_FIELD, "missing", join(where, key))

    def members(self, value: object, where: str, fields: Iterable[str] | None = None) -> Mapping[str, Any]:
        """The value as an object; with `fields`, any other field is refused. A wrong type reads as `NOTHING`."""
        if not isinstance(value, Mapping):
            self.refuse(WRONG_TYPE, f"must be an object, not {kind(value)}", where)
            return NOTHING
        if fields is not None:
            known = set(fields)
            for key in value:
                if key not in known:
                    self.refuse(UNKNOWN_FIELD, "unknown field", join(where, str(key)))
        return value

    def array(self, value: object, where: str) -> list[Any]:
        if not isinstance(value, list):
            self.refuse(WRONG_TYPE, f"must be an array, not {kind(value)}", where)
            return []
        return value

    def items(self, parent: Mapping[str, Any], key: str, where: str, *, required: bool = False) -> list[Any]:
        """The array in a field; a missing optional one is empty."""
        if key not in parent:
            if required:
                self.missing(parent, key, where)
            return []
        return self.array(parent[key], join(where, key))

    def number(
        self,
        parent: Mapping[str, Any],
        key: str,
        where: str,
        default: float | None = None,
        *,
        least: float = 0.0,
    ) -> float:
        """A finite number of at least `least`."""
        if key not in parent:
            if default is None:
                self.missing(parent, key, where)
                return least
            return float(default)
        return self.plain_number(parent[key], join(where, key), least=least)

    def plain_number(self, value: object, where: str, *, least: float = 0.0) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(WRONG_TYPE, f"must be a number, not {kind(value)}", where)
            return least
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number) or number < least:
            self.refuse(BAD_NUMBER, f"must be a finite number of at least {least:g}, not {number:g}", where)
            return least
        return number

    def number_or_null(self, parent: Mapping[str, Any], key: str, where: str) -> float | None:
        if key in parent and parent[key] is None:
            return None
        return self.number(parent, key, where)

    def pair_or_null(self, parent: Mapping[str, Any], key: str, where: str) -> tuple[float, float] | None:
        value = parent.get(key)
        return None if value is None else self.pair(value, join(where, key))

    def share_or_null(self, parent: Mapping[str, Any], key: str, where: str) -> float | None:
        """A share above 0 and at most 1; None where there is none."""
        if parent.get(key) is None:
            return None
        share = self.number(parent, key, where)
        if 0 < share <= 1:
            return share
        self.refuse(BAD_NUMBER, f"must be above 0 and at most 1, not {share:g}", join(where, key))
        return None

    def whole(
        self, parent: Mapping[str, Any], key: str, where: str, default: int | None, *, least: int
    ) -> int:
        value = parent.get(key, default)
        if key not in parent and default is None:
            self.missing(parent, key, where)
            return least
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(WRONG_TYPE, f"must be a whole number, not {kind(value)}", join(where, key))
            return least
        if value < least:
            self.refuse(BAD_NUMBER, f"must be at least {least}, not {value}", join(where, key))
            return least
        return value

    def text(self, parent: Mapping[str, Any], key: str, where: str) -> str:
        """A string that is not empty."""
        if key not in parent:
            self.missing(parent, key, where)
            return ""
        value = parent[key]
        if not isinstance(value, str):
            self.refuse(WRONG_TYPE, f"must be a string, not {kind(value)}", join(where, key))
            return ""
        if not value:
            self.refuse(BAD_NUMBER, "must not be empty", join(where, key))
        return value

    def text_or_null(self, parent: Mapping[str, Any], key: str, where: str) -> str | None:
        if parent.get(key) is None:
            return None
        return self.text(parent, key, where)

    def word(self, parent: Mapping[str, Any], key: str, where: str, words: tuple[str, ...]) -> str:
        """A string out of a fixed set."""
        value = self.text(parent, key, where)
        if value and value not in words:
            self.refuse(UNKNOWN_NAME, f"must be one of {', '.join(words)}, not {value!r}", join(where, key))
        return value

    def flag(self, parent: Mapping[str, Any], key: str, where: str) -> bool:
        value = parent.get(key, False)
        if not isinstance(value, bool):
            self.refuse(WRONG_TYPE, f"must be true or false, not {kind(value)}", join(where, key))
            return False
        return value

    def pair(self, value: object, where: str, *, least: float = 0.0) -> tuple[float, float]:
        """Two numbers in an array."""
        both = self.array(value, where)
        if len(both) != 2:
            if isinstance(value, list):
                self.refuse(WRONG_TYPE, f"must hold two numbers, not {len(both)} values", where)
            return (least, least)
        first, second = (self.plain_number(v, join(where, i), least=least) for i, v in enumerate(both))
        return first, second

    def unique(self, names: Iterable[tuple[str, str]], what: str) -> None:
        """Refuse each (name, where) whose name was there before."""
        first: dict[str, str] = {}
        for name, where in names:
            if name and first.setdefault(name, where) != where:
                self.refuse(DUPLICATE_ID, f"{what} {name!r} is already at {first[name]}", where)
