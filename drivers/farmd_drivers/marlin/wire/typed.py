"""One command that a person typed, between the lines of a job: when it may go, and which lines are its answer.

A typed command is a command of the host like any other: numbered, sent once, and sent again where it was lost.
It goes before the next line of a job, and before questions of ours. Its answer are the lines that come while
it is the oldest that is outstanding, up to its ok, without those that the machine says by itself. Knows no
time, loop or device.
"""

from __future__ import annotations

from farmd_drivers.marlin.wire.discipline import Discipline
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.replies import Kind
from farmd_drivers.marlin.wire.states import Answered, Phase

TYPING_PHASES = frozenset({Phase.IDLE, Phase.STREAMING, Phase.PAUSED})
"""Phases without a script of ours, whose last answer has to be its proof."""
MOST_LINES = 1000
_ITS_OWN = frozenset(
    {
        Kind.TEXT,
        Kind.ACTION,
        Kind.CAPABILITY,
        Kind.FIRMWARE,
        Kind.UNKNOWN_COMMAND,
        Kind.ERROR,
        Kind.REFUSED,
    }
)
"""What a machine says only when it is asked, or about what it was told."""


class Typed:
    """The typed command of one link; one at a time. `is_open` from `put` until its answer is told."""

    def __init__(self, line: Discipline) -> None:
        self.is_open = False
        self.lines: list[str] = []
        """The answer so far."""
        self._line = line
        self._out = line.out
        self._command = b""
        self._number = 0
        """The number that it was sent with; 0 before that."""
        self._inline = ""

    def put(self, command: bytes) -> None:
        """Take a command in; none may be open."""
        self.is_open, self.lines, self._number, self._inline = True, [], 0, ""
        # A copy: what is queued is found again by its identity, and others may queue the same words.
        self._command = bytes(bytearray(command))
        self._out.host.appendleft(self._command)

    def withdraw(self) -> bool:
        """Take the command out again; False when it has been sent already."""
        self._find()
        if self._number:
            return False
        waiting = [command for command in self._out.host if command is not self._command]
        self._out.host.clear()
        self._out.host.extend(waiting)
        self.is_open = False
        return True

    def hear(self, kind: Kind, line: bytes) -> None:
        """A reply, whatever it is an answer to, before anything is made of it."""
        self._find()
        if not self._number or self._number != self._out.sent - self._line.outstanding + 1:
            return
        if kind is Kind.OK:
            self._inline = line[2:].strip().decode("latin-1")
        elif len(self.lines) < MOST_LINES and (
            kind in _ITS_OWN or (kind is Kind.TEMPERATURES and self._command == SYNC)
        ):
            self.lines.append(line.decode("latin-1"))

    def accepted(self) -> Answered | None:
        """Lines were accepted, or will never be: the answer, when it is over."""
        self._find()
        if self._number and self._out.sent - self._line.outstanding >= self._number:
            if self._inline and not _is_count(self._inline):
                self.lines.append(self._inline)
            return self._close(complete=True)
        return self.lost()

    def lost(self) -> Answered | None:
        """The answer, when nothing is known of the command any more: its queue or its number is gone."""
        known = self._out.number_of(self._command) is not None
        if known or any(command is self._command for command in self._out.host):
            return None
        return self._close(complete=False)

    def _find(self) -> None:
        if not self._number:
            self._number = self._out.number_of(self._command) or 0

    def _close(self, *, complete: bool) -> Answered:
        self.is_open = False
        return Answered(tuple(self.lines), complete=complete, sent=self._number > 0)


def _is_count(text: str) -> bool:
    """Whether what stands behind an ok is its own: the line's number, or how much room there is."""
    return all((part[0] in "NPB" and part[1:].isdigit()) or part.isdigit() for part in text.split())
