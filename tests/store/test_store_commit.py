"""What is committed is there: the journal's chain, the state, the answers; on both databases."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import SQLAlchemyError

from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.store import Answer, Entry, Store, StoreBlocked, StoreFailed, Vault, fold, require_storable, verify
from farmd.store.rows import STATE

AT = 1.75e9


def entry_of(farm: Farm, *facts: f.Fact) -> Entry:
    changed: list[Any] = []
    for fact in facts:
        after = apply(farm, fact)
        farm.merge(after)
        changed += after
    return Entry(facts, tuple(changed))


def added(name: str) -> f.MachineAdded:
    return f.MachineAdded(at=AT, actor="daemon", machine=name)


def hashes(store: Store) -> list[bytes]:
    return [row["hash"] for rows in store.journal_pages() for row in rows]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_state_is_what_the_facts_add_up_to(
    store_url: str, tmp_path: Path, farmlife: ModuleType, seed: int
) -> None:
    """Random legal lives, batches and restarts: what is loaded is what was in memory."""
    life, rng = farmlife.FarmLife(seed), random.Random(seed)
    committed = 0
    for _ in range(3):
        with Store.open(store_url, data_dir=tmp_path) as store:
            loaded = store.load()
            assert loaded.farm == life.farm
            assert loaded.last_seq == committed == life.farm.revision
            for _ in range(8):
                committed = store.commit(life.entries(rng.randint(0, 20)))
    with Store.open(store_url, data_dir=tmp_path) as store:
        everything = fold(store.facts())
        kinds = {type(fact) for _, fact in store.facts()}
        for cls, of in STATE.items():
            folded = {key: e for (name, key), e in everything.items() if name == of.name}
            stored = {key: store._one(cls, key) for key in folded}
            assert stored == folded, cls
        closed = [e for e in everything.values() if getattr(e, "is_closed", False)]
        missing_files = {finding.code.name for finding in verify(store, Vault(tmp_path / "vault"))}
    assert len(closed) > 20
    assert len(kinds) > 18, "the life is too dull to show anything"
    assert missing_files == {"file-missing"}


def test_chain_is_as_documented_and_the_same_on_both_databases(
    tmp_path: Path, postgres_url: str, farmlife: ModuleType
) -> None:
    chains = []
    for number, url in enumerate((f"sqlite:///{tmp_path / 'farm.db'}", postgres_url)):
        life = farmlife.FarmLife(7)
        with Store.open(url, data_dir=tmp_path) as store:
            for size in (1, 30, 9) if number else (10, 10, 20):
                store.commit(life.entries(size))
            rows = [row for page in store.journal_pages() for row in page]
        chains.append([(row["seq"], row["body"], row["prev_hash"], row["hash"]) for row in rows])
    assert chains[0] == chains[1]
    last = bytes(32)
    for number, (seq, body, prev_hash, row_hash) in enumerate(chains[0], start=1):
        assert (seq, prev_hash) == (number, last)
        assert json.loads(body)["seq"] == number
        last = hashlib.sha256(prev_hash + body).digest()
        assert row_hash == last


def test_the_chain_of_this_format_never_changes(store: Store) -> None:
    store.commit([Entry((f.JobHeld(at=1.5, actor="änne", job_id="J-1", reason='"'),))])
    [[row]] = store.journal_pages()
    body = '{"fact":{"actor":"änne","at":1.5,"job_id":"J-1","reason":"\\""},"kind":"JobHeld","seq":1}'
    assert row["body"] == body.encode()
    assert row["hash"].hex() == hashlib.sha256(bytes(32) + body.encode()).hexdigest()


def test_last_version_of_a_batch_wins(store: Store) -> None:
    farm = Farm()
    store.commit(
        [
            entry_of(farm, added("m1"), added("m2")),
            entry_of(farm, f.MachineHeld(at=AT, actor="anna", machine="m1", reason="first")),
            entry_of(farm, f.MachineHeld(at=AT, actor="anna", machine="m1", reason="second")),
            entry_of(farm, f.MachineRemoved(at=AT, actor="daemon", machine="m2")),
            entry_of(farm, added("m3"), f.MachineRemoved(at=AT, actor="daemon", machine="m3"), added("m3")),
        ]
    )
    loaded = store.load()
    assert sorted(loaded.farm.machines) == ["m1", "m3"]
    assert loaded.farm.machines["m1"].held == "second"
    store.commit([entry_of(farm, f.MachineRemoved(at=AT, actor="daemon", machine="m3"))])
    assert sorted(store.load().farm.machines) == ["m1"]


def test_journal_refuses_change(store: Store, tamper: Any) -> None:
    store.commit([entry_of(Farm(), added("m1"), added("m2"))])
    statements = ["UPDATE journal SET actor = 'x'", "DELETE FROM journal WHERE seq = 2"]
    if store._database.is_sqlite:
        statements += ["INSERT OR REPLACE INTO journal SELECT * FROM journal WHERE seq = 1"]
    else:
        statements += ["TRUNCATE journal"]
    before = hashes(store)
    for statement in statements:
        with pytest.raises(SQLAlchemyError, match="append-only"), tamper(triggers=True) as connection:
            connection.exec_driver_sql(statement)
    assert hashes(store) == before


def test_readers_cannot_write(store: Store) -> None:
    for statement in ("DELETE FROM counter", "CREATE TABLE x (y INTEGER)"):
        with pytest.raises(StoreFailed, match="read") as caught, store.reading() as connection:
            connection.exec_driver_sql(statement)
        assert statement not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_failed_write_is_final(store: Store, tamper: Any) -> None:
    """Another writer has gone on with the journal: this one stops and writes nothing more."""
    farm = Farm()
    store.commit([entry_of(farm, added("m1"))])
    with tamper() as connection:
        columns = "at, actor, kind, build_id, run_id, machine, body, prev_hash, hash"
        connection.exec_driver_sql(f"INSERT INTO journal (seq, {columns}) SELECT 2, {columns} FROM journal")
    for name in ("m2", "m3"):
        with pytest.raises(StoreFailed) as caught:
            store.commit([entry_of(farm, added(name))])
        assert caught.value.code.name == "store-failed"
        assert "\n" not in caught.value.what
        assert "INSERT" not in caught.value.what, "the statement with its values is no help"
        assert len(caught.value.what) < 200
    with pytest.raises(StoreFailed):
        store.forget_answers(AT)
    assert store.events(limit=9)[-1].seq == 2
    assert store.throughput(0, AT) == []


def test_full_disk_refuses_whole_entries_until_there_is_room(tmp_path: Path, farmlife: ModuleType) -> None:
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    life, last = farmlife.FarmLife(5), 0
    with Store.open(url, data_dir=tmp_path) as store:
        writer = store._database.writer
        with writer.begin():
            pages = writer.exec_driver_sql("PRAGMA page_count").scalar_one()
            writer.exec_driver_sql(f"PRAGMA max_page_count={pages + 20}")
        entries = []
        with pytest.raises(StoreBlocked, match="full"):  # noqa: PT012 - the disk fills up at some turn
            for _ in range(1000):
                entries = life.entries(5)
                last = store.commit(entries)
        for _ in range(2):
            with pytest.raises(StoreBlocked, match="full") as caught:
                store.commit(entries)
        assert caught.value.code.name == "disk-full"
        assert store.load().last_seq == last > 0, "nothing of what was refused is there"
        with pytest.raises(ValueError, match="comes first"):
            store.commit(life.entries(1))
        writer.exec_driver_sql("PRAGMA max_page_count=100000")
        writer.rollback()
        last = store.commit([*entries, *life.entries(3)])
    with Store.open(url, data_dir=tmp_path) as store:
        assert store.load().last_seq == last
        assert {x.code.name for x in verify(store, Vault(tmp_path / "v"))} <= {"file-missing"}


def test_a_database_that_can_only_be_read_refuses_until_it_can_be_written(tmp_path: Path) -> None:
    farm = Farm()
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}", data_dir=tmp_path) as store:
        writer = store._database.writer
        writer.exec_driver_sql("PRAGMA query_only=ON")
        writer.rollback()
        entry = entry_of(farm, added("m1"))
        with pytest.raises(StoreBlocked) as caught:
            store.commit([entry])
        assert caught.value.code.name == "disk-read-only"
        writer.exec_driver_sql("PRAGMA query_only=OFF")
        writer.rollback()
        assert store.commit([entry]) == 1


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_WRITE])
def test_after_a_failed_sync_or_write_nothing_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}", data_dir=tmp_path) as store:
        store.load()
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        tries = []

        def commit(self: object) -> None:
            tries.append(code)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(SQLiteDialect_pysqlite, "do_commit", lambda self, connection: commit(self))
            for _ in range(2):
                with pytest.raises(StoreFailed, match="disk I/O error"):
                    store.commit([entry_of(Farm(), added("m1"))])
        assert len(tries) == 1


def test_another_that_holds_the_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm, path = Farm(), tmp_path / "farm.db"
    holder = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )
    with Store.open(f"sqlite:///{path}", data_dir=tmp_path) as store:
        store._database.writer.exec_driver_sql("PRAGMA busy_timeout=50")
        store._database.writer.rollback()
        entry = entry_of(farm, added("m1"))
        command = [sys.executable, "-c", holder, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout is not None
                assert child.stdout.readline() == "held\n"
                with pytest.raises(StoreBlocked, match=rf"process {child.pid} \(python") as caught:
                    store.commit([entry])
                assert caught.value.code.name == "database-busy"
            finally:
                child.kill()
        assert store.commit([entry]) == 1
        assert store._database.holders is not None
        assert store._database.holders.named() == ""


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "x" * 3 + "\udfff"])
def test_text_that_cannot_be_kept_is_refused_before_anything_is_written(store: Store, bad: str) -> None:
    fact = f.JobHeld(at=AT, actor="anna", job_id="J-1", reason=bad)
    with pytest.raises(Refused) as caught:
        store.commit([Entry((added("m1"),)), Entry((fact,))])
    assert caught.value.code.name == "not-storable"
    assert store.events() == []
    assert store.commit([Entry((added("m1"),))]) == 1


@pytest.mark.parametrize(
    "fact",
    [
        f.DaemonStarted(at=AT, actor="daemon", boot_id="b", version="1", fence=2**53),
        f.JobEdited(at=AT, actor="daemon", job_id="J-1", priority=float("inf")),
        f.JobEdited(at=float("nan"), actor="daemon", job_id="J-1"),
    ],
)
def test_numbers_that_cannot_be_kept_are_refused(fact: f.Fact) -> None:
    with pytest.raises(Refused) as caught:
        require_storable(fact)
    assert caught.value.code.name == "not-storable"


def test_answers_come_with_their_facts_and_the_first_stands(store: Store) -> None:
    first = Answer("key", "aa", 201, '{"id":"J-1"}', AT)
    store.commit([Entry((added("m1"),), (), first)])
    assert store.idempotent("key") == first
    later, other = Answer("key", "bb", 422, "{}", AT + 1), Answer("k2", "c", 200, "", AT + 9)
    store.commit([Entry(answer=later), Entry(answer=other)])
    assert store.idempotent("key") == first
    assert len(store.events()) == 1
    store.forget_answers(AT + 5)
    assert store.idempotent("key") is None
    assert store.idempotent("k2") == other
