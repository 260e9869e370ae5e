"""The tail of a plan: work beyond the horizon, by rule alone, told as when its turn comes.

Pure. What is searched for in earnest is what people act on in the next days; behind it only the order counts, which
is that of due dates. Knows when the plan leaves each machine, and how much of its time a machine works at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MOST = 1000
"""Of how many jobs a turn is told; behind those nobody can know."""
LEAST_RATE = 0.2
HOUR_S, DAY_S = 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class Later:
    """A job beyond the horizon: its runs, how long each takes, and the machines that could make them."""

    job_id: str
    runs: int
    run_s: float
    machines: frozenset[str]


def turns(later: Iterable[Later], busy: Mapping[str, tuple[float, float]], now_s: float) -> dict[str, float]:
    """When each job's turn comes, in seconds from now: in their order, each run where a machine is free first.

    `busy` has of each machine until when the plan keeps it and for how many seconds it runs until then.
    """
    free = {name: max(now_s, until) for name, (until, _) in busy.items()}
    span_s = sum(at - now_s for at in free.values())
    rate = sum(work_s for _, work_s in busy.values()) / span_s if span_s > 0.0 else 1.0
    stretch = 1.0 / min(1.0, max(LEAST_RATE, rate))
    found: dict[str, float] = {}
    for each in later:
        names = [name for name in each.machines if name in free]
        if len(found) == MOST or not names:
            continue
        names.sort(key=lambda name: (free[name], name))
        found[each.job_id] = free[names[0]] - now_s
        share = min(each.runs, len(names))
        for i, name in enumerate(names[:share]):
            free[name] += stretch * each.run_s * (each.runs // share + (i < each.runs % share))
    return found


def told(seconds: float) -> str:
    """`in about 5 h`, `in about 9 days`."""
    if seconds < 2 * DAY_S:
        return f"in about {max(1, round(seconds / HOUR_S))} h"
    return f"in about {round(seconds / DAY_S)} days"
