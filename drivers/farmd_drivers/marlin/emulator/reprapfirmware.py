"""RepRapFirmware 3 on USB, as far as a host can tell. Written from its `StringParser.cpp` and `GCodes.cpp`."""

from __future__ import annotations

import re

from farmd_drivers.marlin.emulator.commands import values_of
from farmd_drivers.marlin.emulator.intake import checksum
from farmd_drivers.marlin.emulator.voice import Voice, Voiced

_NUMBER = re.compile(rb"N(\d+) *")
REACH_MM = 1000.0
"""How far the axes go: a move beyond that is refused."""


class RepRapFirmware(Voiced):
    """RepRapFirmware 3 on USB. Numbers are not looked at, and a line with a wrong checksum is dropped without a
    word. A refusal is `Error: text` and ok. After M112, which waits its turn, nearly all is refused until M999."""

    voice = Voice(
        "reprapfirmware",
        b"FIRMWARE_NAME: RepRapFirmware for Duet 3 MB6HC FIRMWARE_VERSION: 3.5.3 ELECTRONICS: Duet 3 MB6HC v1.01 "
        b"or earlier FIRMWARE_DATE: 2024-09-18 11:24:36\n",
        banner=b"",
        unknown=b"Error: Bad command: %b\n",
        temperatures=b"T:%.1f /%.1f T0:%.1f /%.1f B:21.0 /0.0",
    )
    _HALTED = frozenset(b"M105 M112 M115 M122 M408 M409 M999".split())

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dropped = 0
        """Lines whose checksum was wrong."""

    def kill(self, why: bytes = b"", echo: bytes = b"") -> None:
        """A heater fault: told, and the heater is off."""
        self.body.heaters_off()
        self.output += b"Error: %b\n" % (why or b"Heating fault on heater 1, temperature rising too slowly")

    def stop_moving(self) -> None:
        self._halt()

    def _halt(self) -> None:
        self.hang()
        self.alive = self.stopped = True
        self.body.heaters_off()
        self.output += b"Emergency Stop! Reset the controller to continue.\n"

    def _report(self) -> bytes:
        self.body.warm(self.now)
        nozzle, bed = self.body.nozzle, self.body.bed
        both = (nozzle.actual_c, nozzle.target_c)
        return b"T:%.1f /%.1f T0:%.1f /%.1f B:%.1f /%.1f" % (*both, *both, bed.actual_c, bed.target_c)

    def _read(self, line: bytes) -> None:
        found = _NUMBER.match(line)
        if found is None:
            self._ring.append((None, line.strip()))
            return
        star = line.find(b"*")
        if star >= 0:
            digits = re.match(rb"\d+", line[star + 1 :])
            if digits is None or int(digits[0]) != checksum(line[:star]):
                self.dropped += 1
                return
        self._ring.append((int(found[1]), line[found.end() : star if star >= 0 else None].strip()))

    def _execute(self, number: int | None, command: bytes, *, asked: bool = True) -> None:
        word = command.partition(b" ")[0]
        values = values_of(command, len(word))
        if self.stopped and word == b"M999":
            self.executed.append(command)
            self.power_on(self.now)
        elif self.stopped and word not in self._HALTED:
            self._refuse_with(command, b"Error: %b: Machine is halted\n" % word)
        elif word == b"M112":
            self.executed.append(command)
            self._halt()
        elif word in (b"G0", b"G1") and any(abs(values.get(axis, 0.0)) > REACH_MM for axis in "XYZ"):
            self._refuse_with(command, b"Error: G0/G1: target position outside machine limits\n")
        elif word == b"M110":
            self.executed.append(command)
            self.output += b"ok\n"
        else:
            super()._execute(number, command, asked=asked)

    def _refuse_with(self, command: bytes, words: bytes) -> None:
        self.refused.append(command)
        self.output += words + b"ok\n"
