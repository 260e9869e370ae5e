"""When to ask for temperatures: never where the firmware reports them by itself, else every few seconds.

Pure: is told the time, and sends nothing itself.
"""

from __future__ import annotations

import math

from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.replies import Heat


class Thermometer:
    """`due` is when to ask next, infinity for never."""

    def __init__(self) -> None:
        self.due = math.inf
        self.by_itself = False
        """The firmware was asked to report every AUTOREPORT_S."""

    def stop(self, *, forget: bool = False) -> None:
        """Ask no more; `forget` when the firmware has forgotten too that it was to report."""
        self.due = math.inf
        if forget:
            self.by_itself = False

    def ask_again(self, now: float) -> None:
        """The next question is a while off."""
        self.due = now + states.POLL_S

    def read(self, heat: Heat, now: float) -> None:
        """Temperatures came."""
        if self.by_itself:
            self.due = max(self.due, now + 3 * states.AUTOREPORT_S)
        elif any(goal > heat.actual_c.get(name, goal) + 2 for name, goal in heat.target_c.items()):
            self.due = min(self.due, now + states.POLL_HEATING_S)
