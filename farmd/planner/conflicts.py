"""Deadlines that a schedule misses: which builds and parts are at odds there, and how it is told.

Knows a finished schedule. Proves nothing: that is asked of `bounds.py` and `exact.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.schedule import MISSED_S, Schedule

MOST_NAMED = 5


def missed(c: Compiled, schedule: Schedule) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Of each machine on which deadlines are missed, what has one up to the last such; and each miss in words."""
    sets, reasons = [], []
    rows: dict[int, list[tuple[float, int]]] = {}
    for p in schedule.placed:
        if schedule.jobs.deadline[p.job] < INFINITY:
            rows.setdefault(p.machine, []).append((p.end, p.job))
    for _, row in sorted(rows.items()):
        row.sort()
        late = [i for i, (end, job) in enumerate(row) if end > schedule.jobs.deadline[job] + MISSED_S]
        if late:
            names = [name for _, job in row[: late[-1] + 1] for name in _names(c, schedule, job)]
            sets.append(tuple(dict.fromkeys(names)))
            reasons += [_reason(c, schedule, *row[i]) for i in late]
    return tuple(sets), tuple(reasons)


def _names(c: Compiled, schedule: Schedule, job: int) -> tuple[str, ...]:
    """The build of a run, or the parts of a batch that have a deadline."""
    batch = schedule.jobs.batch[job]
    if batch is None:
        return (c.problem.builds[c.build_of[job]].id,)
    parts = (c.problem.parts[p] for p in batch.parts)
    return tuple(part.id for part in parts if part.deadline_s is not None)


def _reason(c: Compiled, schedule: Schedule, end: float, job: int) -> str:
    deadline, batch = schedule.jobs.deadline[job], schedule.jobs.batch[job]
    names = _names(c, schedule, job)
    if batch is not None:
        parts = (c.problem.parts[p] for p in batch.parts)
        names = tuple(part.id for part in parts if part.deadline_s == deadline)
    told = f"ends at {end:.10g} in the best attempt; its deadline is {deadline:.10g} (not proved impossible)"
    return f"{names[0]}: {told}"


def told(ids: Sequence[str]) -> str:
    """`b1, b2 and 3 more`."""
    if len(ids) == 1:
        return ids[0]
    named = ids if len(ids) <= MOST_NAMED else (*ids[: MOST_NAMED - 1], f"{len(ids) - MOST_NAMED + 1} more")
    return f"{', '.join(named[:-1])} and {named[-1]}"
