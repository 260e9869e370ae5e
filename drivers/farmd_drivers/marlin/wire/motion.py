"""How long a machine may rightly be silent: what the moves that may still be queued take, from their text.

An estimate from above, made only when a silence is to be explained: feed rates and lengths as they stand in
the commands, with low accelerations and slow axes. Seconds and millimetres. Knows no state of a link.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from farmd_drivers.marlin.wire.replies import LONG_COMMANDS, word_of

PLANNER_MOVES = 32
"""Blocks of a large planner; 16 are usual."""
ACCELERATION_MM_S2 = 1000.0
SLOW_MM_S = {b"Z": 5.0, b"E": 20.0}
"""What slow axes may be held to by the firmware's own limits."""
UNKNOWN_MM = 200.0
"""A move from who knows where."""
SYNCHRONISE_S = 2.0
"""More than that nobody needs who only waits for the end of motion."""

_VALUE = re.compile(rb"([XYZEFIJRSP])\s*([-+]?\d*\.?\d+)")
_AT_ONCE = frozenset(
    b"G17 G18 G19 G20 G21 G80 G90 G91 G92 M17 M20 M21 M27 M31 M73 M75 M76 M77 M82 M83 M85 M92 M104 M105 M106 M107"
    b" M108 M110 M111 M113 M114 M115 M117 M118 M119 M140 M141 M145 M155 M200 M201 M202 M203 M204 M205 M207 M208"
    b" M220 M221 M300 M302 M412 M413 M486 M503 M569 M572 M593 M900".split()
)
"""Commands that wait for nothing."""
_MOVES = frozenset({b"G0", b"G1", b"G2", b"G3"})


def is_move(command: bytes) -> bool:
    return word_of(command) in _MOVES


def takes_no_time(command: bytes) -> bool:
    """Whether it is answered at once where the planner has room: it needs one place there, or none."""
    word = word_of(command)
    return word in (b"G0", b"G1") or word in _AT_ONCE


@dataclass(slots=True)
class Modal:
    """What holds for a move besides its own words; an axis is missing while its place is unknown."""

    at: dict[bytes, float] = field(default_factory=dict)
    feed_mm_s: float = 25.0
    scale: float = 1.0
    """M220, as a factor."""
    relative: bool = False
    relative_e: bool = False
    unit_mm: float = 1.0

    def skim(self, commands: list[bytes]) -> None:
        """Take in many commands at little cost: the last word of each kind in them."""
        text = b"\n" + b"\n".join(commands)
        for on, off, name in (
            (b"\nG91", b"\nG90", "relative"),
            (b"\nM83", b"\nM82", "relative_e"),
        ):
            last, other = text.rfind(on), text.rfind(off)
            if last != other:
                setattr(self, name, last > other)
        for letter in (b"X", b"Y", b"Z", b"E", b"F"):
            at = text.rfind(letter)
            while at >= 0 and (found := _VALUE.match(text, at)) is None:
                at = text.rfind(letter, 0, at)  # of a message
            if at >= 0 and found is not None:
                self._put(letter, float(found[2]))

    def _put(self, letter: bytes, value: float) -> None:
        if letter == b"F":
            self.feed_mm_s = max(0.01, value * self.unit_mm / 60)
        elif self.relative or (letter == b"E" and self.relative_e):
            self.at.pop(letter, None)
        else:
            self.at[letter] = value * self.unit_mm

    def take(self, command: bytes) -> float:
        """Take in one command; how long its move takes at most, 0.0 where it is none."""
        word = word_of(command)
        if word in _MOVES:
            values = {letter: float(value) for letter, value in _VALUE.findall(command.upper())}
            return self._move(word, values)
        match word:
            case b"G20" | b"G21":
                self.unit_mm = 25.4 if word == b"G20" else 1.0
            case b"G90" | b"G91":
                self.relative = self.relative_e = word == b"G91"
            case b"M82" | b"M83":
                self.relative_e = word == b"M83"
            case b"G92":
                for letter, value in _VALUE.findall(command.upper()):
                    if letter in (b"X", b"Y", b"Z", b"E"):
                        self.at[letter] = float(value) * self.unit_mm
            case b"G28":
                self.at.update({b"X": 0.0, b"Y": 0.0, b"Z": 0.0})
            case b"M220":
                if found := re.search(rb"S\s*(\d+)", command.upper()):
                    self.scale = max(0.01, int(found[1]) / 100)
            case _:
                pass
        return 0.0

    def _move(self, word: bytes, values: dict[bytes, float]) -> float:
        if b"F" in values:
            self._put(b"F", values[b"F"])
        steps: dict[bytes, float] = {}
        start = dict(self.at)
        for letter in (b"X", b"Y", b"Z", b"E"):
            if letter in values:
                steps[letter] = self._step(letter, values[letter] * self.unit_mm)
        plane = math.hypot(steps.get(b"X", 0.0), steps.get(b"Y", 0.0))
        if word in (b"G2", b"G3"):
            plane = max(plane, self._arc_mm(word, values, steps, start))
        length = math.hypot(plane, steps.get(b"Z", 0.0)) or steps.get(b"E", 0.0)
        seconds = length / (self.feed_mm_s * self.scale)
        seconds += min(2 * math.sqrt(length / ACCELERATION_MM_S2), self.feed_mm_s / ACCELERATION_MM_S2)
        for letter, most in SLOW_MM_S.items():
            seconds = max(seconds, steps.get(letter, 0.0) / most)
        return seconds

    def _step(self, letter: bytes, value: float) -> float:
        """How far an axis goes; notes where it arrives."""
        if self.relative or (letter == b"E" and self.relative_e):
            if letter in self.at:
                self.at[letter] += value
            return abs(value)
        before = self.at.get(letter)
        self.at[letter] = value
        if before is None:
            return (
                UNKNOWN_MM
                if letter in (b"X", b"Y")
                else min(abs(value), UNKNOWN_MM if letter == b"Z" else 10.0)
            )
        return abs(value - before)

    def _arc_mm(
        self, word: bytes, values: dict[bytes, float], steps: dict[bytes, float], start: dict[bytes, float]
    ) -> float:
        if b"R" in values:
            return 2 * math.pi * abs(values[b"R"]) * self.unit_mm
        across, along = (values.get(letter, 0.0) * self.unit_mm for letter in (b"I", b"J"))
        radius = math.hypot(across, along)
        try:
            ends = [self.at[letter] - start[letter] for letter in (b"X", b"Y")]
        except KeyError:
            return 2 * math.pi * radius
        turn = math.atan2(ends[1] - along, ends[0] - across) - math.atan2(-along, -across)
        if word == b"G2":
            turn = -turn
        turn %= 2 * math.pi
        return (turn or 2 * math.pi) * radius


def silence_s(modal: Modal, sent: Iterable[bytes], open_commands: Iterable[bytes]) -> float:
    """How long the moves of `sent` may keep the oldest of `open_commands`, its last ones, from its ok.

    `modal` is what held before them, and is changed. A move waits for a place in the planner, so for one move
    of those in it; an arc for as many places as it has segments; a dwell and whatever else waits for the end
    of all motion.
    """
    moves: deque[float] = deque(maxlen=PLANNER_MOVES)
    took: dict[bytes, float] = {}
    for command in sent:
        seconds = modal.take(command)
        if seconds:
            moves.append(seconds)
            took[command] = seconds
    longest, in_all = max(moves, default=0.0), sum(moves)
    return max((_wait_s(command, took, longest, in_all) for command in open_commands), default=0.0)


def _wait_s(command: bytes, took: dict[bytes, float], longest: float, in_all: float) -> float:
    word = word_of(command)
    if word in (b"G2", b"G3"):
        return longest + took.get(command, 0.0)
    if word in _MOVES or word in _AT_ONCE:
        return longest
    if word == b"G4":
        values = {letter: float(value) for letter, value in _VALUE.findall(command.upper())}
        return in_all + values.get(b"S", 0.0) + values.get(b"P", 0.0) / 1000
    return in_all + (0.0 if word in LONG_COMMANDS else SYNCHRONISE_S)
