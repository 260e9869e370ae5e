"""When is the next person free: the windows of the crews and how many of their people are at work.

Knows times and heads only. Knows nothing of machines, builds or setups.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from farmd.planner.problem import Problem

NOBODY = -1
EPSILON_S = 1e-6


class Roster:
    """One crew's windows, and a step function of the people at work (`busy[i]` from `times[i]` on)."""

    __slots__ = ("busy", "ends", "people", "reach", "starts", "times")

    def __init__(self, windows: Sequence[tuple[float, float]], people: int | None) -> None:
        spans = sorted(windows)
        self.starts = [start for start, _ in spans]
        self.ends = [end + EPSILON_S for _, end in spans]
        self.reach = list(accumulate(self.ends, max))
        self.people = people
        self.reset()

    def reset(self) -> None:
        self.times: list[float] = [float("-inf")]
        self.busy = [0]

    def earliest(self, at: float, work: float, before: float) -> float:
        """The first start from `at` on, earlier than `before`, of work inside one window; else infinity."""
        starts, ends, people = self.starts, self.ends, self.people
        best = float("inf")
        for i in range(bisect_left(self.reach, at + work), len(starts)):
            start = starts[i]
            if start >= best or start >= before:
                break
            begin = at if at > start else start
            if begin + work <= ends[i]:
                if people is not None:
                    begin = self._gap(begin, ends[i] - work, work, people)
                if begin < best:
                    best = begin
        return best

    def _gap(self, begin: float, latest: float, work: float, people: int) -> float:
        """The first start in [begin, latest] from which on somebody is free for all of the work."""
        times, busy = self.times, self.busy
        n = len(times)
        i = bisect_right(times, begin) - 1
        while begin <= latest:
            end = begin + work - EPSILON_S
            while i < n and busy[i] < people and (i + 1 == n or times[i + 1] < end):
                i += 1
            if i == n or busy[i] < people:
                return begin
            while busy[i] >= people:
                i += 1
            begin = times[i]
        return float("inf")

    def take(self, start: float, work: float) -> None:
        if self.people is None or work <= EPSILON_S:
            return
        first, last = self._cut(start), self._cut(start + work)
        busy = self.busy
        for i in range(first, last):
            busy[i] += 1

    def _cut(self, time: float) -> int:
        """The index of the step that begins at `time`; made if there is none."""
        times = self.times
        i = bisect_left(times, time)
        if i == len(times) or times[i] != time:
            times.insert(i, time)
            self.busy.insert(i, self.busy[i - 1])
        return i


class People:
    """All crews. `free` is true where the problem has no crews: then anybody works at any time."""

    __slots__ = ("_found", "_taken", "crews", "free", "limited", "names")

    def __init__(self, problem: Problem) -> None:
        self.names = tuple(crew.name for crew in problem.crews)
        self.crews = [
            Roster(problem.windows_of(crew) if crew.people != 0 else (), crew.people)
            for crew in problem.crews
        ]
        self.free = not self.names
        self.limited = any(crew.people is not None for crew in problem.crews)
        self.reset()

    def reset(self) -> None:
        """Nobody is at work any more."""
        self._taken = 0
        self._found: dict[float, tuple[float, int, int]] = {}
        for crew in self.crews:
            crew.reset()

    def earliest(self, at: float, work: float) -> tuple[float, int]:
        """The first start from `at` on and the crew (or `NOBODY` without crews); infinity if there is none."""
        if self.free:
            return at, NOBODY
        best, who = float("inf"), NOBODY
        for i, crew in enumerate(self.crews):
            start = crew.earliest(at, work, best)
            if start < best:
                best, who = start, i
        return best, who

    def soonest(self, at: float, work: float) -> tuple[float, int]:
        """As `earliest`, for a pass over the clock: between two resets `at` never goes back.

        Who is at work stays at work, so what was too early once is not searched again.
        """
        known = self._found.get(work)
        if known is not None and at <= known[0]:
            start, crew, taken = known
            if taken == self._taken:
                return start, crew
            at = start
        start, crew = self.earliest(at, work)
        self._found[work] = (start, crew, self._taken)
        return start, crew

    def take(self, crew: int, start: float, work: float) -> None:
        """One person of the crew is at work from `start` for `work` seconds."""
        if crew >= 0:
            self._taken += 1
            self.crews[crew].take(start, work)
