"""The stages of a run on the machine's card, as a transition table, with what is told of them.

`card_store` walks the first half of it, until the file is on the card; `card_talk` the second. STORING stages
have nothing of the run printed, and `give-up` leads to its removal; in RUNNING stages the machine prints or may
do so. ENDING is between the first sign that it does not print any more and the proof of it. Names and data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.card import CardName, CardStatus


class Stage(StrEnum):
    IDLE = "idle"
    MOUNTING = "mounting"
    OPENING = "opening"
    WRITING = "writing"
    CHECKING = "checking"
    STORED = "stored"
    REMOVING = "removing"
    STARTING = "starting"
    PRINTING = "printing"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    ENDING = "ending"
    STOPPING = "stopping"


_STORING = {"give-up": Stage.REMOVING, "lost": Stage.IDLE}
_RUNNING = {"still": Stage.ENDING, "cancel": Stage.STOPPING, "over": Stage.IDLE}

STAGE: Mapping[Stage, Mapping[str, Stage]] = {
    Stage.IDLE: {"store": Stage.MOUNTING, "adopt": Stage.PRINTING, "adopt-paused": Stage.PAUSED},
    Stage.MOUNTING: {"mounted": Stage.OPENING, **_STORING},
    Stage.OPENING: {"writing": Stage.WRITING, **_STORING},
    Stage.WRITING: {"written": Stage.CHECKING, **_STORING},
    Stage.CHECKING: {"checked": Stage.STORED, **_STORING},
    Stage.STORED: {"print": Stage.STARTING, **_STORING},
    Stage.REMOVING: {"removed": Stage.IDLE, "lost": Stage.IDLE},
    Stage.STARTING: {"printing": Stage.PRINTING, **_RUNNING},
    Stage.PRINTING: {"pause": Stage.PAUSING, "hold": Stage.PAUSED, **_RUNNING},
    Stage.PAUSING: {"paused": Stage.PAUSED, **_RUNNING},
    Stage.PAUSED: {"resume": Stage.RESUMING, "printing": Stage.PRINTING, **_RUNNING},
    Stage.RESUMING: {"printing": Stage.PRINTING, **_RUNNING},
    Stage.ENDING: {"printing": Stage.PRINTING, "hold": Stage.PAUSED, **_RUNNING},
    Stage.STOPPING: {"printing": Stage.PRINTING, "over": Stage.IDLE},
}
STORING = frozenset(stage for stage in Stage if "lost" in STAGE[stage])
RUNNING = frozenset(stage for stage in Stage if "over" in STAGE[stage])


@dataclass(frozen=True, slots=True)
class Stored:
    """The file is on the card, whole, and chosen for printing."""

    size: int


@dataclass(frozen=True, slots=True)
class NotStored:
    """It is not, and nothing of it will be printed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What the machine does with its card was asked; None when it did not say."""

    status: CardStatus | None
    name: CardName | None


@dataclass(frozen=True, slots=True)
class ForeignPrint:
    """The machine prints something from its card that was not begun here; by what name it is shown."""

    name: str


@dataclass(frozen=True, slots=True)
class ForeignPrintOver:
    pass


@dataclass(frozen=True, slots=True)
class Tidied:
    """Files that have no use any more were removed from the card."""


CardTold = (
    Stored
    | NotStored
    | Looked
    | ForeignPrint
    | ForeignPrintOver
    | Tidied
    | states.NeedLines
    | states.RunBegan
    | states.RunPaused
    | states.RunResumed
    | states.RunDone
    | states.RunCancelled
    | states.RunFailed
    | states.Noted
)
"""Where those of `states` say `lines_accepted`, here are bytes of the stored file."""
