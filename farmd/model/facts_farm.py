"""Facts about the farm itself: its daemon, its safety, and who may ask; part of `facts`, which has them all."""

from __future__ import annotations

from dataclasses import dataclass

from farmd.model.access import Role
from farmd.model.fact import Fact
from farmd.model.safe_mode import Cause

# --- the daemon -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStarted(Fact):
    """A daemon took the farm. `fence` is higher than any before it; every start carries it.

    No machine has a link yet; those that had one have been out of sight since `last_seen_at`.
    """

    boot_id: str
    version: str
    fence: int
    last_seen_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStopped(Fact):
    """The daemon ended by itself."""

    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeModeEntered(Fact):
    """Nothing may be started from now on. `until` is what the clock showed before it went back."""

    cause: Cause
    what: str
    until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeModeLeft(Fact):
    """This cause of safe mode is over: a person said so, or a start of the daemon found it mended."""

    cause: Cause
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJumped(Fact):
    """The wall clock was set forward or back by so much; times before and after it do not compare."""

    by_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmRestored(Fact):
    """This record is an older one that was put in place. `fence` is above any that the farm can have had.

    Intended and sent runs are doubted by it, permits void, and safe mode is on until a person ends it.
    `last_seq` and `last_at` are of the last fact before it.
    """

    fence: int
    last_seq: int
    last_at: float
    reason: str = ""


# --- who may ask ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAdded(Fact):
    """A token of this name may be used from now on. `sha256` is of the secret, which is never recorded."""

    token: str
    role: Role
    sha256: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRevoked(Fact):
    """The token of this name opens nothing any more."""

    token: str
    reason: str = ""
