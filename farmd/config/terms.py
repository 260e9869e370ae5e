"""The tables of what keeps machines from running besides work and people: maintenance, and power that they share.

Knows no other table: what these name is looked for in `checks`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from farmd.config.base import Name, Table


class MaintenanceTable(Table):
    begins: datetime = Field(alias="from")
    """From when the machine is shut; in the farm's time zone where it names none."""
    ends: datetime = Field(alias="to")
    """Until when."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if (self.begins.tzinfo is None) != (self.ends.tzinfo is None):
            raise ValueError("`from` and `to` both name their time zone, or neither does")
        if self.ends <= self.begins:
            raise ValueError("`to` must be after `from`")
        return self


class PowerGroupTable(Table):
    name: Name
    """What the machines share, such as a fuse."""
    machines: Annotated[tuple[Name, ...], Strict(False), Field(min_length=1)]
    """Their names; that of a table with a `count` is all of its machines."""
    at_once: Annotated[int, Field(ge=1)]
    """So many of them may warm up at the same time."""
    warm_up_minutes: Annotated[float, Field(gt=0)]
    """How long each does, from the start of a run."""
