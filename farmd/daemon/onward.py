"""Where parts go after a clearing: the builds of the next operations in their routes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from farmd.model import facts as f
from farmd.model.farm import Farm
from farmd.model.work import Build, Job


def next_builds(
    farm: Farm,
    build: Build,
    counts: Iterable[f.ItemCount],
    *,
    at: float,
    actor: str,
    new_id: Callable[[Farm], str],
) -> list[f.BuildQueued]:
    """One build for each operation that good parts of a cleared build go on to; farm as before the clearing."""
    onward: dict[str, list[tuple[str, int]]] = {}
    for count in counts:
        operation = following(farm.jobs[count.job_id], build.operation)
        if count.good and operation is not None:
            onward.setdefault(operation, []).append((count.job_id, count.good))
    return [
        f.BuildQueued(
            at=at,
            actor=actor,
            build_id=new_id(farm),
            operation=operation,
            items=tuple(items),
            duration_s=0.0,
            follows=build.id,
        )
        for operation, items in onward.items()
    ]


def following(job: Job, operation: str) -> str | None:
    """The operation after this one in the job's route; None when it is the last."""
    place = job.route.index(operation) + 1
    return job.route[place] if place < len(job.route) else None
