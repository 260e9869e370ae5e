"""Another voice for the emulated Marlin: the words of other firmware as data, and the two that are nearly Marlin.

Written from Prusa-Firmware's `cmdqueue.cpp` and `Marlin_main.cpp`, and Prusa-Firmware-Buddy's `queue.cpp`. What a
command does is Marlin's business here; what is answered is theirs. `firmwares` makes any of them by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from farmd_drivers.marlin.emulator.build import BANNER
from farmd_drivers.marlin.emulator.commands import HANDLERS, Busy, Job, Values
from farmd_drivers.marlin.emulator.intake import Judged
from farmd_drivers.marlin.emulator.machine import Marlin


@dataclass(frozen=True, slots=True)
class Voice:
    """What one firmware says. Formats take what Marlin's do."""

    name: str
    identity: bytes = b""
    """The answer to M115; empty: Marlin's."""
    banner: bytes = b"".join(BANNER)
    unknown: bytes = b'echo:Unknown command: "%b"\n'
    busy: bytes = b"echo:busy: %b\n"
    temperatures: bytes = b"T:%.2f /%.2f B:%.2f /%.2f @:0 B@:0"
    lacks: tuple[bytes, ...] = ()
    """Commands of Marlin that it does not know."""
    resets_when_killed: bool = False


class Voiced(Marlin):
    """A Marlin with another voice, and a base for those that judge lines by rules of their own."""

    voice = Voice("marlin")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refused: list[bytes] = []
        """Commands that were not executed, because the machine is halted or cannot."""
        self._restarts = False
        if self.voice.identity:
            self.handlers = {**HANDLERS, b"M115": self._identify}

    def _identify(self, machine: Marlin, values: Values, command: bytes, job: Job) -> None:
        self.output += self.voice.identity

    def kill(self, why: bytes = b"", echo: bytes = b"") -> None:
        self._restarts = self.alive and self.voice.resets_when_killed
        super().kill(why, echo)

    def next_time(self) -> float:
        return self.now if self._restarts else super().next_time()

    def step(self, now: float) -> None:
        super().step(now)
        if self._restarts:
            self._restarts = False
            words = bytes(self.output)
            self.power_on(self.now)
            self.output[:0] = words

    def _execute(self, number: int | None, command: bytes, *, asked: bool = True) -> None:
        if command.partition(b" ")[0] in self.voice.lacks:
            self._refuse_command(number, command)
        else:
            super()._execute(number, command, asked=asked)

    def _report(self) -> bytes:
        self.body.warm(self.now)
        nozzle, bed = self.body.nozzle, self.body.bed
        return self.voice.temperatures % (nozzle.actual_c, nozzle.target_c, bed.actual_c, bed.target_c)

    # Words.

    def _say_banner(self) -> None:
        self.output += self.voice.banner

    def _say_ok(self, number: int | None, command: bytes) -> None:
        if command[:4] == b"M105" and not command[4:5].isdigit():
            self.output += b"ok " + self._report() + b"\n"
        else:
            super()._say_ok(number, command)

    def _say_unknown(self, command: bytes) -> None:
        if self.voice.unknown:
            self.output += self.voice.unknown % command

    def _say_busy(self, busy: Busy) -> None:
        self.output += self.voice.busy % busy.value.encode()

    def _say_temperatures(self, *, waiting: bool = False) -> None:
        self.output += self._report() + b"\n"


class PrusaMk3(Voiced):
    """Prusa-Firmware 3: Marlin 1's queue, which asks again for a line that has a checksum and no number; kill()
    restarts it."""

    voice = Voice(
        "prusa-mk3",
        b"FIRMWARE_NAME:Prusa-Firmware 3.13.3+7094_fdab9f2 based on Marlin "
        b"FIRMWARE_URL:https://github.com/prusa3d/Prusa-Firmware PROTOCOL_VERSION:1.0 "
        b"MACHINE_TYPE:Prusa i3 MK3S EXTRUDER_COUNT:1 UUID:00000000-0000-0000-0000-000000000000\n"
        b"Cap:AUTOREPORT_TEMP:1\nCap:AUTOREPORT_FANS:1\nCap:AUTOREPORT_POSITION:1\nCap:EXTENDED_M20:1\n"
        b"Cap:PRUSA_MMU2:1\n",
        banner=b"start\necho: 3.13.3-7094_fdab9f2\n",
        unknown=b"Unknown M code: %b\n",
        temperatures=b"T:%.1f /%.1f B:%.1f /%.1f @:0 B@:0 P:0.0 A:28.4",
        lacks=(b"M108", b"M410"),
        resets_when_killed=True,
    )

    def _judge(self, line: bytes) -> Judged:
        if line[:1] != b"N" and b"*" in line:
            return Judged(b"", None, b"No Line Number with checksum")
        return super()._judge(line)


class PrusaBuddy(Voiced):
    """Prusa's 32-bit firmware: Marlin 2.0's queue without an emergency parser."""

    voice = Voice(
        "prusa-buddy",
        b"FIRMWARE_NAME:Prusa-Firmware-Buddy 6.2.4+8909 (Github) "
        b"SOURCE_CODE_URL:https://github.com/prusa3d/Prusa-Firmware-Buddy PROTOCOL_VERSION:1.0 "
        b"MACHINE_TYPE:Prusa-MK4S EXTRUDER_COUNT:1 UUID:cede2a2f-41a2-4748-9b12-c55c62f367ff\n"
        b"Cap:SERIAL_XON_XOFF:0\nCap:BINARY_FILE_TRANSFER:0\nCap:EEPROM:0\nCap:VOLUMETRIC:1\n"
        b"Cap:AUTOREPORT_TEMP:1\nCap:PROGRESS:0\nCap:PRINT_JOB:1\nCap:AUTOLEVEL:1\nCap:EMERGENCY_PARSER:0\n",
        banner=b"start\necho: 6.2.4+8909\n",
    )
