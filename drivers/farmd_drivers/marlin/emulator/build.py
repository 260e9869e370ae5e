"""How the emulated firmware was built: its options, the commands it knows, and what it says of itself.

Texts are those of Marlin 2.1. Pure data; knows no machine and no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BANNER = (
    b"start\n",
    b"Marlin 2.1.2.1\n",
    b"echo: Last Updated: 2022-01-01 | Author: (none)\n",
    b"echo: Free Memory: 3702  PlannerBufferBytes: 1232\n",
)
LINE_BYTES = 95
"""MAX_CMD_SIZE without its closing NUL."""
STOPPED = (
    b"Error:Printer stopped due to errors. Fix the error and use M999 to restart. (Temperature is reset.)\n"
)
KILLED = b"Error:Printer halted. kill() called!\n//action:poweroff\n"
OVERHEATED = b"Error:0\n: Extruder switched off. MAXTEMP triggered !\n"
"""As firmware before 1.1 says it: the head of the error on one line, its text on the next."""

_G = (0, 1, 2, 3, 4, 5, 10, 11, 12, 17, 18, 19, 20, 21, 27, 28, 29, 30, 34, 42, 60, 61, 80, 90, 91, 92)
_M = (0, 1, 17, 18, 20, 21, 27, 31, 73, 75, 76, 77, 78, 82, 83, 84, 85, 92, 104, 105, 106, 107, 108, 109, 110)
_M2 = (111, 112, 113, 114, 115, 117, 118, 119, 120, 121, 140, 141, 145, 155, 190, 191, 200, 201, 202, 203)
_M3 = (204, 205, 207, 208, 211, 217, 218, 220, 221, 226, 300, 400, 401, 402, 410, 412, 413, 420, 425, 486)
_M4 = (500, 501, 503, 569, 572, 593, 600, 603, 701, 702, 862, 876, 900, 906, 914, 999)
KNOWN = frozenset([b"G%d" % n for n in _G] + [b"M%d" % n for n in (*_M, *_M2, *_M3, *_M4)])
WORD = re.compile(rb"([GMT]) *(\d+)|(T)[xc?]")


@dataclass(frozen=True, slots=True)
class Build:
    """How this firmware was built. Times in seconds; 0 for `heat_c_per_s` means heat at once.

    `move_scale` is the share of its real time that a move takes: 0 moves at once, 1 as long as it says.
    `baud` paces the bytes that come (10 bits a byte); 0 lets them arrive at once. `rx_bytes` is the size of
    the receive ring: an AVR has 128, and what does not fit is lost without a word.
    """

    emergency_parser: bool = True
    autoreport: bool = True
    keepalive: bool = True
    busy_while_heating: bool = True
    inline_temperatures: bool = True
    advanced_ok: bool = False
    ok_after_resend: bool = True
    """A Resend is followed by an ok; a band of 2.0 versions and Prusa's MK3 send none (OctoPrint #2285, #2342)."""
    early_resend_ok: bool = False
    """That ok is of the command at the reading end (early 2.0): with ADVANCED_OK it has another line's number."""
    says_wait: bool = False
    knows_m110: bool = True
    prompts: bool = False
    """A pause of its own asks by `//action:prompt_...`."""
    says_twice: bool = False
    """`start` at power-on and `//action:paused` at a filament change come twice (Prusa #1184, Marlin #20815)."""
    heat_c_per_s: float = 200.0
    ripple_c: float = 0.0
    """How far the temperature that a regulated heater shows swings around its target."""
    move_scale: float = 0.0
    min_move_s: float = 0.0
    home_s: float = 0.0
    rx_bytes: int = 1024
    baud: int = 0
    ring_lines: int = 4
    planner_blocks: int = 16

    def identity(self) -> bytes:
        """The answer to M115."""
        capabilities = (
            ("EEPROM", True),
            ("AUTOREPORT_TEMP", self.autoreport),
            ("EMERGENCY_PARSER", self.emergency_parser),
            ("HOST_ACTION_COMMANDS", True),
            ("PROMPT_SUPPORT", self.prompts),
            ("THERMAL_PROTECTION", True),
            ("CHAMBER_TEMPERATURE", False),
        )
        return (
            b"FIRMWARE_NAME:Marlin 2.1.2.1 (Jan 01 2022 12:00:00) "
            b"SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0 "
            b"MACHINE_TYPE:Emulated EXTRUDER_COUNT:1 UUID:cede2a2f-41a2-4748-9b12-c55c62f367ff\n"
        ) + b"".join(b"Cap:%b:%d\n" % (name.encode(), has) for name, has in capabilities)
