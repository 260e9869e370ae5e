"""Klipper's pseudo-terminal, as strict and as careless as it is: bytes and times in, bytes out.

Written from what `klippy/gcode.py`, `klippy.py` and `extras/heaters.py` do. Line numbers are cut off and checksums
ignored, so nothing is ever asked for again and a line that comes twice is executed twice. `ok` follows every line,
blank ones and refused ones too, when its handler has returned; a move's handler returns when no more than two
seconds of motion are waiting, so oks come at the rate of the motion. A refusal is `!! text` and then `ok`. `M112`
is heard while other lines wait; after it everything but a few questions is refused until FIRMWARE_RESTART.

It has the attributes that whoever owns a `Marlin` uses. `executed` is the truth: every command that was carried
out, without number and checksum; `refused` has the others.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from farmd_drivers.marlin.emulator.body import Heater

BUFFERED_S = 2.0
"""Klipper's buffer_time_high: so much motion waits before a move's ok is held back."""
STOP_READING = 20
"""So many lines waiting, and neither is more read nor M112 looked for."""
STARTING = "Printer is not ready\nThe klippy host software is attempting to connect.  Please\nretry in a few moments."

_PARTS = re.compile(r"([A-Z_]+|[A-Z*])")
_STOP = re.compile(rb"^(?:[nN]\d+)?\s*[mM]112(?:\s|$)")
_EARLY = frozenset({"M110", "M112", "M115", "RESTART", "FIRMWARE_RESTART", "ECHO", "STATUS", "HELP"})
_READY = frozenset(
    [
        "G0",
        "G1",
        "G2",
        "G3",
        "G4",
        "G10",
        "G11",
        "G17",
        "G20",
        "G21",
        "G28",
        "G90",
        "G91",
        "G92",
        "M17",
        "M18",
        "M73",
        "M82",
        "M83",
        "M84",
        "M104",
        "M105",
        "M106",
        "M107",
        "M109",
        "M114",
        "M117",
        "M118",
        "M119",
        "M140",
        "M190",
        "M204",
        "M220",
        "M221",
        "M400",
        "T0",
        "TURN_OFF_HEATERS",
        "BED_MESH_CALIBRATE",
        "SET_PRESSURE_ADVANCE",
    ]
)
_AXES = ("X", "Y", "Z")


class State(StrEnum):
    STARTUP = "startup"
    READY = "ready"
    SHUTDOWN = "shutdown"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Setup:
    """How this Klipper was configured. `move_scale` is the share of its real time that a move takes."""

    move_scale: float = 0.0
    heat_c_per_s: float = 200.0
    home_s: float = 0.0
    restart_s: float = 2.5
    reach_mm: float = 1000.0
    """A move beyond it is refused."""
    macros: tuple[str, ...] = ("START_PRINT", "END_PRINT")


@dataclass(slots=True)
class _Job:
    """The line whose handler has not returned yet."""

    command: bytes
    until: float
    ready: Callable[[], bool] | None = None
    next_report: float = math.inf


@dataclass(slots=True)
class Klipper:
    """One machine. `power_on` first; then `receive` and `step`, and send what is in `output`."""

    build: Setup = field(default_factory=Setup)
    executed: list[bytes] = field(default_factory=list)
    unknown: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)
    now: float = 0.0
    state: State = State.OFF
    nozzle: Heater = field(default_factory=Heater)
    bed: Heater = field(default_factory=Heater)
    position: dict[str, float] = field(default_factory=dict)
    _why: str = ""
    _rx: bytes = b""
    _lines: deque[bytes] = field(default_factory=deque)
    _unread: bytearray = field(default_factory=bytearray)
    _job: _Job | None = None
    _motion_end: float = 0.0
    _feed_mm_s: float = 25.0
    _relative: bool = False
    _ready_at: float = math.inf

    # Life.

    @property
    def alive(self) -> bool:
        """It reads and answers."""
        return self.state is not State.OFF

    @property
    def is_off(self) -> bool:
        """Nothing is heated, and no move is left to do."""
        return self._is_still() and not (self.nozzle.target_c or self.bed.target_c)

    def power_on(self, now: float) -> None:
        """The host's program has been started before this, and is ready."""
        self.now = now
        self.output.clear()
        self._begin()
        self._ready()

    def restart(self, now: float) -> None:
        """Somebody restarts it: it says so, and is ready a while later. Lines not read yet stay in the pty."""
        self.now = now
        self._begin()
        self._info("Klipper state: Disconnect")
        self._ready_at = now + self.build.restart_s

    def kill(self, why: bytes = b"MCU 'mcu' shutdown: Timer too close") -> None:
        """The micro-controller stops itself: heaters off, motion gone; what comes is refused with the reason."""
        if self.state not in (State.SHUTDOWN, State.OFF):
            was_ready = self.state is State.READY
            self.state, self._why = State.SHUTDOWN, why.decode() or "Shutdown"
            self._heaters_off()
            self._motion_end = self.now
            if was_ready:
                self._info("Klipper state: Shutdown")
            if self._job is not None:
                self._job = None
                self._error(self._why)
                self._ok()

    def stop_moving(self) -> None:
        """Whatever stops the machine here is a shutdown."""
        self.kill()

    def hang(self) -> None:
        """Stop dead without a word."""
        self.state = State.OFF
        self._job = None
        self._lines.clear()

    def say(self, line: bytes) -> None:
        """Say a line of its own accord."""
        self.output += line + b"\n"

    def _begin(self) -> None:
        self.state, self._why = State.STARTUP, STARTING
        self._heaters_off()
        self._motion_end = self.now
        self._relative = False
        self._job = None
        self._rx = b""
        self._lines.clear()

    def _ready(self) -> None:
        self._ready_at = math.inf
        self.state, self._why = State.READY, ""
        self._info("Klipper state: Ready")

    # Bytes in.

    def receive(self, data: bytes, now: float) -> None:
        if not self.alive:
            return
        self.now = max(self.now, now)
        self._unread += data
        self._read()
        self.step(now)

    def _read(self) -> None:
        if len(self._lines) >= STOP_READING:
            return
        *lines, self._rx = (self._rx + bytes(self._unread)).split(b"\n")
        self._unread.clear()
        self._lines.extend(lines)
        if len(self._lines) < STOP_READING and any(_STOP.match(line) for line in lines):
            self.kill(b"Shutdown due to M112 command")

    # Time.

    def next_time(self) -> float:
        """When `step` has something to do, if no bytes come before; infinity for never."""
        if not self.alive:
            return math.inf
        if self._job is None:
            return self.now if self._lines else self._ready_at
        due = self.now + 0.02 if self._job.ready is not None else self._job.until
        return min(due, self._job.next_report, self._ready_at)

    def step(self, now: float) -> None:
        """Do everything that is due by `now`."""
        self._warm(max(0.0, now - self.now))
        self.now = max(self.now, now)
        if self.alive and self.now >= self._ready_at:
            self._ready()
        while self.alive:
            self._read()
            if self._job is not None:
                if not self._returned(self._job):
                    break
                self._job = None
                self._ok()
            elif self._lines:
                self._process(self._lines.popleft())
            else:
                break

    def _returned(self, job: _Job) -> bool:
        if self.now >= job.next_report:
            job.next_report = self.now + 1.0
            self.output += self._temperatures() + b"\n"
        return self.now >= job.until and (job.ready is None or job.ready())

    def _is_still(self) -> bool:
        return self.now >= self._motion_end

    # What is said.

    def _info(self, text: str) -> None:
        self.output += b"".join(b"// %b\n" % line.strip().encode() for line in text.split("\n"))

    def _error(self, text: str) -> None:
        if "\n" in text.strip():
            self._info(text.strip())
        self.output += b"!! %b\n" % text.strip().split("\n")[0].strip().encode()

    def _ok(self, more: bytes = b"") -> None:
        self.output += b"ok %b\n" % more if more else b"ok\n"

    def _temperatures(self) -> bytes:
        if self.state is not State.READY:
            return b"T:0"
        bed, nozzle = self.bed, self.nozzle
        return b"B:%.1f /%.1f T0:%.1f /%.1f" % (bed.actual_c, bed.target_c, nozzle.actual_c, nozzle.target_c)

    # Commands.

    def _process(self, line: bytes) -> None:
        text = line.decode("latin-1").strip().partition(";")[0]
        parts = _PARTS.split(text.upper())
        numbered = "".join(parts[:2]) == "N"
        word = ("".join(parts[3:5]) if numbered else "".join(parts[:3])).strip()
        word = word.split()[0] if " " in word else word
        values = {parts[i]: parts[i + 1].strip() for i in range(1, len(parts) - 1, 2)}
        body = re.sub(r"^N\d+\s*", "", text, flags=re.IGNORECASE)
        star = body.rfind("*")
        command = (
            (body[:star] if star >= 0 and body[star + 1 :].isdigit() else body).strip().encode("latin-1")
        )
        if word == "M105":
            self.executed.append(command)
            self._ok(self._temperatures())
        elif word in _EARLY:
            self.executed.append(command)
            self._early(word)
        elif word == "M21":
            self._ok()
        elif self.state is not State.READY:
            self.refused.append(command)
            self._error(self._why)
            self._ok()
        elif not word:
            self._ok()
        elif word in _READY or word in self.build.macros:
            self._run(word, command, values)
        else:
            self.unknown.append(command)
            self._info(f'Unknown command:"{word}"')
            self._ok()

    def _early(self, word: str) -> None:
        if word == "M115":
            self._ok(b"FIRMWARE_NAME:Klipper FIRMWARE_VERSION:v0.13.0-320-gdd4f0fd5")
            return
        if word == "M112":
            self.kill(b"Shutdown due to M112 command")
        elif word == "STATUS":
            if self.state is State.READY:
                self._info("Klipper state: Ready")
            else:
                self._error(self._why + "\nKlipper state: Not ready")
        self._ok()
        if word.endswith("RESTART"):
            self.restart(self.now)

    def _run(self, word: str, command: bytes, values: dict[str, str]) -> None:
        job = _Job(command, self.now)
        match word:
            case "G0" | "G1" | "G2" | "G3":
                try:
                    job.until = self._move(
                        {key: float(value) for key, value in values.items() if key in "XYZEF"}
                    )
                except ValueError as error:
                    self.refused.append(command)
                    self._error(str(error))
                    self._ok()
                    return
            case "G4":
                seconds = float(values.get("S", 0) or 0) + float(values.get("P", 0) or 0) / 1000
                job.until = self._dwell(seconds * self.build.move_scale)
            case "G28":
                self.position = dict.fromkeys(_AXES, 0.0)
                job.until = self._dwell(self.build.home_s) + BUFFERED_S * (self.build.home_s > 0)
            case "G90" | "G91":
                self._relative = word == "G91"
            case "G92":
                self.position.update({key: float(value) for key, value in values.items() if key in _AXES})
            case "M104" | "M109":
                self._heat(self.nozzle, values, job, wait=word == "M109")
            case "M140" | "M190":
                self._heat(self.bed, values, job, wait=word == "M190")
            case "TURN_OFF_HEATERS":
                self._heaters_off()
            case "M400":
                job.ready = None if self._is_still() else self._is_still
            case _:
                pass
        self.executed.append(command)
        if job.until <= self.now and job.ready is None:
            self._ok()
        else:
            self._job = job

    def _dwell(self, seconds: float) -> float:
        """Let so much time pass in the motion; returns when the handler does."""
        self._motion_end = max(self._motion_end, self.now) + seconds
        return self._motion_end - BUFFERED_S

    def _move(self, values: dict[str, float]) -> float:
        if "F" in values:
            self._feed_mm_s = max(0.1, values["F"] / 60)
        target, squares = dict(self.position), 0.0
        for axis in _AXES:
            if axis in values:
                before = self.position.get(axis, 0.0)
                target[axis] = before + values[axis] if self._relative else values[axis]
                squares += (target[axis] - before) ** 2
                if abs(target[axis]) > self.build.reach_mm:
                    x, y, z = (target.get(name, 0.0) for name in _AXES)
                    raise ValueError(f"Move out of range: {x:.3f} {y:.3f} {z:.3f} [0.000]")
        self.position = target
        return self._dwell(math.sqrt(squares) / self._feed_mm_s * self.build.move_scale)

    def _heat(self, heater: Heater, values: dict[str, str], job: _Job, *, wait: bool) -> None:
        heater.target_c = float(values.get("S", 0) or 0)
        if wait and heater.target_c:
            job.ready = lambda: heater.is_warm
            job.next_report = self.now + 1.0
            self._warm(0.0)

    def _heaters_off(self) -> None:
        self.nozzle.target_c = self.bed.target_c = 0.0

    def _warm(self, elapsed_s: float) -> None:
        step_c = elapsed_s * self.build.heat_c_per_s if self.build.heat_c_per_s else math.inf
        self.nozzle.warm(step_c)
        self.bed.warm(step_c)
