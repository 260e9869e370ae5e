"""Smoothieware 1, as far as a host can tell. Written from its `GcodeDispatch.cpp` and `SerialConsole.cpp`."""

from __future__ import annotations

import re

from farmd_drivers.marlin.emulator.intake import Intake, checksum
from farmd_drivers.marlin.emulator.voice import Voice, Voiced

_NUMBER = re.compile(rb"N(\d+) *")


class _AllLines(Intake):
    """Reads blank lines too."""

    def line(self) -> bytes | None:
        end = self._rx.find(b"\n")
        if end < 0:
            self._line += self._rx
            self._rx.clear()
            return None
        line = self._line + bytes(self._rx[:end])
        self._line = b""
        del self._rx[: end + 1]
        return line.rstrip(b"\r")


class Smoothie(Voiced):
    """Smoothieware 1. A wrong line is asked for by `rs N`, with no ok and nothing flushed; a checksum is looked at
    where there is one; M110 is believed unseen. Halted it answers `!!` to most, with no ok, until M999."""

    voice = Voice(
        "smoothie",
        b"FIRMWARE_NAME:Smoothieware, FIRMWARE_URL:http%3A//smoothieware.org, X-SOURCE_CODE_URL:"
        b"https://github.com/Smoothieware/Smoothieware, FIRMWARE_VERSION:edge-3332442, PROTOCOL_VERSION:1.0, "
        b"X-FIRMWARE_BUILD_DATE:Apr  8 2023 12:01:05, X-SYSTEM_CLOCK:120MHz, X-AXES:5, X-GRBL_MODE:0, X-ARCS:1, "
        b"X-CNC:0, X-MSD:1\n",
        banner=b"Smoothie\r\nok\r\n",
        unknown=b"",
        temperatures=b"T:%.1f /%.1f @0 B:%.1f /%.1f @0",
    )
    _HALTED = frozenset(b"M2 M5 M9 M30 M105 M114 M115 M119 M80 M81 M911 M503 M106 M107".split())

    def __post_init__(self) -> None:
        super().__post_init__()
        self.intake = _AllLines(self.build)

    def power_on(self, now: float) -> None:
        super().power_on(now)
        self.stopped = False

    def kill(self, why: bytes = b"", echo: bytes = b"") -> None:
        """Nothing kills it: it halts."""
        text = why or b"Temperature runaway on T (delta temp 24.1)"
        self._halt(b"ERROR: %b, HALT asserted, TURN POWER OFF IMMEDIATELY - reset or M999 required\n" % text)

    def stop_moving(self) -> None:
        self.kill()

    def _halt(self, words: bytes) -> None:
        self.hang()
        self.alive = self.stopped = True
        self.body.heaters_off()
        self.output += words

    def receive(self, data: bytes, now: float) -> None:
        if b"\x18" in data and self.alive:
            self.step(now)
            self.executed.append(b"^X")
            self._halt(b"HALTED, M999 or $X to exit HALT state\r\n")
        else:
            super().receive(data, now)

    def _read(self, line: bytes) -> None:
        if line[:1] in (b"", b";", b"("):
            self.output += b"ok\n"
        elif line[:1] == b"N":
            self._read_numbered(line)
        elif line[:1] in (b"G", b"M", b"T", b"S"):
            self._ring.append((None, line.partition(b"*")[0].strip()))
        elif not line[:1].islower() and line[:1] != b"$":
            self.unknown.append(line)
            self.output += b"ok - ignored\n"

    def _read_numbered(self, line: bytes) -> None:
        found = _NUMBER.match(line)
        number = int(found[1]) if found else 0
        text, star, said = line.partition(b"*")
        command = text[found.end() :].strip() if found else b""
        if command.startswith(b"M110"):
            self.last_number = number
            self.executed.append(command)
            self.output += b"ok\n"
            return
        digits = re.match(rb"\d+", said)
        right = not star or (digits is not None and int(digits[0]) == checksum(text))
        if number == self.last_number + 1 and right:
            self.last_number = number
            self._ring.append((number, command))
        else:
            self.resends += 1
            self.output += b"rs N%d\n" % (self.last_number + 1)

    def _execute(self, number: int | None, command: bytes, *, asked: bool = True) -> None:
        word = command.partition(b" ")[0]
        if word == b"M112":
            self.executed.append(command)
            self._halt(b"ok Emergency Stop Requested - reset or M999 required to exit HALT state\n")
        elif self.stopped and word == b"M999":
            self.stopped = False
            self.executed.append(command)
            self.output += b"WARNING: After HALT you should HOME as position is currently unknown\nok\n"
        elif self.stopped and word not in self._HALTED:
            self.refused.append(command)
            self.output += b"!!\n"
        else:
            super()._execute(number, command, asked=asked)
