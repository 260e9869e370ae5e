"""What was noted of the journal outside it finds what the chain alone cannot: a cut end, a chain written anew."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from farmd.model import facts as f
from farmd.store import Anchor, Entry, Store, Vault, check_anchors, verify
from farmd.store.journal import GENESIS, chain

AT = 1_790_000_000.0


@pytest.fixture
def noted(store: Store, farmlife: ModuleType, tmp_path: Path) -> Path:
    """A file of anchors of a store in which much has happened."""
    path = tmp_path / "anchors"
    entries = [
        Entry(facts, entry.changed) for entry in farmlife.FarmLife(3).entries(200) if (facts := entry.facts)
    ]
    for number, entry in enumerate(entries):
        store.commit([entry])
        if number % 20 == 0:
            Anchor.of(store, AT + number).append(path)
    Anchor.of(store, AT + 1000).append(path)
    return path


def told(store: Store, path: Path) -> list[tuple[str, str]]:
    return [(each.code.name, each.what) for each in check_anchors(store, path)]


def test_a_good_journal_agrees_with_its_anchors(store: Store, noted: Path) -> None:
    assert told(store, noted) == []
    assert len(noted.read_text().splitlines()) > 5
    assert noted.stat().st_mode & 0o777 == 0o600


def test_any_cut_of_the_end_is_found(store: Store, noted: Path, tamper: Any) -> None:
    """One row or all of them, the chain of what is left holding each time."""
    last, _ = store.tail()
    for left in (last - 1, last - 2, last // 2, 1, 0):
        with tamper() as connection:
            connection.exec_driver_sql(f"DELETE FROM journal WHERE seq > {left}")
        found = told(store, noted)
        assert (f"the journal had {last} facts", True) in [
            (what.partition(" at ")[0], code == "anchor-differs") for code, what in found
        ]


def test_a_journal_written_anew_is_found(store: Store, noted: Path, tamper: Any) -> None:
    """Somebody changes one byte and mends every hash after it: the chain holds, the anchors do not."""
    with tamper() as connection:
        rows = connection.exec_driver_sql("SELECT seq, body FROM journal ORDER BY seq").all()
        last = GENESIS
        for seq, body in rows:
            text = bytes(body)
            if seq == 30:
                text = text.replace(b'"at":', b'"at":1', 1)
            row_hash = chain(last, text)
            mark = "?" if connection.dialect.name == "sqlite" else "%s"
            connection.exec_driver_sql(
                f"UPDATE journal SET body = {mark}, prev_hash = {mark}, hash = {mark} WHERE seq = {seq}",
                (text, last, row_hash),
            )
            last = row_hash
    found = told(store, noted)
    assert found
    assert all(code == "anchor-differs" and "was another one" in what for code, what in found)
    seqs = [json.loads(line.rpartition(" ")[0])["seq"] for line in noted.read_text().splitlines()]
    assert len(found) == sum(seq >= 30 for seq in seqs)


def test_every_byte_of_every_row_counts(
    store: Store, vault: Vault, farmlife: ModuleType, tamper: Any
) -> None:
    """A bit of any byte of a body or a hash flipped, anywhere in the journal: `verify` finds it."""
    facts = tuple(f.MachineAdded(at=AT + n, actor="ann", machine=f"m{n}") for n in range(4))
    from farmd.model.apply import apply
    from farmd.model.farm import Farm

    farm = Farm()
    for fact in facts:
        changed = apply(farm, fact)
        farm.merge(changed)
        store.commit([Entry((fact,), changed)])
    assert verify(store, vault) == []
    for seq in (1, 3, 4):
        for column in ("body", "hash", "prev_hash"):
            with tamper() as connection:
                (before,) = connection.exec_driver_sql(
                    f"SELECT {column} FROM journal WHERE seq = {seq}"
                ).one()
            content = bytes(before)
            for at in range(0, len(content), 1 if column == "hash" else 7):
                flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
                _set(tamper, column, seq, flipped)
                assert verify(store, vault), (seq, column, at)
            _set(tamper, column, seq, content)
    assert verify(store, vault) == []


def _set(tamper: Any, column: str, seq: int, content: bytes) -> None:
    with tamper() as connection:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        connection.exec_driver_sql(f"UPDATE journal SET {column} = {mark} WHERE seq = {seq}", (content,))


def test_a_changed_line_of_the_file_is_found_and_a_torn_one_is_not_minded(store: Store, noted: Path) -> None:
    good = noted.read_bytes()
    for at in range(0, len(good) - 1, 3):
        if good[at : at + 1] == b"\n":
            continue
        noted.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert told(store, noted), at
    noted.write_bytes(good + good[:40])
    assert told(store, noted) == []
    Anchor.of(store, AT).append(noted)
    assert [code for code, _ in told(store, noted)] == ["anchor-damaged"], "and what comes after it is read"
    noted.write_bytes(b"nonsense\n" + good)
    assert told(store, noted) == [("anchor-damaged", "it is no anchor")]


def test_another_journal_in_its_place_is_found(noted: Path, tmp_path: Path) -> None:
    with Store.open("sqlite:///other.sqlite", data_dir=tmp_path) as other:
        assert all("another journal" in what for _, what in told(other, noted))
        assert told(other, noted)
        assert told(other, tmp_path / "none") == []
