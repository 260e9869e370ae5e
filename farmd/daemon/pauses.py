"""The rubbish collector and Python's other threads, told to keep out of the loop's way.

Python looks for cycles whenever enough objects are new, through old ones too, and nothing else runs meanwhile: with
tens of thousands of jobs in memory for a tenth of a second. What there is at the start stays, and what a plan is
made of goes by itself. A thread that works on a plan gives way to the loop after a millisecond, not five.
"""

from __future__ import annotations

import gc
import sys

NEW_OBJECTS = 10_000
"""So many new objects before the young ones are looked through: a millisecond or two."""
YOUNG_LOOKS = 50
OLD_LOOKS = 1000
TURN_S = 0.001


def spare_pauses() -> None:
    """Leave out what exists now, and look through the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, YOUNG_LOOKS, OLD_LOOKS)
    sys.setswitchinterval(TURN_S)
