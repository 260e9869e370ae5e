"""What is true of a simulated machine: its states and their table, its run, its nature. Frozen values.

What moves them is in `machine`. Knows no clock, no chance and no driver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from farmd.driver import Finished
from farmd.model.machine import Fault


class Phase(StrEnum):
    """RESTING is what follows a run: cooling down, or ejecting; often no time at all."""

    IDLE = "idle"
    STARTING = "starting"
    WARMING = "warming"
    MAKING = "making"
    PAUSED = "paused"
    RESTING = "resting"
    FAULT = "fault"


TABLE: Mapping[tuple[Phase, str], Phase] = {
    (Phase.IDLE, "receive"): Phase.STARTING,
    (Phase.IDLE, "panel"): Phase.WARMING,
    (Phase.STARTING, "show"): Phase.WARMING,
    (Phase.WARMING, "warm"): Phase.MAKING,
    (Phase.WARMING, "pause"): Phase.PAUSED,
    (Phase.MAKING, "pause"): Phase.PAUSED,
    (Phase.PAUSED, "resume"): Phase.WARMING,
    (Phase.STARTING, "end"): Phase.RESTING,
    (Phase.WARMING, "end"): Phase.RESTING,
    (Phase.MAKING, "end"): Phase.RESTING,
    (Phase.PAUSED, "end"): Phase.RESTING,
    (Phase.RESTING, "rested"): Phase.IDLE,
    (Phase.FAULT, "recover"): Phase.RESTING,
    **{(phase, "break"): Phase.FAULT for phase in Phase},
    **{(phase, "reboot"): Phase.RESTING for phase in Phase},
}


class Answer(StrEnum):
    """What the machine does with a START."""

    TAKEN = "taken"
    BUSY = "busy"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Nature:
    """What this machine is like, apart from chance. `operation_s` is set for stations only."""

    warmup_s: float = 0.0
    layer_s: float = 60.0
    start_delay_s: float = 5.0
    rest_s: float = 0.0
    ejects: bool = False
    operation_s: float | None = None


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """One run on the machine. `done_s` was done at `since`; `since` is None while it stands still."""

    run_id: str
    foreign: bool
    received_at: float
    length_s: float
    end_s: float
    reason: str
    breaks: bool
    warm_s: float
    mass_g: float
    done_s: float = 0.0
    since: float | None = None

    def done_at(self, now: float) -> float:
        """Seconds of the run that are done."""
        return self.done_s + (0.0 if self.since is None else max(0.0, now - self.since))

    def due(self, done_s: float) -> float:
        """When that much will be done; infinite while it stands still."""
        return math.inf if self.since is None else self.since + (done_s - self.done_s)


@dataclass(frozen=True, slots=True)
class Truth:
    """All that is true of the machine at the time `at`.

    `unseen_start` and `unseen_reboot` say what no driver has been told yet.
    """

    at: float
    phase: Phase = Phase.IDLE
    run: SimulatedRun | None = None
    history: tuple[Finished, ...] = ()
    fault: Fault | None = None
    ready_at: float = 0.0
    bed_clear: bool = True
    unseen_start: bool = False
    unseen_reboot: bool = False
    panels: int = 0
    next_panel_at: float | None = None
    reboots: int = 0
    next_reboot_at: float | None = None
