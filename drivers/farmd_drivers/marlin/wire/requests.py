"""What is made of a Resend: whether its number can be true, and when it has been asked for too often.

The number may have been damaged on the way, the request may be one more for the same fault, or the counter
that asks may not be ours any more. Knows no state of the link and sends nothing.
"""

from __future__ import annotations

from enum import Enum, auto

from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.outbox import Outbox


class Request(Enum):
    OBEY = auto()
    STRANGE = auto()
    """It cannot be true, or hardly: have it said again."""
    LOST = auto()
    """It was said again, and cannot be true: the counter is not ours."""
    STUCK = auto()
    """The same line was asked for too often."""


class Requests:
    """Of one link. `number` is the line that was last asked for."""

    def __init__(self, out: Outbox) -> None:
        self.number = -1
        self._out = out
        self._times = 0
        self._strange = (-1, -1)
        """The line that was last asked for in vain, and the last sent then."""

    def forget(self) -> None:
        """A new numbering."""
        self._strange = (-1, -1)

    def judge(self, number: int, acked: int) -> Request:
        """What to make of a request for that line, `acked` being the last one answered."""
        self._times = self._times + 1 if number == self.number else 1
        self.number = number
        if self._times > states.SAME_RESENDS:
            return Request.STUCK
        again = self._strange == (number, self._out.sent)
        # After a restart it is line 1 that is asked for, so that is not to be had when others were answered.
        first = 2 if acked > 1 else 1
        lowest = max(first, self._out.first_rewindable, acked + 1 - states.DRIFT_LINES)
        is_near = number > acked - states.NEAR_LINES
        if lowest <= number <= self._out.after_all and (is_near or again):
            self._strange = (-1, -1)
            return Request.OBEY
        self._strange = (number, self._out.sent)
        return Request.LOST if again else Request.STRANGE
