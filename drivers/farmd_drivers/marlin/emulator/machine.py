"""A strict Marlin 2, as far as a host can tell: bytes and times in, bytes out.

Written from Marlin's `queue.cpp` and `M10x.cpp` to be as unforgiving as they are: the line number is
checked before the checksum, the checksum is behind the last `*`, an error flushes what has arrived, a
Resend is sent when a line is read and an ok when it has been executed, lines without a number are
believed, `ok` is silent about blank lines. Knows no device, loop or clock, and nothing of the driver:
whoever owns it hands in bytes and times and sends what is in `output`.

`executed` is the truth that hosts are measured by: every known command in the order of execution,
without number and checksum. `unknown` has what noise made of lines that lost their number.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import xor

from farmd_drivers.marlin.emulator.body import Body, Heater
from farmd_drivers.marlin.emulator.build import (
    BANNER,
    KILLED,
    KNOWN,
    LINE_BYTES,
    RING_LINES,
    STOPPED,
    WORD,
    Build,
)

_NUMBER = re.compile(rb"([A-Z])(-?\d*\.?\d+)")
_EARLY = re.compile(rb"^(?:N\d+ ?)?(M108|M112|M410)(?![0-9])")
_MOVES = frozenset({"G0", "G1", "G2", "G3"})


@dataclass(slots=True)
class _Job:
    """The command being executed: until when, or until what."""

    command: bytes
    until: float = 0.0
    ready: Callable[[], bool] | None = None
    quiet: bool = False
    """A heat wait, which reports temperatures every second."""
    breakable: bool = False
    next_report: float = math.inf


@dataclass(slots=True)
class Marlin:
    """One machine. `power_on` first; then `receive` and `step`, and send `take_output()`."""

    build: Build = field(default_factory=Build)
    executed: list[bytes] = field(default_factory=list)
    unknown: list[bytes] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)
    resends: int = 0
    lost_bytes: int = 0
    alive: bool = False
    stopped: bool = False
    """After `stop_moving`: moves are refused, with ok, until M999."""
    now: float = 0.0
    body: Body = field(init=False)
    last_number: int = 0
    _rx: bytearray = field(default_factory=bytearray)
    _line: bytearray = field(default_factory=bytearray)
    _early: bytes = b""
    _ring: deque[bytes] = field(default_factory=deque)
    _job: _Job | None = None
    _keepalive_s: float = 2.0
    _next_busy: float = math.inf
    _autoreport_s: float = 0.0
    _next_report: float = math.inf
    _next_wait: float = math.inf
    _break: bool = False

    def __post_init__(self) -> None:
        self.body = Body(self.build.heat_c_per_s, self.build.move_scale)

    # Life.

    def power_on(self, now: float) -> None:
        """Start, or reset in mid-work: everything queued is lost, heaters are off, the banner is said."""
        self.now = now
        self.alive = True
        self.stopped = False
        self.last_number = 0
        self._rx.clear()
        self._line.clear()
        self._ring.clear()
        self.body.drop_moves()
        self.body.heaters_off()
        self._job = None
        self._early = b""
        self._keepalive_s = 2.0
        self._autoreport_s = 0.0
        self._next_busy = self._next_report = math.inf
        self._next_wait = now + 1.0 if self.build.says_wait else math.inf
        self.output.clear()
        self.output += b"".join(BANNER)

    def kill(self, why: bytes = b"") -> None:
        """What `kill()` does: say so, switch off, and never answer again."""
        if self.alive:
            self.output += (b"Error:%b\n" % why if why else b"") + KILLED
            self.hang()
            self.body.heaters_off()

    def stop_moving(self) -> None:
        """What `stop()` does: heaters off, moves refused, but alive."""
        self.stopped = True
        self.body.heaters_off()
        self.body.drop_moves()
        self.output += STOPPED

    def hang(self) -> None:
        """Stop dead without a word."""
        self.alive = False
        self._rx.clear()
        self._ring.clear()
        self.body.drop_moves()
        self._job = None

    def say(self, line: bytes) -> None:
        """Say a line of the firmware's own accord (a host action, an error)."""
        self.output += line + b"\n"

    @property
    def is_off(self) -> bool:
        """Nothing is heated, and no move is left to do."""
        return self._is_still() and not (self.body.nozzle.target_c or self.body.bed.target_c)

    # Bytes in.

    def receive(self, data: bytes, now: float) -> None:
        if not self.alive:
            return
        self.now = max(self.now, now)
        if self.build.says_wait:
            self._next_wait = self.now + 1.0
        if self.build.emergency_parser:
            self._listen_early(data)
        room = self.build.rx_bytes - len(self._rx)
        self.lost_bytes += max(0, len(data) - room)
        self._rx += data[: max(0, room)]
        self.step(now)

    def _listen_early(self, data: bytes) -> None:
        *lines, self._early = (self._early + data).split(b"\n")
        for line in lines:
            if b"M" in line and (found := _EARLY.match(line)):
                self._emergency(found[1])

    def _emergency(self, command: bytes) -> None:
        if command == b"M112":
            self.executed.append(command)
            self.kill()
        elif command == b"M108":
            self._break = True
        else:
            self.body.drop_moves()

    def _read_lines(self) -> None:
        """Fill the ring from what has arrived, as `get_serial_commands` does."""
        while self._rx and len(self._ring) < RING_LINES and self.alive:
            end = self._rx.find(b"\n")
            if end < 0:
                self._line += self._rx
                self._rx.clear()
                return
            self._line += self._rx[:end]
            del self._rx[: end + 1]
            line = bytes(self._line[:LINE_BYTES]).partition(b";")[0].lstrip(b" ").rstrip(b"\r")
            self._line.clear()
            if line:
                self._accept(line)

    def _accept(self, line: bytes) -> None:
        if line[:1] == b"N":
            numbered = b"M110" in line
            digits = re.match(rb"N(-?\d+)", line)
            number = int(digits[1]) if digits else 0
            if numbered and (second := re.search(rb"M110.*?N(-?\d+)", line)):
                number = int(second[1])
            if number != self.last_number + 1 and not numbered:
                self._refuse(b"Line Number is not Last Line Number+1")
                return
            star = line.rfind(b"*")
            if star < 0:
                self._refuse(b"No Checksum with line number")
                return
            sum_text = re.match(rb"\d+", line[star + 1 :])
            if sum_text is None or int(sum_text[0]) != reduce(xor, line[:star], 0):
                self._refuse(b"checksum mismatch")
                return
            self.last_number = number
            command = line[:star].partition(b" ")[2].strip() if b" " in line else b""
        else:
            command = line.partition(b"*")[0].strip()
            early = _EARLY.match(command)
            if early and not self.build.emergency_parser and line[:1] == b"M":
                self._emergency(early[1])
        self._ring.append(command)

    def _refuse(self, why: bytes) -> None:
        self.resends += 1
        self._rx.clear()
        self._line.clear()
        self.output += b"Error:%b, Last Line: %d\n" % (why, self.last_number)
        self.output += b"Resend: %d\n" % (self.last_number + 1)
        if self.build.ok_after_resend:
            self.output += b"ok\n"

    # Time.

    def next_time(self) -> float:
        """When `step` has something to do, if no bytes come before; infinity for never."""
        if not self.alive:
            return math.inf
        due = min(self._next_report, self._next_wait)
        if self._job is not None:
            due = min(due, self._next_busy, self._job.next_report)
            due = min(due, self.now + 0.02 if self._job.ready is not None else self._job.until)
        elif self._ring:
            return self.now
        return due

    def step(self, now: float) -> None:
        """Do everything that is due by `now`."""
        self.body.warm(max(0.0, now - self.now))
        self.now = max(self.now, now)
        while self.alive:
            self._read_lines()
            if self._job is not None:
                if not self._finished(self._job):
                    break
                self._finish(self._job)
            elif self._ring:
                self._execute(self._ring.popleft())
            else:
                break
        if self.alive:
            self._chatter()

    def _finished(self, job: _Job) -> bool:
        if job.breakable and self._break:
            return True
        return self.now >= job.until and (job.ready is None or job.ready())

    def _finish(self, job: _Job) -> None:
        self._job = None
        self._break = False
        self._next_busy = math.inf
        self._ok(job.command)

    def _ok(self, command: bytes) -> None:
        if command[:4] != b"M105" or command[4:5].isdigit():
            self.output += b"ok\n"
        elif self.build.inline_temperatures:
            self.output += b"ok " + self.body.temperatures() + b"\n"
        else:
            self.output += b"ok\n" + self.body.temperatures() + b"\n"
        if self.build.says_wait:
            self._next_wait = self.now + 1.0

    def _chatter(self) -> None:
        if self._job is not None:
            if self.now >= self._next_busy:
                self._next_busy = self.now + self._keepalive_s
                paused = self._job.command[:2] in (b"M0", b"M1") and self._job.breakable
                self.output += b"echo:busy: paused for user\n" if paused else b"echo:busy: processing\n"
            if self.now >= self._job.next_report:
                self._job.next_report = self.now + 1.0
                self.output += b" " + self.body.temperatures() + b" W:?\n"
        elif self.now >= self._next_wait:
            self._next_wait = self.now + 1.0
            self.output += b"wait\n"
        if self.now >= self._next_report:
            self._next_report = self.now + self._autoreport_s
            self.output += b" " + self.body.temperatures() + b"\n"

    # Commands.

    def _execute(self, command: bytes) -> None:
        found = WORD.match(command)
        word = found[1].decode() if found else ""
        lacking = word == "M113" and not self.build.keepalive
        if lacking or (word not in KNOWN and word[:1] != "T"):
            self.unknown.append(command)
            self.output += b'echo:Unknown command: "%b"\n' % command
            self._ok(b"")
            return
        if self.stopped and word in _MOVES:
            self.output += STOPPED + b"ok\n"
            return
        self.executed.append(command)
        if word in _MOVES and not self.build.move_scale:
            self.output += b"ok\n"
            return
        self._job = _Job(command, self.now)
        self._run(word, command, self._job)
        if self.build.keepalive and (self.build.busy_while_heating or not self._job.quiet):
            self._next_busy = self.now + self._keepalive_s

    def _run(self, word: str, command: bytes, job: _Job) -> None:
        values = {letter.decode(): float(number) for letter, number in _NUMBER.findall(command[len(word) :])}
        match word:
            case "G0" | "G1" | "G2" | "G3":
                job.until = self.body.move(values, self.now)
            case "G4":
                job.until = (
                    self.now + (values.get("S", 0.0) + values.get("P", 0.0) / 1000) * self.build.move_scale
                )
            case "G28":
                job.until = self.now + self.build.home_s
                job.ready = None if self._is_still() else self._is_still
            case "G90" | "G91":
                self.body.relative = word == "G91"
            case "G92":
                self.body.position.update(values)
            case "M0" | "M1":
                job.breakable = True
                timed = values.get("S", 0.0) + values.get("P", 0.0) / 1000
                job.until = self.now + timed * self.build.move_scale if timed else math.inf
            case "M104" | "M109":
                self._heat(self.body.nozzle, values, job, wait=word == "M109")
            case "M140" | "M190":
                self._heat(self.body.bed, values, job, wait=word == "M190")
            case "M110":
                pass  # the number was set when the line was read
            case "M112":
                self.kill()
            case "M113":
                self._keepalive_s = values.get("S", 2.0) or math.inf
            case "M115":
                self.output += self.build.identity()
            case "M155":
                self._autoreport_s = values.get("S", 0.0)
                self._next_report = self.now + self._autoreport_s if self._autoreport_s else math.inf
            case "M400":
                job.ready = self._is_still
            case "M410":
                self.body.drop_moves()
            case "M999":
                self.stopped = False
                self._rx.clear()
                self.output += b"Resend: %d\n" % (self.last_number + 1)
            case _:
                pass

    def _heat(self, heater: Heater, values: dict[str, float], job: _Job, *, wait: bool) -> None:
        heater.target_c = values.get("S", values.get("R", heater.target_c))
        if wait:
            job.ready = lambda: heater.is_warm
            job.quiet = job.breakable = True
            job.next_report = self.now + 1.0
            self.body.warm(0.0)

    def _is_still(self) -> bool:
        return self.body.is_still(self.now)
