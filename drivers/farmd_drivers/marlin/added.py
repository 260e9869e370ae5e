"""What the driver sends besides the commands of a file: for whoever compares the two.

Knows no port and no loop.
"""

from __future__ import annotations

import re

from farmd_drivers.marlin.wire import card, park
from farmd_drivers.marlin.wire.dialogue import DRAIN
from farmd_drivers.marlin.wire.outbox import HELLO, SYNC
from farmd_drivers.marlin.wire.replies import command_of

ADDED_BEFORE = (command_of(HELLO), SYNC)
"""Sent before the first line of a file: numbers from 0, and the proof that the machine follows."""
ADDED_AFTER = DRAIN
"""Sent after the last line of a file, at a pause and at a cancel: motion over, and the proof of it."""
ADDED_COMMANDS = re.compile(
    rb"M110 N0|M105|M400|M115|M113 S1|M155 S2|M108|M104 (?:T\d+ )?S0|M140 S0|M141 S0|M107|TURN_OFF_HEATERS|"
    + park.ADDED
    + rb"|"
    + card.ADDED
)
"""Whatever the driver adds to what files say. From M108 on, only where a run was stopped or has failed (heaters
off, at once and again in the next handshake), where a machine is parked, and where it has a card."""
