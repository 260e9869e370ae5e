"""Telemetry: what machines measured, by the minute and by the hour, in a file of its own.

Expendable: apart from the record, written with `synchronous=NORMAL`, so that a power cut may cost its last
minutes; a file that is damaged is put aside and a new one begun. Its size is bounded by how long minutes and
hours are kept. Knows names and numbers; knows nothing of what they mean.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Step = Literal["minute", "hour"]
SPAN_S: dict[Step, int] = {"minute": 60, "hour": 3600}
DAY_S = 86400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS name (id INTEGER PRIMARY KEY, machine TEXT NOT NULL, measure TEXT NOT NULL,
  UNIQUE (machine, measure));
CREATE TABLE IF NOT EXISTS minute (name INTEGER, at INTEGER, n INTEGER, low REAL, high REAL, total REAL, last REAL,
  PRIMARY KEY (name, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hour (name INTEGER, at INTEGER, n INTEGER, low REAL, high REAL, total REAL, last REAL,
  PRIMARY KEY (name, at)) WITHOUT ROWID;
"""
_ADD = (
    "INSERT INTO {step} VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name, at) DO UPDATE SET n = n + excluded.n,"
    " low = min(low, excluded.low), high = max(high, excluded.high), total = total + excluded.total,"
    " last = excluded.last"
)


class TelemetryFailed(Exception):
    """The file cannot be read or written."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What was measured in one span from `at` on (UTC seconds): `n` values, and what they come to."""

    machine: str
    measure: str
    at: float
    n: int
    low: float
    high: float
    total: float
    last: float

    @property
    def mean(self) -> float:
        return self.total / self.n


class Telemetry:
    """The file, opened or begun. From any thread; every call raises `TelemetryFailed`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with _told():
            try:
                self._connection = _open(path)
            except sqlite3.DatabaseError:
                for suffix in ("", "-wal", "-shm"):
                    damaged = Path(f"{path}{suffix}")
                    if damaged.exists():
                        damaged.replace(f"{path}.damaged{suffix}")
                self._connection = _open(path)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(self, minutes: Iterable[Rolled]) -> None:
        """Add what was measured in some minutes, and to their hours."""
        with _told(), self._lock, self._connection:
            for rolled in minutes:
                name = self._name(rolled.machine, rolled.measure)
                for step, span_s in SPAN_S.items():
                    at = int(rolled.at // span_s) * span_s
                    row = (name, at, rolled.n, rolled.low, rolled.high, rolled.total, rolled.last)
                    self._connection.execute(_ADD.format(step=step), row)

    def forget(self, at: float, minutes_days: float, hours_days: float) -> None:
        """Drop minutes and hours that are older than so many days."""
        with _told(), self._lock, self._connection:
            for step, days in (("minute", minutes_days), ("hour", hours_days)):
                self._connection.execute(f"DELETE FROM {step} WHERE at < ?", (at - days * DAY_S,))

    def series(self, machine: str, since: float, until: float, step: Step) -> list[Rolled]:
        """What a machine measured from `since` up to `until`, by measure and time."""
        query = (
            f"SELECT measure, at, n, low, high, total, last FROM {step} JOIN name ON name.id = {step}.name"
            " WHERE machine = ? AND at >= ? AND at < ? ORDER BY measure, at"
        )
        with _told(), self._lock:
            rows = self._connection.execute(query, (machine, since, until)).fetchall()
        return [Rolled(machine, *row) for row in rows]

    def _name(self, machine: str, measure: str) -> int:
        find = "SELECT id FROM name WHERE machine = ? AND measure = ?"
        row = self._connection.execute(find, (machine, measure)).fetchone()
        if row is None:
            self._connection.execute("INSERT INTO name (machine, measure) VALUES (?, ?)", (machine, measure))
            row = self._connection.execute(find, (machine, measure)).fetchone()
        return int(row[0])


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise TelemetryFailed(str(error)) from error


def _open(path: Path) -> sqlite3.Connection:
    # SQLite gives the files beside it the mode that this one has.
    path.touch(mode=0o600)
    path.chmod(0o600)
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA journal_size_limit=16777216")
        connection.executescript(_SCHEMA)
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
    except BaseException:
        connection.close()
        raise
    return connection
