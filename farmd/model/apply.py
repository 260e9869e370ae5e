"""`apply(farm, fact)`: what a fact changes. The only place that derives state from facts.

Pure: reads the farm, returns the changed entities, changes nothing itself and never looks at a
clock. A fact that does not follow from the state is refused with its reason. The ledger applies
facts when they happen; `farmd verify` applies them again from the journal and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from farmd.model import apply_access as access
from farmd.model import apply_machines as machines
from farmd.model import apply_safety as safety
from farmd.model import apply_work as work
from farmd.model import facts as f
from farmd.model.farm import Entity, Farm


def apply(farm: Farm, fact: f.Fact) -> tuple[Entity, ...]:
    """The entities that `fact` changes, as they are after it. Raises `Refused` and changes nothing."""
    return tuple(_RULES[type(fact)](farm, fact))


_RULES: dict[type[f.Fact], Callable[[Farm, Any], Iterable[Entity]]] = {
    f.DaemonStarted: work.daemon_started,
    f.DaemonStopped: work.daemon_stopped,
    f.SafeModeEntered: safety.safe_mode_entered,
    f.SafeModeLeft: safety.safe_mode_left,
    f.ClockJumped: safety.clock_jumped,
    f.FarmRestored: safety.farm_restored,
    f.TokenAdded: access.token_added,
    f.TokenRevoked: access.token_revoked,
    f.FileStored: work.file_stored,
    f.JobSubmitted: work.job_submitted,
    f.JobEdited: work.job_edited,
    f.JobHeld: work.job_held,
    f.JobReleased: work.job_released,
    f.JobCancelled: work.job_cancelled,
    f.BuildQueued: work.build_queued,
    f.BuildWithdrawn: work.build_withdrawn,
    f.RunIntended: work.run_intended,
    f.RunContinued: work.run_continued,
    f.RunSent: work.run_sent,
    f.RunStarted: work.run_started,
    f.RunPaused: work.run_paused,
    f.RunResumed: work.run_resumed,
    f.RunDoubted: work.run_doubted,
    f.RunEnded: work.run_ended,
    f.MachineAdded: machines.machine_added,
    f.MachineRemoved: machines.machine_removed,
    f.MachineConnected: machines.machine_connected,
    f.MachineLost: machines.machine_lost,
    f.MachineFaulted: machines.machine_faulted,
    f.MachineRecovered: machines.machine_recovered,
    f.MachineHeld: machines.machine_held,
    f.MachineReleased: machines.machine_released,
    f.ForeignRunStarted: machines.foreign_started,
    f.ForeignRunEnded: machines.foreign_ended,
    f.PermitVoided: machines.permit_voided,
    f.MachineCleared: machines.machine_cleared,
    f.MachineAsked: machines.noted,
    f.CommandSent: machines.noted,
    f.CommandAnswered: machines.noted,
    f.MaterialLoaded: machines.material_loaded,
}
