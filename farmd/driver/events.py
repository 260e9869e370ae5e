"""What a driver tells of its machine: typed events, upward only.

The first event after every connect is `Observed`. A run is named by the run id that the machine
shows; a driver never guesses one. Knows no daemon.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from farmd.model.machine import Fault
from farmd.model.work import Outcome, Place


class Activity(StrEnum):
    """What a machine does, as it says itself."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that the machine's own history tells of."""

    run_id: str
    outcome: Outcome
    reason: str = ""
    place: Place | None = None
    used_g: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """The machine's full state as it is now.

    `run_id` is what the machine shows for its present run: one of ours, another name (a foreign
    run), or None when it runs nothing or shows no name. `history` are the last runs that it remembers, newest
    last; with `Capabilities.history_authoritative`, a run neither current nor in it did not start.
    `unseen_start` says that something may have run, unknown to us, while the link was away.
    """

    activity: Activity
    run_id: str | None = None
    fraction: float | None = None
    history: tuple[Finished, ...] = ()
    fault: Fault | None = None
    rebooted: bool = False
    unseen_start: bool = False
    firmware: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The machine shows that this run of ours is running; `evidence` says by what."""

    run_id: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far the run is. Telemetry: not recorded, may be dropped, at most a few a second."""

    run_id: str
    fraction: float
    layer: int | None = None
    remaining_s: float | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    run_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    run_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over: motion has stopped. `place` tells how far a run came that is not ok."""

    run_id: str
    outcome: Outcome
    reason: str = ""
    place: Place | None = None
    used_g: float = 0.0
    ready_in_s: float = 0.0
    """How long until a person may open or clear the machine (cool-down)."""


@dataclass(frozen=True, slots=True)
class Faulted:
    """The machine needs a person. A run that died of it is told by its own `Ended`."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Recovered:
    """The fault is gone and the machine is idle."""


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The machine restarted while the link stayed up."""

    what: str = ""


@dataclass(frozen=True, slots=True)
class ForeignStarted:
    """Somebody else started a run; `name` is what the machine shows for it."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class ForeignEnded:
    pass


@dataclass(frozen=True, slots=True)
class BedCleared:
    """An ejector with a sensor says that the bed is clear; only from machines made so."""


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Readings in degrees Celsius, by heater name (`nozzle`, `bed`, `chamber`). Telemetry."""

    actual_c: dict[str, float]
    target_c: dict[str, float]


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """How good the link is, counted since it was opened. Telemetry: not recorded, every few seconds.

    `noise` is the share of lines that did not arrive as they were sent, 0 to 1, over the last few hundred
    lines; times in seconds, None while nothing was measured. `underruns` are stops of the motion for want
    of lines, None where the machine does not tell.
    """

    lines: int = 0
    resends: int = 0
    timeouts: int = 0
    garbled: int = 0
    underruns: int | None = None
    noise: float = 0.0
    turn_round_p50_s: float | None = None
    turn_round_p99_s: float | None = None
    mode: str = ""
    """How lines are sent, in the driver's own words."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Something a person should know that stops nothing."""

    code: str
    what: str


Event = (
    Observed
    | Started
    | Progressed
    | Paused
    | Resumed
    | Ended
    | Faulted
    | Recovered
    | Rebooted
    | ForeignStarted
    | ForeignEnded
    | BedCleared
    | Temperatures
    | LinkHealth
    | Attention
)
