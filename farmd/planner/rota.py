"""Who is at work when in a finished plan, and when somebody would be free for one thing more.

Knows crews, their windows and how many of their people are at work. Knows nothing of machines.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from farmd.planner.problem import Crew, Problem

EPSILON_S = 1e-3


class Work(NamedTuple):
    """One person of a crew is at work from `start_s` for `work_s` seconds."""

    crew: str
    start_s: float
    work_s: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.work_s


class Rota:
    """The work of a plan by crew. Asked for one thing more, it changes nothing."""

    __slots__ = ("_busy", "_crews", "_windows", "free")

    def __init__(self, problem: Problem, works: Iterable[Work]) -> None:
        self.free = not problem.crews
        self._crews = [crew for crew in problem.crews if crew.people != 0]
        self._windows = {crew.name: sorted(problem.windows_of(crew)) for crew in self._crews}
        changes: dict[str, dict[float, int]] = {crew.name: {} for crew in self._crews}
        for work in works:
            at = changes.get(work.crew)
            if at is not None and work.work_s > EPSILON_S:
                at[work.start_s] = at.get(work.start_s, 0) + 1
                at[work.end_s] = at.get(work.end_s, 0) - 1
        self._busy = {name: _steps(at) for name, at in changes.items()}

    def steps(self, crew: str) -> tuple[list[float], list[int]]:
        """From each of these times on, so many people of the crew are at work; the first time is minus infinity."""
        return self._busy.get(crew, ([-math.inf], [0]))

    def earliest(
        self, at_s: float, work_s: float, *, without: Work | None = None, anyone: bool = False
    ) -> float:
        """When work of this length can first begin from `at_s` on; infinity when it never can.

        `without` is left out of account; `anyone` asks for the windows alone, as if there were people enough.
        """
        if self.free:
            return at_s
        return min((self._of(crew, at_s, work_s, without, anyone) for crew in self._crews), default=math.inf)

    def at_work(self, at_s: float) -> tuple[Crew, ...]:
        """The crews that have a window then."""
        return tuple(
            crew
            for crew in self._crews
            if any(start - EPSILON_S <= at_s < end for start, end in self._windows[crew.name])
        )

    def _of(self, crew: Crew, at_s: float, work_s: float, without: Work | None, anyone: bool) -> float:
        for start, end in self._windows[crew.name]:
            begin = max(at_s, start)
            if begin + work_s > end + EPSILON_S:
                continue
            if not anyone and crew.people is not None and work_s > EPSILON_S:
                begin = self._gap(crew.name, crew.people, begin, work_s, without)
            if begin + work_s <= end + EPSILON_S:
                return begin
        return math.inf

    def _gap(self, crew: str, people: int, begin: float, work_s: float, without: Work | None) -> float:
        """The first start from `begin` on with somebody free for all of the work."""
        times, busy = self._busy[crew]
        own = without if without is not None and without.crew == crew else None
        i = bisect_right(times, begin + EPSILON_S) - 1
        while i < len(times) and times[i] < begin + work_s - EPSILON_S:
            mine = own is not None and own.start_s <= times[i] < own.end_s
            if busy[i] - mine >= people:
                begin = times[i + 1]
            i += 1
        return begin


def _steps(changes: dict[float, int]) -> tuple[list[float], list[int]]:
    times, busy, now = [-math.inf], [0], 0
    for time in sorted(changes):
        now += changes[time]
        times.append(time)
        busy.append(now)
    return times, busy
