"""Demand and work: jobs, files, builds, runs and material lots. Frozen; `apply` makes new ones.

Counts are of parts. Times are seconds since the epoch, UTC. Knows no machine, driver or schedule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from farmd.model.lifecycle import BuildState, JobState, RunState

PRINT = "print"
"""The operation that every route begins with."""


class Outcome(StrEnum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_STARTED = "not-started"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file in the vault. `summary` is what `farmd.gcode` read from it, as plain JSON values."""

    sha256: str
    name: str
    size_bytes: int
    kind: str
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartShape:
    """One part as a powder-bed planner sees it."""

    volume_mm3: float
    height_mm: float
    area_mm2: float
    size_mm: tuple[float, float] | None = None
    precision: float = 0.0
    outline_mm: tuple[tuple[float, float], ...] | None = None
    """From above, around the corner of the bounding box at 0, 0."""


@dataclass(frozen=True, slots=True)
class Job:
    """One line of demand: `quantity` good parts of one design by a due date.

    `made = good + scrap + surplus + (parts not yet cleared or still in their route)`.
    `in_work` counts parts in builds that are queued, assigned, or done and not yet cleared.
    """

    id: str
    design: str
    file_sha256: str
    file_name: str
    process: str
    quantity: int
    submitted_at: float
    parts_per_plate: int = 1
    duration_s: float = 0.0
    """Of one plate, as the file states it; 0 for powder parts, whose build decides."""
    mass_g: float = 0.0
    """Of one plate, or of one powder part."""
    material: str | None = None
    nozzle_mm: float | None = None
    group: str | None = None
    due_at: float | None = None
    priority: float = 1.0
    owner: str = ""
    shape: PartShape | None = None
    route: tuple[str, ...] = (PRINT,)
    state: JobState = JobState.OPEN
    in_work: int = 0
    open_builds: int = 0
    """Builds with parts of this job that are not cleared or withdrawn."""
    made: int = 0
    good: int = 0
    scrap: int = 0
    surplus: int = 0
    closed_at: float | None = None

    @property
    def missing(self) -> int:
        """Good parts that no build is making yet."""
        return max(0, self.quantity - self.good - self.in_work)

    @property
    def is_closed(self) -> bool:
        over = self.state in (JobState.DONE, JobState.CANCELLED)
        return over and self.open_builds == 0 and self.in_work == 0


@dataclass(frozen=True, slots=True)
class BuildItem:
    """The share of one job in a build."""

    job_id: str
    parts: int


@dataclass(frozen=True, slots=True)
class Build:
    """What one machine makes in one cycle, or what one station finishes at once."""

    id: str
    operation: str
    items: tuple[BuildItem, ...]
    created_at: float
    duration_s: float
    material: str | None = None
    nozzle_mm: float | None = None
    file_sha256: str | None = None
    """None for a powder build, whose manifest is its file, and for operations at stations."""
    mass_g: float = 0.0
    follows: str | None = None
    """The build whose parts this operation goes on with."""
    machine: str | None = None
    state: BuildState = BuildState.QUEUED
    cleared: bool = False

    @property
    def parts(self) -> int:
        return sum(item.parts for item in self.items)

    @property
    def is_closed(self) -> bool:
        return self.cleared or self.state is BuildState.WITHDRAWN


@dataclass(frozen=True, slots=True)
class Place:
    """How far a run came: the line and byte of the file, the layer, the height of the nozzle."""

    line: int | None = None
    byte: int | None = None
    layer: int | None = None
    z_mm: float | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at a build on one machine."""

    id: str
    build_id: str
    machine: str
    permit_id: str
    fence: int
    intent_at: float
    file_sha256: str | None = None
    state: RunState = RunState.INTENT
    sent_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    evidence: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    place: Place | None = None
    used_g: float = 0.0
    cleared: bool = False
    continues: str | None = None
    """The run that this one goes on with, from its `place`; that of a run that never started stays so."""

    @property
    def is_closed(self) -> bool:
        return self.state is RunState.ENDED and self.cleared


@dataclass(frozen=True, slots=True)
class Lot:
    """A material lot: one spool or one powder charge, and what is left of it."""

    id: str
    material: str
    grams_left: float
    grams_used: float = 0.0

    @property
    def is_closed(self) -> bool:
        return False
