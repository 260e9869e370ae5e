"""What is known of a machine this moment and is worth showing, not recording: telemetry and the link's health.

Changed by the machine's attendant alone; views, the walk list and metrics read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from farmd.driver import LinkHealth
from farmd.model.errors import FarmdError

COUNTED = ("lines", "resends", "timeouts", "garbled", "underruns")
"""The fields of `LinkHealth` that only rise while a link is up."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something about a machine's link that somebody should see to."""

    code: str
    what: str
    remedy: str

    @classmethod
    def of(cls, error: FarmdError) -> Trouble:
        place = f"{error.where}: " if error.where else ""
        return cls(error.code.name, f"{place}{error.what}", error.remedy)

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


@dataclass(slots=True)
class Live:
    """Telemetry of one machine."""

    fraction: float | None = None
    layer: int | None = None
    remaining_s: float | None = None
    actual_c: dict[str, float] = field(default_factory=dict)
    target_c: dict[str, float] = field(default_factory=dict)
    attention: dict[str, str] = field(default_factory=dict)
    firmware: str = ""
    health: LinkHealth | None = None
    """Of the present link, or of the last one."""
    lost: Trouble | None = None
    """Why there is no link; None while there is one, or before the first try has failed."""
    noisy: Trouble | None = None
    """That the link is noisy, while it is."""
    _earlier: dict[str, int] = field(default_factory=dict)
    """The counts of links before the present one."""

    def take_health(self, health: LinkHealth) -> None:
        """What the driver tells of the link that is up."""
        if self.health is not None and health.lines < self.health.lines:
            self.close_link()
        self.health = health

    def close_link(self) -> None:
        """The link of which health was told is no more; the next counts from 0."""
        self._earlier, self.health = self.link_totals(), None

    def link_totals(self) -> dict[str, int]:
        """The counts over all links since the daemon started, by field; without those never told."""
        totals = dict(self._earlier)
        for name in COUNTED if self.health is not None else ():
            count: int | None = getattr(self.health, name)
            if count is not None:
                totals[name] = totals.get(name, 0) + count
        return totals


Lives = Mapping[str, Live]
"""By machine."""
