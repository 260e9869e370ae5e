"""What the last problems said of jobs that have not changed: of ten thousand an event changes a handful.

Keeps the builds made of jobs, and where the problem's clock has its zero, since every due date counts from there.
A build that is known is the very same object again, so whoever compares problems need not look into it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from farmd.daemon.estimates import Learnt
from farmd.model.work import Job
from farmd.planner.problem import Build

OLDEST_S = 86400.0
"""How far back the zero of the clock may lie behind all that the problem speaks of."""


class KnownBuilds:
    """Builds by job, for as long as neither the clock's zero nor what was learnt changes."""

    def __init__(self) -> None:
        self._origin_s = 0.0
        self._ratios: Mapping[str, float] = {}
        self._known: dict[str, tuple[Job, Hashable, Build]] = {}

    def begin(self, earliest_s: float, learnt: Learnt) -> float:
        """Where the clock of a problem has its zero whose earliest time this is; UTC seconds."""
        if not self._origin_s <= earliest_s < self._origin_s + OLDEST_S:
            self._origin_s = earliest_s
            self._known.clear()
        if learnt.ratios != self._ratios:
            self._ratios = learnt.ratios
            self._known.clear()
        return self._origin_s

    def get(self, job: Job, key: Hashable) -> Build | None:
        """The build that was made of this job; `key` is all else that it depends on."""
        known = self._known.get(job.id)
        return known[2] if known is not None and known[0] is job and known[1] == key else None

    def keep(self, job: Job, key: Hashable, build: Build) -> None:
        self._known[job.id] = (job, key, build)

    def end(self, jobs: set[str]) -> None:
        """Forget all jobs but these."""
        if len(self._known) > len(jobs):
            self._known = {name: entry for name, entry in self._known.items() if name in jobs}
