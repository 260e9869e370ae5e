"""The store: facts go into the journal and state into the tables, in one transaction.

`commit` is the only way in. It is called from one thread (the ledger's writer) and takes as many
entries as have gathered (group commit). A write that surely wrote nothing may be tried again
(`StoreBlocked`); any other failure is fatal: after a failed fsync nobody knows what is on the disk, so
nothing is tried again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Executable, Table, delete, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from farmd.model.facts import Fact
from farmd.model.farm import Entity, Farm, Gone
from farmd.model.machine import Machine
from farmd.model.work import Build
from farmd.store.database import Database, open_database, said
from farmd.store.errors import StoreFailed
from farmd.store.journal import Subjects, body_of, chain, require_storable
from farmd.store.reader import Answer, Loaded, Reader
from farmd.store.rows import STATE, StateTable, entity_key
from farmd.store.tables import table
from farmd.store.trouble import trouble_of

_JOURNAL, _JOURNAL_JOB, _COUNT, _ITEM, _ANSWER = (
    table(name) for name in ("journal", "journal_job", "part_count", "build_item", "idempotency")
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Facts, all that `apply` returned for them in their order, and the answer they gave, if any."""

    facts: tuple[Fact, ...] = ()
    changed: tuple[Entity, ...] = ()
    answer: Answer | None = None


@dataclass(slots=True)
class _Head:
    """The end of the journal, and what the facts to come may be about."""

    seq: int
    hash: bytes
    subjects: Subjects


class Store(Reader):
    """An open store. `open` it, `load` what is open, `commit` what happens, `close` it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._head: _Head | None = None
        self._failed: StoreFailed | None = None
        self._blocked: _Prepared | None = None
        self.is_aside = False
        """It stands in for a record that must not be written to."""

    @classmethod
    def open(cls, url: str, *, data_dir: Path) -> Self:
        """Open `sqlite:///FILE` (relative to `data_dir`) or `postgresql+psycopg://…` and bring its
        schema up to date. Raises `ConfigError`."""
        return cls(open_database(url, data_dir=data_dir))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def load(self) -> Loaded:
        loaded = super().load()
        # Later calls are a look from any thread; the writer knows better where it is.
        if self._head is None:
            self._head = _Head(loaded.last_seq, loaded.last_hash, Subjects.of(loaded.farm))
        return loaded

    def begin_with(self, farm: Farm) -> None:
        """Let facts about this farm's open work follow, in a new record that knows nothing of it."""
        loaded = super().load()
        self._head = _Head(loaded.last_seq, loaded.last_hash, Subjects.of(farm))
        self.is_aside = True

    def commit(self, entries: Sequence[Entry]) -> int:
        """Write all entries in one transaction, on the disk when this returns; the last number.

        The last version of an entity wins. Raises `Refused(NOT_STORABLE)` before anything is written
        (see `require_storable`), `StoreBlocked` when nothing could be written now, and `StoreFailed` for good
        when the database fails. After `StoreBlocked` the same entries come first again.
        """
        if self._failed is not None:
            raise self._failed
        for entry in entries:
            for fact in entry.facts:
                require_storable(fact)
        if self._head is None:
            self.load()
        assert self._head is not None
        prepared = self._blocked or _Prepared(dataclasses.replace(self._head))
        prepared.add(entries)
        self._blocked = prepared
        self._write(prepared.batch.write)
        self._head, self._blocked = prepared.head, None
        return prepared.head.seq

    def fill(self, work: Callable[[Connection], object]) -> None:
        """Write what no fact says, in one transaction: for a restore, before any daemon runs on it."""
        self._write(work)

    def forget_answers(self, before: float) -> None:
        """Drop the answers given before a time. From the writer's thread, as `commit`."""
        if self._failed is not None:
            raise self._failed
        self._write(lambda connection: connection.execute(delete(_ANSWER).where(_ANSWER.c.at < before)))

    def _write(self, work: Callable[[Connection], object]) -> None:
        try:
            with self._database.writer.begin():
                work(self._database.writer)
        except (SQLAlchemyError, OSError) as error:
            told = trouble_of(error, said(error), self._database.holders)
            if isinstance(told, StoreFailed):
                self._failed = told
            raise told from error


class _Batch:
    """The rows of one transaction."""

    def __init__(self) -> None:
        self.journal: list[dict[str, Any]] = []
        self.journal_job: list[dict[str, Any]] = []
        self.counts: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.changed: dict[tuple[str, str], Entity] = {}

    def add(self, head: _Head, entry: Entry) -> None:
        for fact in entry.facts:
            seq = head.seq + 1
            body = body_of(seq, fact)
            indexed = head.subjects.index(seq, fact)
            row_hash = chain(head.hash, body)
            self.journal.append({**indexed.columns, "body": body, "prev_hash": head.hash, "hash": row_hash})
            self.journal_job += indexed.jobs
            self.counts += indexed.count_rows
            head.seq, head.hash = seq, row_hash
        for entity in entry.changed:
            self.changed[entity_key(entity)] = entity
        head.subjects.close(entry.changed)
        if entry.answer is not None:
            self.answers.append(dataclasses.asdict(entry.answer))

    def write(self, connection: Connection) -> None:
        for of, rows in (
            (_JOURNAL, self.journal),
            (_JOURNAL_JOB, self.journal_job),
            (_COUNT, self.counts),
        ):
            if rows:
                connection.execute(insert(of), rows)
        by_class: dict[type[Any], list[Any]] = {}
        for entity in self.changed.values():
            by_class.setdefault(type(entity), []).append(entity)
        for name in [gone.name for gone in by_class.pop(Gone, [])]:
            machine = STATE[Machine].table
            connection.execute(delete(machine).where(machine.c.name == name))
        for cls, entities in by_class.items():
            of_state: StateTable = STATE[cls]
            _upsert(connection, of_state.table, map(of_state.row, entities))
        items = [row for build in by_class.get(Build, []) for row in item_rows(build)]
        _upsert(connection, _ITEM, items, replace=False)
        if self.answers:
            connection.execute(_keeping_answers(connection.dialect.name), self.answers)


@dataclass(slots=True)
class _Prepared:
    """What is to be written next: a look at the facts changes what is known of their subjects, so it is kept
    for another try."""

    head: _Head
    entries: list[Entry] = field(default_factory=list)
    batch: _Batch = field(default_factory=_Batch)

    def add(self, entries: Sequence[Entry]) -> None:
        """Those of the entries that are not in it yet."""
        count = len(self.entries)
        if any(mine is not other for mine, other in zip(self.entries, entries, strict=False)) or count > len(
            entries
        ):
            raise ValueError("what could not be written comes first again")
        for entry in entries[count:]:
            self.batch.add(self.head, entry)
        self.entries = list(entries)


def item_rows(build: Build) -> list[dict[str, Any]]:
    """The rows of `build_item` of a build."""
    return [{"build_id": build.id, "job_id": item.job_id, "parts": item.parts} for item in build.items]


def _upsert(
    connection: Connection, of: Table, rows: Iterable[dict[str, Any]], *, replace: bool = True
) -> None:
    values = list(rows)
    if values:
        connection.execute(_upserting(of, connection.dialect.name, replace), values)


@functools.cache
def _keeping_answers(dialect: str) -> Executable:
    """The first answer to a key stands; what was only begun is replaced by how it was answered."""
    statement = sqlite.insert(_ANSWER) if dialect == "sqlite" else postgresql.insert(_ANSWER)
    told = {name: statement.excluded[name] for name in ("status", "response")}
    same = (_ANSWER.c.status == 0) & (_ANSWER.c.request_sha256 == statement.excluded.request_sha256)
    return statement.on_conflict_do_update(index_elements=["key"], set_=told, where=same)


@functools.cache
def _upserting(of: Table, dialect: str, replace: bool) -> Executable:
    """Made once: making the statement costs more than running it."""
    statement = sqlite.insert(of) if dialect == "sqlite" else postgresql.insert(of)
    keys = [column.name for column in of.primary_key]
    if not replace:
        return statement.on_conflict_do_nothing(index_elements=keys)
    others = {c.name: statement.excluded[c.name] for c in of.columns if c.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=others)
