"""The schema: one table for the journal, one for each kind of entity, and what is derived for queries.

State tables mirror the frozen dataclasses of `farmd.model` field by field; nested values are
canonical JSON text. The columns `is_closed` and `parts` are properties of the entity, kept to be
queried. The tables know no rule of the farm; what they hold is what `apply` returned.
Migrations bring a database to this schema (a test compares the two).
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import BigInteger, Dialect, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel

from farmd.model.codec import canonical


class JsonText(TypeDecorator[Any]):
    """A nested value as canonical JSON; None is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Whole(TypeDecorator[int]):
    """64 bits on both databases; as a SQLite key it is the row id."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else BigInteger())


class Base(SQLModel):
    metadata = MetaData()


def _open_rows(table: str) -> Index:
    """A start reads open rows only, however many are closed."""
    return Index(
        f"ix_{table}_open",
        "id",
        sqlite_where=text("is_closed = 0"),
        postgresql_where=text("NOT is_closed"),
    )


# --- the journal ----------------------------------------------------------------------------


class JournalRow(Base, table=True):
    """One fact. `body` alone is hashed; the other columns repeat it, or name what it is about."""

    __tablename__ = "journal"
    __table_args__ = (
        Index("ix_journal_machine", "machine", "seq"),
        Index("ix_journal_run", "run_id", "seq"),
    )

    seq: int = Field(primary_key=True, sa_type=Whole, sa_column_kwargs={"autoincrement": False})
    at: float
    actor: str
    kind: str
    build_id: str | None
    run_id: str | None
    machine: str | None
    body: bytes = Field(sa_type=LargeBinary)
    prev_hash: bytes = Field(sa_type=LargeBinary)
    hash: bytes = Field(sa_type=LargeBinary)


class JournalJobRow(Base, table=True):
    """Which jobs a fact is about; a fact about a build is about all its jobs."""

    __tablename__ = "journal_job"

    job_id: str = Field(primary_key=True)
    seq: int = Field(primary_key=True, sa_type=Whole, index=True)


class PartCountRow(Base, table=True):
    """Parts of one job that came off one cleared build.

    `good` came off the last operation of their route (also those beyond what was asked for),
    `passed` off an earlier one.
    """

    __tablename__ = "part_count"

    seq: int = Field(primary_key=True, sa_type=Whole)
    job_id: str = Field(primary_key=True)
    at: float = Field(index=True)
    machine: str
    build_id: str
    operation: str
    design: str
    good: int = Field(sa_type=Whole)
    passed: int = Field(sa_type=Whole)
    scrap: int = Field(sa_type=Whole)


# --- state ----------------------------------------------------------------------------------


class JobRow(Base, table=True):
    __tablename__ = "job"
    __table_args__ = (_open_rows("job"),)

    id: str = Field(primary_key=True)
    design: str = Field(index=True)
    file_sha256: str
    file_name: str
    process: str
    quantity: int = Field(sa_type=Whole)
    submitted_at: float = Field(index=True)
    parts_per_plate: int = Field(sa_type=Whole)
    duration_s: float
    mass_g: float
    material: str | None
    nozzle_mm: float | None
    group: str | None
    due_at: float | None
    priority: float
    owner: str
    shape: dict[str, Any] | None = Field(sa_type=JsonText)
    route: list[str] = Field(sa_type=JsonText)
    state: str = Field(index=True)
    in_work: int = Field(sa_type=Whole)
    open_builds: int = Field(sa_type=Whole)
    made: int = Field(sa_type=Whole)
    good: int = Field(sa_type=Whole)
    scrap: int = Field(sa_type=Whole)
    surplus: int = Field(sa_type=Whole)
    closed_at: float | None
    is_closed: bool


class BuildRow(Base, table=True):
    __tablename__ = "build"
    __table_args__ = (_open_rows("build"),)

    id: str = Field(primary_key=True)
    operation: str
    items: list[dict[str, Any]] = Field(sa_type=JsonText)
    created_at: float
    duration_s: float
    material: str | None
    nozzle_mm: float | None
    file_sha256: str | None
    mass_g: float
    follows: str | None
    machine: str | None
    state: str
    cleared: bool
    parts: int = Field(sa_type=Whole)
    is_closed: bool


class BuildItemRow(Base, table=True):
    """The items of all builds once more, to be found by job."""

    __tablename__ = "build_item"

    build_id: str = Field(primary_key=True)
    job_id: str = Field(primary_key=True, index=True)
    parts: int = Field(sa_type=Whole)


class RunRow(Base, table=True):
    __tablename__ = "run"
    __table_args__ = (_open_rows("run"), Index("ix_run_machine", "machine", "intent_at"))

    id: str = Field(primary_key=True)
    build_id: str = Field(index=True)
    machine: str
    permit_id: str
    fence: int = Field(sa_type=Whole)
    intent_at: float = Field(index=True)
    file_sha256: str | None
    state: str
    sent_at: float | None
    started_at: float | None
    ended_at: float | None = Field(index=True)
    evidence: str
    outcome: str | None
    reason: str
    place: dict[str, Any] | None = Field(sa_type=JsonText)
    used_g: float
    cleared: bool
    continues: str | None
    is_closed: bool


class MachineRow(Base, table=True):
    __tablename__ = "machine"

    name: str = Field(primary_key=True)
    state: str
    since: float
    permit: dict[str, Any] | None = Field(sa_type=JsonText)
    held: str | None
    fault: dict[str, Any] | None = Field(sa_type=JsonText)
    foreign: str | None
    run_id: str | None
    uncleared_run_id: str | None
    material: str | None
    nozzle_mm: float | None
    lot_id: str | None
    ready_at: float


class LotRow(Base, table=True):
    __tablename__ = "lot"

    id: str = Field(primary_key=True)
    material: str
    grams_left: float
    grams_used: float


class FileRow(Base, table=True):
    __tablename__ = "file"

    sha256: str = Field(primary_key=True)
    name: str
    size_bytes: int = Field(sa_type=Whole)
    kind: str
    summary: dict[str, Any] = Field(sa_type=JsonText)


class CounterRow(Base, table=True):
    __tablename__ = "counter"

    name: str = Field(primary_key=True)
    value: int = Field(sa_type=Whole)


class TokenRow(Base, table=True):
    """Who may ask, by the hash of the secret."""

    __tablename__ = "token"

    name: str = Field(primary_key=True)
    role: str
    sha256: str
    added_at: float
    expires_at: float | None
    revoked_at: float | None


class SafeModeRow(Base, table=True):
    """Why nothing may be started, or the last time that it was so, by cause."""

    __tablename__ = "safe_mode"

    cause: str = Field(primary_key=True)
    what: str
    since: float
    until: float
    left_at: float | None
    left_by: str
    is_closed: bool


# --- beside the journal ---------------------------------------------------------------------


class IdempotencyRow(Base, table=True):
    """The answer that a request with this key got."""

    __tablename__ = "idempotency"

    key: str = Field(primary_key=True)
    request_sha256: str
    status: int = Field(sa_type=Whole)
    response: str
    at: float = Field(index=True)


class MetaRow(Base, table=True):
    """What is known of the store itself: `node`, the name of this journal among others."""

    __tablename__ = "meta"

    key: str = Field(primary_key=True)
    value: str


METADATA = Base.metadata


def table(name: str) -> Table:
    return METADATA.tables[name]
