"""What the firmware has said of itself, and what follows for how it is spoken to.

Filled from its answer to M115 and from what it refuses. Pure: knows no state of the link and no time.
"""

from __future__ import annotations

from farmd_drivers.marlin.wire import replies, states
from farmd_drivers.marlin.wire.replies import Kind

BREAK_WAIT = b"M108\n"
"""Unnumbered, because only so is it heard while a command waits for heat."""
ASK_KEEPALIVE = b"M113 S%d" % states.KEEPALIVE_S
ASK_REPORTS = b"M155 S%d" % states.AUTOREPORT_S


class Firmware:
    """The firmware of one link."""

    def __init__(self) -> None:
        self.info: dict[str, str] = {}
        """The answer to M115 by key."""
        self.capabilities: dict[str, bool] = {}
        self._refused_keepalive = False

    def hear(self, kind: Kind, line: bytes) -> bool:
        """Take in a line that the firmware says of itself; False when it says something else."""
        if kind is Kind.FIRMWARE:
            self.info = replies.firmware_info(line)
        elif kind is Kind.CAPABILITY:
            name, has = replies.capability(line)
            self.capabilities[name] = has
        elif kind is Kind.UNKNOWN_COMMAND and b"M113" in line:
            self._refused_keepalive = True
        else:
            return False
        return True

    @property
    def name(self) -> str:
        """As it gives it; empty when it gives none."""
        return self.info.get("FIRMWARE_NAME", "")

    @property
    def has(self) -> frozenset[str]:
        """The capabilities that it has."""
        return frozenset(name for name, value in self.capabilities.items() if value)

    @property
    def keeps_alive(self) -> bool:
        """It says `busy` while it works. Only Marlin refuses what it does not have, so others are not believed."""
        return not self._refused_keepalive and "Marlin" in self.name

    def heaters_off(self) -> tuple[bytes, ...]:
        """The commands that leave this machine cold."""
        count = self.info.get("EXTRUDER_COUNT", "")
        nozzles = int(count) if count.isdigit() else 1
        return replies.heaters_off(nozzles, self.capabilities.get("CHAMBER_TEMPERATURE", False))

    def unnumbered_off(self) -> bytes:
        """`heaters_off` as bytes that need no answer."""
        return b"".join(command + b"\n" for command in self.heaters_off())

    def farewell(self) -> bytes:
        """Bytes that leave a machine cold that will not be fed any more, whatever it is waiting for."""
        return b"\n" + BREAK_WAIT + self.unnumbered_off()
