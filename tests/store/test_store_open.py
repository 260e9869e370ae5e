"""Opening a store: URLs, settings of the connections, the schema and its age, the chain's tail."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from farmd.model.errors import ConfigError
from farmd.store import Store, StoreFailed, database
from farmd.store.rows import STATE
from farmd.store.tables import METADATA


def test_schema_is_that_of_the_tables(store: Store, store_url: str) -> None:
    engine = create_engine(store_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, METADATA)
    engine.dispose()
    assert differences == []


def test_every_field_of_an_entity_has_its_column() -> None:
    for cls, of in STATE.items():
        columns = {column.name for column in of.table.columns}
        assert columns == {field.name for field in dataclasses.fields(cls)} | set(of.derived)
        assert set(of.derived) <= {"is_closed", "parts"}


def test_opening_again_keeps_the_node(store_url: str, tmp_path: Path) -> None:
    nodes = set()
    for _ in range(2):
        with Store.open(store_url, data_dir=tmp_path) as store:
            nodes.add(store.node())
    assert len(nodes) == 1


def test_a_record_of_the_first_schema_is_brought_up(store_url: str, tmp_path: Path) -> None:
    Store.open(store_url, data_dir=tmp_path).close()
    engine = create_engine(store_url)
    with engine.begin() as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
        connection.exec_driver_sql("DROP TABLE alembic_version")
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP FUNCTION journal_append_only CASCADE")
        config = Config()
        config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO run (id, build_id, machine, permit_id, fence, intent_at, state, evidence, reason,"
            " used_g, cleared, is_closed) VALUES"
            " ('R-1', 'B-1', 'm1', 'P-1', 1, 5.0, 'intent', '', '', 0.0, false, false)"
        )
    engine.dispose()
    with Store.open(store_url, data_dir=tmp_path) as store:
        (run,) = store.load().farm.runs.values()
        assert (run.id, run.continues, run.place) == ("R-1", None, None)


def test_newer_schema_is_refused(store_url: str, tmp_path: Path, tamper: Any) -> None:
    Store.open(store_url, data_dir=tmp_path).close()
    with tamper() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="9999") as caught:
        Store.open(store_url, data_dir=tmp_path)
    assert caught.value.code.name == "schema-newer"


def test_migration_that_fails_leaves_nothing_behind(store_url: str, tmp_path: Path, tamper: Any) -> None:
    """The last table but one is in the way; once it is gone, the same migration succeeds."""
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE idempotency (x INTEGER)")
    with pytest.raises(ConfigError, match="idempotency"):
        Store.open(store_url, data_dir=tmp_path)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE idempotency")
    engine.dispose()
    with Store.open(store_url, data_dir=tmp_path) as store:
        assert store.load().last_seq == 0


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("sqlite://", "database-url"),
        ("sqlite:///:memory:", "database-url"),
        ("mysql://root:secret@localhost/farm", "database-url"),
        ("postgresql+psycopg2://u:secret@localhost/farm", "database-url"),
        ("farm.db", "database-url"),
        ("sqlite:////proc/farm.db", "database-unreachable"),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/farm", "database-unreachable"),
    ],
)
def test_unusable_url(url: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Store.open(url, data_dir=tmp_path)
    assert caught.value.code.name == code
    assert "secret" not in str(caught.value)


def test_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "farm.db").write_bytes(b"this is no database, but it is long enough to be one" * 99)
    with pytest.raises(ConfigError) as caught:
        Store.open("sqlite:///farm.db", data_dir=tmp_path)
    assert caught.value.code.name == "database-damaged"


def test_sqlite_lies_in_the_data_folder_for_its_owner_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "var" / "farm"
    with Store.open("sqlite:///farm.db", data_dir=data_dir):
        for path in data_dir.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "farm.db-wal" in {path.name for path in data_dir.iterdir()}


def test_sqlite_settings(tmp_path: Path) -> None:
    """Full sync, one checkpointer, readers that cannot write."""
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "trusted_schema")
    with Store.open("sqlite:///farm.db", data_dir=tmp_path) as store:
        writer = store._database.writer
        with writer.begin():
            settings = [writer.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]
        assert settings == ["wal", 2, 1, 5000, 0]
        with store.reading() as reader:
            for name, value in (("query_only", 1), ("wal_autocheckpoint", 0), ("trusted_schema", 0)):
                assert reader.exec_driver_sql(f"PRAGMA {name}").scalar_one() == value


def test_postgresql_commits_synchronously_for_one_farmd(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOCK_WAIT", "200ms")
    with Store.open(postgres_url, data_dir=tmp_path) as store:
        writer = store._database.writer
        with writer.begin():
            assert writer.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        with pytest.raises(ConfigError) as caught:
            Store.open(postgres_url, data_dir=tmp_path)
        assert caught.value.code.name == "database-in-use"
    Store.open(postgres_url, data_dir=tmp_path).close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE journal SET body = prev_hash WHERE seq = 20",
        "UPDATE journal SET hash = prev_hash WHERE seq = 20",
        "UPDATE journal SET prev_hash = hash WHERE seq = 1",
        "DELETE FROM journal WHERE seq = 20",
        "DELETE FROM journal WHERE seq < 5",
    ],
)
def test_broken_tail_is_not_loaded(store: Store, tamper: Any, farmlife: ModuleType, damage: str) -> None:
    life = farmlife.FarmLife(3)
    store.commit(life.entries(30))
    with tamper() as connection:
        assert connection.exec_driver_sql(damage).rowcount >= 1
    with pytest.raises(StoreFailed) as caught:
        store.load()
    assert caught.value.code.name == "journal-broken"
    assert caught.value.where.startswith("journal row")


def test_load_looks_at_the_tail_only(store: Store, tamper: Any, farmlife: ModuleType) -> None:
    life = farmlife.FarmLife(4)
    last = store.commit(life.entries(800))
    assert last > 1010
    with tamper() as connection:
        connection.exec_driver_sql("UPDATE journal SET hash = prev_hash WHERE seq = 3")
    assert store.load().last_seq == last
    with tamper() as connection:
        connection.exec_driver_sql(f"UPDATE journal SET hash = prev_hash WHERE seq = {last - 990}")
    with pytest.raises(StoreFailed):
        store.load()


def test_a_sqlite_that_loses_commits_of_two_writers_is_warned_of(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """farmd has one connection that writes and checkpoints; other programs must not be a second one."""
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 2))
    expected = "loses commits" if store._database.is_sqlite else ""
    assert expected in store.library_warning()
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 3))
    assert store.library_warning() == ""


def test_readers_never_checkpoint(tmp_path: Path) -> None:
    """However much is in the write-ahead log, only the writing connection moves it into the database."""
    with Store.open("sqlite:///farm.db", data_dir=tmp_path) as store:
        with store.reading() as reader:
            assert reader.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar_one() == 0
            assert reader.exec_driver_sql("PRAGMA query_only").scalar_one() == 1
        writer = store._database.writer
        assert writer.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar_one() > 0
        writer.rollback()
