"""How much may be on its way at once: the arithmetic of a window, without a state, a time or a byte of its own.

Three ways of sending. Ping-pong: one line at a time, right everywhere. Led by ADVANCED_OK: an ok there names
its line, and says how many slots of the command ring are free, the answered line's own not counted; so the
ring has one more than the most that was ever said, and that many lines always find a place. By counting:
nothing is known of the ring, so all bytes without an ok have to fit into the receive buffer, less one. The
first window keeps to the bytes too: firmware that is held up for 10 ms reads none, and an AVR has 128. A
line goes alone where the next one must not be queued behind it.

Firmware that refuses a line throws away what it has of the next one, and takes the rest of that for a line
without a number: it executes it unchecked, if the cut was behind the number. So, led by ADVANCED_OK, a line
goes only when the one before it is known to have been read: the free slots tell that, and so does the time
in which its refusal would have come. Who counts has no such word; that way is for links that lose no bytes
(native USB), and one refused line with others behind it shuts its window for the rest of the run.

A count of oks is misled by a doubled or a lost one. That ends at the next proof: the number in an ok, the
answer to M105, or a Resend.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

RX_BYTES = 128
"""The receive buffer of an AVR with Marlin; old Arduino cores have 64, boards with native USB 1024 and more."""
MOST_LINES = 64
"""Half of the lines that are kept for a rewind."""
SYNC_LINES = 256
"""Counting goes on for so long without a proof."""


class Sending(StrEnum):
    AUTO = "auto"
    PING_PONG = "ping-pong"
    ADVANCED_OK = "advanced-ok"
    COUNTING = "counting"


class Window:
    """The lines on their way, and how many more may go. `mode` is how it is done."""

    def __init__(self) -> None:
        self.mode = Sending.PING_PONG
        self.max_bytes = RX_BYTES - 1
        self.max_lines = 1
        self.sizes: deque[int] = deque()
        """The bytes of each line on its way, the oldest first."""
        self.used = 0
        """Their sum."""
        self.stopped = False
        """Nothing more goes until all of them are answered."""
        self.unread = 0
        """How many of them are not known to have been read, where that matters."""
        self.ring = 0
        """Slots of the command ring; 0 while no ok has told."""
        self.free_moves = self.most_moves = 0
        """Free blocks of the planner, by the last ok that told, and the most there ever were."""
        self._wanted = Sending.AUTO

    def configure(self, wanted: Sending, rx_bytes: int) -> None:
        """How to send, and the size of the machine's receive buffer."""
        self._wanted = wanted
        self.max_bytes = rx_bytes - 1

    def __str__(self) -> str:
        if self.mode is Sending.PING_PONG:
            return str(self.mode)
        lines = f"{self.ring} lines and " if self.mode is Sending.ADVANCED_OK else ""
        return f"{self.mode}, {lines}{self.max_bytes} bytes at most"

    @property
    def is_numbered(self) -> bool:
        """The oks say which line they are for."""
        return self.ring > 0

    def choose(self, *, proves: bool) -> None:
        """Settle the mode. `proves`: numbers are checked, and the answer to M105 is an ok of its own."""
        if self.is_numbered and self._wanted in (Sending.AUTO, Sending.ADVANCED_OK):
            self.mode, self.max_lines = Sending.ADVANCED_OK, min(self.ring, MOST_LINES)
        elif self._wanted is Sending.COUNTING and (proves or self.is_numbered):
            self.mode, self.max_lines = Sending.COUNTING, MOST_LINES
        else:
            self.mode, self.max_lines = Sending.PING_PONG, 1

    def fit(self, moves: int, ring: int, outstanding: int) -> None:
        """An ok has told of so many free blocks of the planner, and slots of the ring besides that of its line.

        `outstanding` lines are younger than that. Somebody else may use the ring too.
        """
        free = ring + 1
        if free > self.ring:
            self.ring = free
        self.free_moves = moves
        if moves > self.most_moves:
            self.most_moves = moves
        if self.mode is Sending.ADVANCED_OK:
            room = free + outstanding
            most = self.ring if self.ring < MOST_LINES else MOST_LINES
            self.max_lines = room if room < most else most
            self.unread = room - self.ring if room > self.ring else 0

    def takes(self, size: int) -> bool:
        """Whether a line of so many bytes may go now; one alone always may."""
        return not self.sizes or (self.has_room and self.used + size <= self.max_bytes)

    @property
    def has_room(self) -> bool:
        """Whether one more line may go, if it is not too long."""
        return not (self.stopped or self.unread) and len(self.sizes) < self.max_lines

    def takes_more(self, size: int) -> bool:
        """Whether a line of so many bytes may go behind others."""
        return self.mode is not Sending.PING_PONG and bool(self.sizes) and self.takes(size)

    def add(self, size: int) -> bool:
        """A line goes; whether another one might at once."""
        self.sizes.append(size)
        self.used += size
        if self.mode is Sending.COUNTING:
            return True
        if self.mode is Sending.ADVANCED_OK:
            self.unread += 1
        return False

    def answered(self, count: int) -> None:
        """The oldest `count` lines are not on their way any more."""
        sizes = self.sizes
        while count > 0 and sizes:
            self.used -= sizes.popleft()
            count -= 1
        if not sizes:
            self.stopped = False
            self.unread = 0

    def clear(self) -> None:
        """Nothing is on its way."""
        self.sizes.clear()
        self.used = self.unread = 0
        self.stopped = False
