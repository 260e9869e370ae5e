"""Numbered lines on their way: what is known of them, how they are sent, and how they are asked after.

`discipline` says when; here is the state that it stands on. Knows nothing of phases, runs or commands.
"""

from __future__ import annotations

import math
import re
from enum import Enum, auto

from farmd_drivers.marlin.wire import motion, replies, states
from farmd_drivers.marlin.wire.counters import Counters
from farmd_drivers.marlin.wire.dialects import UNKNOWN, Dialect
from farmd_drivers.marlin.wire.outbox import SYNC, Outbox
from farmd_drivers.marlin.wire.patience import Patience
from farmd_drivers.marlin.wire.proof import Proof
from farmd_drivers.marlin.wire.quiet import Quiet
from farmd_drivers.marlin.wire.requests import Requests
from farmd_drivers.marlin.wire.states import LINK, Link
from farmd_drivers.marlin.wire.window import SYNC_LINES, Sending, Window

NEVER = -2
_HARMLESS = re.compile(rb"M(105|110|113|115|155)\b")


class Verdict(Enum):
    NOTHING = auto()
    ACCEPTED = auto()
    """All lines up to the last sent were accepted; no answer proves that they were executed."""
    PROVEN = auto()
    """As ACCEPTED, and the answer proves that all of them were executed."""
    RESYNCED = auto()
    """As ACCEPTED, after trouble: oks of earlier lines may still come, until the next proof."""
    DOUBT = auto()
    """One ok more or less may have come than is counted: a proof is wanted, and nothing else is wrong."""
    UNSURE = auto()
    """The last line was executed; of one before it, the line or its answer was lost, and nothing tells which."""
    COUNT_LOST = auto()
    """The firmware insists on a line that cannot be next: its counter is not ours."""
    STUCK = auto()
    """The same line was asked for too often."""
    DEAD = auto()
    """Nothing answers."""


class Lines:
    """The state of one link. `now` is the time of its opening."""

    def __init__(self, now: float) -> None:
        self.out = Outbox()
        self.window = Window()
        self.patience = Patience(self.out, self.window)
        self.counters = Counters()
        self.quiet = Quiet(self.counters)
        self.proof = Proof()
        self.requests = Requests(self.out)
        self.link = Link.CLEAR
        self.urgent = b""
        """Bytes that go out at once, whatever is outstanding."""
        self.acked = 0
        """The last line that was answered with ok, or that lies before one that was asked for."""
        self.since = now
        """When the last line was sent, or the oldest outstanding last known to be worked on."""
        self.dialect = UNKNOWN
        self.skipped: int | None = None
        """The line whose ok comes next, because the firmware has passed it over."""
        self._checks = UNKNOWN.checks_numbers
        """Whether a line may be sent again, because one that was executed is refused."""
        self._questions = 0
        """How many M105 were sent to learn about lines that must not be sent again."""
        self._asked_at = 0.0
        """When the first of them was."""
        self._stretched = NEVER
        """The last line answered when a longer deadline than the shortest was granted."""
        self._stretch_s = 0.0
        self._garbled_due = math.inf
        self._garbled_line = NEVER
        self._silent = 0
        self._probe_next = False
        self._trouble_line = 0
        """The last line answered when the firmware last asked for one, or was asked after one."""
        self._sync_line = 0
        self._ignores_ok = False
        """The next ok is that of a Resend which led to a new hello: behind a hello nothing may go before its own."""
        self._is_shut = False
        """No window for the rest of this numbering."""
        self.sample_line, self._sample_at = NEVER, 0.0
        """A line whose turn-round is measured."""

    @property
    def asked_number(self) -> int:
        """The line that the firmware has last asked for."""
        return self.requests.number

    @property
    def outstanding(self) -> int:
        """How many lines wait for their ok."""
        return self.out.sent - self.acked

    @property
    def is_calm(self) -> bool:
        """Whether more than one line at a time may be on its way, where the window is for that."""
        if self.window.mode is Sending.COUNTING and (self._is_shut or self.out.certain <= self._trouble_line):
            return False
        return self.acked >= self._trouble_line + states.CALM_LINES

    @property
    def wants_sync(self) -> bool:
        """Whether oks have been counted for so long that a proof is due."""
        window, out = self.window, self.out
        counts = window.mode is Sending.COUNTING and not window.is_numbered
        return counts and out.sent - max(out.certain, self._sync_line) >= SYNC_LINES

    # Sending.

    def hello(self, now: float, *, greeting: bool) -> None:
        """Number anew from 0; `greeting` when it is not known yet that anybody is there."""
        # The line break closes whatever a host before us left unfinished.
        self.urgent += self._break + self.out.renumber()
        self.acked = -1
        self.window.clear()
        self.patience.greet(greeting=greeting)
        self._silent = self._questions = 0
        self.requests.forget()
        self._stretched = self._garbled_line = self.sample_line = NEVER
        self._garbled_due = math.inf
        self.quiet.trouble(0)
        self._trouble_line = self._sync_line = 0
        self._is_shut = False
        self.since = now
        self.link = LINK[Link.CLEAR]["send"]

    def speak(self, dialect: Dialect) -> None:
        """The firmware was found to be of this kind."""
        if dialect is not self.dialect:
            self.dialect = dialect
            self._checks = dialect.checks_numbers
            self.inline = dialect.report_in_ok

    @property
    def _break(self) -> bytes:
        """What ends a line that lost its own line break."""
        return b"" if self.dialect.blank_ok else b"\n"

    def greeted(self) -> None:
        """Somebody is there."""
        self.patience.greet(greeting=False)

    def settle(self) -> None:
        """Who is there is known: choose how lines are sent."""
        # Without numbers that are checked, an overrun of the machine's buffer could not be mended.
        self.window.choose(proves=bool(self.inline and self._checks))
        self.patience.tune()
        self.out.marks_alone = self.window.mode is not Sending.PING_PONG

    def sent(self, now: float) -> None:
        """A line has been taken from the outbox and goes out now, alone or as the last one for now."""
        self.since = now
        if self.outstanding > 1 or self.window.sizes:
            self.window.add(len(self.out.history[-1]))
        self.link = LINK[self.link]["send"]

    def asks(self) -> None:
        """A proof was asked for."""
        self._sync_line = self.out.sent

    def go(self, event: str) -> None:
        """ "clear", "halt" or "die": what the phases bring about."""
        self.link = LINK[self.link][event]
        self._ignores_ok = False
        if event == "clear":
            self.acked = self.out.sent
            self.window.clear()

    def _question(self, now: float) -> Verdict:
        """Learn by an M105 behind it what became of a line that must not be sent again.

        Where lines are executed in their order, its own ok comes first, or was lost; where numbers are checked
        after all, a line that was lost is asked for.
        """
        self.since = now
        self._stretched = NEVER
        if self._questions and now >= self._asked_at + states.ANSWER_S:
            return Verdict.DEAD
        if not self._questions:
            self._asked_at = now
        self._questions += 1
        self.counters.probes += 1
        self.link = LINK[self.link]["probe"]
        self.out.host.appendleft(SYNC)
        self.urgent += self.out.take_host()
        return Verdict.NOTHING

    def _probe(self, now: float) -> Verdict:
        if not self._checks and not self._may_repeat:
            return self._question(now)
        if self._silent >= (states.HELLOS - 1 if self.patience.greeting else states.PROBES):
            return Verdict.DEAD
        if not self.out.history:
            self.link = LINK[self.link]["clear"]  # rewound to the oldest line: sending it is the probe
            return Verdict.NOTHING
        self._silent += 1
        self.counters.probes += 1
        self.link = LINK[self.link]["probe"]
        self.acked = min(self.acked, self.out.sent - 1)
        self.since = now
        self._in_trouble()
        self.urgent += self._break + self.out.history[-1]  # the line break closes a line that lost its own
        return Verdict.NOTHING

    @property
    def _may_repeat(self) -> bool:
        """Whether the outstanding lines may be executed twice, should that be what sending one again comes to."""
        unknown = self.dialect.checks_numbers is None
        return self.out.sent == 0 or (
            unknown and all(map(_HARMLESS.match, self.out.open_commands(self.outstanding)))
        )

    def _in_trouble(self) -> None:
        self._trouble_line = self.acked
        self.quiet.trouble(self.acked)
        self._garbled_due = math.inf
        self._stretched = self.sample_line = NEVER

    # Answers.

    @property
    def inline(self) -> bool | None:
        """Whether the answer to M105 is one line, `ok T:...`; None until it is known."""
        return self.proof.inline

    @inline.setter
    def inline(self, inline: bool | None) -> None:
        self.proof.inline = inline

    @property
    def proves(self) -> bool:
        """Whether an answer to M105 can be told from every other."""
        return self.proof.proves

    def answered(self, number: int, now: float) -> None:
        """Lines up to `number` were answered."""
        self.window.answered(number - self.acked)
        self.acked = number
        self.since = now
        self._silent = 0
        if 0 <= self.sample_line <= number:
            self.turned(now)

    def sample(self, now: float) -> None:
        """The last line sent goes out now, and its turn-round is measured."""
        self.sample_line, self._sample_at = self.out.sent, now

    def turned(self, now: float) -> None:
        """The line whose turn-round is measured was answered."""
        self.counters.turned(now - self._sample_at)
        self.sample_line = NEVER

    def fit(self, number: int, moves: int, ring: int) -> None:
        """The ok of line `number` tells how much room there is; see `replies.Slots`."""
        window, counters = self.window, self.counters
        window.fit(moves, ring, self.out.sent - number)
        if moves < window.most_moves - 1:
            counters.is_moving = True
        elif counters.is_moving:
            command = self.out.open_commands(self.out.sent - number + 1)[0]
            if motion.is_move(command):
                counters.under_ran()  # it is alone in the planner, so there was none before it
            elif replies.is_long(command):
                counters.is_moving = False
