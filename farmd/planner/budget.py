"""How long planning may take: in seconds for people, in counted effort for simulations.

Knows the wall clock (in seconds mode only) and a count. With effort no clock is ever read, so the
same problem, seed and effort give the same plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

DETERMINISTIC_S_PER_UNIT = 1 / 2000


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Budget:
    """Exactly one of `seconds` (wall time, all in) and `effort`.

    A unit of effort is one schedule built by a rule, or some moves tried by a search; the exact solver
    gets one second of its deterministic time, on one worker, for 2,000 units. Of seconds nothing more is
    left as soon as `stopped` says so.
    """

    seconds: float | None = None
    effort: int | None = None
    stopped: Callable[[], bool] = field(default=_never, compare=False)

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.effort is None):
            raise ValueError("a budget is either seconds or effort")
        if (self.seconds or 0) < 0 or (self.effort or 0) < 0:
            raise ValueError("a budget is not negative")


class Meter:
    """What is left of a budget. `share` gives a part of it to one phase; what that leaves comes back."""

    __slots__ = ("began", "deadline", "parent", "stopped", "units", "used")

    def __init__(self, budget: Budget) -> None:
        self.parent: Meter | None = None
        self.units = budget.effort
        self.stopped = budget.stopped
        self.used = 0
        self.began = self.deadline = 0.0
        if budget.seconds is not None:
            self.began = perf_counter()
            self.deadline = self.began + budget.seconds

    def share(self, fraction: float) -> Meter:
        """A meter over this fraction of what is left."""
        child = Meter.__new__(Meter)
        child.parent, child.used, child.units = self, 0, None
        child.stopped = self.stopped
        child.began = child.deadline = 0.0
        if self.units is not None:
            child.units = int((self.units - self.used) * fraction)
        else:
            child.began = perf_counter()
            child.deadline = child.began + max(0.0, self.deadline - child.began) * fraction
        return child

    def reserve(self, seconds: float) -> None:
        """Leave up to this much of the wall time, and at most half, for what comes after planning."""
        if self.units is None:
            self.deadline -= min(seconds, (self.deadline - self.began) / 2)

    @property
    def counted(self) -> bool:
        return self.units is not None

    def units_left(self) -> int:
        """Units of a counted budget that are left."""
        return 0 if self.units is None else self.units - self.used

    def spend(self, units: int = 1, *, like_s: float = 0.0) -> bool:
        """Count the units; False when they are no longer there, or the time is over in `like_s` seconds."""
        if self.units is None:
            return perf_counter() + like_s < self.deadline and not self.stopped()
        if self.used + units > self.units:
            return False
        meter: Meter | None = self
        while meter is not None:
            meter.used += units
            meter = meter.parent
        return True

    def elapsed_s(self) -> float:
        """Wall seconds since the beginning; 0 in a counted budget."""
        return perf_counter() - self.began if self.units is None else 0.0

    def progress(self) -> float:
        """From 0 at the beginning to 1 when nothing is left."""
        if self.units is not None:
            return min(1.0, self.used / self.units) if self.units else 1.0
        length = 0.0 if self.stopped() else self.deadline - self.began
        return min(1.0, (perf_counter() - self.began) / length) if length > 0 else 1.0

    def seconds_left(self) -> float:
        """Wall seconds left; in a counted budget the solver's deterministic seconds."""
        if self.units is not None:
            return (self.units - self.used) * DETERMINISTIC_S_PER_UNIT
        return 0.0 if self.stopped() else max(0.0, self.deadline - perf_counter())
