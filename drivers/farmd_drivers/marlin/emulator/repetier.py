"""Repetier-Firmware 1, as far as a host can tell. Written from its `gcode.cpp` and `Commands.cpp`."""

from __future__ import annotations

import re

from farmd_drivers.marlin.emulator.intake import checksum
from farmd_drivers.marlin.emulator.voice import Voice, Voiced

_NUMBER = re.compile(rb"N(\d+) *")
_LAST_NUMBER = re.compile(rb".*N(\d+)", re.DOTALL)


class Repetier(Voiced):
    """Repetier-Firmware 1. `ok 12` is said when line 12 is read, which is when line 11 is over. A line it has had
    already is passed over with `skip 11` and ok, and so is, after a Resend, one that is not yet due."""

    voice = Voice(
        "repetier",
        b"FIRMWARE_NAME:Repetier_1.0.5 COMPILED:Aug  3 2022 FIRMWARE_URL:https://github.com/repetier/"
        b"Repetier-Firmware/ PROTOCOL_VERSION:1.0 MACHINE_TYPE:Mendel EXTRUDER_COUNT:1 REPETIER_PROTOCOL:3\n"
        b"Cap:PROGRESS:1\nCap:AUTOREPORT_TEMP:1\nCap:EEPROM:1\nCap:EMERGENCY_PARSER:1\n",
        banner=b"start\r\nInfo:External Reset\r\nFree RAM:2205\r\n",
        unknown=b"Unknown command:%b\r\n",
        busy=b"busy:%b\r\n",
        temperatures=b"T:%.2f /%.0f B:%.2f /%.0f B@:0 @:0",
        lacks=(b"M113",),
    )
    _OLD = 40
    _SKIPPED_AFTER_RESEND = 14

    def __post_init__(self) -> None:
        super().__post_init__()
        self._skipping = -1
        self.fatal = b""

    def kill(self, why: bytes = b"", echo: bytes = b"") -> None:
        """A fatal error: heaters off, everything but M999 is answered with it."""
        self.hang()
        self.alive = True
        self.body.heaters_off()
        self.fatal = b"fatal:%b - Printer stopped and heaters disabled due to this error. " % (
            why or b"Heater decoupled"
        )
        self.output += self.fatal + b"Fix error and restart with M999.\r\n"

    def stop_moving(self) -> None:
        self.kill()

    def _emergency(self, command: bytes) -> None:
        if command == b"M112":
            self.executed.append(command)
            self.power_on(self.now)
        else:
            super()._emergency(command)

    def _read(self, line: bytes) -> None:
        text, star, said = line.partition(b"*")
        digits = re.match(rb"\d+", said)
        if star and (digits is None or int(digits[0]) & 255 != checksum(text)):
            self._ask(b"Error:Wrong checksum\r\n")
            return
        found = _NUMBER.match(text)
        command = (text[found.end() :] if found else text).strip()
        if command.startswith(b"M110"):
            again = _LAST_NUMBER.match(text)
            self.last_number = int(again[1]) if again else 0
            self._skipping = -1
            self.executed.append(command)
            self.output += b"ok\r\n"
            return
        number = int(found[1]) if found else None
        if number is not None and number != self.last_number + 1:
            if (self.last_number - number) & 0xFFFF < self._OLD or self._skipping >= 0:
                self._skipping -= self._skipping >= 0 and number > self.last_number
                self.output += b"skip %d\r\nok\r\n" % number
            else:
                self._ask(b"Error:expected line %d got %d\r\n" % (self.last_number + 1, number))
            return
        self._skipping = -1
        if number is not None:
            self.last_number = number
        if self.fatal and not command.startswith(b"M999"):
            self.refused.append(command)
            self.output += self.fatal + b"Fix error and restart with M999.\r\n"
        else:
            self._ring.append((number, command))
        self.output += b"ok %d\r\n" % self.last_number

    def _ask(self, why: bytes) -> None:
        self.resends += 1
        self._skipping = self._SKIPPED_AFTER_RESEND
        self.intake.flush()
        self.output += why + b"\r\nResend:%d\r\nok\r\n" % (self.last_number + 1)

    def _execute(self, number: int | None, command: bytes, *, asked: bool = True) -> None:
        word = command.partition(b" ")[0]
        if word == b"M999":
            self.fatal = b""
            self.executed.append(command)
            self.output += b"info:Continue from fatal state\r\n"
            return
        super()._execute(number, command, asked=False)
        if word == b"M105":
            self._say_temperatures()

    def _refuse_command(self, number: int | None, command: bytes) -> None:
        self.unknown.append(command)
        self._say_unknown(command)
