"""When is a link noisy? Judged by what its driver counts, told once when it begins and once when it is over.

Lines that come damaged cost time long before they cost a part; a link that is seen to in time never does.
Pure: is told the time, and changes nothing but its own memory.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from farmd.daemon.live import Trouble
from farmd.driver import LinkHealth
from farmd.model.errors import ErrorCode

LINK_NOISY = ErrorCode(
    "link-noisy",
    "lines to the machine or from it come damaged, or not at all",
    "fasten or shorten its cable, keep it off the wires of motors and heaters, put a ferrite on it;"
    " then try a lower `baud`",
)
MINUTE_S = 60.0
FEWEST_LINES = 100
"""Of fewer lines no share is worth telling."""
OVER = 0.5
"""A link is quiet again below this part of what made it noisy."""


@dataclass(frozen=True, slots=True)
class NoiseLimits:
    """What makes a link noisy: either is enough; 0 leaves it out."""

    percent: float = 2.0
    """Of the last lines, those that did not arrive as they were sent."""
    resends_per_min: float = 5.0


class NoiseWatch:
    """Judges one link, and remembers the last minute of it."""

    def __init__(self, limits: NoiseLimits) -> None:
        self._limits = limits
        self._resends: deque[tuple[float, int]] = deque()
        """When and how many there had been then, over the last minute."""
        self._noisy = False

    def forget(self) -> None:
        """The link is another one."""
        self._resends.clear()
        self._noisy = False

    def judge(self, health: LinkHealth, at_s: float) -> Trouble | None:
        """What is wrong with the link, by all that was told up to now; `at_s` rises from call to call."""
        if not self._resends:
            self._resends.append((at_s, 0))
        self._resends.append((at_s, health.resends))
        while self._resends[0][0] < at_s - MINUTE_S:
            self._resends.popleft()
        per_min = max(0, health.resends - self._resends[0][1])
        percent = 100.0 * health.noise if health.lines >= FEWEST_LINES else 0.0
        bar = OVER if self._noisy else 1.0
        limits = self._limits
        self._noisy = (0 < limits.percent * bar <= percent) or (0 < limits.resends_per_min * bar <= per_min)
        if not self._noisy:
            return None
        what = f"the link is noisy: {percent:.1f} % of the last lines came damaged"
        return Trouble(LINK_NOISY.name, f"{what}, {per_min} resends in a minute", LINK_NOISY.remedy)
