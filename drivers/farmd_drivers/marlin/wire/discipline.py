"""The discipline of numbered lines: when one may go, and what is done about a lost one.

Walks the table `LINK` of `states`. It is told of replies and of time, and answers with a `Verdict` that
`dialogue` acts upon; it knows nothing of phases, runs or commands. How many lines may be on their way is
`window`'s arithmetic, how long an answer may stay away `patience`'s.
"""

from __future__ import annotations

import math

from farmd_drivers.marlin.wire import motion, states
from farmd_drivers.marlin.wire.counters import Health
from farmd_drivers.marlin.wire.lines import NEVER, Lines
from farmd_drivers.marlin.wire.lines import Verdict as Verdict
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.replies import Slots
from farmd_drivers.marlin.wire.requests import Request
from farmd_drivers.marlin.wire.states import LINK, Link


class Discipline(Lines):
    """The discipline of one link; see `Lines`."""

    # Replies.

    def ok(self, now: float, *, report: bool, slots: Slots | None = None) -> Verdict:
        """An ok; `report` when it carries temperatures, `slots` when it tells how much room there is."""
        if self.link is Link.RESYNC:
            return self._go_on(Verdict.ACCEPTED) if self.quiet.ok() else Verdict.NOTHING
        if self.link is Link.HALTED or self.link is Link.DEAD or self._ignores_ok:
            self._ignores_ok = False
            return Verdict.NOTHING
        number = self._number_of_ok(report, slots)
        if number > self.acked and not report and self._asks_alone and self.proof.holds(now):
            return Verdict.NOTHING  # it is of an earlier line, unless temperatures follow
        if number <= self.acked:
            self.counters.stray_oks += 1
            self.counters.trouble(self.out.total)
            return Verdict.NOTHING
        proof = report and self.out.is_sync_last
        if proof:
            self.proof.given(now)
            self.out.certain = self.out.sent
        if proof and self._questions and not self._checks and number > self.acked + self._questions:
            return Verdict.UNSURE
        if slots is not None:
            self.fit(number, slots.moves, slots.ring)
        again = number == 0 and self._silent > 0
        self.answered(number, now)
        if again:
            # A hello that was said twice may be answered twice, and nothing yet would tell the second ok.
            self._probe_next = False
            self._await_quiet(now, has_ok=True)
            return Verdict.NOTHING
        self.link = LINK[self.link]["ok"]
        if self.outstanding:
            return Verdict.NOTHING
        self._questions = 0
        return Verdict.PROVEN if proof else Verdict.ACCEPTED

    @property
    def _asks_alone(self) -> bool:
        """Whether our M105 is all that waits for its answer, the first time that it was sent."""
        return self.outstanding == 1 and self.out.is_sync_last and self.link is not Link.PROBE

    def reported(self, now: float) -> Verdict:
        """Temperatures came on a line of their own."""
        waits = self._asks_alone and self.link is not Link.RESYNC and self.proof.follows(now)
        return self.ok(now, report=True) if waits else Verdict.NOTHING

    def _number_of_ok(self, report: bool, slots: Slots | None) -> int:
        """The line up to which an ok answers; not above `acked` for one that answers none."""
        out, next_one = self.out, self.acked + 1
        if next_one > out.sent:
            return self.acked
        if report:
            if out.is_sync_last:
                return out.sent
            if self.inline and SYNC not in out.open_commands(self.outstanding):
                return self.acked  # of a question long answered
            return next_one
        if slots is not None and slots.number is not None:
            # One that was damaged on the way and names a line not sent yet is for the next one, most likely.
            return slots.number if slots.number <= out.sent else next_one
        if out.is_sync_last and self.inline and next_one == out.sent:
            return self.acked  # of an earlier line; the answer to M105 is still to come
        if self.window.is_numbered and self.outstanding > 1:
            return self.acked  # of a line that has lost its number; a Resend follows
        return next_one

    def believe(self, now: float) -> None:
        """Take every line sent as answered."""
        self.answered(self.out.sent, now)
        self._questions = 0
        self.link = LINK[self.link]["ok"]

    def busy(self, now: float, *, person: bool = False) -> None:
        """The outstanding line is being executed; `person`: it waits for somebody."""
        self.since = now
        self._stretched = NEVER
        self._garbled_due = math.inf
        self.patience.busy(self.acked, now, person=person)

    def keeps_alive(self) -> None:
        """This firmware says `busy` while it executes a line."""
        self.patience.claim()

    def working(self, now: float) -> None:
        """A sign, other than `busy`, that a command which takes long is being executed."""
        if self.outstanding and not motion.takes_no_time(self.out.last_command):
            self.since = now

    def misread(self, now: float) -> None:
        """A command was not understood: a hello is by everybody, so this one came damaged, and set no number."""
        if self.out.sent == 0 and self.outstanding:
            self._ignores_ok = True
            self._garbled_due, self._garbled_line = now + states.GARBLED_S, self.acked

    def garbled(self, now: float, *, short: bool) -> Verdict:
        """A reply was unreadable; `short`: it may well have been an ok."""
        self.counters.garbled += 1
        self.counters.trouble(self.out.total)
        waits = (
            self.link in (Link.CLEAR, Link.AWAIT_OK) and self.outstanding > 0 and not self.patience.greeting
        )
        if not (short and waits and self._checks) or self.patience.is_working(self.acked):
            return Verdict.NOTHING
        self._garbled_due, self._garbled_line = now + states.GARBLED_S, self.acked
        return Verdict.DOUBT

    def idle_peer(self, now: float) -> Verdict:
        """The firmware says that it waits for a line."""
        waits = self.link in (Link.CLEAR, Link.AWAIT_OK) and self.outstanding > 0
        return self._ask_after(now) if waits and now >= self.since + states.WAIT_S else Verdict.NOTHING

    def refused(self, now: float) -> Verdict:
        """The outstanding line was refused, and no Resend follows."""
        alone = self.link is Link.AWAIT_OK and self.outstanding == 1
        return self._probe(now) if alone else Verdict.NOTHING

    def _ask_after(self, now: float) -> Verdict:
        if self._checks:
            self.counters.timeouts += 1
            self.counters.trouble(self.out.total)
        return self._probe(now)

    def resend(self, number: int, now: float) -> Verdict:
        """A Resend. Nothing is sent before it is quiet, or where nothing can come any more."""
        self.counters.resends += 1
        if self.dialect.checks_numbers is False:
            return Verdict.NOTHING  # whoever said it, nothing is sent again
        if self.link is Link.RESYNC and number == self.requests.number:
            self.quiet.is_quick = False
            return Verdict.NOTHING  # what was still on its way is refused line by line, with the same request
        request = self.requests.judge(number, self.acked)
        if request is Request.STUCK:
            return Verdict.STUCK
        out = self.out
        quick = False
        if out.sent == 0 and self.link is not Link.CLEAR:
            self._probe_next = True  # the hello itself was damaged
        elif request is Request.OBEY:
            if self.link is Link.PROBE:
                if number == out.after_all:
                    self.patience.ok_was_lost()
                    if out.is_sync_last:
                        self.proof.missed()
            else:
                self.counters.trouble(out.total)
                alone = self.outstanding == 1 and number == out.sent and self.link is not Link.RESYNC
                quick = alone and self.quiet.may_be_quick(self.acked)
            self._checks = True
            self._probe_next = False
            self._silent = self._questions = 0
            self._is_shut = self._is_shut or number < out.sent
            out.seek(number)
            self.acked = out.sent
            self.window.clear()
        elif request is Request.LOST:
            self._ignores_ok = self.dialect.resend_ok is not False
            return Verdict.COUNT_LOST
        else:
            self._probe_next = True  # damaged on the way, perhaps: a probe will tell
        self._await_quiet(now, has_ok=self.dialect.resend_ok is False)
        self.quiet.is_quick = quick
        if not quick:
            self._in_trouble()
        return Verdict.NOTHING

    def _await_quiet(self, now: float, *, has_ok: bool) -> None:
        """Let everything pass until it is quiet; `has_ok`: no ok is waited for."""
        if self.link is not Link.RESYNC:
            self.quiet.begin(now, has_ok=has_ok)
        self.link = LINK[self.link]["resend"]

    def _go_on(self, verdict: Verdict) -> Verdict:
        self.quiet.end()
        self.link = LINK[self.link]["quiet"]
        return verdict

    def heard(self, now: float) -> None:
        """Bytes came: it is not quiet yet."""
        if self.link is Link.RESYNC:
            self.quiet.heard(now)

    # Time.

    def due(self) -> float:
        """When `handle_timer` is due; infinity for never."""
        if self.link is Link.RESYNC:
            return self.quiet.due
        if self.acked >= self.out.sent or self.link is Link.HALTED or self.link is Link.DEAD:
            return math.inf
        if self.window.unread and self.link is Link.AWAIT_OK:
            return self.since + self.quiet.turns_s(states.REFUSAL_S)
        due = self.since + (self._stretch_s if self._stretched == self.acked else self.patience.first_s)
        if self._garbled_due < due:
            if self._garbled_line == self.acked:
                return self._garbled_due
            self._garbled_due = math.inf
        return due

    def handle_timer(self, now: float) -> Verdict:
        if now < self.due():
            return Verdict.NOTHING
        if self.link is Link.RESYNC:
            if not self._probe_next:
                return self._go_on(Verdict.RESYNCED)
            self.quiet.end()
            return self._probe(now)
        if self.window.unread and self.link is Link.AWAIT_OK:
            self.window.unread = 0
            if self.window.has_room:
                self.link = LINK[self.link]["room"]
            return Verdict.NOTHING
        if now >= self._garbled_due:
            return self._probe(now)
        allowed_s = self.patience.allowed_s(self.outstanding, self._silent)
        if self._questions:
            allowed_s = max(allowed_s, states.LATER_S * 2.0**self._questions)
            allowed_s = min(allowed_s, self._asked_at + states.ANSWER_S - self.since)
        if now >= self.since + allowed_s:
            return self._ask_after(now)
        self._stretched, self._stretch_s = self.acked, allowed_s
        return Verdict.NOTHING

    def health(self, now: float) -> Health:
        """The figures of the link."""
        waiting_s = max(0.0, now - self.since) if self.due() < math.inf and self.outstanding else 0.0
        return self.counters.health(
            self.out.total, str(self.window), tells_moves=self.window.is_numbered, waiting_s=waiting_s
        )
