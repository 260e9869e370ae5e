"""What a file needs to get onto a machine's card: firmware, lines that mean the same there, and time.

Knows no loop and no link; of the machine, what its firmware has said.
"""

from __future__ import annotations

from farmd.model.errors import ErrorCode, Refused
from farmd_drivers.marlin.card_log import MARK_LINES, CardMap
from farmd_drivers.marlin.job import Batch, JobFile
from farmd_drivers.marlin.wire.card import as_stored, closes_file
from farmd_drivers.marlin.wire.firmware import Firmware

STORE_S = 1700.0
"""So long a file may take to the card; the daemon's patience with a start is 1800 s."""
JUDGE_AFTER_S = 30.0
"""After so long it is known how long a file will take."""

CARD_UNSUITABLE = ErrorCode(
    "card-unsuitable",
    "this machine cannot be printed on from its own card",
    'put a card in, or set `print_from = "stream"`; its firmware needs SDCARD, SD_WRITE, line numbers and `busy`',
)
CARD_LINE = ErrorCode(
    "card-line",
    "a line of the file would not do from the machine's card what it does when it is streamed",
    'take it out of the slicer\'s custom G-code, or set `print_from = "stream"`',
)
CARD_NOT_STORED = ErrorCode(
    "card-not-stored",
    "the file did not get onto the machine's card as it is, so it is not printed",
    "look at the card: is it there, full, or worn out? Its link may be noisy, too",
)
CARD_TOO_SLOW = ErrorCode(
    "card-too-slow",
    "the file takes longer to the machine's card than a start may take",
    'raise `baud`, or set `print_from = "stream"` for such files',
)


def check_firmware(firmware: Firmware) -> None:
    """Raises `Refused` where it cannot print from a card that we have written to."""
    lacks = [name for name in ("SDCARD", "SD_WRITE") if name not in firmware.has]
    if not firmware.dialect.checks_numbers:
        lacks.append("line numbers")
    if not firmware.keeps_alive:
        lacks.append("busy")
    if lacks:
        raise Refused(CARD_UNSUITABLE, f"its firmware lacks {', '.join(lacks)}; nothing was sent")


def check_speed(fraction: float, took_s: float) -> None:
    """Raises `Refused` when a file of which that share was stored will not be there in time."""
    if took_s > JUDGE_AFTER_S and took_s > STORE_S * fraction:
        minutes = took_s / max(fraction, 1e-6) / 60
        raise Refused(CARD_TOO_SLOW, f"it would take {minutes:.0f} minutes; nothing was printed")


def stored_lines(job: JobFile, batch: Batch, places: CardMap, firmware: Firmware) -> list[bytes]:
    """What is stored of a batch, which is noted in `places`. Raises `Refused`."""
    lines: list[bytes] = []
    for index, command in enumerate(batch.commands):
        if closes_file(command):
            what = f"line {batch.lines[index]} holds `M29`, which ends a file that is being stored"
            raise Refused(CARD_LINE, what, where=job.name)
        if stored := as_stored(command):
            is_mark = places.lines % MARK_LINES == 0
            places.add(stored, job.place(batch.first + index + 1) if is_mark else None)
            lines.append(stored)
    if batch.pause is not None:
        if "EMERGENCY_PARSER" not in firmware.has:
            what = f"{batch.pause}: without EMERGENCY_PARSER nobody but a person at the machine could go on"
            raise Refused(CARD_LINE, what, where=job.name)
        places.add(b"M0", None)
        lines.append(b"M0")
    return lines
