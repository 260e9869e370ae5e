"""What values of requests may be: texts, times and amounts, as pydantic types.

Everything that a person types and that could reach the journal passes one of these, so the store
never meets a value that it cannot keep. Knows no route.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What ids and names of machines look like."""


def is_name(text: str) -> bool:
    return re.match(NAME, text) is not None and "\n" not in text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("the text has characters that cannot be shown")
    return text


def _prose(text: str) -> str:
    _printable(text.replace("\n", " ").replace("\t", " "))
    return text


def parse_time(value: Any) -> float:
    """ISO 8601 to UTC seconds; UTC where it names no offset. Raises `ValueError`."""
    if not isinstance(value, str):
        raise ValueError('a time is a text in ISO 8601, such as "2026-05-01T12:00:00Z"')
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not a time in ISO 8601, such as 2026-05-01T12:00:00Z") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment.year < 1971 or moment.year > 9000:
        raise ValueError(f"{value!r} is out of range")
    return moment.timestamp()


Text = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Prose = Annotated[str, Field(max_length=1000), AfterValidator(_prose)]
"""A reason in a person's words."""
Time = Annotated[
    float, BeforeValidator(parse_time), WithJsonSchema({"type": "string", "format": "date-time"})
]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Quantity = Annotated[int, Field(gt=0, le=1_000_000_000)]
Amount = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]


class Body(BaseModel):
    """Base of all JSON bodies. An unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Reason(Body):
    """Why somebody does it; recorded with the act."""

    reason: Prose = ""
