"""What keeps a machine from running besides its work and its people: maintenance, and the power of a group.

Knows times and machines by position. Of a power group it knows how many warm up when, as of a crew who is at work.
Knows nothing of orders or of what a delay costs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from farmd.planner.people import EPSILON_S, NOBODY, People, Roster
from farmd.planner.problem import Problem

INFINITY = math.inf


def merged(spans: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The same time in spans that neither overlap nor touch, in order."""
    out: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((begin, end))
    return tuple(out)


class Terms:
    """Of one problem. `binding` is false where there is neither maintenance nor a power group."""

    __slots__ = ("_groups", "_groups_of", "_shut_ends", "binding", "power", "shut")

    def __init__(self, problem: Problem) -> None:
        self.shut = [merged(machine.shut) for machine in problem.machines]
        self._shut_ends = [[end for _, end in spans] for spans in self.shut]
        place = {machine.name: m for m, machine in enumerate(problem.machines)}
        members = [tuple(place[name] for name in group.machines) for group in problem.power_groups]
        limits = zip(problem.power_groups, members, strict=True)
        self.power = [
            (machines, group.at_once, group.warm_up_s)
            for group, machines in limits
            if len(machines) > group.at_once and group.warm_up_s > 0
        ]
        """(machines, at_once, warm_up_s) of each group that can ever be a limit."""
        self._groups = [Roster(((-INFINITY, INFINITY),), at_once) for _, at_once, _ in self.power]
        self._groups_of: list[list[int]] = [[] for _ in problem.machines]
        for g, (machines, _, _) in enumerate(self.power):
            for m in machines:
                self._groups_of[m].append(g)
        self.binding = bool(self.power) or any(self.shut)

    def reset(self) -> None:
        """Nothing warms up any more."""
        for group in self._groups:
            group.reset()

    def open_at(self, m: int, begin: float, end: float) -> float:
        """`begin` where the machine is not shut between the two; else the end of the first span in the way."""
        i = bisect_right(self._shut_ends[m], begin + EPSILON_S)
        spans = self.shut[m]
        return spans[i][1] if i < len(spans) and spans[i][0] < end - EPSILON_S else begin

    def powered(self, m: int, at: float, takes: float) -> float:
        """The first start from `at` on at which every group of the machine has power to warm it up."""
        groups, i = self._groups_of[m], 0
        while i < len(groups):
            g = groups[i]
            start = self._groups[g].earliest(at, min(self.power[g][2], takes), INFINITY)
            i = 0 if start > at else i + 1
            at = start
        return at

    def begin(
        self, people: People, m: int, at: float, work: float, takes: float, *, attended: bool
    ) -> tuple[float, int, float]:
        """The first begin from `at` on, the crew, and the start of what takes so long; infinite where there is none."""
        while True:
            crew = NOBODY
            if attended and not people.free:
                at, crew = people.earliest(at, work)
                if at == INFINITY:
                    return INFINITY, NOBODY, INFINITY
            start = self.powered(m, at + work, takes)
            again = self.open_at(m, at, start + takes)
            if again <= at:
                return at, crew, start
            at = again

    def take(self, m: int, start: float, takes: float) -> None:
        """The machine warms up from `start` on."""
        for g in self._groups_of[m]:
            self._groups[g].take(start, min(self.power[g][2], takes))
