"""A strict Marlin 2, as far as a host can tell: bytes and times in, bytes out.

Written from Marlin's `queue.cpp`, `gcode.cpp` and `planner.cpp` to be as unforgiving. Knows no device, loop or clock,
and nothing of the driver; however late `step` comes, everything happens at its own time and in its order. `executed`
is the truth that hosts are measured by; `unknown` has what noise made of lines, `unchecked` the places in `executed`
of commands without a number. Other firmwares' emulators override the `_say_` methods and add `handlers`.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from farmd_drivers.marlin.emulator.body import Body
from farmd_drivers.marlin.emulator.build import BANNER, KILLED, KNOWN, STOPPED, WORD, Build
from farmd_drivers.marlin.emulator.commands import HANDLERS, MOVES, Busy, Handler, Job, values_of
from farmd_drivers.marlin.emulator.intake import Intake, Judged, judge
from farmd_drivers.marlin.emulator.planner import Planner

_EARLY = re.compile(rb"M(108|112|410)")
_STOPPABLE = re.compile(rb"G\s*0*[0-35](?!\d)")
KEEPALIVE_S = 2.0
WAIT_S = 1.0
HEAT_LOOK_S = 0.1


@dataclass(slots=True)
class Marlin:
    """One machine. `power_on` first; then `receive` and `step`, and send what is in `output`."""

    build: Build = field(default_factory=Build)
    executed: list[bytes] = field(default_factory=list)
    unknown: list[bytes] = field(default_factory=list)
    unchecked: list[int] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)
    resends: int = 0
    alive: bool = False
    stopped: bool = False
    """After `stop_moving`: moves are refused, with ok, until M999."""
    now: float = 0.0
    last_number: int = 0
    slow_s: float = 0.0
    """The next command takes so much longer."""
    keepalive_s: float = KEEPALIVE_S
    autoreport_s: float = 0.0
    next_report: float = math.inf
    emergencies: int = 0
    """Commands that were heard early, by whatever way; noise may have made them."""
    body: Body = field(init=False)
    intake: Intake = field(init=False)
    handlers: dict[bytes, Handler] = field(default_factory=lambda: HANDLERS)
    """By word. To add to it, give the machine a table of its own."""
    saving: Callable[[bytes], None] | None = None
    """Takes every command instead of its execution, while a file is written; M29 is executed all the same."""
    source: Callable[[], bytes | None] | None = None
    """Asked for the next command when the ring is empty (a print from a card); no ok is said for these."""
    _ring: deque[tuple[int | None, bytes]] = field(default_factory=deque)
    _numbers: deque[int | None] = field(init=False)
    """The numbers last put into the ring: where an ok looks when it is said too early."""
    _job: Job | None = None
    _flush_at: float = math.inf
    """When the error is out that is being said, and what has arrived is flushed."""
    _next_wait: float = math.inf

    def __post_init__(self) -> None:
        build = self.build
        planner = Planner(build.planner_blocks)
        self.body = Body(build.heat_c_per_s, build.move_scale, planner, build.min_move_s, build.ripple_c)
        self.intake = Intake(build)
        self._numbers = deque(maxlen=build.ring_lines)

    # Life.

    def power_on(self, now: float) -> None:
        """Start, or reset in mid-work: everything queued is lost, heaters are off, the banner is said."""
        self.now = now
        self.alive = True
        self.stopped = False
        self.last_number = 0
        self.saving = self.source = None
        self.intake.clear()
        self._ring.clear()
        self._numbers.clear()
        self.body.reset()
        self._job = None
        self._flush_at = math.inf
        self.slow_s = 0.0
        self.keepalive_s = KEEPALIVE_S
        self.autoreport_s = 0.0
        self.next_report = math.inf
        self._next_wait = now + WAIT_S if self.build.says_wait else math.inf
        self.output.clear()
        self._say_banner()

    def kill(self, why: bytes = b"", echo: bytes = b"") -> None:
        """What `kill()` does: say so in two or three lines, switch off, and never answer again."""
        if self.alive:
            self._say_killed(why, echo)
            self.hang()
            self.body.heaters_off()

    def stop_moving(self) -> None:
        """What `stop()` does: heaters off, moves refused, but alive."""
        self.stopped = True
        self.body.heaters_off()
        self.body.planner.drop()
        self.output += STOPPED

    def hang(self) -> None:
        """Stop dead without a word."""
        self.alive = False
        self.intake.clear()
        self._ring.clear()
        self.body.planner.drop()
        self._job = None

    def say(self, line: bytes) -> None:
        """Say a line of the firmware's own accord (a host action, an error)."""
        self.output += line + b"\n"

    def press(self) -> None:
        """The button at the machine: ends a wait for a person or for heat."""
        if self._job is not None and self._job.breakable:
            self._job.until, self._job.ready = self.now, None

    @property
    def is_off(self) -> bool:
        """Nothing is heated, and no move is left to do."""
        body = self.body
        return body.is_still(self.now) and not (body.nozzle.target_c or body.bed.target_c)

    @property
    def checked(self) -> list[bytes]:
        """What was executed, but for commands that came without a number."""
        unchecked = frozenset(self.unchecked)
        return [command for place, command in enumerate(self.executed) if place not in unchecked]

    @property
    def lost_bytes(self) -> int:
        return self.intake.lost_bytes

    @property
    def queued(self) -> int:
        """Commands in the ring, the one in work among them."""
        return len(self._ring) + (self._job is not None)

    # Time.

    def receive(self, data: bytes, now: float) -> None:
        """Bytes are sent to the machine."""
        if self.alive:
            self.step(now)
            self.intake.add(data, now)
            self.step(now)
            self.intake.overflow()

    def next_time(self) -> float:
        """When `step` has something to do, if no bytes come before; infinity for never."""
        if not self.alive:
            return math.inf
        if self._flush_at < math.inf:
            return self._flush_at
        due = self.intake.next_arrival()
        job = self._job
        if job is not None:
            due = min(due, job.until, job.next_busy, job.next_report)
        elif self._next_wait < due:
            due = self._next_wait
        return min(due, self.next_report)

    def step(self, now: float) -> None:
        """Do everything that is due by `now`."""
        while self.alive:
            due = self.next_time()
            if due > now:
                break
            if due > self.now:
                self.now = due
            self._happen()
        if now > self.now:
            self.now = now

    def _happen(self) -> None:
        """Whatever is due at this moment."""
        now = self.now
        if self.intake.next_arrival() <= now or self.intake.has_bytes:
            for command in self.intake.arrive(now):
                self._emergency(command)
            if self.queued >= self.build.ring_lines:
                self.intake.overflow()
        if self._flush_at <= now:
            self._flush_at = math.inf
            if self.alive:
                self._say_resend()
        job = self._job
        if job is not None and self.alive:
            if now >= job.until:
                self._look(job)
            if job is self._job:
                self._chatter(job)
        if self.next_report <= now:
            self.next_report = now + self.autoreport_s
            self._say_temperatures()
        self._work()
        if self._next_wait <= now and self._job is None and self.alive:
            self._next_wait = now + WAIT_S
            self._say_wait()

    def _look(self, job: Job) -> None:
        """Its time has come: whether it is over."""
        if job.ready is not None:
            self.body.warm(self.now)
            if not job.ready():
                job.until = self.now + HEAT_LOOK_S
                return
        self.output += job.last_words
        if job.asked:
            self._say_ok(job.number, job.command)
        self._job = None

    def _chatter(self, job: Job) -> None:
        if self.now >= job.next_busy:
            job.next_busy = self.now + self.keepalive_s if self.keepalive_s else math.inf
            self._say_busy(job.busy)
        if self.now >= job.next_report:
            job.next_report = self.now + 1.0
            self._say_temperatures(waiting=True)

    # Lines.

    def _work(self) -> None:
        """Read lines into the ring, and execute them one by one, as far as neither is in the way."""
        ring = self._ring
        while self.alive and self._flush_at == math.inf:
            while len(ring) + (self._job is not None) < self.build.ring_lines:
                line = self.intake.line()
                if line is None:
                    break
                self._read(line)
                if self._flush_at < math.inf:
                    return
            if self._job is not None or not self.alive:
                return
            if ring:
                self._execute(*ring[0])
                if ring:  # a restart empties it
                    ring.popleft()
            elif self.source is not None and (command := self.source()) is not None:
                self._execute(None, command, asked=False)
            else:
                return

    def _read(self, line: bytes) -> None:
        judged = self._judge(line)
        if judged.refused:
            self._refuse_line(judged.refused)
            return
        if judged.number is not None:
            self.last_number = judged.number
        if self.stopped and _STOPPABLE.search(line):
            self.output += STOPPED
        if not self.build.emergency_parser and line[:1] == b"M" and (early := _EARLY.match(line)):
            self._emergency(b"M" + early[1])
            if not self.alive:
                return
        if self._next_wait < math.inf:
            self._next_wait = self.now + WAIT_S
        self._numbers.append(judged.number)
        self._ring.append((judged.number, judged.command))

    def _refuse_line(self, why: bytes) -> None:
        """The error is said first, by a port that holds up everything; then what has come meanwhile is flushed."""
        self.resends += 1
        error = b"Error:%b, Last Line: %d\n" % (why, self.last_number)
        self.output += error
        self._flush_at = self.now + self.intake.seconds(len(error))

    def _judge(self, line: bytes) -> Judged:
        return judge(line, self.last_number, self.build.knows_m110, self.saving is not None)

    def _emergency(self, command: bytes) -> None:
        self.emergencies += 1
        if command == b"M112":
            self.executed.append(command)
            self.kill(echo=b"M112 Shutdown")
        elif command == b"M410":
            self.body.planner.drop()
            if self._job is not None and self._job.ready is None and not self._job.breakable:
                self._job.until = self.now
        else:
            self.press()

    def ask_again(self) -> None:
        """`flush_and_request_resend`: discard what has arrived and ask for the line after the last."""
        self.intake.flush()
        self.output += b"Resend: %d\n" % (self.last_number + 1)

    # Commands.

    def _execute(self, number: int | None, command: bytes, *, asked: bool = True) -> None:
        blank = command.find(b" ")
        word = command if blank < 0 else command[:blank]
        handler = self.handlers.get(word)
        if handler is None and word not in KNOWN:
            found = WORD.match(command)
            word = b"T" if found is None or not found[1] else b"%b%d" % (found[1], int(found[2]))
            if found is None or not (word in KNOWN or word[:1] == b"T" or word in self.handlers):
                self._refuse_command(number, command)
                return
            handler = self.handlers.get(word)
        if self.saving is not None and word != b"M29":
            self.saving(command)
            self._say_ok(number, b"")
            return
        if (word == b"M113" and not self.build.keepalive) or (word == b"M110" and not self.build.knows_m110):
            self._refuse_command(number, command)
            return
        if self.stopped and word in MOVES:
            self._say_ok(number, b"")
            return
        if number is None and asked:
            self.unchecked.append(len(self.executed))
        self.executed.append(command)
        now = self.now
        if handler is not None or self.slow_s:
            job = Job(number, command, now, asked)
            if handler is not None:
                handler(self, values_of(command, len(word)), command, job)
            if not self.alive:
                return
            if self.slow_s:
                job.until, self.slow_s = max(now, job.until) + self.slow_s, 0.0
            if job.until > now or job.ready is not None:
                self._begin(job)
                return
        if asked:
            self._say_ok(number, command)

    def _begin(self, job: Job) -> None:
        self._job = job
        if self.build.keepalive and job.says_busy and self.keepalive_s:
            job.next_busy = self.now + self.keepalive_s

    def _refuse_command(self, number: int | None, command: bytes) -> None:
        self.unknown.append(command)
        self._say_unknown(command)
        self._say_ok(number, b"")

    # Words, for other firmwares' emulators to override.

    def _say_banner(self) -> None:
        self.output += b"".join(BANNER) + (BANNER[0] if self.build.says_twice else b"")

    def _say_killed(self, why: bytes, echo: bytes) -> None:
        self.output += (b"Error:%b\n" % why if why else b"") + (b"echo:%b\n" % echo if echo else b"") + KILLED

    def _say_resend(self) -> None:
        self.ask_again()
        if not self.build.ok_after_resend:
            return
        if self.build.early_resend_ok:
            at, numbers = self.queued, self._numbers
            stale = numbers[-at] if at else numbers[0] if len(numbers) == numbers.maxlen else None
            self._say_ok(stale, b"")
        else:
            self.output += b"ok\n"

    def _say_unknown(self, command: bytes) -> None:
        self.output += b'echo:Unknown command: "%b"\n' % command

    def _say_ok(self, number: int | None, command: bytes) -> None:
        if command[:4] == b"M105" and not command[4:5].isdigit():
            if self.build.inline_temperatures:
                self.output += b"ok " + self.body.temperatures(self.now) + b"\n"
            else:
                self.output += b"ok\n" + self.body.temperatures(self.now) + b"\n"
        elif self.build.advanced_ok:
            if number is not None:
                self.output += b"ok N%d" % number
            else:
                self.output += b"ok"
            free = self.build.ring_lines - self.queued
            self.output += b" P%d B%d\n" % (self.body.planner.free(self.now), free)
        else:
            self.output += b"ok\n"
        if self._next_wait < math.inf:
            self._next_wait = self.now + WAIT_S

    def _say_busy(self, busy: Busy) -> None:
        self.output += b"echo:busy: %b\n" % busy.value.encode()

    def _say_wait(self) -> None:
        self.output += b"wait\n"

    def _say_temperatures(self, *, waiting: bool = False) -> None:
        self.output += b" " + self.body.temperatures(self.now) + (b" W:?\n" if waiting else b"\n")
