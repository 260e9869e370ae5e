"""One simulated machine as it stands in the shop: the machine, its files, its cable, its panel.

What the driver sends arrives here, and what people and tests do to the machine is done here. Every
method takes the present moment from the running loop, lets the machine catch up with it, and puts
what happened into `outbox` for the driver to tell. Knows no daemon.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from farmd.driver import Event, Observed, StartOrder, now
from farmd.model.machine import Fault

from .chance import Cable
from .machine import BREAKDOWN, EMERGENCY_STOP, PANEL_RUN_S, SimulatedMachine
from .state import Answer, Phase, Truth
from .truth import ReceivedStart, TruthFiles

Action = Callable[[SimulatedMachine, float], tuple[Event, ...]]


def nobody() -> None:
    """Who is told of changes when nobody wants to know."""


class Unit:
    """A machine in the shop. Without `files` it lives as long as this object."""

    def __init__(
        self, make: Callable[[float], SimulatedMachine], cable: Cable, files: TruthFiles | None
    ) -> None:
        self.outbox: deque[Event] = deque()
        self.changed: Callable[[], object] = nobody
        """Called after anything was done to the machine or its cable."""
        self._make = make
        self._machine: SimulatedMachine | None = None
        self._cable = cable
        self._files = files
        self._starts: list[ReceivedStart] = []
        self._drop_next = False
        self._cut_next: bool | None = None

    # What the driver does

    @property
    def simulated(self) -> SimulatedMachine:
        """The machine, caught up with the present moment."""
        return self._do(lambda machine, at: ())

    @property
    def truth(self) -> Truth:
        """All that is true of the machine now."""
        return self.simulated.truth

    def look(self) -> Observed:
        """The machine's full state now; what happened before is in it and need not be told."""
        observed = self.simulated.observe()
        self.outbox.clear()
        return observed

    def told(self) -> None:
        """The driver has told everything so far."""

        def note(machine: SimulatedMachine, at: float) -> tuple[Event, ...]:
            machine.told()
            return ()

        self._do(note)

    def holds_clear_bed(self) -> bool:
        """The machine's own sensor says that its bed is clear."""
        machine = self.simulated
        return machine.nature.ejects and machine.truth.bed_clear and machine.truth.phase is Phase.IDLE

    def busy_with(self) -> str:
        """What keeps the machine from taking a START now; empty when nothing does."""
        truth = self.truth
        if truth.phase is Phase.IDLE:
            return ""
        return truth.phase.value if truth.run is None else f"{truth.phase.value} ({truth.run.run_id})"

    def send_start(self, order: StartOrder) -> bool:
        """A START goes out on the cable. False: the cable went with it, and no answer came."""
        cut, self._cut_next = self._cut_next, None

        def receive(machine: SimulatedMachine, at: float) -> tuple[Event, ...]:
            drop, self._drop_next = self._drop_next, False
            answer = Answer.DROPPED if drop else machine.receive(order, at)
            self._starts.append(ReceivedStart(at, order.run_id, order.fence, answer))
            if self._files is not None:
                self._files.log_start(self._starts[-1])
            return ()

        if cut is None or cut:
            self._do(receive)
        if cut is not None:
            self.pull_cable()
        return cut is None

    def pause(self) -> None:
        self._do(lambda machine, at: machine.pause(at))

    def resume(self) -> None:
        self._do(lambda machine, at: machine.resume(at))

    def stop(self) -> None:
        self._do(lambda machine, at: machine.stop(at))

    def recover(self) -> None:
        self._do(lambda machine, at: machine.recover(at))

    def estop(self) -> None:
        self._do(lambda machine, at: machine.break_down(EMERGENCY_STOP, "emergency stop", at))

    def cable_up(self) -> bool:
        return self._cable.up(now())

    def next_loss_at(self) -> float:
        return self._cable.next_loss_at(now())

    # What people and tests do

    def pull_cable(self, until: float = math.inf) -> None:
        """The link is down until that wall time, or until `plug_cable`."""
        self._cable.pull(until)
        self.changed()

    def plug_cable(self) -> None:
        self._cable.plug()
        self.changed()

    def panel_start(self, name: str, duration_s: float = PANEL_RUN_S) -> None:
        """Somebody starts a run of their own at the machine; nothing when it is not idle."""
        self._do(lambda machine, at: machine.panel_start(name, duration_s, at))

    def reboot(self) -> None:
        """The machine loses power and comes back."""
        self._do(lambda machine, at: machine.reboot(at))

    def fail_now(self, reason: str) -> None:
        """The present run, ours or not, fails."""
        self._do(lambda machine, at: machine.fail(reason, at))

    def break_now(self, fault: Fault = BREAKDOWN) -> None:
        """The machine breaks down and needs `recover`."""
        self._do(lambda machine, at: machine.break_down(fault, fault.what, at))

    def drop_next_start(self) -> None:
        """The next START reaches the machine, which silently does nothing with it."""
        self._drop_next = True

    def cut_next_start(self, *, arrives: bool) -> None:
        """The cable goes while the next START is sent, after or before it reached the machine."""
        self._cut_next = arrives

    def starts(self) -> tuple[ReceivedStart, ...]:
        """Every START that has reached the machine, oldest first."""
        return tuple(self._starts) if self._files is None else self._files.starts()

    # Inside

    def _do(self, action: Action) -> SimulatedMachine:
        machine = self._machine
        if machine is None:
            machine = self._machine = self._make(now())
        if self._files is not None and (kept := self._files.load()) is not None:
            machine.truth = kept
        before = machine.truth
        happened = list(machine.advance(now()))
        happened += action(machine, machine.truth.at)
        happened += machine.advance(machine.truth.at)
        self.outbox.extend(happened)
        truth = machine.truth
        changed = truth is not before and truth != replace(before, at=truth.at)
        if self._files is not None and (changed or kept is None):
            self._files.save(truth)
        if changed:
            self.changed()
        return machine
