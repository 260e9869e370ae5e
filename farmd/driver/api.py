"""The public interface of machine drivers.

A driver is one plain class. The daemon makes one instance per machine, calls `serve` and keeps it
running: when `serve` raises `LinkLost` it is called again after a pause. Commands are called
while `serve` runs, from the same loop. Whatever a driver raises stays that machine's own fault.

What every driver owes:

- `serve` reports `Observed` first after every connect, and again whenever it lost track.
- `start` sends the start once. It raises `Refused` only when surely nothing was sent, and never
  retries. That the machine has started is told by `Started`, from evidence, never from having sent.
- Every command is idempotent: pausing a paused machine is no error.
- Cancelling `serve` closes the link and leaves the machine doing what it does, unless it cannot
  (a machine fed line by line stops being fed); then its heaters are switched off.
- `estop` awaits nothing.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from pydantic import BaseModel, ConfigDict

from farmd.driver.events import Event
from farmd.model.errors import ErrorCode, Refused
from farmd.model.machine import MachineSpec
from farmd.model.work import Place

Report = Callable[[Event], None]
"""How a driver tells events; returns at once and never raises."""

NOT_SUPPORTED = ErrorCode(
    "not-supported",
    "this machine's driver cannot do that",
    "do it at the machine, or see its capabilities with `farmctl machine NAME`",
)
MACHINE_NOT_READY = ErrorCode(
    "machine-not-ready",
    "the machine is not idle or its link is not up; nothing was sent to it",
    "look at the machine with `farmctl machine NAME`",
)


class DriverSettings(BaseModel):
    """Base of a driver's settings, the table `[machine.link]`. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sole: ClassVar[tuple[str, ...]] = ()
    """Settings of which no two machines may have the same value, such as the port."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do, and what evidence it can give."""

    pause: bool = False
    stop: bool = True
    estop: bool = True
    adopts: bool = False
    """A run goes on without us and is found again by its run id."""
    history_authoritative: bool = False
    """A run that the machine neither shows nor remembers did not start."""
    evidence: str = ""
    """One sentence: by what this driver knows that a run has started."""
    file_kinds: tuple[str, ...] = ()
    """File name endings that can be printed, without dot; empty for any."""
    proven_on: str = ""
    """The hardware it has been proven on; empty: on simulated machines only."""
    commands: bool = False
    """A person may send it single commands, and read its terminal."""
    continues: bool = False
    """A run that broke off can be gone on with at its place, because the machine can find its position
    anew without touching what stands on it."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """The file of a run. `open` gives a fresh binary stream of verified content each time."""

    name: str
    sha256: str
    size_bytes: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class StartOrder:
    """What to start: one run. `duration_s` is an estimate; `fence` rises with every daemon start."""

    run_id: str
    operation: str
    duration_s: float
    parts: int
    fence: int
    file: RunFile | None = None
    material: str | None = None
    mass_g: float = 0.0
    resume_at: Place | None = None
    """Where to go on in the file, what is before it being on the machine already; None: at its beginning."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a machine answered to one command, line by line; not `complete` when it had not yet said all."""

    lines: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class TerminalLine:
    """One line of a link as it was, sent or received; `at` in UTC seconds.

    `number` rises with each, from 1; one that is left out says that lines in between were not kept.
    """

    number: int
    at: float
    sent: bool
    text: str


class Driver(abc.ABC):
    """One machine's driver. See the module's text for what each method owes."""

    settings_type: ClassVar[type[DriverSettings]]
    capabilities: Capabilities
    """Of the class; an instance may have its own, by its settings."""
    fence: int = 0
    """The epoch of the farm in whose name this instance commands, set before `serve`. A driver whose machine is
    behind a gateway sends it with every command that can move something; the gateway refuses any that is lower
    than one it has seen."""

    @abc.abstractmethod
    def __init__(self, machine: MachineSpec, settings: DriverSettings, *, state_dir: Path) -> None:
        """`state_dir` is a folder of this machine's own for whatever the driver must remember."""

    @abc.abstractmethod
    async def serve(self, report: Report) -> None:
        """Connect, report `Observed`, go on reporting; see the module's text.

        Raises `LinkLost`, `ProtocolError` or `MachineFault`.
        """

    @abc.abstractmethod
    async def start(self, order: StartOrder) -> None:
        """Hand the run to the machine, once.

        Raises `Refused` when surely nothing was sent, `LinkLost` when that is not sure.
        """

    async def pause(self) -> None:
        raise Refused(NOT_SUPPORTED, "this driver cannot pause")

    async def resume(self) -> None:
        raise Refused(NOT_SUPPORTED, "this driver cannot resume")

    async def stop(self) -> None:
        """Cancel the run safely; its `Ended` follows."""
        raise Refused(NOT_SUPPORTED, "this driver cannot stop a run")

    async def recover(self) -> None:
        """A person says that the fault is mended: try to leave it. `Recovered` or `Faulted` follows."""
        raise Refused(NOT_SUPPORTED, "this driver cannot leave a fault by itself; restart the machine")

    async def command(self, text: str) -> Reply:
        """Send one command that a person typed and return what the machine answers, within some seconds.

        Raises `Refused` when it may not be sent, or not now; nothing was sent then.
        """
        raise Refused(NOT_SUPPORTED, "this driver takes no single commands")

    def terminal(self, after: int = 0) -> Sequence[TerminalLine]:
        """The last lines of the link with a number above `after`, oldest first; a bounded number of them."""
        raise Refused(NOT_SUPPORTED, "this driver has no terminal")

    def estop(self) -> None:
        """Emergency stop: everything off, now. Returns without awaiting anything."""
        raise Refused(NOT_SUPPORTED, "this driver has no emergency stop; use the machine's own")
