"""The journal's bytes: how a fact becomes a row, how rows are chained, and what a fact is about.

The body of a fact is the canonical JSON (`farmd.model.codec.canonical`) of
`{"fact": {its fields}, "kind": its class, "seq": its number}`, and the hash of a row is
`SHA-256(hash of the row before || body)`; the row before the first has 32 zero bytes. Nothing of a
database enters, so every database gives the same chain. Knows no SQL and no connection.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farmd.model import facts as f
from farmd.model.codec import BAD_RECORD, canonical, decode, encode
from farmd.model.errors import Refused
from farmd.model.farm import Entity, Farm
from farmd.model.work import Job, Outcome
from farmd.store.errors import JOURNAL_BROKEN, NOT_STORABLE, StoreFailed

GENESIS = bytes(32)
_LARGEST = 2**53


def require_storable(fact: f.Fact) -> None:
    """Refuse (`NOT_STORABLE`) what one of the databases or JSON cannot keep: NUL and lone
    surrogates in text, numbers that are not finite, whole numbers of 2^53 and more."""
    _require(encode(fact), type(fact).__name__)


def _require(value: Any, where: str) -> None:
    match value:
        case str():
            if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
                raise Refused(NOT_STORABLE, "the text has a character that cannot be kept", where=where)
        case int():
            if abs(value) >= _LARGEST:
                raise Refused(NOT_STORABLE, f"{value} is too large", where=where)
        case float():
            if value - value != 0.0:
                raise Refused(NOT_STORABLE, f"{value} is not a finite number", where=where)
        case dict():
            for key, item in value.items():
                _require(key, where)
                _require(item, f"{where}.{key}")
        case list():
            for item in value:
                _require(item, where)


def body_of(seq: int, fact: f.Fact) -> bytes:
    return canonical({"fact": encode(fact), "kind": type(fact).__name__, "seq": seq})


def chain(prev_hash: bytes, body: bytes) -> bytes:
    return hashlib.sha256(prev_hash + body).digest()


def read_body(body: bytes) -> tuple[int, f.Fact]:
    """The number and the fact in a body; raises `Refused(BAD_RECORD)`."""
    try:
        record = json.loads(body)
        seq, kind, fields = record["seq"], record["kind"], record["fact"]
        cls = f.FACTS[kind]
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(BAD_RECORD, f"not the body of a fact: {error}") from error
    return seq, decode(cls, fields)


def check_link(prev_seq: int, prev_hash: bytes, row: Mapping[str, Any]) -> None:
    """Check that a row follows the one before it. Raises `StoreFailed(JOURNAL_BROKEN)`."""
    where = f"journal row {row['seq']}"
    if row["seq"] != prev_seq + 1:
        raise StoreFailed(JOURNAL_BROKEN, f"it comes after row {prev_seq}", where=where)
    if row["prev_hash"] != prev_hash:
        raise StoreFailed(JOURNAL_BROKEN, f"it does not continue row {prev_seq}", where=where)
    if row["hash"] != chain(row["prev_hash"], row["body"]):
        raise StoreFailed(JOURNAL_BROKEN, "its hash is not that of its body", where=where)


# --- what a fact is about -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartCount:
    """Parts of one job off one cleared build; see the table `part_count`."""

    seq: int
    job_id: str
    at: float
    machine: str
    build_id: str
    operation: str
    design: str
    good: int
    passed: int
    scrap: int


@dataclass(frozen=True, slots=True)
class Indexed:
    """A fact as it goes into the journal: its own columns, its jobs and its part counts."""

    columns: dict[str, Any]
    job_ids: tuple[str, ...]
    counts: tuple[PartCount, ...]

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [{"job_id": job_id, "seq": self.columns["seq"]} for job_id in self.job_ids]

    @property
    def count_rows(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(count) for count in self.counts]


@dataclass(slots=True)
class Subjects:
    """Tells what each fact is about from the facts before it: a run's build, a build's jobs.

    Holds open work only. Facts go through `index` in the order of the journal, and what they
    changed through `close`.
    """

    jobs: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Design and last operation."""
    builds: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Operation and job ids."""
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Build id and machine."""
    continuing: set[str] = field(default_factory=set)
    """Those that go on with a run that broke off."""

    @classmethod
    def of(cls, farm: Farm) -> Subjects:
        return cls(
            {job.id: (job.design, job.route[-1]) for job in farm.jobs.values()},
            {b.id: (b.operation, tuple(i.job_id for i in b.items)) for b in farm.builds.values()},
            {run.id: (run.build_id, run.machine) for run in farm.runs.values()},
            {run.id for run in farm.runs.values() if run.continues is not None},
        )

    def index(self, seq: int, fact: f.Fact) -> Indexed:
        self._note(fact)
        run_id: str | None = getattr(fact, "run_id", None)
        build_id, machine = self.runs.get(run_id or "", (None, None))
        build_id = getattr(fact, "build_id", build_id)
        machine = getattr(fact, "machine", machine)
        _, job_ids = self.builds.get(build_id or "", ("", ()))
        if isinstance(fact, f.JobSubmitted):
            job_ids = (fact.job.id,)
        elif hasattr(fact, "job_id"):
            job_ids = (fact.job_id,)
        columns = {
            "seq": seq,
            "at": fact.at,
            "actor": fact.actor,
            "kind": type(fact).__name__,
            "build_id": build_id,
            "run_id": run_id,
            "machine": machine,
        }
        counts = self._counts(seq, fact, build_id) if isinstance(fact, f.MachineCleared) else ()
        self._forget(fact, build_id)
        return Indexed(columns, job_ids, counts)

    def close(self, changed: Iterable[Entity]) -> None:
        for entity in changed:
            if isinstance(entity, Job) and entity.is_closed:
                self.jobs.pop(entity.id, None)

    def _note(self, fact: f.Fact) -> None:
        match fact:
            case f.JobSubmitted():
                self.jobs[fact.job.id] = (fact.job.design, fact.job.route[-1])
            case f.BuildQueued():
                self.builds[fact.build_id] = (fact.operation, tuple(job_id for job_id, _ in fact.items))
            case f.RunIntended():
                self.runs[fact.run_id] = (fact.build_id, fact.machine)
            case f.RunContinued():
                self.runs.pop(fact.continues, None)
                self.runs[fact.run_id] = (fact.build_id, fact.machine)
                self.continuing.add(fact.run_id)

    def _counts(self, seq: int, fact: f.MachineCleared, build_id: str | None) -> tuple[PartCount, ...]:
        if build_id is None:
            return ()
        operation, _ = self.builds[build_id]
        rows = []
        for count in fact.counts:
            design, last = self.jobs[count.job_id]
            good, passed = (count.good, 0) if operation == last else (0, count.good)
            rows.append(
                PartCount(
                    seq=seq,
                    job_id=count.job_id,
                    at=fact.at,
                    machine=fact.machine,
                    build_id=build_id,
                    operation=operation,
                    design=design,
                    good=good,
                    passed=passed,
                    scrap=count.scrap,
                )
            )
        return tuple(rows)

    def _forget(self, fact: f.Fact, build_id: str | None) -> None:
        match fact:
            case f.MachineCleared(run_id=str(run_id)):
                self.runs.pop(run_id, None)
                self.continuing.discard(run_id)
                self.builds.pop(build_id or "", None)
            case f.RunEnded(outcome=Outcome.NOT_STARTED) if fact.run_id not in self.continuing:
                self.runs.pop(fact.run_id, None)
            case f.BuildWithdrawn():
                self.builds.pop(fact.build_id, None)
