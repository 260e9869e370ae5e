"""What the firmware has said of itself, and what follows for how it is spoken to.

Filled from its answer to M115, from its banner and from what it refuses. Pure: knows no state of the link and
no time.
"""

from __future__ import annotations

from typing import Literal

from farmd_drivers.marlin.wire import replies, states
from farmd_drivers.marlin.wire.dialects import DIALECTS, Dialect, dialect_of
from farmd_drivers.marlin.wire.replies import Kind

ASK_WHO = b"M115"
ASK_KEEPALIVE = b"M113 S%d" % states.KEEPALIVE_S
ASK_REPORTS = b"M155 S%d" % states.AUTOREPORT_S
AUTO: Literal["auto"] = "auto"


class Firmware:
    """The firmware of one link; `dialect` names the row of `DIALECTS` it speaks, or leaves that to what it says."""

    def __init__(self, dialect: str = AUTO) -> None:
        self.info: dict[str, str] = {}
        """The answer to M115 by key."""
        self.capabilities: dict[str, bool] = {}
        self._given = DIALECTS[dialect] if dialect != AUTO else None
        self.dialect: Dialect = self._given or dialect_of({})
        """How it speaks; UNKNOWN until it has said who it is."""
        self._refused_keepalive = False

    def hear(self, kind: Kind, line: bytes) -> bool:
        """Take in a line that the firmware says of itself; False when it says something else."""
        if kind is Kind.FIRMWARE:
            self.info = replies.firmware_info(line)
            self.dialect = self._given or dialect_of(self.info)
        elif kind is Kind.CAPABILITY:
            name, has = replies.capability(line)
            self.capabilities[name] = has
        elif kind is Kind.UNKNOWN_COMMAND and b"M113" in line:
            self._refused_keepalive = True
        else:
            return False
        return True

    def hear_banner(self, line: bytes) -> None:
        """It says this after a reset; all that is known of it until it answers to M115."""
        if not self.info:
            self.dialect = self._given or dialect_of({}, line)

    @property
    def name(self) -> str:
        """As it gives it; empty when it gives none."""
        return self.info.get("FIRMWARE_NAME", "").rstrip(",")

    @property
    def has(self) -> frozenset[str]:
        """The capabilities that it has."""
        return frozenset(name for name, value in self.capabilities.items() if value)

    @property
    def keeps_alive(self) -> bool:
        """It says `busy` while it works. Not every firmware refuses what it does not have: only some are believed."""
        return self.dialect.keepalive and self.dialect.checks_numbers is True and not self._refused_keepalive

    def questions(self) -> tuple[bytes, ...]:
        """What is asked for once it is known who it is, before its temperatures."""
        keepalive = (ASK_KEEPALIVE,) if self.dialect.keepalive else ()
        state = (self.dialect.state_command,) if self.dialect.state_command else ()
        return (*keepalive, *state)

    @property
    def can_report(self) -> bool:
        """M155 makes it report temperatures by itself."""
        return self.dialect.reports and self.capabilities.get("AUTOREPORT_TEMP", False)

    def heaters_off(self) -> tuple[bytes, ...]:
        """The commands that leave this machine cold."""
        if self.dialect.all_off:
            return self.dialect.all_off
        count = self.info.get("EXTRUDER_COUNT", "")
        nozzles = int(count) if count.isdigit() else 1
        return replies.heaters_off(nozzles, self.capabilities.get("CHAMBER_TEMPERATURE", False))

    def unnumbered_off(self) -> bytes:
        """`heaters_off` as bytes that need no answer."""
        return b"".join(command + b"\n" for command in self.heaters_off())

    def farewell(self) -> bytes:
        """Bytes that leave a machine cold that will not be fed any more, whatever it is waiting for."""
        return b"\n" + self.dialect.breaks_wait + self.unnumbered_off()
