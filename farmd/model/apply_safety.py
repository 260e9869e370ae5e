"""What facts about safe mode and a restored record change; asked by `apply` alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from farmd.model import facts as f
from farmd.model.errors import ErrorCode, Refused
from farmd.model.farm import Counter, Entity, Farm
from farmd.model.lifecycle import RUN, RunState, step
from farmd.model.lookup import STALE_FENCE
from farmd.model.safe_mode import SAFE_MODE, Cause, SafeMode

NOT_IN_SAFE_MODE = ErrorCode(
    "not-in-safe-mode", "the farm is not in safe mode for that", "nothing needs to be done"
)
RESTORED_REASON = "the record was restored from a back-up, so nobody knows whether this was started"


def require_normal(farm: Farm) -> None:
    """Raises `Refused(SAFE_MODE)` with the first cause while the farm is in safe mode."""
    for safe in farm.safe_modes.values():
        raise Refused(SAFE_MODE, f"the farm is in safe mode ({safe.cause}): {safe.what}", remedy=safe.remedy)


def safe_mode_entered(farm: Farm, fact: f.SafeModeEntered) -> Iterable[Entity]:
    return [SafeMode(fact.cause, fact.what, fact.at, fact.until)]


def safe_mode_left(farm: Farm, fact: f.SafeModeLeft) -> Iterable[Entity]:
    safe = farm.safe_modes.get(fact.cause)
    if safe is None:
        raise Refused(NOT_IN_SAFE_MODE, where=fact.cause)
    return [replace(safe, left_at=fact.at, left_by=fact.actor)]


def clock_jumped(farm: Farm, fact: f.ClockJumped) -> Iterable[Entity]:
    return []


def farm_restored(farm: Farm, fact: f.FarmRestored) -> Iterable[Entity]:
    """A new epoch: starts that may be on their way are doubted, unspent permits void, and safe mode is on."""
    if fact.fence <= farm.counters.get("fence", 0):
        raise Refused(STALE_FENCE, f"fence {fact.fence} is not above {farm.counters.get('fence', 0)}")
    doubted = [
        replace(run, state=step(RUN, run.state, "doubt", where=run.id), reason=RESTORED_REASON)
        for run in farm.runs.values()
        if run.state in (RunState.INTENT, RunState.SENT)
    ]
    voided = [replace(machine, permit=None) for machine in farm.machines.values() if machine.permit]
    what = fact.reason or f"restored from a back-up of {fact.last_seq} facts"
    return [Counter("fence", fact.fence), *doubted, *voided, SafeMode(Cause.RESTORED, what, fact.at)]
