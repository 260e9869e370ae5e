"""What differs between the firmwares that speak this protocol, as data: one `Dialect` a row, no subclasses.

`dialect_of` picks the row by what the firmware says of itself. Facts are from the firmwares' sources and
documentation. Pure: knows no state of a link and no time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of firmware speaks. The defaults are Marlin's."""

    name: str
    checks_numbers: bool = True
    """It refuses a line whose number or checksum is wrong. Where it does not, a line sent twice is executed
    twice: nothing is ever sent again there, and a reply that stays away fails the run."""
    resend_ok: bool | None = True
    """Whether an ok follows its Resend; None: some releases send one, some do not."""
    keepalive: bool = True
    """It says `busy` while it executes a line (M113 sets how often)."""
    says_start: bool = True
    """It says `start` after a reset."""
    restart_command: bytes = b"M999"
    """What brings it back after an emergency stop."""
    blank_ok: bool = False
    """It answers a blank line with ok."""


MARLIN = Dialect("marlin")
