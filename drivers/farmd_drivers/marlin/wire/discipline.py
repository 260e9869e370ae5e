"""The discipline of one line at a time: when a line may go, and what is done about a lost one.

Walks the table `LINK` of `states`. It is told of replies and of time, and answers with a `Verdict` that
`dialogue` acts upon; it knows nothing of phases, runs or commands beyond which of them may take long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from farmd_drivers.marlin.wire import replies, states
from farmd_drivers.marlin.wire.outbox import Outbox
from farmd_drivers.marlin.wire.states import LINK, Link


class Verdict(Enum):
    NOTHING = auto()
    ACCEPTED = auto()
    """All lines up to the last sent were accepted; no answer proves that they were executed."""
    PROVEN = auto()
    """As ACCEPTED, and the answer proves that all of them were executed."""
    COUNT_LOST = auto()
    """The firmware insists on a line that cannot be next: its counter is not ours."""
    STUCK = auto()
    """The same line was asked for too often."""
    DEAD = auto()
    """Nothing answers."""


@dataclass(slots=True)
class Counters:
    """How good the link is: counts since it was opened."""

    resends: int = 0
    probes: int = 0
    stray_oks: int = 0
    starved: int = 0
    """How often a line could have been sent and none was there."""


class Discipline:
    """The state of one link. `now` is the time of its opening."""

    def __init__(self, now: float) -> None:
        self.out = Outbox()
        self.link = Link.CLEAR
        self.counters = Counters()
        self.urgent = b""
        """Bytes that go out at once, whatever is outstanding."""
        self.since = now
        """When the outstanding line was sent, or last known to be worked on."""
        self.asked_number = -1
        """The line that was last asked for."""
        self.inline: bool | None = None
        """Whether the answer to M105 is one line, `ok T:...`; None until it is known."""
        self._keepalive = False
        self._greeting = True
        self._patience = states.HELLO_S
        self._backoff = 1
        self._backoff_line = -1
        """The line whose lost ok made the patience longer."""
        self._stretched = -1
        """The line that has been given the time of a long command."""
        self._silent = 0
        self._asked_times = 0
        self._strange = (-1, -1)
        """The impossible line that was last asked for, and the last sent then."""
        self._probe_next = False
        self._resend_ok = False
        self._quiet_due = self._quiet_limit = 0.0

    @property
    def outstanding(self) -> int:
        """How many lines wait for their ok."""
        return 1 if self.link in (Link.AWAIT_OK, Link.PROBE) else 0

    # Sending.

    def hello(self, now: float, *, greeting: bool) -> None:
        """Number anew from 0; `greeting` when it is not known yet that anybody is there."""
        # The line break closes whatever a host before us left unfinished.
        self.urgent += b"\n" + self.out.renumber()
        self._greeting = greeting
        self._silent = 0
        self._strange = (-1, -1)
        self._stretched = -1
        self._set_patience()
        self.since = now
        self.link = LINK[Link.CLEAR]["send"]

    def greeted(self) -> None:
        """Somebody is there."""
        self._greeting = False
        self._set_patience()

    def sent(self, now: float) -> None:
        """A line has been taken from the outbox and goes out now."""
        self.since = now
        self.link = LINK[self.link]["send"]

    def go(self, event: str) -> None:
        """ "clear", "halt" or "die": what the phases bring about."""
        self.link = LINK[self.link][event]

    def _probe(self, now: float) -> Verdict:
        if self._silent >= (states.HELLOS - 1 if self._greeting else states.PROBES):
            return Verdict.DEAD
        if not self.out.history:
            self.link = LINK[self.link]["clear"]  # rewound to the oldest line: sending it is the probe
            return Verdict.NOTHING
        self._silent += 1
        self.counters.probes += 1
        self.link = LINK[self.link]["probe"]
        self.since = now
        self.urgent += b"\n" + self.out.history[-1]  # the line break closes a line that lost its own
        return Verdict.NOTHING

    # Replies.

    def ok(self, *, report: bool) -> Verdict:
        """An ok; `report` when it carries temperatures."""
        if self.link is Link.RESYNC:
            self._resend_ok = True
            return Verdict.NOTHING
        if not self.outstanding:
            self.counters.stray_oks += 1
            return Verdict.NOTHING
        if self.out.is_sync_last:
            if report:
                self.inline = True
                self.out.certain = self.out.sent
            elif self.inline:
                self.counters.stray_oks += 1  # of an earlier line; the answer to M105 is still to come
                return Verdict.NOTHING
        self._silent = 0
        self.link = LINK[self.link]["ok"]
        return Verdict.PROVEN if report else Verdict.ACCEPTED

    def busy(self, now: float) -> None:
        """The outstanding line is being executed."""
        self.since = now
        self.keeps_alive()

    def keeps_alive(self) -> None:
        """This firmware says `busy` while it executes a line."""
        if not self._keepalive:
            self._keepalive = True
            self._set_patience()

    def working(self, now: float) -> None:
        """A sign, other than `busy`, that the outstanding line is being executed."""
        self.since = now

    def idle_peer(self, now: float) -> Verdict:
        """The firmware says that it waits for a line."""
        if self.link is Link.AWAIT_OK and now >= self.since + states.WAIT_S:
            return self._probe(now)
        return Verdict.NOTHING

    def refused(self, now: float) -> Verdict:
        """The outstanding line was refused, and no Resend follows."""
        return self._probe(now) if self.link is Link.AWAIT_OK else Verdict.NOTHING

    def resend(self, number: int, now: float) -> Verdict:
        """A Resend. Nothing is sent before it is quiet."""
        self.counters.resends += 1
        if self.link is Link.RESYNC and number == self.asked_number:
            return Verdict.NOTHING  # what was still on its way is refused line by line, with the same request
        self._asked_times = self._asked_times + 1 if number == self.asked_number else 1
        self.asked_number = number
        if self._asked_times > states.SAME_RESENDS:
            return Verdict.STUCK
        out = self.out
        if out.sent == 0 and self.link is not Link.CLEAR:
            self._probe_next = True  # the hello itself was damaged
        elif out.first_rewindable <= number <= out.after_all:
            if self.link is Link.PROBE and number == out.after_all and not self._keepalive:
                self._backoff = min(2 * self._backoff, states.BACKOFF_LIMIT)
                self._backoff_line = out.sent
                self._set_patience()
            self._probe_next = False
            self._strange = (-1, -1)
            self._silent = 0
            out.seek(number)
        elif self._strange == (number, out.sent):
            return Verdict.COUNT_LOST
        else:
            self._strange = (number, out.sent)  # damaged on the way, perhaps: a probe will tell
            self._probe_next = True
        if self.link is not Link.RESYNC:
            self._resend_ok = False
            self._quiet_due = self._quiet_limit = now + states.QUIET_LIMIT_S
        self.link = LINK[self.link]["resend"]
        return Verdict.NOTHING

    def heard(self, now: float) -> None:
        """Bytes came: it is not quiet yet."""
        if self.link is Link.RESYNC and self._resend_ok:
            self._quiet_due = min(now + states.QUIET_S, self._quiet_limit)

    # Time.

    def due(self) -> float:
        """When `handle_timer` is due; infinity for never."""
        if self._backoff > 1 and not 0 <= self.out.sent - self._backoff_line <= states.BACKOFF_LINES:
            self._backoff = 1
            self._set_patience()
        if self.link is Link.AWAIT_OK or self.link is Link.PROBE:
            return self.since + self._patience
        return self._quiet_due if self.link is Link.RESYNC else math.inf

    def handle_timer(self, now: float) -> Verdict:
        if now < self.due():
            return Verdict.NOTHING
        if self.link is Link.RESYNC:
            if self._probe_next:
                return self._probe(now)
            self.link = LINK[self.link]["quiet"]
            return Verdict.ACCEPTED
        unstretched = self.link is Link.AWAIT_OK and self._stretched != self.out.sent
        if unstretched and replies.is_long(self.out.last_command):
            longer = states.LONG_KEEPALIVE_S if self._keepalive else states.LONG_S
            self._stretched = self.out.sent
            self.since += longer - self._patience
            return Verdict.NOTHING
        return self._probe(now)

    def _set_patience(self) -> None:
        if self._greeting:
            self._patience = states.HELLO_S
        elif self._keepalive:
            self._patience = states.OK_KEEPALIVE_S
        else:
            self._patience = states.OK_S * self._backoff
