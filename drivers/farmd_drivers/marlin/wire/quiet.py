"""When it is quiet after a Resend: what may still come, and how long it is waited for.

Behind a Resend come its own ok (of most firmware), the refusals of lines that were on their way, and the oks of
lines before it. Quiet is when all of that has come, by time; or at once, where nothing but the line asked
for can have been on its way. Knows no lines and sends nothing.
"""

from __future__ import annotations

from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.counters import Counters


class Quiet:
    """Of one link. `due` is when it is quiet, if nothing more is heard; `is_quick`: the next ok will do."""

    def __init__(self, counters: Counters) -> None:
        self.due = self._limit = 0.0
        self.is_quick = False
        self._counters = counters
        self._has_ok = False
        """The ok of the Resend has come, or none will."""
        self._was_seen = False
        """An ok was once seen to follow a Resend."""
        self._is_lacking = False
        """None was, the last time."""
        self._quicks, self._line = 0.0, 0

    def begin(self, now: float, *, has_ok: bool) -> None:
        """A Resend came when there was none; `has_ok`: no ok follows it."""
        self._has_ok = has_ok or self._is_lacking
        self.due = self._limit = now + states.QUIET_LIMIT_S

    def ok(self) -> bool:
        """An ok came; whether it is quiet now."""
        self._has_ok = self._was_seen = True
        self._is_lacking = False
        return self.is_quick

    def heard(self, now: float) -> None:
        """Bytes came."""
        if self._has_ok:
            self.due = min(now + self.turns_s(states.QUIET_S), self._limit)

    def end(self) -> None:
        """It is quiet."""
        self.is_quick = False
        self._is_lacking = not self._has_ok

    def turns_s(self, least_s: float) -> float:
        """What comes in answer to what was sent has come by then."""
        return max(least_s, states.QUIET_TURNS * self._counters.shortest_turn_s)

    def trouble(self, line: int) -> None:
        """`line` was the last one answered when something else went wrong: nothing is quick for a while."""
        self._quicks, self._line = 0.0, line

    def may_be_quick(self, line: int) -> bool:
        """Whether the next ok may do, `line` being the last one answered. Takes from what lines in peace give."""
        gained = max(0, line - self._line) / states.QUICK_LINES
        self._quicks, self._line = min(self._quicks + gained, states.MOST_QUICK), line
        if self._quicks < 1 or not self._was_seen:
            return False
        self._quicks -= 1
        return True
