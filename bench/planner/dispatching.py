"""The rules that print farms are run by, as policies of the simulated hall: the planner's rivals.

Each looks at what waits when a machine is free and somebody is there, and at nothing beyond.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bench.planner.shopfloor import COLOUR_S, MATERIAL_S, Hall, Job, Printer, change_s

MEAN_CHANGE_S = (COLOUR_S + MATERIAL_S) / 2


@dataclass(slots=True)
class Rule:
    """`name` is fifo, same (filament first, then fifo), edd, wspt or atcs; `k1` and `k2` are read by atcs."""

    name: str
    k1: float = 2.0
    k2: float = 0.5
    seen: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def choose(self, hall: Hall, printer: Printer) -> Job | None:
        able = [job for job in hall.wanted.values() if hall.can_start(printer, job)]
        return min(able, key=lambda job: (self._rank(hall, printer, job), job.number), default=None)

    def _rank(self, hall: Hall, printer: Printer, job: Job) -> tuple[float, ...]:
        """Smaller goes first."""
        if self.name == "fifo":
            return (job.arrives_s,)
        if self.name == "same":
            return (float(job.setup != printer.setup), job.arrives_s)
        if self.name == "edd":
            return (job.due_s,)
        seconds = job.seconds[printer.type]
        if self.name == "wspt":
            return (-job.weight / seconds,)
        slack_s = max(0.0, job.due_s - seconds - hall.now_s)
        mean_s = self.seen[0] / self.seen[1]
        change = change_s(printer.setup, job.setup)
        return (
            slack_s / (self.k1 * mean_s)
            + change / (self.k2 * MEAN_CHANGE_S)
            - math.log(job.weight / seconds),
        )

    def arrived(self, hall: Hall, job: Job) -> None:
        self.seen[0] += sum(job.seconds.values()) / len(job.seconds)
        self.seen[1] += 1.0

    def ended(self, hall: Hall, printer: Printer, job: Job, ratio: float | None) -> None:
        pass

    def changed(self, hall: Hall) -> None:
        pass
