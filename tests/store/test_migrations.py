"""Up from every released schema, whatever happens on the way."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect, select, text

from farmd.model.errors import ConfigError
from farmd.store import Store, Vault, bring_up, verify
from farmd.store import database as databases
from farmd.store.tables import METADATA

_SCRIPTS = Path(databases.__file__).parent / "migrations"
RELEASED = sorted(script.revision for script in ScriptDirectory(str(_SCRIPTS)).walk_revisions())
NEWEST = RELEASED[-1]


def at_schema(url: str, revision: str, life: Store) -> None:
    """A database as the farmd of that revision made it, with a life in it as far as it has columns for it."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda dbapi, _: setattr(dbapi, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(_SCRIPTS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        there = inspect(connection)
        connection.execute(text("DELETE FROM meta"))
        for table in METADATA.sorted_tables:
            if not there.has_table(table.name):
                continue
            columns = {column["name"] for column in there.get_columns(table.name)}
            with life.reading() as source:
                rows = [dict(row) for row in source.execute(select(table)).mappings()]
            kept = [{name: value for name, value in row.items() if name in columns} for row in rows]
            if kept:
                connection.execute(table.insert(), kept)
    engine.dispose()


@pytest.fixture
def life(tmp_path: Path, farmlife: ModuleType) -> Store:
    """A record of the newest schema that uses nothing that older ones have not."""
    folder = tmp_path / "life"
    with Store.open("sqlite:///life.db", data_dir=folder) as store:
        lived = farmlife.FarmLife(3, store.load().farm)
        for _ in range(40):
            store.commit(lived.entries(5))
        yield store


@pytest.mark.parametrize("revision", RELEASED)
def test_a_record_of_every_released_schema_is_brought_up(
    store_url: str, tmp_path: Path, life: Store, revision: str
) -> None:
    at_schema(store_url, revision, life)
    steps, rows = bring_up(store_url, tmp_path, rehearse=True)
    assert steps.before == revision
    assert [name for name, _ in steps.revisions] == [name for name in RELEASED if name > revision]
    assert steps.after == NEWEST
    assert rows > 50
    assert schema_of(store_url) == revision, "a dry run changes nothing"
    with Store.open(store_url, data_dir=tmp_path) as store:
        assert {x.code.name for x in verify(store, Vault(tmp_path / "vault"))} <= {"file-missing"}
        assert store.load().farm == life.load().farm
        assert store.node() == life.node()
    assert schema_of(store_url) == NEWEST
    steps, again = bring_up(store_url, tmp_path, rehearse=False)
    assert (steps.before, steps.revisions, again) == (NEWEST, (), rows)


def schema_of(url: str) -> str:
    engine = create_engine(url)
    with engine.begin() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    engine.dispose()
    return str(found)


_KILLED = """
import os, sys
from pathlib import Path
from sqlalchemy import event
from farmd.store import Store
from farmd.store import database
left = [int(sys.argv[2])]
configure = database._configure
def hooked(engine, begin, pragmas):
    configure(engine, begin, pragmas)
    @event.listens_for(engine, "before_cursor_execute")
    def before(connection, cursor, statement, *more):
        if statement.lstrip().split(" ")[0] in ("CREATE", "ALTER", "INSERT", "UPDATE", "DROP"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), 9)
database._configure = hooked
Store.open("sqlite:///farmd.sqlite", data_dir=Path(sys.argv[1])).close()
print("done")
"""


def test_killed_at_any_step_of_a_migration_the_old_schema_is_there_and_the_next_start_goes_on(
    tmp_path: Path, life: Store
) -> None:
    """From the first released schema; a kill before each statement that changes something."""
    kills = 0
    while True:
        folder = tmp_path / f"farm-{kills}"
        folder.mkdir()
        url = f"sqlite:///{folder / 'farmd.sqlite'}"
        at_schema(url, RELEASED[0], life)
        child = subprocess.run(
            [sys.executable, "-c", _KILLED, str(folder), str(kills + 1)], capture_output=True, check=False
        )
        if child.stdout == b"done\n":
            break
        assert child.returncode == -9, child.stderr
        kills += 1
        assert schema_of(url) == RELEASED[0], f"killed at step {kills}"
        if kills % 2:
            with Store.open(url, data_dir=folder) as store:
                assert {x.code.name for x in verify(store, Vault(folder / "vault"))} <= {"file-missing"}
                assert store.load().last_seq == life.load().last_seq
    assert kills >= len(RELEASED) - 1


def test_a_dry_run_tells_what_would_fail(tmp_path: Path, life: Store) -> None:
    url = f"sqlite:///{tmp_path / 'farmd.sqlite'}"
    at_schema(url, RELEASED[0], life)
    with sqlite3.connect(tmp_path / "farmd.sqlite") as connection:
        connection.execute("CREATE TABLE safe_mode (x INTEGER)")
    connection.close()
    with pytest.raises(ConfigError, match="safe_mode"):
        bring_up(url, tmp_path, rehearse=True)
    assert schema_of(url) == RELEASED[0]
