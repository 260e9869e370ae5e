"""Reading the store: events, jobs, builds, runs, files, throughput. Nothing here writes.

Every call is one short transaction on a connection that cannot write, so it may be made from any
thread and sees one moment of the farm. Raises `StoreFailed` when the database does not answer.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, func, select
from sqlalchemy.exc import SQLAlchemyError

from farmd.model.access import Token
from farmd.model.facts import Fact
from farmd.model.farm import Counter, Farm
from farmd.model.lifecycle import JobState
from farmd.model.machine import Machine
from farmd.model.safe_mode import SafeMode
from farmd.model.work import Build, FileRecord, Job, Lot, Run
from farmd.store.database import Database, said
from farmd.store.errors import DATABASE_DAMAGED, STORE_FAILED, StoreFailed
from farmd.store.journal import GENESIS, check_link, read_body
from farmd.store.rows import STATE, to_entity
from farmd.store.tables import table
from farmd.store.throughput import By, ThroughputRow, throughput
from farmd.store.trouble import is_damage

E = TypeVar("E")

_TAIL = 1000
_PAGE = 1000
WAL_RESET_MENDED = (3, 51, 3)
"""From this SQLite on (sqlite.org/wal.html#walresetbug)."""
CHECK_PAGE = 100
CHECK_REST_S = 0.002

_JOURNAL, _JOURNAL_JOB, _ITEM, _ANSWER, _META = (
    table(name) for name in ("journal", "journal_job", "build_item", "idempotency", "meta")
)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A fact as people look at it. `body` are its fields as JSON values, `at` and `actor` included."""

    seq: int
    at: float
    actor: str
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request with an idempotency key was answered; `request_sha256` tells if it is the same.

    A `status` of 0: it did something, and how it was answered is not known yet.
    """

    key: str
    request_sha256: str
    status: int
    response: str
    at: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a start takes up: open work, and the end of the journal it continues."""

    farm: Farm
    last_seq: int
    last_hash: bytes


class Reader:
    """The reading half of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read-only transaction: one moment of the farm."""
        try:
            with self._database.readers.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            code = DATABASE_DAMAGED if is_damage(error) else STORE_FAILED
            raise StoreFailed(code, f"reading: {said(error)}") from error

    # --- the journal ------------------------------------------------------------------------

    def events(
        self,
        after_seq: int = 0,
        limit: int = 100,
        *,
        job: str | None = None,
        machine: str | None = None,
        run: str | None = None,
        newest_first: bool = False,
    ) -> list[EventRecord]:
        """Up to `limit` facts after `after_seq`, those about a job, a machine and a run if named."""
        seq = _JOURNAL.c.seq
        query = select(_JOURNAL).where(seq > after_seq)
        if job is not None:
            query = query.join(_JOURNAL_JOB, _JOURNAL_JOB.c.seq == seq).where(_JOURNAL_JOB.c.job_id == job)
        if machine is not None:
            query = query.where(_JOURNAL.c.machine == machine)
        if run is not None:
            query = query.where(_JOURNAL.c.run_id == run)
        query = query.order_by(seq.desc() if newest_first else seq).limit(limit)
        return [
            EventRecord(row["seq"], row["at"], row["actor"], row["kind"], json.loads(row["body"])["fact"])
            for row in self._all(query)
        ]

    def facts(self, after_seq: int = 0) -> Iterator[tuple[int, Fact]]:
        """The facts in their order, each with its number. Raises `Refused(BAD_RECORD)`."""
        for rows in self.journal_pages(after_seq):
            for row in rows:
                yield read_body(row["body"])

    def journal_pages(self, after_seq: int = 0, page: int = _PAGE) -> Iterator[list[Mapping[str, Any]]]:
        """The rows of the journal in pages, each read by itself, so no reader lasts long."""
        while rows := self._all(
            select(_JOURNAL).where(_JOURNAL.c.seq > after_seq).order_by(_JOURNAL.c.seq).limit(page)
        ):
            yield rows
            after_seq = rows[-1]["seq"]

    def tail(self) -> tuple[int, bytes]:
        """The number and the hash of the last fact on disk; 0 and those before the first where there is none."""
        query = select(_JOURNAL.c.seq, _JOURNAL.c.hash).order_by(_JOURNAL.c.seq.desc()).limit(1)
        rows = self._all(query)
        return (rows[0]["seq"], rows[0]["hash"]) if rows else (0, GENESIS)

    def hashes(self, seqs: Collection[int]) -> dict[int, bytes]:
        """The hashes of these facts, of those that are there."""
        query = select(_JOURNAL.c.seq, _JOURNAL.c.hash).where(_JOURNAL.c.seq.in_(seqs))
        return {row["seq"]: row["hash"] for row in self._all(query)}

    def load(self) -> Loaded:
        """Open work, all machines and lots, from the state tables.

        Checks the last rows of the chain only; the whole is `farmd verify`'s. Raises
        `StoreFailed(JOURNAL_BROKEN)`, `Refused(BAD_RECORD)`.
        """
        with self.reading() as connection:
            last_seq, last_hash = _check_tail(connection)
            farm = _open_work(connection)
        farm.revision = last_seq
        return Loaded(farm, last_seq, last_hash)

    def open_work(self) -> Farm:
        """As `load`, whatever the journal is like; its revision is 0."""
        with self.reading() as connection:
            return _open_work(connection)

    def size_bytes(self) -> int:
        """The size of a SQLite database's file; 0 on PostgreSQL."""
        path = self._database.url.database if self._database.is_sqlite else None
        return Path(path).stat().st_size if path else 0

    # --- state ------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job | None:
        return self._one(Job, job_id)

    def build(self, build_id: str) -> Build | None:
        return self._one(Build, build_id)

    def run(self, run_id: str) -> Run | None:
        return self._one(Run, run_id)

    def file(self, sha256: str) -> FileRecord | None:
        return self._one(FileRecord, sha256)

    def file_names(self) -> list[str]:
        """The hashes of all files that the record knows."""
        of = STATE[FileRecord].table
        return [str(row["sha256"]) for row in self._all(select(of.c.sha256))]

    def jobs(
        self, states: Collection[JobState] | None = None, limit: int = 100, offset: int = 0
    ) -> list[Job]:
        """Jobs, the newest first."""
        job = STATE[Job].table
        query = select(job)
        if states is not None:
            query = query.where(job.c.state.in_([state.value for state in states]))
        query = query.order_by(*_newest(job, "submitted_at")).limit(limit).offset(offset)
        return [to_entity(Job, row) for row in self._all(query)]

    def builds_of(self, job_id: str) -> list[Build]:
        """All builds with parts of a job, the newest first."""
        build = STATE[Build].table
        query = select(build).join(_ITEM, _ITEM.c.build_id == build.c.id).where(_ITEM.c.job_id == job_id)
        query = query.order_by(*_newest(build, "created_at"))
        return [to_entity(Build, row) for row in self._all(query)]

    def runs(self, machine: str | None = None, job: str | None = None, limit: int = 100) -> list[Run]:
        """Runs, on a machine and with parts of a job if named, the newest first."""
        run = STATE[Run].table
        query = select(run)
        if machine is not None:
            query = query.where(run.c.machine == machine)
        if job is not None:
            query = query.join(_ITEM, _ITEM.c.build_id == run.c.build_id).where(_ITEM.c.job_id == job)
        query = query.order_by(*_newest(run, "intent_at")).limit(limit)
        return [to_entity(Run, row) for row in self._all(query)]

    def throughput(
        self, since: float, until: float, by: By = "machine", *, zone: tzinfo = UTC
    ) -> list[ThroughputRow]:
        """What was produced from `since` up to `until` (UTC seconds, not in the future).

        `zone` is the shop's, for days.
        """
        with self.reading() as connection:
            return throughput(connection, since, until, by, zone)

    # --- beside the journal -----------------------------------------------------------------

    def idempotent(self, key: str) -> Answer | None:
        """The answer a request with this key got, if it is still remembered."""
        rows = self._all(select(_ANSWER).where(_ANSWER.c.key == key))
        return Answer(**rows[0]) if rows else None

    def node(self) -> str:
        """The name of this journal among others, given when its database was made."""
        with self.reading() as connection:
            return str(connection.scalar(select(_META.c.value).where(_META.c.key == "node")))

    def library_warning(self) -> str:
        """What is known to be wrong with the SQLite that is used; empty when nothing, or on PostgreSQL."""
        if not self._database.is_sqlite or sqlite3.sqlite_version_info >= WAL_RESET_MENDED:
            return ""
        return f"SQLite {sqlite3.sqlite_version} loses commits where two connections write at once"

    def quick_check(self) -> str:
        """What SQLite finds wrong with its own file; empty when nothing, or on PostgreSQL."""
        if not self._database.is_sqlite:
            return ""
        with self.reading() as connection:
            found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
        return "" if found == "ok" else " ".join(found.split())

    def damage(self, rest_s: float = CHECK_REST_S) -> str:
        """What is wrong with the database file or the journal's chain, all of it looked through; else empty.

        Rests between the pages, so that nobody else has to wait. Raises `StoreFailed`.
        """
        if found := self.quick_check():
            return f"the database: {found}"
        seq, last = 0, GENESIS
        for rows in self.journal_pages(page=CHECK_PAGE):
            for row in rows:
                try:
                    check_link(seq, last, row)
                except StoreFailed as error:
                    return f"{error.where} {error.what}"
                seq, last = row["seq"], row["hash"]
            time.sleep(rest_s)
        return ""

    def _all(self, query: Select[Any]) -> list[Mapping[str, Any]]:
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _one(self, cls: type[E], key: str) -> E | None:
        of = STATE[cls]
        rows = self._all(select(of.table).where(of.table.c[of.key] == key))
        return to_entity(cls, rows[0]) if rows else None


def _check_tail(connection: Connection) -> tuple[int, bytes]:
    query = select(_JOURNAL).order_by(_JOURNAL.c.seq.desc()).limit(_TAIL)
    rows = [dict(row) for row in connection.execute(query).mappings()][::-1]
    if not rows:
        return 0, GENESIS
    first = rows[0]
    is_whole = len(rows) < _TAIL or first["seq"] == 1
    seq, last = (0, GENESIS) if is_whole else (first["seq"] - 1, first["prev_hash"])
    for row in rows:
        check_link(seq, last, row)
        seq, last = row["seq"], row["hash"]
    return seq, last


def _open_work(connection: Connection) -> Farm:
    return Farm(
        jobs={job.id: job for job in _open(connection, Job)},
        builds={build.id: build for build in _open(connection, Build)},
        runs={run.id: run for run in _open(connection, Run)},
        machines={machine.name: machine for machine in _entities(connection, Machine)},
        lots={lot.id: lot for lot in _entities(connection, Lot)},
        files={file.sha256: file for file in _open_files(connection)},
        counters={counter.name: counter.value for counter in _entities(connection, Counter)},
        tokens={token.name: token for token in _entities(connection, Token)},
        safe_modes={safe.cause: safe for safe in _open(connection, SafeMode)},
    )


def _open(connection: Connection, cls: type[E]) -> Iterator[E]:
    of = STATE[cls].table
    for row in connection.execute(select(of).where(~of.c.is_closed)).mappings():
        yield to_entity(cls, dict(row))


def _entities(connection: Connection, cls: type[E]) -> Iterator[E]:
    for row in connection.execute(select(STATE[cls].table)).mappings():
        yield to_entity(cls, dict(row))


def _open_files(connection: Connection) -> Iterator[FileRecord]:
    file, job = STATE[FileRecord].table, STATE[Job].table
    wanted = select(job.c.file_sha256).where(~job.c.is_closed)
    for row in connection.execute(select(file).where(file.c.sha256.in_(wanted))).mappings():
        yield to_entity(FileRecord, dict(row))


def _newest(of: Table, at: str) -> tuple[Any, ...]:
    """Ids end in a number, so of two made at one time the longer id is the newer one."""
    return of.c[at].desc(), func.length(of.c.id).desc(), of.c.id.desc()
