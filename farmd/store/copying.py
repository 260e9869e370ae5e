"""A whole record from one database into another, row by row: between PostgreSQL and the file of a back-up.

Knows the tables; knows nothing of what is in them.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, create_engine, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from farmd.model.errors import ConfigError
from farmd.store.database import DATABASE_UNREACHABLE, migrate, said
from farmd.store.tables import METADATA

_ROWS = 1000


def copy_rows(source: Connection, target: Connection) -> None:
    """All rows of all tables. The target has the schema and no rows but its own `meta`, which is replaced."""
    target.execute(text("DELETE FROM meta"))
    for table in METADATA.sorted_tables:
        rows = source.execution_options(yield_per=_ROWS).execute(select(table)).mappings()
        while page := [dict(row) for row in islice(rows, _ROWS)]:
            target.execute(insert(table), page)


def copy_to_sqlite(url: str, data_dir: Path, to: Path) -> None:
    """The record of a PostgreSQL database at one moment, as a new SQLite file. Raises `ConfigError`."""
    reading = create_engine(
        url, isolation_level="REPEATABLE READ", execution_options={"postgresql_readonly": True}
    )
    writing = create_engine(f"sqlite:///{to}")
    try:
        with writing.connect() as target:
            migrate(target, where=str(to))
            with reading.begin() as source, target.begin():
                copy_rows(source, target)
    except SQLAlchemyError as error:
        where = reading.url.render_as_string(hide_password=True)
        raise ConfigError(DATABASE_UNREACHABLE, said(error), where=where) from error
    finally:
        reading.dispose()
        writing.dispose()
    to.chmod(0o600)
