"""How bytes become lines in the emulated firmware: receive ring, pace of the wire, emergency parser, checks.

As in Marlin's `MarlinSerial`, `e_parser` and `queue.cpp`. A byte that finds the ring full is lost silently;
the emergency parser hears it all the same. Knows nothing of what a command does.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import NamedTuple

from farmd_drivers.marlin.emulator.build import LINE_BYTES, Build

BITS_PER_BYTE = 10
_ODD = re.compile(rb"[\x00\x08;\\]")
_NUMBERED = re.compile(rb"N\s*([+-]?\d+)")
_SKIPPED = re.compile(rb"N[\d+-]\d* *")
_SUM = re.compile(rb"\*\s*([+-]?\d+)")
_EMERGENCY = re.compile(rb"[ \r]*(?:N[\d -]*)?M *(108|112|410|876 *S *\d)")
_ENDS = re.compile(rb"[^\r\n]*[\r\n]")

NOT_NEXT = b"Line Number is not Last Line Number+1"
NO_SUM = b"No Checksum with line number"
WRONG_SUM = b"checksum mismatch"


def checksum(data: bytes) -> int:
    """The XOR of all bytes, for at most 128 of them."""
    folded = int.from_bytes(data, "little")
    for bits in (512, 256, 128, 64, 32, 16, 8):
        folded ^= folded >> bits
    return folded & 255


class Judged(NamedTuple):
    """A line that has been read. `refused` says why nothing is to come of it; `number` is None without one."""

    command: bytes
    number: int | None = None
    refused: bytes = b""


def judge(line: bytes, last_number: int, knows_m110: bool = True, all_numbered: bool = False) -> Judged:
    """What Marlin makes of a line, in Marlin's order: number, presence of the checksum, checksum.

    `all_numbered`: while a file is written, a line without a number is refused, `M29` excepted.
    """
    number: int | None = None
    if line[:1] == b"N":
        sets = knows_m110 and b"M110" in line
        found = _NUMBERED.match(line, max(0, line.find(b"N", 4)) if sets else 0)
        number = int(found[1]) if found else 0
        if number != last_number + 1 and not sets:
            return Judged(b"", number, NOT_NEXT)
        star = line.rfind(b"*")
        if star < 0:
            return Judged(b"", number, NO_SUM)
        said = _SUM.match(line, star)
        if (int(said[1]) if said else 0) != checksum(line[:star]):
            return Judged(b"", number, WRONG_SUM)
    elif all_numbered and not re.search(rb"M29(?!\d)", line):
        return Judged(b"", None, NO_SUM)
    skipped = _SKIPPED.match(line)
    command = line[skipped.end() :] if skipped else line
    return Judged(command.partition(b"*")[0].rstrip(b" "), number)


class Intake:
    """The receiving end of the firmware's serial port."""

    def __init__(self, build: Build) -> None:
        self.lost_bytes = 0
        """Bytes that found the receive ring full."""
        self.most_bytes = 0
        """How full the receive ring was at most."""
        self._listens = build.emergency_parser
        self._room = build.rx_bytes - 1
        self._byte_s = BITS_PER_BYTE / build.baud if build.baud else 0.0
        self._air: deque[tuple[float, bytes]] = deque()
        """What is still coming: when its first byte began, and the bytes up to a line's end."""
        self._wire_free = -math.inf
        self._rx = bytearray()
        self._line = b""
        self._early = b""

    def clear(self) -> None:
        """A restart of the firmware: what is on the wire still comes."""
        self._rx.clear()
        self._line = self._early = b""

    def add(self, data: bytes, now: float) -> None:
        """Bytes are sent to us. Without a pace they are there at once, and `arrive` takes them."""
        if not self._byte_s:
            self._air.append((now, data))
            return
        begins = max(now, self._wire_free)
        place = 0
        while place < len(data):
            end = _ENDS.match(data, place)
            piece = data[place : end.end() if end else len(data)]
            self._air.append((begins, piece))
            begins += len(piece) * self._byte_s
            place += len(piece)
        self._wire_free = begins

    def seconds(self, count: int) -> float:
        """How long so many bytes take on the wire."""
        return count * self._byte_s

    def next_arrival(self) -> float:
        """When the next line, or piece of one, has come whole; infinity for never."""
        if not self._air:
            return math.inf
        begins, piece = self._air[0]
        return begins + len(piece) * self._byte_s

    def arrive(self, now: float) -> list[bytes]:
        """Take what has come by now into the ring; the emergencies heard in it, as `M112` or the like."""
        heard: list[bytes] = []
        while self._air:
            begins, piece = self._air.popleft()
            if self._byte_s and begins + len(piece) * self._byte_s > now:
                came = int((now - begins) / self._byte_s)
                self._air.appendleft((begins + came * self._byte_s, piece[came:]))
                piece = piece[:came]
                self._take(piece, heard)
                break
            self._take(piece, heard)
        return heard

    def _take(self, piece: bytes, heard: list[bytes]) -> None:
        if self._listens:
            self._listen(piece, heard)
        self._rx += piece

    def overflow(self) -> None:
        """Lose what the ring cannot hold: to be called when no more of it can be read for now."""
        waiting = len(self._rx)
        if waiting > self.most_bytes:
            self.most_bytes = min(waiting, self._room)
        if waiting > self._room:
            self.lost_bytes += waiting - self._room
            del self._rx[self._room :]

    def _listen(self, piece: bytes, heard: list[bytes]) -> None:
        if self._early or piece[-1:] != b"\n" or b"M" in piece:
            *lines, self._early = (self._early + piece).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                if b"M" in line and (found := _EMERGENCY.match(line)):
                    heard.append(b"M" + found[1])

    def line(self) -> bytes | None:
        """The next whole line out of the ring, as C sees it, or None; an empty one is passed over."""
        rx = self._rx
        while rx:
            end = rx.find(b"\n")
            if b"\r" in rx:
                first = rx.find(b"\r")
                end = first if end < 0 or first < end else end
            if end < 0:
                self._line += rx
                rx.clear()
                return None
            line = self._line + rx[:end] if self._line else bytes(rx[:end])
            self._line = b""
            del rx[: end + 1]
            if _ODD.search(line):
                line = _as_typed(line)
            if line:
                line = line[:LINE_BYTES] if len(line) > LINE_BYTES else line
                line = line.partition(b"\0")[0] if b"\0" in line else line
                return line.lstrip(b" ") if line[:1] == b" " else line
        return None

    def flush(self) -> None:
        """Discard what has arrived, and nothing of what is still on the wire."""
        self._rx.clear()
        self._line = b""

    @property
    def has_bytes(self) -> bool:
        """Whether something has arrived that was not read yet."""
        return bool(self._rx)


def _as_typed(line: bytes) -> bytes:
    """A line without its comment, and with its escape character dropped and its backspaces obeyed."""
    line = line.partition(b";")[0].replace(b"\\", b"")
    while (at := line.find(b"\x08")) >= 0:
        line = line[: max(0, at - 1)] + line[at + 1 :]
    return line
