"""The planner of the emulated machine: a ring of moves that take their time, and what starving it costs.

Seconds. A move lasts its length over its feed; acceleration is left out. Knows no protocol and no position.
"""

from __future__ import annotations

import math
from collections import deque

UNDER_RUN_WITHIN_S = 1.0
"""A stop that ends by a further move within this time was no wish of the job's."""


class Planner:
    """A ring of `blocks` moves, one of which is always free, as Marlin's is."""

    def __init__(self, blocks: int) -> None:
        self.under_runs = 0
        """How often the ring ran empty in mid-job: each is a stop, and a blob on the part."""
        self.stopped_s = 0.0
        """How long these stops lasted together."""
        self._room = blocks - 1
        self._ends: deque[float] = deque()
        self._last_end = -math.inf
        self._stop_wanted = False

    def add(self, lasts_s: float, now: float) -> float:
        """Queue a move; returns when its command is over: now, or when the ring has room for it."""
        ends = self._ends
        while ends and ends[0] <= now:
            ends.popleft()
        begins = self._last_end
        if not ends:
            gap = now - begins
            if 0 < gap < UNDER_RUN_WITHIN_S and not self._stop_wanted:
                self.under_runs += 1
                self.stopped_s += gap
            begins = now
        self._stop_wanted = False
        self._last_end = begins + lasts_s
        ends.append(self._last_end)
        return ends[-1 - self._room] if len(ends) > self._room else now

    def synchronize(self, now: float) -> float:
        """When all moves are over, which the firmware now waits for: the stop is no under-run."""
        self._stop_wanted = True
        return max(now, self._last_end)

    def drop(self) -> None:
        """Forget all moves (quickstop)."""
        self._ends.clear()
        self._last_end = -math.inf

    def free(self, now: float) -> int:
        """How many moves there is room for."""
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        return self._room - len(self._ends)

    def is_still(self, now: float) -> bool:
        """Whether every move has ended."""
        return not self._ends or self._ends[-1] <= now
