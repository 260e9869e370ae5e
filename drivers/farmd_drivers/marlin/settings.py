"""What a Marlin machine can be told in its `[machine.link]` table."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from farmd.driver import DriverSettings
from farmd.gcode import check_line
from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.park import Park, Rehome
from farmd_drivers.marlin.wire.replies import COMMAND_BYTES
from farmd_drivers.marlin.wire.window import RX_BYTES


class ParkSettings(DriverSettings):
    """Where the head waits at a pause and after a stop."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    x_mm: float = Field(allow_inf_nan=False)
    """In the machine's coordinates."""
    y_mm: float = Field(allow_inf_nan=False)
    """In the machine's coordinates."""
    lift_mm: float = Field(default=5.0, ge=1, le=100)
    """How far above everything that was printed the head goes there."""
    retract_mm: float = Field(default=0.0, ge=0, le=20)
    """How much filament is drawn back, and fed again on return."""
    standby_after_s: float | None = Field(default=None, ge=0)
    """After so long the nozzle cools; none: it stays hot."""
    standby_c: float = Field(default=0.0, ge=0, le=300)
    """To this temperature, in degrees Celsius."""

    def plan(self) -> Park:
        return Park(
            self.x_mm,
            self.y_mm,
            self.lift_mm,
            self.retract_mm,
            math.inf if self.standby_after_s is None else self.standby_after_s,
            self.standby_c,
        )


class RehomeSettings(DriverSettings):
    """How the machine finds its position anew while a part stands on its bed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    commands: tuple[str, ...] = Field(min_length=1)
    """Sent for it, and checked as everything that is sent: `["G28 X Y"]`."""
    keeps_z: bool
    """True: they leave Z alone, and whoever goes on vouches that it has not moved since the run broke off. False:
    they find Z too, beside or above the part."""
    lift_mm: float = Field(default=5.0, ge=1, le=100)
    """How far above everything that was printed the head goes meanwhile."""
    prime_mm: float = Field(default=0.0, ge=0, le=100)
    """How much filament is fed at the place before its next line."""

    @field_validator("commands")
    @classmethod
    def _are_allowed(cls, commands: tuple[str, ...]) -> tuple[str, ...]:
        for command in commands:
            if finding := check_line(command):
                raise ValueError(f"{command!r}: {finding.command} {finding.reason}")
            if not command.strip() or len(command.encode()) > COMMAND_BYTES:
                raise ValueError(f"{command!r} is no command that fits into a line")
        return commands

    def plan(self) -> Rehome:
        commands = tuple(command.strip().encode() for command in self.commands)
        return Rehome(commands, self.keeps_z, self.lift_mm, self.prime_mm)


AUTO: Literal["auto"] = "auto"


class MarlinSettings(DriverSettings):
    """Settings of a Marlin machine."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    sole: ClassVar[tuple[str, ...]] = ("port",)

    port: str
    """The serial port, best by its name in /dev/serial/by-id."""
    baud: Annotated[int, Field(gt=0)] | Literal["auto"] = 115200
    """The speed that the firmware was built for; boards with native USB take any. "auto": every usual speed is
    tried until one is answered, and the last one that was is tried first."""
    banner_wait_s: float = Field(default=states.BANNER_S, ge=0)
    """Seconds that a board which opening the port resets is given to say `start`."""
    dialect: Literal[
        "auto",
        "marlin",
        "prusa-mk3",
        "prusa-buddy",
        "klipper",
        "reprapfirmware",
        "smoothie",
        "repetier",
        "unknown",
    ] = AUTO
    """How the firmware speaks; `auto`: as what it says of itself in its answer to M115."""
    sending: Literal["auto", "ping-pong", "advanced-ok", "counting"] = "auto"
    """How lines are sent. "ping-pong": one at a time. "advanced-ok": as many as firmware with ADVANCED_OK tells it
    has room for, the next one when the one before it has been read. "counting": as many as fit into `rx_buffer_bytes`,
    for links that lose no bytes (native USB): of a line cut by noise on a plain UART the rest may be executed. "auto":
    advanced-ok where the firmware's answers show it, else ping-pong. Where a way cannot be gone, or not safely, it is
    ping-pong: counting needs numbered lines that are checked, and M105 answered by one line."""
    rx_buffer_bytes: int = Field(default=RX_BYTES, ge=32, le=65536)
    """Bytes of the firmware's receive buffer (RX_BUFFER_SIZE): 128 on an AVR, 64 with old Arduino cores, 1024 on most
    32-bit boards. Never more than one less are on their way, ping-pong apart; too large a value loses lines, which
    are sent again."""
    print_from: Literal["stream", "card"] = "stream"
    """Whether a file is fed line by line, or first stored on the machine's own card and printed from there, which
    goes on without farmd. The machine then needs SDCARD and SD_WRITE, and takes as long to store a file as its link
    needs for it."""
    unseen_grace_s: float = Field(default=60.0, ge=0)
    """A link lost for no longer than this hides no print that somebody else started."""
    absence_grace_s: float = Field(default=900.0, ge=0)
    """The same for the time from the last link of an earlier farmd to the first of this one."""
    heat_guard: bool = True
    """Whether the temperatures are watched, and the machine stopped when a heater or its sensor does not behave.
    Off, nothing but the firmware's own protection is between a broken heater and a fire."""
    heat_guard_slowness: float = Field(default=1.0, ge=0.5, le=20.0)
    """Stretches every time that the guard over heaters waits: 3 for heaters three times as slow as usual. A fault
    is found as much later."""
    park: ParkSettings | None = None
    """Where the head waits at a pause and after a stop; none: it stays where it is, on the part."""
    motors_off_at_stop: bool = False
    """Whether the motors are switched off when a run was stopped."""
    rehome: RehomeSettings | None = None
    """How a run that broke off can be gone on with on this machine; none: it cannot."""
