"""The guard over heaters, on one Marlin link: which reports it gets, and when one is overdue.

Knows the wire's state and no port; what is done about an alarm is the driver's business.
"""

from __future__ import annotations

from farmd.driver.heat_guard import Alarm, HeatGuard, rules_of
from farmd.model.machine import MachineSpec
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.wire import Wire
from farmd_drivers.marlin.wire.replies import Heat
from farmd_drivers.marlin.wire.states import Phase

_TELLING = frozenset({Phase.IDLE, Phase.STREAMING, Phase.PAUSED})
"""In other phases temperatures may be neither asked for nor reported."""


class HeatWatch:
    """The guard of one machine, from link to link; it says nothing when it is switched off."""

    def __init__(self, machine: MachineSpec, settings: MarlinSettings) -> None:
        self._guard = HeatGuard(rules_of(machine), slowness=settings.heat_guard_slowness)
        self._is_on = settings.heat_guard

    def reset(self) -> None:
        """The firmware is new, or its heaters are off: what they were told before counts no more."""
        self._guard.reset()

    def heard(self, heat: Heat, now: float, *, in_run: bool) -> Alarm | None:
        """A report; `in_run`: a run of ours is open, so no target above the limits is anybody's wish."""
        return self._guard.read(heat.actual_c, heat.target_c, now, limited=in_run) if self._is_on else None

    def overdue(self, wire: Wire, now: float) -> Alarm | None:
        """Ask between reports, a few times a second."""
        expected = wire.phase in _TELLING and not wire.is_slow and not wire.may_be_silent
        return self._guard.check(now, expected=expected) if self._is_on else None
