"""How long an ok may stay away before its line is asked after: the deadlines of the discipline.

Three things explain a silence. A command that may take minutes. The firmware's `busy`, which comes at most
one interval apart while anything is executed, so that a silence a little longer means that nothing is. And,
where it says none, the moves that may still be queued, as long as they take by their own text.
Nothing else does: temperatures that the firmware reports by itself say nothing of a line. Where the last ok
told of room in the planner, a move has no reason to wait at all.

The shortest deadline is kept; only when it has passed is it worked out how long the line may really take.
Knows no state of the link and sends nothing.
"""

from __future__ import annotations

from farmd_drivers.marlin.wire import motion, replies, states
from farmd_drivers.marlin.wire.outbox import Outbox
from farmd_drivers.marlin.wire.window import Window


class Patience:
    """Of one link. `first_s` is the shortest deadline there is now; `allowed_s` what the open lines may take."""

    def __init__(self, out: Outbox, window: Window) -> None:
        self._out = out
        self._window = window
        self.greeting = True
        """It is not known yet that anybody is there."""
        self.first_s = states.HELLO_S
        self.trusts = False
        """`busy` is said while anything is executed, so its absence tells something."""
        self.stores = False
        """Lines are stored on a card and not executed, so none of them takes long."""
        self.is_behind = False
        """The machine executes lines of its card before ours, whatever they are."""
        self._is_heard = False
        self._interval_s = float(states.KEEPALIVE_S)
        self._busy_at = 0.0
        self._busy_line = -1
        self._waits = 0
        """How often in a row the machine has said that it waits for a person."""
        self._backoff = 1
        self._backoff_line = -1
        self._doubted_line = -1
        """The last line whose ok was said to be lost; perhaps it is being executed still."""

    def greet(self, *, greeting: bool) -> None:
        """A new numbering; what is counted by lines is void."""
        self.greeting = greeting
        self._backoff, self._backoff_line, self._busy_line, self._waits = 1, -1, -1, 0
        self._doubted_line = -1
        self.tune()

    def claim(self) -> None:
        """The firmware says `busy` while it executes a line, as far as one knows it."""
        self.trusts = True
        self.tune()

    def busy(self, line: int, now: float, *, person: bool) -> None:
        """`busy` was said while `line` was the last one answered; `person`: somebody is waited for."""
        if self._busy_line == line:
            # Who was asked for one every second may have another idea of it.
            gap = now - self._busy_at
            if self._interval_s < gap < states.LONGEST_INTERVAL_S:
                self._interval_s = gap
        self._busy_line, self._busy_at = line, now
        self._waits = self._waits + 1 if person else 0
        self.trusts = self._is_heard = True
        self.tune()

    def is_working(self, line: int) -> bool:
        """Whether `busy` was said since `line` was answered, the last one so far."""
        return self._busy_line == line

    def ok_was_lost(self) -> None:
        """A line was asked after in vain. Without `busy`, a slow machine looks just like that."""
        self._doubted_line = self._out.sent
        if self._backoff_now() > 1 and not self._is_heard:
            self.trusts = False  # once is bad luck; in a row they are moves that nobody was told of
        self._backoff = min(2 * self._backoff, states.BACKOFF_LIMIT)
        self._backoff_line = self._out.sent

    def allowed_s(self, count: int, silent: int) -> float:
        """How long the oldest of the last `count` lines may wait in silence, after `silent` probes in vain."""
        if self.greeting:
            return states.HELLO_S
        if self.stores:
            return states.SILENCE_S + states.LATER_S * max(0, silent - 1)
        is_working = self.is_working(self._out.sent - count)
        if self._waits and is_working:
            steady = self._waits >= states.STEADY_WAITS
            return states.LONG_S if steady else states.USER_WAIT_S
        commands = self._out.open_commands(count)
        if any(map(replies.is_long, commands)) or self._follows_long(count):
            # In vain may also mean that it reads nothing meanwhile, so each next probe comes later.
            return self._long_s(count) * 2.0**silent
        later_s = states.LATER_S * max(0, silent - 1)
        if self.is_behind and not self.trusts:
            return self._long_s(count) * 2.0**silent
        moves_s = self._backoff_now() * self._out.silence_s(count)
        known_s = self._interval_s + states.BUSY_MARGIN_S if self.trusts else states.SILENCE_S + moves_s
        if not (is_working or self.is_behind) and all(map(motion.takes_no_time, commands)):
            has_room = self._window.free_moves > count
            known_s = min(known_s, states.FREE_S + (0.0 if has_room else states.MOVES_SLACK * moves_s))
        return known_s + later_s

    def _follows_long(self, count: int) -> bool:
        """Whether the line before them may take long, and may not be over."""
        if self._doubted_line != self._out.sent - count:
            return False
        return any(map(replies.is_long, self._out.open_commands(count + 1)))

    def _long_s(self, count: int) -> float:
        if self._is_heard:
            return states.LONG_KEEPALIVE_S
        return (states.LONG_KEEPALIVE_S if self.trusts else states.LONG_S) + self._out.silence_s(count)

    def _backoff_now(self) -> int:
        if not 0 <= self._out.sent - self._backoff_line <= states.BACKOFF_LINES:
            self._backoff = 1
        return self._backoff

    def tune(self) -> None:
        """What is known of the firmware has changed: what the shortest deadline is now."""
        self.first_s = states.HELLO_S if self.greeting else states.FREE_S
