"""What tells the answer to M105 from every other, so that it proves that all before it was executed.

Most firmware answers in one line, `ok T:...`. Some puts the temperatures on a line of their own, right behind
the ok; then an ok alone is taken for that of an earlier line. Some has nothing of the kind; that is learned.
Knows no state of the link and sends nothing.
"""

from __future__ import annotations

import math

from farmd_drivers.marlin.wire import states


class Proof:
    """Of one link. `inline`: whether the answer to M105 is one line; None until it is known."""

    def __init__(self) -> None:
        self.inline: bool | None = None
        self._is_apart = False
        """It is two lines: that was seen."""
        self._held_at = -math.inf
        """When an ok came that may be the first half of an answer."""
        self._missed = 0
        """How many M105 in a row were executed without a report being heard."""

    @property
    def proves(self) -> bool:
        """Whether an answer to M105 can be told from every other."""
        return bool(self.inline) or (self._is_apart and self._missed < states.UNREPORTED)

    def holds(self, now: float) -> bool:
        """An ok came and M105 is all that waits for one: whether a report has to follow."""
        waits = self.inline is False and self._missed < states.UNREPORTED
        if waits:
            self._held_at = now
        return waits

    def follows(self, now: float) -> bool:
        """Whether a report that has come on a line of its own is the other half of an answer."""
        return self.inline is False and now <= self._held_at + states.REPORT_S

    def given(self, now: float) -> None:
        """M105 was answered with its report."""
        self.inline = not self.follows(now)
        self._is_apart = self._is_apart or not self.inline
        self._held_at = -math.inf
        self._missed = 0

    def missed(self) -> None:
        """M105 was executed, and what was heard of it was no answer: perhaps it has no such answer."""
        self._missed += 1
        if self.inline and self._missed >= states.UNREPORTED:
            self.inline = False  # noise had glued an ok to temperatures, once
            self._missed = 0
