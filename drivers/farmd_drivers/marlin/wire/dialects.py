"""What differs between the firmwares that speak this protocol, as data: one `Dialect` a row, no subclasses.

`dialect_of` picks the row by what the firmware says of itself; `kind_of` reads a reply as that firmware means it.
Facts are from the firmwares' sources (`docs/DRIVERS.md` says which). Pure: knows no state of a link and no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farmd_drivers.marlin.wire.replies import Kind, classify

Heads = tuple[tuple[bytes, Kind], ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of firmware speaks. The defaults are Marlin's."""

    name: str
    says: tuple[str, ...] = ()
    """Its FIRMWARE_NAME contains one of these, in lower case."""
    heads: Heads = ()
    """How its replies begin that mean something else than they do with Marlin; the first that fits counts."""
    checks_numbers: bool | None = True
    """It refuses a line whose number or checksum is wrong. Where it does not, a line sent twice is executed
    twice: nothing is ever sent again there, and a reply that stays away fails the run. None: not known; its
    first Resend will show it."""
    resend_ok: bool | None = None
    """Whether an ok follows its Resend; None: some releases send one, some do not."""
    numbered_ok: bool = False
    """Its ok carries the number of the line, `ok 12`; one with another number belongs to another line."""
    blank_ok: bool = False
    """It answers a blank line with ok, so none is sent."""
    report_in_ok: bool | None = None
    """It answers M105 in one line, `ok T:...`; None: as the firmware was built."""
    keepalive: bool = True
    """It says `busy` while it executes a line, and M113 sets how often."""
    reports: bool = True
    """M155 S<seconds> makes it report temperatures, where it has AUTOREPORT_TEMP."""
    state_command: bytes = b""
    """Executed when all is well, and refused with the reason when the firmware is halted."""
    not_yet: tuple[str, ...] = ()
    """Its refusals that contain one of these mean that it is starting still."""
    breaks_wait: bytes = b"M108\n"
    """Ends a wait for heat while it lasts; unnumbered, because only so is it heard then. Empty: nothing does."""
    stop_byte: bytes = b""
    """What it hears before everything else, besides M112."""
    all_off: tuple[bytes, ...] = ()
    """The commands that leave the machine cold, where they are not those of Marlin."""
    restart_command: bytes = b"M999"
    """What brings it back after an emergency stop."""


_ALWAYS: Heads = (
    (b"// Klipper state: Shutdown", Kind.FATAL),
    (b"// Klipper state: Disconnect", Kind.START),
    (b"// Klipper state: Ready", Kind.START),
    (b'// Unknown command:"', Kind.UNKNOWN_COMMAND),
    (b"Smoothie Running", Kind.START),
    (b"HALTED, M999", Kind.STOPPED),
    (b"ok Emergency Stop", Kind.STOPPED),
    (b"Emergency Stop! Reset", Kind.STOPPED),
    (b"fatal:", Kind.STOPPED),
    (b"{", Kind.TEXT),
)
"""Unmistakable whoever says them, so they are understood before it is known who does."""

_ALWAYS_HEADS = tuple(head for head, _ in _ALWAYS)
_HALTED = (b": Machine is halted", b"M999 required")
"""How RepRapFirmware's refusals end, and Smoothieware's reasons."""

MARLIN = Dialect("marlin", says=("marlin",))
PRUSA_MK3 = Dialect(
    "prusa-mk3",
    says=("prusa-firmware ",),
    heads=((b"Unknown M code:", Kind.UNKNOWN_COMMAND), (b"Unknown G code:", Kind.UNKNOWN_COMMAND)),
    breaks_wait=b"",
    report_in_ok=True,
)
PRUSA_BUDDY = Dialect("prusa-buddy", says=("prusa-firmware-buddy",), resend_ok=True, report_in_ok=True)
KLIPPER = Dialect(
    "klipper",
    says=("klipper",),
    heads=((b"!!", Kind.REFUSED),),
    checks_numbers=False,
    blank_ok=True,
    report_in_ok=True,
    keepalive=False,
    reports=False,
    state_command=b"M400",
    not_yet=("Printer is not ready",),
    breaks_wait=b"",
    all_off=(b"TURN_OFF_HEATERS", b"M107"),
    restart_command=b"FIRMWARE_RESTART",
)
REPRAPFIRMWARE = Dialect(
    "reprapfirmware",
    says=("reprapfirmware",),
    heads=(
        (b"Error: Bad command", Kind.UNKNOWN_COMMAND),
        (b"Warning:", Kind.ERROR),
        (b"Error:", Kind.REFUSED),
    ),
    checks_numbers=False,
    report_in_ok=True,
    keepalive=False,
    reports=False,
    breaks_wait=b"",
)
SMOOTHIE = Dialect(
    "smoothie",
    says=("smoothie",),
    heads=(
        (b"Smoothie", Kind.START),
        (b"!!", Kind.STOPPED),
        (b"ALARM", Kind.STOPPED),
        (b"Error:", Kind.STOPPED),
        (b"ERROR:", Kind.STOPPED),
        (b"error:", Kind.STOPPED),
    ),
    resend_ok=False,
    blank_ok=True,
    report_in_ok=True,
    keepalive=False,
    reports=False,
    state_command=b"M400",
    breaks_wait=b"",
    stop_byte=b"\x18",
)
REPETIER = Dialect(
    "repetier",
    says=("repetier",),
    heads=((b"skip ", Kind.SKIPPED), (b"Error:Format error", Kind.RESEND_REASON)),
    resend_ok=True,
    numbered_ok=True,
    report_in_ok=False,
    reports=False,
)
UNKNOWN = Dialect("unknown", checks_numbers=None)
"""Nobody we know, or not heard yet. What it does with numbers will be seen; until then nothing is sent again."""

DIALECTS: Mapping[str, Dialect] = {
    row.name: row
    for row in (PRUSA_BUDDY, PRUSA_MK3, KLIPPER, REPRAPFIRMWARE, SMOOTHIE, REPETIER, MARLIN, UNKNOWN)
}
"""By name, as the setting has them; in the order in which `says` is tried."""

_BANNERS = ((b"// Klipper state:", KLIPPER), (b"Smoothie", SMOOTHIE))


def dialect_of(info: Mapping[str, str], banner: bytes = b"") -> Dialect:
    """The row of a firmware: by FIRMWARE_NAME in its answer to M115 (`info`, by key), else by its last `banner`.

    A vendor's name of its own is Marlin when anything else in the answer names it, as the URL of the source does.
    """
    name = info.get("FIRMWARE_NAME", "").lower() + " "
    if name.strip():
        for row in DIALECTS.values():
            if any(words in name for words in row.says):
                return row
        return MARLIN if any("marlin" in value.lower() for value in info.values()) else UNKNOWN
    return next((row for head, row in _BANNERS if banner.startswith(head)), UNKNOWN)


def kind_of(line: bytes, dialect: Dialect) -> Kind:
    """What a cleaned, non-empty reply of that firmware is."""
    if line == b"ok":
        return Kind.OK
    if line == b"!!" or line.endswith(_HALTED):
        return Kind.STOPPED
    for head, kind in dialect.heads:
        if line.startswith(head):
            return kind
    if line.startswith(_ALWAYS_HEADS):
        return next(kind for head, kind in _ALWAYS if line.startswith(head))
    return classify(line)
