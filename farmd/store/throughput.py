"""What a farm produced in a span of time, by machine, by design or by day.

Parts are counted when they come off a machine (table `part_count`, written from each
`MachineCleared`), runs when they end. Busy seconds are the parts of all runs' time between start
and end that lie inside the span, pauses included. Knows SQL and the tables; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, FromClause, Row, case, func, literal, select

from farmd.model.work import Outcome
from farmd.store.tables import table

By = Literal["machine", "design", "day"]

_COUNT, _RUN, _ITEM, _BUILD, _JOB = (
    table(name) for name in ("part_count", "run", "build_item", "build", "job")
)


@dataclass(frozen=True, slots=True)
class ThroughputRow:
    """One machine, design (number@revision) or day (ISO date).

    `good` parts came off the last operation of their route, those beyond what was asked for
    included; `passed` parts off an earlier one. By design, a run with several designs counts as a run
    of each, and its busy seconds are shared out by parts.
    """

    key: str
    good: int = 0
    passed: int = 0
    scrap: int = 0
    runs_ok: int = 0
    runs_failed: int = 0
    runs_cancelled: int = 0
    busy_s: float = 0.0


def throughput(
    connection: Connection, since: float, until: float, by: By, zone: tzinfo
) -> list[ThroughputRow]:
    """Rows in the order of their keys. `until` is not in the future: open runs are busy up to it."""
    if by == "day":
        days = _days(since, until, zone)
        return [_total(connection, start, end, day) for day, start, end in days]
    sums: dict[str, dict[str, Any]] = {}
    for row in _rows(connection, since, until, by):
        sums.setdefault(row.key, {}).update(row._mapping)
    return [ThroughputRow(**sums[key]) for key in sorted(sums)]


def _total(connection: Connection, since: float, until: float, key: str) -> ThroughputRow:
    values: dict[str, Any] = {}
    for row in _rows(connection, since, until, "day"):
        values.update(row._mapping)
    return ThroughputRow(**{**values, "key": key})


def _days(since: float, until: float, zone: tzinfo) -> Iterator[tuple[str, float, float]]:
    """The days of a time zone that the span touches, clipped to it."""
    day = datetime.fromtimestamp(since, zone).date()
    while True:
        after = day + timedelta(days=1)
        start = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
        end = datetime(after.year, after.month, after.day, tzinfo=zone).timestamp()
        if max(since, start) >= until:
            return
        yield day.isoformat(), max(since, start), min(until, end)
        day = after


def _rows(connection: Connection, since: float, until: float, by: By) -> Iterator[Row[Any]]:
    yield from connection.execute(_parts(since, until, by))
    yield from connection.execute(_ended(since, until, by))
    yield from connection.execute(_busy(since, until, by))


def _parts(since: float, until: float, by: By) -> Any:
    key = literal("") if by == "day" else _COUNT.c[by]
    query = select(
        key.label("key"), *(_sum(_COUNT.c[name]).label(name) for name in ("good", "passed", "scrap"))
    ).where(_COUNT.c.at >= since, _COUNT.c.at < until)
    return query if by == "day" else query.group_by(key)


def _ended(since: float, until: float, by: By) -> Any:
    key, source, _ = _run_source(by)
    runs = [
        func.count(case((_RUN.c.outcome == outcome.value, _RUN.c.id)).distinct()).label(name)
        for name, outcome in (
            ("runs_ok", Outcome.OK),
            ("runs_failed", Outcome.FAILED),
            ("runs_cancelled", Outcome.CANCELLED),
        )
    ]
    query = (
        select(key.label("key"), *runs)
        .select_from(source)
        .where(_RUN.c.ended_at >= since, _RUN.c.ended_at < until)
    )
    return query if by == "day" else query.group_by(key)


def _busy(since: float, until: float, by: By) -> Any:
    key, source, share = _run_source(by)
    start = case((_RUN.c.started_at > since, _RUN.c.started_at), else_=since)
    end = case((_RUN.c.ended_at < until, _RUN.c.ended_at), else_=until)
    query = (
        select(key.label("key"), func.coalesce(func.sum((end - start) * share), 0.0).label("busy_s"))
        .select_from(source)
        .where(_RUN.c.started_at < until, _RUN.c.ended_at.is_(None) | (_RUN.c.ended_at > since))
    )
    return query if by == "day" else query.group_by(key)


def _run_source(by: By) -> tuple[ColumnElement[Any], FromClause, ColumnElement[Any]]:
    """Key, rows, and each row's share of its run."""
    if by != "design":
        return (literal("") if by == "day" else _RUN.c.machine), _RUN, literal(1.0)
    source = (
        _RUN.join(_BUILD, _BUILD.c.id == _RUN.c.build_id)
        .join(_ITEM, _ITEM.c.build_id == _BUILD.c.id)
        .join(_JOB, _JOB.c.id == _ITEM.c.job_id)
    )
    return _JOB.c.design, source, _ITEM.c.parts * 1.0 / _BUILD.c.parts


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL sums 64-bit integers as numeric.
    return func.cast(func.coalesce(func.sum(column), 0), column.type)
