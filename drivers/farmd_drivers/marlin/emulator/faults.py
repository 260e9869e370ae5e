"""Fault schedules: which of the cases that break naive hosts befalls a link or its machine, and when.

A schedule is a list of `Upset`s, each at a line counted in its direction, so the same list gives the same
history. Three levels: of bytes (`Fault`), of the protocol (what firmware says that it should not, or does
not say that it should), and of life (what happens to the machine, or to its cable). `Saboteur` carries a
schedule out on whatever passes it. Knows the words of the firmware, and neither clock nor device.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from farmd_drivers.marlin.emulator.build import OVERHEATED
from farmd_drivers.marlin.emulator.machine import Marlin
from farmd_drivers.marlin.emulator.noise import Fault, spoil


class Quirk(StrEnum):
    """Faults of the protocol. The next line that fits is the one that is changed."""

    STRAY_OK = "stray-ok"
    """An ok that answers nothing."""
    LOST_OK = "lost-ok"
    """The next ok is lost, behind a Resend or wherever it is."""
    MANY_RESENDS = "many-resends"
    """A request is made several times (Marlin #24959)."""
    RESEND_UNSENT = "resend-unsent"
    """A line is asked for that was not sent yet: the last one was received twice."""
    DAMAGED_RESEND = "damaged-resend"
    """A Resend whose number lost or gained something (OctoPrint #4671), after a refused line."""
    FLOOD = "flood"
    """A hundred lines of `echo:` between two answers."""
    REPORT = "report"
    """Temperatures in the middle of a reply."""
    SPLIT = "split"
    """A reply comes byte by byte, with pauses."""
    DELAY = "delay"
    """Everything from the machine is held for a while."""
    STALL = "stall"
    """Everything to the machine is held for a while."""
    BUSY_LONG = "busy-long"
    """The next command takes long, and the firmware says that it is busy; where it cannot, not that long."""
    NOTIFICATION = "notification"
    PROMPT = "prompt"
    HARMLESS_ERROR = "harmless-error"
    """An `Error:` that stops nothing."""


class Life(StrEnum):
    """What happens to the machine, the cable or the run."""

    RESET = "reset"
    ECHO_START = "echo-start"
    """A reset that is told as `echo:start` (OctoPrint #3904)."""
    SILENT_RESET = "silent-reset"
    """A reset whose banner is lost."""
    KILL = "kill"
    """Thermal protection: three lines, and silence."""
    LCD_KILL = "lcd-kill"
    """A kill of another kind: the words of the display first."""
    STOP = "stop"
    OVERHEAT = "overheat"
    HANG = "hang"
    UNPLUG = "unplug"
    """The cable comes off, and on again a little later; the machine goes on with what it has."""
    ACTION_PAUSE = "action-pause"
    ACTION_PAUSED = "action-paused"
    """Firmware pauses by itself, and says so twice (Marlin #20815); then it resumes."""
    ACTION_CANCEL = "action-cancel"
    USER_PAUSE = "user-pause"
    USER_CANCEL = "user-cancel"
    ESTOP = "estop"


DEADLY = frozenset(
    {
        Life.RESET,
        Life.ECHO_START,
        Life.SILENT_RESET,
        Life.KILL,
        Life.LCD_KILL,
        Life.STOP,
        Life.OVERHEAT,
        Life.HANG,
        Life.UNPLUG,
        Life.ESTOP,
    }
)
"""What no run survives."""
TO_HOST_ONLY = frozenset({Fault.DOUBLE})
FLOOD_LINES = 100
_RESEND = re.compile(rb"Resend: *(\d+)")
_NUMBER = re.compile(rb"N(\d+)")

Piece = tuple[float, bytes]
"""Bytes, and how many seconds after the piece before them they come."""


@dataclass(frozen=True, slots=True)
class Upset:
    """One fault: `at` counts the lines that passed in its direction since the run began."""

    at: int
    what: Fault | Quirk | Life
    to_host: bool
    seed: int

    def __str__(self) -> str:
        return f"{self.what}@{self.at}{'<' if self.to_host else '>'}"


Schedule = tuple[Upset, ...]


def make_schedule(
    source: random.Random,
    lines: int,
    faults: Sequence[Fault | Quirk | Life],
    count: int,
    *,
    apart: int = 1,
) -> Schedule:
    """`count` faults out of `faults` over a run of about `lines` lines, at least `apart` lines from each other."""
    taken: set[tuple[bool, int]] = set()
    upsets = []
    for _ in range(count):
        what = source.choice(faults)
        to_host = isinstance(what, Quirk) or what in TO_HOST_ONLY or source.random() < 0.5
        if isinstance(what, Life) or what is Quirk.STALL:
            to_host = False
        at = source.randrange(lines)
        if any(side is to_host and abs(place - at) < apart for side, place in taken):
            continue
        taken.add((to_host, at))
        upsets.append(Upset(at, what, to_host, source.getrandbits(32)))
    return tuple(sorted(upsets, key=lambda upset: upset.at))


class Saboteur:
    """Carries a schedule out. `befall` gets what happens to the machine, its cable or the run.

    Until `armed` nothing is counted and nothing happens.
    """

    def __init__(self, schedule: Schedule, machine: Marlin, befall: Callable[[Life], None]) -> None:
        self.armed = False
        self.done: list[Upset] = []
        """What has happened so far, in order."""
        self._machine = machine
        self._befall = befall
        self._up = [upset for upset in schedule if not upset.to_host][::-1]
        self._down = [upset for upset in schedule if upset.to_host][::-1]
        self._ups = self._downs = 0
        self._next_ok_lost = False
        self._resend: Upset | None = None
        self._last_number = 0

    def toward_machine(self, data: bytes) -> list[Piece]:
        if not self.armed:
            return [(0.0, data)]
        count = data.count(b"\n")
        first, self._ups = self._ups, self._ups + count
        if not self._up or self._up[-1].at >= self._ups:
            return [(0.0, data)]
        pieces: list[Piece] = []
        for number, line in enumerate(data.splitlines(keepends=True), first):
            if found := _NUMBER.match(line):
                self._last_number = int(found[1])
            wait_s = 0.0
            while self._up and self._up[-1].at <= number and line:
                upset = self._up.pop()
                self.done.append(upset)
                if isinstance(upset.what, Fault):
                    line = spoil(line, upset.what, random.Random(upset.seed))
                elif upset.what is Quirk.STALL:
                    wait_s = random.Random(upset.seed).uniform(0.05, 1.5)
                elif isinstance(upset.what, Life):
                    self._befall(upset.what)
            pieces.append((wait_s, line))
        return pieces

    def toward_host(self, data: bytes) -> list[Piece]:
        if not self.armed:
            return [(0.0, data)]
        count = data.count(b"\n")
        first, self._downs = self._downs, self._downs + count
        calm = not self._next_ok_lost and self._resend is None
        if calm and (not self._down or self._down[-1].at >= self._downs):
            return [(0.0, data)]
        pieces: list[Piece] = []
        for number, line in enumerate(data.splitlines(keepends=True), first):
            now: list[Piece] = [(0.0, self._quirk(line))]
            while self._down and self._down[-1].at <= number:
                upset = self._down.pop()
                self.done.append(upset)
                source = random.Random(upset.seed)
                if isinstance(upset.what, Fault):
                    now = [(wait_s, spoil(text, upset.what, source) if text else b"") for wait_s, text in now]
                elif isinstance(upset.what, Quirk):
                    now = self._disturb(upset, source, now)
            pieces += now
        return [piece for piece in pieces if piece[1]]

    def _quirk(self, line: bytes) -> bytes:
        """The changes that wait for a line that fits."""
        if self._next_ok_lost and line.startswith(b"ok"):
            self._next_ok_lost = False
            return b""
        if self._resend is not None and (found := _RESEND.match(line)):
            source = random.Random(self._resend.seed)
            many = self._resend.what is Quirk.MANY_RESENDS
            self._resend = None
            return line * source.randint(2, 5) if many else b"Resend: %b\n" % _damaged(found[1], source)
        return line

    def _disturb(self, upset: Upset, source: random.Random, now: list[Piece]) -> list[Piece]:
        match upset.what:
            case Quirk.STRAY_OK:
                return [*now, (0.0, b"ok\n")]
            case Quirk.LOST_OK:
                self._next_ok_lost = True
            case Quirk.MANY_RESENDS | Quirk.DAMAGED_RESEND:
                self._resend = upset
                self._machine.receive(b"N0 refused*1\n", self._machine.now)
            case Quirk.RESEND_UNSENT:
                return [*now, (0.0, b"Resend: %d\nok\n" % (self._machine.last_number + 1))]
            case Quirk.FLOOD:
                flood = b"".join(b"echo:something to tell %d\n" % n for n in range(FLOOD_LINES))
                return [*now, (0.0, flood)]
            case Quirk.REPORT:
                return [(0.0, b" T:20.00 /0.00 B:20.00 /0.00 @:0 B@:0\n"), *now]
            case Quirk.SPLIT:
                return [(source.uniform(0.0, 0.02), bytes([c])) for _, text in now for c in text]
            case Quirk.DELAY:
                return [(source.uniform(0.05, 1.5), text) for _, text in now]
            case Quirk.BUSY_LONG:
                self._machine.slow_s = source.choice(
                    (3.0, 20.0, 600.0) if self._machine.build.keepalive else (3.0,)
                )
            case Quirk.NOTIFICATION:
                return [*now, (0.0, b"//action:notification Layer 3 of 7\n")]
            case Quirk.PROMPT:
                return [
                    *now,
                    (0.0, b"//action:prompt_begin Sure?\n//action:prompt_button Yes\n//action:prompt_show\n"),
                ]
            case Quirk.HARMLESS_ERROR:
                return [*now, (0.0, b"Error:Probing failed, trying again\n")]
            case _:
                pass
        return now


def _damaged(number: bytes, source: random.Random) -> bytes:
    place = source.randrange(len(number))
    digit = b"%d" % source.randrange(10)
    return source.choice(
        (number[:place] + number[place + 1 :], number[:place] + digit + number[place:], digit + number[1:])
    )


def befall(machine: Marlin, what: Life, now: float) -> None:
    """What of `Life` is the machine's own affair."""
    match what:
        case Life.RESET:
            machine.power_on(now)
        case Life.ECHO_START | Life.SILENT_RESET:
            machine.power_on(now)
            machine.output.clear()
            if what is Life.ECHO_START:
                machine.say(b"echo:start")
        case Life.KILL:
            machine.kill(b"Thermal Runaway, system stopped! Heater_ID: 0")
        case Life.LCD_KILL:
            machine.kill(echo=b"PRINTER HALTED")
        case Life.STOP:
            machine.stop_moving()
        case Life.OVERHEAT:
            machine.output += OVERHEATED
            machine.stop_moving()
        case Life.HANG:
            machine.hang()
        case Life.ACTION_PAUSE:
            machine.say(b"//action:pause")
        case Life.ACTION_PAUSED:
            machine.say(b"//action:paused")
            machine.say(b"//action:paused")
        case Life.ACTION_CANCEL:
            machine.say(b"//action:cancel")
        case _:
            raise ValueError(f"not of the machine's own: {what}")
