"""The kinds of machines that a hall has, each bytes and times in and bytes out.

`Strict` is the emulator, which believes nothing and writes down what it executes. `Paced` is light: it
checks the numbers, accepts moves as fast as a planner of 16 moves of equal length does, keeps what it got
to be looked at later, and knows how long each next line took to come. Knows no pty, process or clock.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build

PLANNER_MOVES = 16
KILLED = b"Error:Printer halted. kill() called!\n"


@dataclass(slots=True)
class Link:
    """What is done to the bytes on their way: a share of the lines damaged, one line or one ok lost.

    `lose` is "line" or "ok", and the moves before it. A damaged line has one bit of one byte flipped.
    """

    damaged: float = 0.0
    both_ways: bool = False
    lose: tuple[str, int] | None = None
    seed: int = 0
    lost_at: float | None = None
    lost_after: int = 0
    back_at: float | None = None
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def damage(self, data: bytes) -> bytes:
        if not self.damaged:
            return data
        return b"".join(
            self._flipped(line) if self._random.random() < self.damaged else line
            for line in data.splitlines(keepends=True)
        )

    def _flipped(self, line: bytes) -> bytes:
        at = self._random.randrange(len(line))
        return line[:at] + bytes([line[at] ^ (1 << self._random.randrange(8))]) + line[at + 1 :]

    def toward_machine(self, data: bytes, moves: int, now: float) -> bytes:
        """`moves` were executed before."""
        data = self.damage(data)
        if self.lose is not None and self.lose[0] == "line" and moves >= self.lose[1] and b"G1 " in data:
            self.lose, self.lost_at, self.lost_after = None, now, moves
            return b"".join(line for line in data.splitlines(keepends=True) if b"G1 " not in line)
        return data

    def toward_host(self, data: bytes, moves: int, now: float) -> bytes:
        if self.lose is not None and self.lose[0] == "ok" and moves > self.lose[1] and b"ok\n" in data:
            self.lose, self.lost_at, self.lost_after = None, now, moves
            return data.replace(b"ok\n", b"", 1)
        return self.damage(data) if self.both_ways else data

    def look(self, moves: int, now: float) -> None:
        if self.lost_at is not None and self.back_at is None and moves > self.lost_after:
            self.back_at = now


class Machine(Protocol):
    due: float
    """When `tick` wants to be called; infinity for never."""

    def receive(self, data: bytes, now: float) -> bytes: ...
    def tick(self, now: float) -> bytes: ...
    def wrote(self, now: float) -> None: ...
    def upset(self, what: str, now: float) -> bytes: ...
    def stat(self) -> dict[str, Any]: ...
    def save(self, path: Path) -> None: ...


class Strict:
    """The strict emulator behind a link."""

    def __init__(self, build: Build, link: Link) -> None:
        self._marlin = Marlin(build)
        self._link = link
        self._moves = self._seen = self._starved = 0
        self._m112_at: float | None = None
        self.due = math.inf

    def receive(self, data: bytes, now: float) -> bytes:
        if self._m112_at is None and b"M112" in data:
            self._m112_at = now
        data = self._link.toward_machine(data, self._moves, now)
        # Between the first moves and the last, a planner that is empty when a line comes has starved.
        if self._moves >= PLANNER_MOVES and b"G1 " in data and self._marlin.body.is_still(now):
            self._starved += 1
        if data:
            self._marlin.receive(data, now)
        return self._said(now)

    def tick(self, now: float) -> bytes:
        self._marlin.step(now)
        return self._said(now)

    def wrote(self, now: float) -> None:
        pass

    def _said(self, now: float) -> bytes:
        marlin = self._marlin
        executed = marlin.executed
        for command in executed[self._seen :]:
            self._moves += command.startswith(b"G1 ")
        self._seen = len(executed)
        self.due = marlin.next_time()
        self._link.look(self._moves, now)
        if not marlin.output:
            return b""
        said = bytes(marlin.output)
        marlin.output.clear()
        return self._link.toward_host(said, self._moves, now)

    def upset(self, what: str, now: float) -> bytes:
        match what:
            case "power-on":
                self._m112_at = None
                self._marlin.power_on(now)
            case "kill":
                self._marlin.kill(b"Thermal Runaway, system stopped! Heater_ID: 0")
            case "hang":
                self._marlin.hang()
            case _:
                raise ValueError(f"no such upset: {what!r}")
        return self._said(now)

    def stat(self) -> dict[str, Any]:
        link = self._link
        return {
            "moves": self._moves,
            "executed": len(self._marlin.executed),
            "resends": self._marlin.resends,
            "starved": self._starved,
            "m112_at": self._m112_at,
            "lost_at": link.lost_at,
            "back_at": link.back_at,
        }

    def save(self, path: Path) -> None:
        path.write_bytes(b"".join(line + b"\n" for line in self._marlin.executed))


class Paced:
    """A light machine: `move_s` for each move, 16 of them planned ahead."""

    def __init__(self, move_s: float) -> None:
        self._move_s = move_s
        self._text = b""
        self._last = 0
        self._ends_at = 0.0
        """When the planned moves are over."""
        self._answer = b""
        self._answered_at: float | None = None
        self._dead = False
        self._got: list[bytes] = []
        self._moves = self._resends = self._starved = 0
        self._turns: list[float] = []
        self._m112_at: float | None = None
        self.due = math.inf

    def receive(self, data: bytes, now: float) -> bytes:
        if b"M112" in data:
            self._dead = True
            if self._m112_at is None:
                self._m112_at = now
                return KILLED
        if self._dead:
            return b""
        if self._text:
            data = self._text + data
        *lines, self._text = data.split(b"\n")
        return b"".join([self._line(line, now) for line in lines if line])

    def _line(self, line: bytes, now: float) -> bytes:
        number, _, command = line.partition(b" ")
        command = command.partition(b"*")[0]
        if number[:1] != b"N":
            return b"ok\n"
        if command.startswith(b"M110"):
            self._last = int(number[1:])
        elif int(number[1:]) != self._last + 1:
            self._resends += 1
            return b"Error:Line Number is not Last Line Number+1, Last Line: %d\nResend: %d\nok\n" % (
                self._last,
                self._last + 1,
            )
        else:
            self._last += 1
            self._got.append(line)
        if command[:3] == b"G1 ":
            return self._move(now)
        if command == b"M400" and now < self._ends_at:
            self._answer, self.due = b"ok\n", self._ends_at
            return b""
        if command == b"M115":
            return b"FIRMWARE_NAME:Marlin 2.1.2 EXTRUDER_COUNT:1\nCap:AUTOREPORT_TEMP:1\nok\n"
        return b"ok T:20.0 /0.0 B:20.0 /0.0 @:0 B@:0\n" if command == b"M105" else b"ok\n"

    def _move(self, now: float) -> bytes:
        if self._moves >= PLANNER_MOVES:
            if self._answered_at is not None:
                self._turns.append(now - self._answered_at)
            self._starved += now > self._ends_at
        self._moves += 1
        self._answered_at = None
        self._ends_at = max(self._ends_at, now) + self._move_s
        room_at = self._ends_at - PLANNER_MOVES * self._move_s
        if room_at <= now:
            return b"ok\n"
        self._answer, self.due = b"ok\n", room_at
        return b""

    def tick(self, now: float) -> bytes:
        self.due = math.inf
        answer, self._answer = self._answer, b""
        return answer

    def wrote(self, now: float) -> None:
        self._answered_at = now

    def upset(self, what: str, now: float) -> bytes:
        match what:
            case "power-on":
                self._dead, self._last, self._text, self._m112_at = False, 0, b"", None
                self._answer, self.due = b"", math.inf
                return b"start\n"
            case "kill":
                self._dead = True
                return KILLED
            case _:
                raise ValueError(f"no such upset: {what!r}")

    def stat(self) -> dict[str, Any]:
        return {
            "moves": self._moves,
            "resends": self._resends,
            "starved": self._starved,
            "m112_at": self._m112_at,
        }

    def save(self, path: Path) -> None:
        path.write_bytes(b"".join(line + b"\n" for line in self._got))

    @property
    def turns(self) -> list[float]:
        return self._turns
