"""`farmd migrate`: bring a record up to this version's schema, or only see whether that would go well."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, select

from farmd.store.database import Steps, migrate, open_database
from farmd.store.rows import STATE, to_entity


def bring_up(url: str, data_dir: Path, *, rehearse: bool) -> tuple[Steps, int]:
    """Migrate, and read every row of the state as this version does: the steps, and how many rows there are.

    With `rehearse` nothing is changed. Raises `ConfigError`, `Refused(BAD_RECORD)`.
    """
    database = open_database(url, data_dir=data_dir, as_it_is=True)
    where = database.url.render_as_string(hide_password=True)
    read = [0]

    def look(connection: Connection) -> None:
        for cls, of in STATE.items():
            for row in connection.execute(select(of.table)).mappings():
                to_entity(cls, dict(row))
                read[0] += 1

    try:
        steps = migrate(database.writer, where=where, holders=database.holders, rehearse=look)
        if not rehearse:
            read[0] = 0
            migrate(database.writer, where=where, holders=database.holders)
            with database.writer.begin():
                look(database.writer)
    finally:
        database.close()
    return steps, read[0]
