"""Numbered lines on their way to the firmware: what goes next, what went, and what may go again.

Three sources feed one sequence of numbers: lines that are sent again (they keep their numbers), host
commands, and the lines of a job. A job's lines are encoded a batch ahead; a host command that slips in
before them renumbers what is left of the batch. The commands of the present batch and the one before are kept:
from them it is told how long the moves sent may take. Knows no state of the link, no time and no reply.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from farmd_drivers.marlin.wire import replies
from farmd_drivers.marlin.wire.motion import Modal, silence_s
from farmd_drivers.marlin.wire.states import HISTORY_LINES

HELLO = replies.encode(0, b"M110 N0")
SYNC = b"M105"
"""The command whose answer proves that everything before it was executed."""
_PLAIN = frozenset({b"G0 ", b"G1 ", b"G2 ", b"G3 "})


class Outbox:
    """The outgoing lines. `sent` is the number of the last one sent, in the order of execution."""

    def __init__(self) -> None:
        self.sent = 0
        self.certain = 0
        """The last line that the firmware has answered as only it can; no rewind goes below it."""
        self.history: deque[bytes] = deque(maxlen=HISTORY_LINES)
        """The lines up to `sent`."""
        self.replay: deque[bytes] = deque()
        """Lines after `sent` that were sent before."""
        self.host: deque[bytes] = deque()
        """Commands of the host that wait."""
        self.fresh: list[bytes] = []
        """Encoded lines of the job that were never sent, the next one last."""
        self.marks_alone = False
        """Whether `alone` is kept."""
        self._host_numbers: dict[int, bytes] = {}
        self._numbered_before = 0
        """Lines sent under earlier numberings."""
        self.clear_job()

    def clear_job(self) -> None:
        self.fresh = []
        self.batches: deque[tuple[list[bytes], str | None]] = deque()
        self.all_fed = False
        self.pause_after: str | None = None
        self.alone: list[int] = []
        """How long `fresh` is when a line comes behind which nothing may queue; the next one last."""
        self._batch: list[bytes] = []
        self._batch_before: list[bytes] = []
        self._modal = Modal()
        """What held before `_batch_before`."""
        self._encoded = 0

    def renumber(self) -> bytes:
        """Start counting from 0; returns the line that says so, which counts as sent."""
        self._numbered_before = self.total
        self.host.clear()
        self.replay.clear()
        self.history.clear()
        self.history.append(HELLO)
        self._host_numbers = {0: replies.command_of(HELLO)}
        self.sent = self.certain = 0
        return HELLO

    @property
    def last_command(self) -> bytes:
        """The command last sent; b"" when it is not remembered."""
        return replies.command_of(self.history[-1]) if self.history else b""

    @property
    def total(self) -> int:
        """Lines sent in all, each once."""
        return self._numbered_before + self.after_all - 1

    def open_commands(self, count: int) -> list[bytes]:
        """The commands of the last `count` lines sent, as far as they are remembered; the oldest first."""
        count = min(count, len(self.history))
        return [replies.command_of(self.history[-back]) for back in range(count, 0, -1)]

    def silence_s(self, count: int) -> float:
        """How long the moves sent may keep the oldest of the last `count` lines from its ok, in seconds."""
        told = self.open_commands(len(self.history))
        job = [*self._batch_before, *self._batch[: len(self._batch) - len(self.fresh)]]
        kept = range(self.sent - len(self.history) + 1, self.after_all)
        known = sum(number not in self._host_numbers for number in kept)
        modal = replace(self._modal, at=dict(self._modal.at))
        return silence_s(modal, [*job[: max(0, len(job) - known)], *told], told[-count:])

    @property
    def is_host_last(self) -> bool:
        return self.sent in self._host_numbers

    @property
    def is_sync_last(self) -> bool:
        return self._host_numbers.get(self.sent) == SYNC

    @property
    def first_rewindable(self) -> int:
        # The proof itself, an M105, may be asked for: it was answered, but had lost its number. Line 1 is what a
        # counter asks for that has begun anew.
        floor = self.certain - 1 if self.certain > 1 else self.certain
        return max(floor, self.sent - len(self.history)) + 1

    @property
    def after_all(self) -> int:
        """The number that a line never sent before would get."""
        return self.sent + len(self.replay) + 1

    def lines_accepted(self, outstanding: int) -> int:
        """Lines of the job answered with ok, when the last `outstanding` lines sent were not."""
        unsure = range(self.sent - outstanding + 1, self.after_all)
        pending = sum(number not in self._host_numbers for number in unsure)
        return self._encoded - len(self.fresh) - pending

    def number_of(self, command: bytes) -> int | None:
        """The number with which this very command of the host was sent, or None."""
        return next((number for number, sent in self._host_numbers.items() if sent is command), None)

    def take_replay(self) -> bytes:
        return self._sent(self.replay.popleft())

    def take_host(self) -> bytes:
        number = self.sent + 1
        command = self.host.popleft()
        self._host_numbers[number] = command
        if len(self._host_numbers) > 2 * HISTORY_LINES:
            oldest = number - HISTORY_LINES
            self._host_numbers = {n: c for n, c in self._host_numbers.items() if n >= oldest}
        if self.fresh:
            rest = self._batch[-len(self.fresh) :]
            self.fresh = replies.encode_batch(number + 1, rest)[::-1]
        return self._sent(replies.encode(number, command))

    def take_fresh(self) -> bytes:
        return self._sent(self.fresh.pop())

    def _sent(self, line: bytes) -> bytes:
        self.sent += 1
        self.history.append(line)
        return line

    def load(self) -> None:
        """Take up the next batch; only with `fresh` empty and batches there."""
        self._modal.skim(self._batch_before)
        self._batch_before = self._batch
        self._batch, self.pause_after = self.batches.popleft()
        self.fresh = replies.encode_batch(self.sent + 1, self._batch)[::-1]
        self._encoded += len(self._batch)
        self.mark_alone()

    def mark_alone(self) -> None:
        """Find the lines of the batch behind which nothing may queue, where that matters."""
        unsent = self._batch[len(self._batch) - len(self.fresh) :] if self.marks_alone else []
        size = len(unsent)
        found = [
            size - at
            for at, text in enumerate(unsent)
            if text[:3] not in _PLAIN and replies.stands_alone(text)
        ]
        self.alone = found[::-1]

    def drop_unsent(self) -> None:
        """Forget the rest of the job; what was sent before and is to go again stays."""
        self._encoded -= len(self.fresh)
        self._batch = self._batch[: len(self._batch) - len(self.fresh)]
        self.fresh = []
        self.alone = []
        self.batches.clear()
        self.all_fed = True
        self.pause_after = None

    def seek(self, number: int) -> None:
        """Make `number`, from `first_rewindable` to `after_all`, the line that goes next."""
        while self.sent >= number:
            self.replay.appendleft(self.history.pop())
            self.sent -= 1
        while self.sent < number - 1:
            self._sent(self.replay.popleft())
