"""`verify` is silent about a good store and finds every kind of damage, with its place."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from farmd.model import facts as f
from farmd.model.errors import Refused
from farmd.model.work import FileRecord
from farmd.store import Entry, Finding, Store, Vault, fold, verify
from farmd.store.journal import body_of


@pytest.fixture
def lived(store: Store, farmlife: ModuleType) -> Store:
    """A store with closed work in it, and no file."""
    life = farmlife.FarmLife(11)
    entries = []
    for entry in life.entries(400):
        facts = tuple(fact for fact in entry.facts if not isinstance(fact, f.FileStored))
        changed = tuple(e for e in entry.changed if not isinstance(e, FileRecord))
        entries.append(Entry(facts, changed))
    store.commit(entries)
    return store


def places(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.code.name, finding.where) for finding in findings}


def test_a_good_store_has_no_findings(lived: Store, vault: Vault) -> None:
    assert verify(lived, vault) == []


@pytest.mark.parametrize(
    ("damage", "code", "where"),
    [
        ("UPDATE journal SET hash = prev_hash WHERE seq = 30", "journal-broken", "journal row 30"),
        ("UPDATE journal SET actor = 'eve' WHERE seq = 30", "journal-broken", "journal row 30"),
        ("UPDATE journal SET machine = 'm9' WHERE seq = 30", "journal-broken", "journal row 30"),
        ("UPDATE journal SET body = hash WHERE seq = 30", "bad-record", "journal row 30"),
        ("DELETE FROM journal WHERE seq = 30", "journal-broken", "journal row 31"),
        (
            "DELETE FROM journal_job WHERE seq = (SELECT min(seq) FROM journal_job)",
            "state-differs",
            "journal_job",
        ),
        ("INSERT INTO journal_job VALUES ('J-x', 999999)", "state-differs", "journal_job J-x 999999"),
        ("UPDATE part_count SET good = good + 1", "state-differs", "part_count"),
        ("UPDATE job SET good = good + 1 WHERE is_closed", "state-differs", "job J-"),
        ("UPDATE job SET is_closed = NOT is_closed", "state-differs", "job J-"),
        ("UPDATE build SET parts = 0", "state-differs", "build B-"),
        ("DELETE FROM build_item", "state-differs", "build_item B-"),
        ("UPDATE run SET place = '{}' WHERE place IS NULL", "state-differs", "run R-"),
        ("DELETE FROM run WHERE is_closed", "state-differs", "run R-"),
        ("INSERT INTO counter VALUES ('lot', 7)", "state-differs", "counter lot"),
        ("UPDATE lot SET grams_left = 1", "state-differs", "lot L-"),
        ("DELETE FROM machine", "state-differs", "machine m"),
        ("INSERT INTO file VALUES ('ab', 'x', 1, 'gcode', '{}')", "file-missing", "ab"),
    ],
)
def test_damage_is_found(lived: Store, vault: Vault, tamper: Any, damage: str, code: str, where: str) -> None:
    with tamper() as connection:
        assert connection.exec_driver_sql(damage).rowcount >= 1
    found = places(verify(lived, vault))
    assert any(name == code and place.startswith(where) for name, place in found), found


def test_cut_off_end_is_found_by_the_state(lived: Store, vault: Vault, tamper: Any) -> None:
    """The chain of what is left holds; the state tables know more than it."""
    with tamper() as connection:
        connection.exec_driver_sql("DELETE FROM journal WHERE seq > 100")
    assert {code for code, _ in places(verify(lived, vault))} == {"state-differs"}


def test_fact_that_does_not_follow(store: Store, vault: Vault) -> None:
    store.commit([Entry((f.RunSent(at=1.0, actor="daemon", run_id="R-1"),))])
    [finding] = verify(store, vault)
    assert (finding.code.name, finding.where) == ("fact-illegal", "journal row 1")
    assert "unknown-run" in finding.what
    with pytest.raises(Refused):
        fold(store.facts())


def test_number_in_the_body_counts(lived: Store, vault: Vault, tamper: Any) -> None:
    """A forger who chains anew what is his own still has to number it."""
    body = body_of(99, dict(lived.facts())[30])
    assert json.loads(body)["seq"] == 99
    with tamper() as connection:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        connection.exec_driver_sql(f"UPDATE journal SET body = {mark} WHERE seq = 30", (body,))
    findings = [finding for finding in verify(lived, vault) if "columns" in finding.what]
    assert places(findings) == {("journal-broken", "journal row 30")}


def test_damaged_file_is_found(tmp_path: Path, vault: Vault, farmlife: ModuleType) -> None:
    path = tmp_path / "farm.db"
    with Store.open(f"sqlite:///{path}", data_dir=tmp_path) as store:
        store.commit(farmlife.FarmLife(2).entries(200))
    with path.open("r+b") as file:
        pages = path.stat().st_size // 4096
        for page in range(pages // 2, pages):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    with Store.open(f"sqlite:///{path}", data_dir=tmp_path) as store:
        assert "database-damaged" in {code for code, _ in places(verify(store, vault))}


def test_files_are_checked(lived: Store, vault: Vault, tmp_path: Path) -> None:
    with vault.receive() as sink:
        sink.write(b"G28\n")
        stored = sink.store()
    assert verify(lived, vault) == []
    path = vault.path(stored.sha256)
    path.chmod(0o600)
    path.write_bytes(b"G29\n")
    path.with_name("readme").write_text("not a hash")
    found = places(verify(lived, vault))
    assert ("file-corrupt", stored.sha256) in found
    assert ("file-missing", "'readme'") in found
