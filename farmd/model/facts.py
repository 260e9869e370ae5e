"""Facts: what happened, recorded for good. Each is a frozen dataclass; `apply` says what it changes.

A fact carries when it happened (`at`, UTC seconds) and who said so (`actor`: a person, `daemon`,
or `machine:NAME`). Its class name is its name in the journal and is never renamed; fields are only
ever added, with a default. Facts say what happened, never what to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from farmd.model.fact import Fact as Fact
from farmd.model.facts_farm import ClockJumped as ClockJumped
from farmd.model.facts_farm import DaemonStarted as DaemonStarted
from farmd.model.facts_farm import DaemonStopped as DaemonStopped
from farmd.model.facts_farm import FarmRestored as FarmRestored
from farmd.model.facts_farm import SafeModeEntered as SafeModeEntered
from farmd.model.facts_farm import SafeModeLeft as SafeModeLeft
from farmd.model.facts_farm import TokenAdded as TokenAdded
from farmd.model.facts_farm import TokenRevoked as TokenRevoked
from farmd.model.machine import Fault
from farmd.model.work import FileRecord, Job, Outcome, Place

# --- demand ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStored(Fact):
    """A file was put into the vault and read."""

    file: FileRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted(Fact):
    """Somebody asked for good parts. `job` is as first known: OPEN, all counts zero."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEdited(Fact):
    """Due date, priority or quantity changed; None leaves a value, `clear_due` removes the date.

    `…_before` is what a value that changed was.
    """

    job_id: str
    due_at: float | None = None
    clear_due: bool = False
    priority: float | None = None
    quantity: int | None = None
    reason: str = ""
    due_at_before: float | None = None
    priority_before: float | None = None
    quantity_before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHeld(Fact):
    job_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReleased(Fact):
    job_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled(Fact):
    """Nothing more is started for the job. Its queued builds are withdrawn by facts of their own."""

    job_id: str
    reason: str = ""


# --- builds and runs ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemCount:
    """Parts of one job that came out of a build: good ones and scrap."""

    job_id: str
    good: int
    scrap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildQueued(Fact):
    """A build was made up from open demand, or from the parts of the build it follows."""

    build_id: str
    operation: str
    items: tuple[tuple[str, int], ...]
    duration_s: float
    material: str | None = None
    nozzle_mm: float | None = None
    file_sha256: str | None = None
    mass_g: float = 0.0
    follows: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWithdrawn(Fact):
    """A queued build is not wanted any more."""

    build_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIntended(Fact):
    """We are going to start this run: the permit is spent. On disk before anything is sent."""

    run_id: str
    build_id: str
    machine: str
    permit_id: str
    fence: int
    file_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContinued(Fact):
    """A person lets a new run go on where the run `continues` broke off, with what that one made still on
    the machine: in saying so the person gives `permit_id`, which is spent at once. On disk before anything
    is sent."""

    run_id: str
    continues: str
    build_id: str
    machine: str
    permit_id: str
    fence: int
    file_sha256: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSent(Fact):
    """The start has been handed to the machine. It is never sent again."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Fact):
    """The machine shows that the run is running, by `evidence`."""

    run_id: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Fact):
    run_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Fact):
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDoubted(Fact):
    """Nobody can tell whether the run started or goes on; evidence or a person will."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Fact):
    """The run is over. `made` parts lie on the machine; `ready_at` is when it may be opened."""

    run_id: str
    outcome: Outcome
    reason: str = ""
    place: Place | None = None
    made: int = 0
    used_g: float = 0.0
    ready_at: float = 0.0


# --- machines -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineAdded(Fact):
    """A machine of the configuration is known for the first time."""

    machine: str
    material: str | None = None
    nozzle_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRemoved(Fact):
    """A machine without a run is no longer configured."""

    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConnected(Fact):
    """The link is up and the machine's state was read: `idle`, `busy`, `foreign` or `fault`."""

    machine: str
    seen: str
    firmware: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLost(Fact):
    """The link is gone."""

    machine: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFaulted(Fact):
    machine: str
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRecovered(Fact):
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineHeld(Fact):
    """A person wants nothing started here."""

    machine: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReleased(Fact):
    machine: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRunStarted(Fact):
    """Something runs that nobody here started. The bed is occupied after it."""

    machine: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRunEnded(Fact):
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitVoided(Fact):
    """An unspent permit no longer says anything."""

    machine: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCleared(Fact):
    """Somebody took everything off the machine and made it ready: parts are counted, a permit given.

    `counts` name every job of the build that came off; empty when no run of ours was on it.
    """

    machine: str
    permit_id: str
    run_id: str | None = None
    counts: tuple[ItemCount, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineAsked(Fact):
    """Somebody asks a machine for something: `act` is pause, resume, recover or stop.

    What the machine made of it is told by other facts. `run_id` is the run that was open then.
    """

    machine: str
    act: str
    reason: str = ""
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSent(Fact):
    """Somebody sends a machine one command by hand. On disk before it is sent."""

    machine: str
    command: str
    reason: str = ""
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswered(Fact):
    """What a machine answered to the last command sent to it by hand, shortened; not `complete` when it
    had not yet said all. `not_sent` says why the command was not sent after all, where that is so."""

    machine: str
    command: str
    answer: str = ""
    complete: bool = True
    not_sent: str = ""
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialLoaded(Fact):
    """Another material, lot or nozzle was put on a machine; `…_before` is what it had."""

    machine: str
    material: str | None
    lot_id: str | None = None
    grams: float | None = None
    nozzle_mm: float | None = None
    reason: str = ""
    material_before: str | None = None
    lot_id_before: str | None = None
    nozzle_mm_before: float | None = None


FACTS: dict[str, type[Fact]] = {cls.__name__: cls for cls in Fact.__subclasses__()}
"""All facts by their name in the journal."""
