"""Connections: one that writes, a few that only read, and the schema brought up to date.

SQLite runs in WAL mode with `synchronous=FULL`. Exactly one connection writes and checkpoints:
SQLite before 3.51.3 can lose commits when two do so at once (sqlite.org/wal.html#walresetbug).
PostgreSQL is guarded by a session's advisory lock. Knows nothing of facts or entities.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, SQLAlchemyError

from farmd.model.errors import ConfigError, ErrorCode
from farmd.store.errors import DATABASE_DAMAGED
from farmd.store.trouble import Holders, StoreBlocked, is_damage, trouble_of

DATABASE_URL = ErrorCode(
    "database-url",
    "this is not a database farmd can use",
    "write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME",
)
DATABASE_UNREACHABLE = ErrorCode(
    "database-unreachable",
    "the database cannot be opened",
    "check that the server runs, or that the file and its folder may be written by farmd",
)
DATABASE_IN_USE = ErrorCode(
    "database-in-use",
    "another farmd uses this database",
    "stop the other one; if its host is gone, end its session on the server",
)
SCHEMA_NEWER = ErrorCode(
    "schema-newer",
    "a newer farmd has written this database",
    "install that version again, or restore a back-up made by this one",
)

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_KEY = int.from_bytes(b"farmd", "big")
_LOCK_WAIT = "5s"
"""A daemon that was killed a moment ago may still hold the lock; its server notices soon."""
_READERS = 4
_POSTGRES_SESSION = {
    "synchronous_commit": "on",
    # A dead host must lose its lock in a minute, not in the two hours of the usual settings.
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "4",
    "TimeZone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Database:
    """An open database of the newest schema. `writer` is the one connection that writes."""

    url: URL
    writer: Connection
    readers: Engine
    holders: Holders | None = None
    """Of a SQLite database: who else has locks on it."""

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def close(self) -> None:
        # Readers first: the last connection to a SQLite file checkpoints it.
        self.readers.dispose()
        engine = self.writer.engine
        self.writer.close()
        engine.dispose()
        if self.holders is not None:
            self.holders.close()


def open_database(url: str, *, data_dir: Path, as_it_is: bool = False) -> Database:
    """Open and migrate; not migrated when `as_it_is`, which is for looking at a record that is out of order.

    A relative SQLite file lies in `data_dir`. Raises `ConfigError`.
    """
    parsed = _parse(url, data_dir)
    where = parsed.render_as_string(hide_password=True)
    holders = Holders(Path(parsed.database or "")) if parsed.get_backend_name() == "sqlite" else None
    try:
        writer, readers = _sqlite(parsed) if holders is not None else _postgresql(parsed)
    except (OSError, SQLAlchemyError) as error:
        raise _not_opened(error, where, holders) from error
    database = Database(parsed, writer, readers, holders)
    try:
        if not as_it_is:
            migrate(writer, where=where, holders=holders)
    except BaseException:
        database.close()
        raise
    if database.is_sqlite and not as_it_is:
        _sync_folder(Path(parsed.database or "").parent)
    return database


def open_read_only(path: Path) -> Database:
    """A SQLite file that nobody writes, as it is; both its connections can only read. Raises `ConfigError`."""

    def connect() -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    try:
        connection = engine.connect()
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        connection.rollback()
    except SQLAlchemyError as error:
        engine.dispose()
        raise _not_opened(error, str(path)) from error
    return Database(make_url(f"sqlite:///{path}"), connection, engine)


@dataclass(frozen=True, slots=True)
class Steps:
    """From which schema to which a migration goes; the same when there is nothing to do. None: no schema yet."""

    before: str | None
    after: str
    revisions: tuple[tuple[str, str], ...]
    """Each step's number and what it does, in order."""


def _scripts(connection: Connection) -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config, ScriptDirectory.from_config(config)


def is_newest_schema(connection: Connection, *, where: str) -> bool:
    """Whether nothing is to be migrated. Raises `ConfigError(SCHEMA_NEWER)`."""
    _, scripts = _scripts(connection)
    heads = MigrationContext.configure(connection).get_current_heads()
    if not {script.revision for script in scripts.walk_revisions()}.issuperset(heads):
        raise ConfigError(SCHEMA_NEWER, f"its schema is {', '.join(heads)}", where=where)
    return set(heads) == {scripts.get_current_head()}


class _Rehearsed(Exception):
    """Ends the transaction of a rehearsal."""


def migrate(
    connection: Connection,
    *,
    where: str,
    holders: Holders | None = None,
    rehearse: Callable[[Connection], None] | None = None,
) -> Steps:
    """Bring the schema up to date in one transaction: a kill leaves the old schema. `ConfigError`.

    With `rehearse` nothing stays: that is called with the migrated database, then all is rolled back.
    """
    config, scripts = _scripts(connection)
    known = {script.revision: script for script in scripts.walk_revisions()}
    steps: Steps | None = None
    try:
        with connection.begin():
            heads = MigrationContext.configure(connection).get_current_heads()
            if not known.keys() >= set(heads):
                raise ConfigError(SCHEMA_NEWER, f"its schema is {', '.join(heads)}", where=where)
            before = heads[0] if heads else None
            wanted = [name for name in sorted(known) if before is None or name > before]
            docs = tuple((name, (known[name].doc or "").rstrip(".")) for name in wanted)
            steps = Steps(before, str(scripts.get_current_head()), docs)
            if wanted:
                command.upgrade(config, "head")
            if rehearse is not None:
                rehearse(connection)
                raise _Rehearsed
    except _Rehearsed:
        assert steps is not None
    except SQLAlchemyError as error:
        raise _not_opened(error, where, holders) from error
    return steps


def _parse(url: str, data_dir: Path) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(DATABASE_URL, "it is not a URL") from error
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(database=str(data_dir / parsed.database))
    raise ConfigError(DATABASE_URL, where=parsed.render_as_string(hide_password=True))


def _not_opened(error: Exception, where: str, holders: Holders | None = None) -> ConfigError:
    # The sqlite3 module raises the bare DatabaseError for a file that is damaged or no database.
    if type(error) is DatabaseError or is_damage(error):
        return ConfigError(DATABASE_DAMAGED, said(error), where=where)
    told = trouble_of(error, said(error), holders)
    if isinstance(told, StoreBlocked):
        return ConfigError(told.code, told.what, where=where)
    return ConfigError(DATABASE_UNREACHABLE, said(error), where=where)


def said(error: Exception) -> str:
    """What the database itself says is wrong, in one line, without the statement and its values."""
    lines = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- SQLite ---------------------------------------------------------------------------------


def _sqlite(url: URL) -> tuple[Connection, Engine]:
    path = Path(url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # An existing file is not opened here: closing it would drop the locks of this process on it.
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    writing = create_engine(url, poolclass=NullPool, connect_args={"check_same_thread": False})
    _configure(writing, "BEGIN IMMEDIATE", ("journal_mode=WAL", "synchronous=FULL"))
    reading = create_engine(url, pool_size=_READERS, connect_args={"check_same_thread": False})
    _configure(reading, "BEGIN", ("wal_autocheckpoint=0", "query_only=ON"))
    connection = writing.connect()
    try:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        connection.rollback()
    except BaseException:
        connection.close()
        raise
    if mode != "wal":
        connection.close()
        raise OSError(f"no write-ahead log is possible there (journal mode {mode})")
    return connection, reading


def _configure(engine: Engine, begin: str, pragmas: tuple[str, ...]) -> None:
    """Transactions begin where SQLAlchemy says, not where the sqlite3 module guesses."""

    def connected(dbapi: Any, record: Any) -> None:
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        for pragma in ("busy_timeout=5000", "foreign_keys=ON", "trusted_schema=OFF", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


# --- PostgreSQL -----------------------------------------------------------------------------


def _postgresql(url: URL) -> tuple[Connection, Engine]:
    settings = " ".join(f"-c {name}={value}" for name, value in _POSTGRES_SESSION.items())
    common = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "options": settings}
    writing = create_engine(
        url, poolclass=NullPool, connect_args={**common, "application_name": "farmd writer"}
    )
    reading = create_engine(
        url,
        pool_size=_READERS,
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
        connect_args={**common, "application_name": "farmd reader"},
    )
    connection = writing.connect()
    try:
        with connection.begin():
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
            connection.execute(text(f"SELECT pg_advisory_lock({_LOCK_KEY})"))
    except DBAPIError as error:
        connection.close()
        if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
            raise ConfigError(DATABASE_IN_USE, where=url.render_as_string(hide_password=True)) from error
        raise
    return connection, reading
