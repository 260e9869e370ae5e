"""Safe mode: why nothing may be started for now. Each cause by itself, with what a person does about it.

While any is open the farm is only watched, and what runs may be ended: nothing starts, nothing goes on
that stood still, no permit is given. Knows no disk and no clock; who finds a cause says so by a fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from farmd.model.errors import ErrorCode

SAFE_MODE = ErrorCode(
    "safe-mode",
    "the farm is in safe mode: it is watched, runs can be ended, and nothing is started or changed",
    "see `farmctl safe-mode` for the cause and what to do about it",
)
SAFE_MODE_STAYS = ErrorCode(
    "safe-mode-stays", "safe mode cannot be left yet", "do what `farmctl safe-mode` says, then try again"
)


class Cause(StrEnum):
    DAMAGE = "damage"
    DISK_FULL = "disk-full"
    READ_ONLY = "read-only"
    CLOCK_BACK = "clock-back"
    NEWER_SCHEMA = "newer-schema"
    RESTORED = "restored"


REMEDIES: dict[Cause, str] = {
    Cause.DAMAGE: "stop farmd, check the disk, keep the files, and restore from the last good back-up"
    " (`farmd restore`)",
    Cause.DISK_FULL: "make room on the disk of the data folder, then `farmctl safe-mode --leave`",
    Cause.READ_ONLY: "look why the disk can only be read (`dmesg`), mount it writable, then"
    " `farmctl safe-mode --leave`",
    Cause.CLOCK_BACK: "correct the clock, or say that it is right with `farmctl safe-mode --leave`",
    Cause.NEWER_SCHEMA: "install the newer farmd again, or restore a back-up made by this version",
    Cause.RESTORED: "settle every uncertain run (`farmctl next`), compare the jobs with what was really made"
    " since the back-up, then `farmctl safe-mode --leave`",
}


@dataclass(frozen=True, slots=True)
class SafeMode:
    """One cause of safe mode, open until `left_at`. `until` is what the clock showed before it went back."""

    cause: Cause
    what: str
    since: float
    until: float = 0.0
    left_at: float | None = None
    left_by: str = ""

    @property
    def is_closed(self) -> bool:
        return self.left_at is not None

    @property
    def remedy(self) -> str:
        return REMEDIES[self.cause]
