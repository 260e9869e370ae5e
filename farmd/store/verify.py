"""`farmd verify`: is the journal whole, is the state what its facts add up to, are the files intact?

The farm is built again from the journal alone, by the same `apply`, closed work included, and
compared row for row. For a store that nobody writes meanwhile. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.exc import SQLAlchemyError

from farmd.model.apply import apply
from farmd.model.errors import ErrorCode, FarmdError, Refused
from farmd.model.facts import Fact
from farmd.model.farm import Entity, Farm, Gone
from farmd.model.work import Build, FileRecord
from farmd.store.errors import DATABASE_DAMAGED, JOURNAL_BROKEN, StoreFailed
from farmd.store.journal import GENESIS, Indexed, Subjects, check_link, read_body
from farmd.store.reader import Reader
from farmd.store.rows import STATE, entity_key
from farmd.store.store import Store, item_rows
from farmd.store.tables import table
from farmd.store.vault import FILE_MISSING, Vault

STATE_DIFFERS = ErrorCode(
    "state-differs",
    "the state tables do not hold what the journal's facts add up to",
    "keep the files for study and restore from the last good back-up",
)
FACT_ILLEGAL = ErrorCode(
    "fact-illegal",
    "a fact in the journal does not follow from those before it",
    "keep the files for study and restore from the last good back-up",
)

_END = 2**63 - 1

Key = tuple[str, str]
Rows = dict[tuple[Any, ...], dict[str, Any]]

_JOURNAL_JOB, _COUNT, _ITEM = (table(name) for name in ("journal_job", "part_count", "build_item"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where: a journal row, a row of a table, or a file."""

    code: ErrorCode
    where: str
    what: str

    @classmethod
    def of(cls, error: FarmdError) -> Finding:
        return cls(error.code, error.where, error.what)


@dataclass(slots=True)
class _Folding:
    """The farm as the facts so far make it, closed entities kept."""

    farm: Farm = field(default_factory=Farm)
    entities: dict[Key, Entity] = field(default_factory=dict)
    subjects: Subjects = field(default_factory=Subjects)

    def take(self, seq: int, fact: Fact) -> Indexed:
        """Apply one fact. Raises `Refused(FACT_ILLEGAL)`."""
        try:
            changed = apply(self.farm, fact)
        except Refused as error:
            raise Refused(FACT_ILLEGAL, str(error), where=f"journal row {seq}") from error
        indexed = self.subjects.index(seq, fact)
        self.farm.merge(changed)
        self.farm.revision = seq
        self.subjects.close(changed)
        for entity in changed:
            if isinstance(entity, Gone):
                self.entities.pop(entity_key(entity), None)
            else:
                self.entities[entity_key(entity)] = entity
        return indexed


def fold(facts: Iterable[tuple[int, Fact]]) -> dict[Key, Entity]:
    """All entities that numbered facts add up to, closed ones included, by table and key.

    Raises `Refused(FACT_ILLEGAL)`.
    """
    folding = _Folding()
    for seq, fact in facts:
        folding.take(seq, fact)
    return folding.entities


def verify(store: Store, vault: Vault) -> list[Finding]:
    """Everything that is wrong with a store and its files; empty when all is well."""
    try:
        findings = verify_record(store)
        records = {row["sha256"] for row in _rows(store, STATE[FileRecord].table)}
    except (StoreFailed, SQLAlchemyError) as error:
        findings, records = [Finding(DATABASE_DAMAGED, "database", str(error))], set()
    return findings + list(_verify_vault(vault, records))


def verify_record(store: Reader) -> list[Finding]:
    """What is wrong with a record, files aside. Raises `StoreFailed`."""
    damage = store.quick_check()
    if damage:
        return [Finding(DATABASE_DAMAGED, "database", damage)]
    findings: list[Finding] = []
    folding = _verify_journal(store, findings)
    if folding is not None:
        findings += _verify_state(store, folding.entities)
    return findings


def _verify_journal(store: Reader, findings: list[Finding]) -> _Folding | None:
    """Go through the journal once; None when its facts do not add up to a state."""
    folding: _Folding | None = _Folding()
    seen, seq, last = 0, 0, GENESIS
    for rows in store.journal_pages():
        expected: list[Indexed] = []
        for row in rows:
            try:
                check_link(seq, last, row)
            except StoreFailed as error:
                findings.append(Finding.of(error))
            seq, last = row["seq"], row["hash"]
            if folding is None:
                continue
            where = f"journal row {seq}"
            try:
                in_body, fact = read_body(row["body"])
                indexed = folding.take(seq, fact)
            except Refused as error:
                findings.append(Finding(error.code, error.where or where, error.what))
                folding = None
                continue
            expected.append(indexed)
            wrong = [name for name, value in indexed.columns.items() if row[name] != value]
            if in_body != seq or wrong:
                what = f"its columns do not repeat its body: {', '.join(wrong or ['seq'])}"
                findings.append(Finding(JOURNAL_BROKEN, where, what))
        if folding is not None:
            findings += _verify_indexed(store, seen, seq, expected)
        seen = seq
    if folding is not None:
        findings += _verify_indexed(store, seen, _END, [])
    return folding


def _verify_indexed(store: Reader, after: int, last: int, expected: list[Indexed]) -> Iterator[Finding]:
    """Compare what is kept beside the journal's rows after one number up to another."""
    for of, rows in (
        (_JOURNAL_JOB, [row for indexed in expected for row in indexed.jobs]),
        (_COUNT, [row for indexed in expected for row in indexed.count_rows]),
    ):
        stored = _rows(store, of, of.c.seq > after, of.c.seq <= last)
        yield from _compare(of, _by_key(of, rows), _by_key(of, stored))


def _verify_state(store: Reader, entities: Mapping[Key, Entity]) -> Iterator[Finding]:
    for cls, of in STATE.items():
        rows = [of.row(entity) for entity in entities.values() if type(entity) is cls]
        yield from _compare(of.table, _by_key(of.table, rows), _by_key(of.table, _rows(store, of.table)))
    items = [row for build in entities.values() if isinstance(build, Build) for row in item_rows(build)]
    yield from _compare(_ITEM, _by_key(_ITEM, items), _by_key(_ITEM, _rows(store, _ITEM)))


def _rows(store: Reader, of: Table, *where: Any) -> Iterator[dict[str, Any]]:
    with store.reading() as connection:
        for row in connection.execute(select(of).where(*where)).mappings():
            yield dict(row)


def _by_key(of: Table, rows: Iterable[dict[str, Any]]) -> Rows:
    keys = [column.name for column in of.primary_key]
    return {tuple(row[key] for key in keys): row for row in rows}


def _compare(of: Table, expected: Rows, stored: Rows) -> Iterator[Finding]:
    for key in sorted(expected.keys() | stored.keys()):
        where = f"{of.name} {' '.join(map(str, key))}"
        if key not in stored:
            yield Finding(STATE_DIFFERS, where, "the row is missing")
        elif key not in expected:
            yield Finding(STATE_DIFFERS, where, "no fact made this row")
        elif expected[key] != stored[key]:
            wrong = [name for name, value in expected[key].items() if stored[key][name] != value]
            yield Finding(STATE_DIFFERS, where, f"not as the facts say: {', '.join(wrong)}")


def _verify_vault(vault: Vault, records: set[str]) -> Iterator[Finding]:
    found = set()
    for name in vault.names():
        found.add(name)
        try:
            vault.check(name)
        except Refused as error:
            yield Finding.of(error)
    for sha256 in sorted(records - found):
        yield Finding(FILE_MISSING, sha256, "the vault has no file of this hash")
