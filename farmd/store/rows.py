"""Entities as rows and rows as entities: one generic mapping for all state tables.

Knows the model's dataclasses and the tables; knows no connection and no rule of the farm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import Table

from farmd.model.access import Token
from farmd.model.codec import decode, encode
from farmd.model.farm import Counter, Entity, Gone
from farmd.model.machine import Machine
from farmd.model.safe_mode import SafeMode
from farmd.model.work import Build, FileRecord, Job, Lot, Run
from farmd.store.tables import table

E = TypeVar("E")


@dataclasses.dataclass(frozen=True, slots=True)
class StateTable:
    """How one kind of entity is kept. `derived` are columns that are properties of the entity."""

    cls: type[Any]
    table: Table
    key: str
    fields: tuple[str, ...]
    derived: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.table.name

    def row(self, entity: Any) -> dict[str, Any]:
        """The row of an entity; nested values are JSON values, as a select gives them back."""
        row: dict[str, Any] = encode(entity)
        for name in self.derived:
            row[name] = getattr(entity, name)
        return row


def _state_table(cls: type[Any], name: str) -> StateTable:
    of = table(name)
    (key,) = (column.name for column in of.primary_key)
    fields = tuple(field.name for field in dataclasses.fields(cls))
    derived = tuple(column.name for column in of.columns if column.name not in fields)
    return StateTable(cls, of, key, fields, derived)


STATE: dict[type[Any], StateTable] = {
    cls: _state_table(cls, name)
    for cls, name in (
        (Job, "job"),
        (Build, "build"),
        (Run, "run"),
        (Machine, "machine"),
        (Lot, "lot"),
        (FileRecord, "file"),
        (Counter, "counter"),
        (Token, "token"),
        (SafeMode, "safe_mode"),
    )
}


def entity_key(entity: Entity) -> tuple[str, str]:
    """The table and the primary key under which an entity is kept; a `Gone` names its machine's."""
    of = STATE[Machine if isinstance(entity, Gone) else type(entity)]
    return of.name, getattr(entity, of.key)


def to_entity(cls: type[E], row: Mapping[str, Any]) -> E:
    """The entity of a row; raises `Refused(BAD_RECORD)`."""
    return decode(cls, {name: row[name] for name in STATE[cls].fields})
