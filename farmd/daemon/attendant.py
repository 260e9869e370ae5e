"""The attendant of one machine: keeps its driver running and turns what it tells into facts.

The one boundary where a driver's exceptions end. A lost link is retried, logged once when lost
and once when back. Anything else that a driver raises, a bug included, becomes a fault of this
machine alone; that of a bug stays until a person releases it. How a run is started is in `starter.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar

import structlog

from farmd.daemon.blame import DRIVER_BUG, bug_of, cause_of, fault_of, printable
from farmd.daemon.dispatch import NewBuild
from farmd.daemon.evidence import Situation, facts_of, permit_of
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.live import Live, Trouble
from farmd.daemon.noise import NoiseWatch
from farmd.daemon.shop import Shop
from farmd.daemon.starter import Starter
from farmd.daemon.telemetry import Collector
from farmd.driver import (
    Attention,
    BedCleared,
    Driver,
    Event,
    Faulted,
    ForeignEnded,
    ForeignStarted,
    LinkHealth,
    Observed,
    Progressed,
    Rebooted,
    Reply,
    RunFile,
    Temperatures,
    TerminalLine,
    now,
)
from farmd.model import facts as f
from farmd.model.errors import ErrorCode, FarmdError, LinkLost, ProtocolError, Refused
from farmd.model.lifecycle import MachineState
from farmd.model.machine import Fault, Machine
from farmd.model.work import Run
from farmd.store.errors import NOT_STORABLE

BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 60.0
"""A link that was up this long is tried again at once when it is lost (seconds of the loop)."""

NO_LINK = ErrorCode("no-link", "there is no link to the machine", "look at its power, cable and port")

T = TypeVar("T")

log = structlog.get_logger("attendant")


class Attendant:
    """Looks after one machine. `serve` runs for the life of the daemon."""

    def __init__(
        self,
        driver: Driver,
        name: str,
        *,
        ledger: Ledger,
        shop: Shop,
        ids: IdSource,
        open_file: Callable[[str, str], RunFile],
        collector: Collector | None = None,
    ) -> None:
        self.driver = driver
        self.name = name
        self.live = Live()
        self._collector = collector
        self._ledger = ledger
        self._shop = shop
        self._ids = ids
        self._reconnect = asyncio.Event()
        self._linked = False
        self._linked_at = 0.0
        self._failures = 0
        self._lost_as = ""
        self._noise = NoiseWatch(shop.noise)
        self._log = log.bind(machine=name)
        self.starter = Starter(self, ledger=ledger, shop=shop, ids=ids, open_file=open_file)

    @property
    def machine(self) -> Machine:
        return self._ledger.farm.machines[self.name]

    async def serve(self) -> None:
        """Keep the link up, for ever."""
        while True:
            error = await self._serve_once()
            if self._linked and asyncio.get_running_loop().time() - self._linked_at >= STEADY_S:
                self._failures = 0
            self._tell_lost(error)
            # The link is opened anew anyway; only who asks from now on shortens the pause.
            self._reconnect.clear()
            asked = asyncio.create_task(self._reconnect.wait())
            try:
                await asyncio.wait((asked,), timeout=BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)])
            finally:
                asked.cancel()
            self._failures += 1

    async def _serve_once(self) -> FarmdError:
        self._reconnect.clear()
        serving = asyncio.create_task(self.driver.serve(self._report), name=f"driver:{self.name}")
        asked = asyncio.create_task(self._reconnect.wait())
        try:
            await asyncio.wait((serving, asked), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                serving.cancel()
            await asyncio.wait((serving,))
            if serving.cancelled():
                return LinkLost(NO_LINK, "the link is opened anew to look at the machine")
            error = serving.exception()
        finally:
            asked.cancel()
            if not serving.done():
                serving.cancel()
                await asyncio.wait((serving,))
                if not serving.cancelled() and (late := serving.exception()) is not None:
                    self._log.error("driver failed while it was left", exc_info=late)
        if error is None:
            return LinkLost(NO_LINK, "the driver ended the link")
        if not isinstance(error, Exception):
            raise error
        return cause_of(error)

    def _tell_lost(self, error: FarmdError) -> None:
        """Once for each loss: the link is gone, or the machine needs a person."""
        self._linked = False
        # What was read before the loss is not so now.
        self.live.actual_c, self.live.target_c = {}, {}
        self.live.lost, self.live.noisy = Trouble.of(error), None
        self._noise.forget()
        self.starter.disturb(error.what)
        machine = self.machine
        if isinstance(error, LinkLost | ProtocolError):
            if machine.state is not MachineState.OFFLINE:
                lost = f.MachineLost(
                    at=now(), actor="daemon", machine=self.name, reason=printable(error.what)
                )
                self._ledger.record(lost)
        elif machine.state is not MachineState.FAULT or machine.fault != fault_of(error):
            self.fault(fault_of(error))
        if self._lost_as != error.code.name:
            self._lost_as = error.code.name
            bug = error.__cause__ if error.code is DRIVER_BUG else None
            self._log.warning("link lost", code=error.code.name, why=error.told, exc_info=bug)
        self.live.attention[error.code.name] = error.told

    def _situation(self) -> Situation:
        farm, spec = self._ledger.farm, self._shop.specs[self.name]
        machine = farm.machines[self.name]
        return Situation(
            farm,
            machine,
            self.driver.capabilities,
            self._shop.out_of_sight_s,
            now(),
            starting=self.starter.run_id is not None and self.starter.run_id == machine.run_id,
            cooldown_s=spec.chamber.cooldown_s if spec.chamber else 0.0,
        )

    def _report(self, event: Event) -> None:
        """What the driver calls. An event that does not follow is logged, not obeyed."""
        match event:
            case Progressed():
                self.live.fraction = event.fraction
                self.live.layer, self.live.remaining_s = event.layer, event.remaining_s
                if self._collector is not None:
                    self._collector.note(self.name, "progress", {"fraction": event.fraction})
                return
            case Temperatures():
                self.live.actual_c, self.live.target_c = event.actual_c, event.target_c
                if self._collector is not None:
                    self._collector.note_temperatures(self.name, event)
                return
            case LinkHealth():
                self._judge(event)
                return
            case Attention():
                self.live.attention[event.code] = event.what
                self._log.warning("attention", code=event.code, what=event.what)
                return
            case Observed():
                self._link_up(event)
            case _ if not self._linked:
                self._log.warning("told before the machine was read", told=type(event).__name__)
                return
        if isinstance(event, Observed | Faulted | Rebooted | ForeignStarted | ForeignEnded):
            self.starter.disturb(f"the machine told {type(event).__name__}")
        try:
            if not isinstance(event, BedCleared):
                facts = facts_of(event, self._situation())
            elif self._shop.specs[self.name].permit_from_machine:
                facts = permit_of(self._situation(), self._ids)
            else:
                facts = []
            if facts:
                self._ledger.record(*facts)
        except Refused as refused:
            self._log.warning("event does not follow", told=type(event).__name__, why=refused.what)
            if refused.code is NOT_STORABLE:
                self.fault(fault_of(bug_of(refused)))

    def _judge(self, health: LinkHealth) -> None:
        """Tell of a noisy link before it ruins a part: once when it begins, and once when it is over."""
        live = self.live
        live.take_health(health)
        was, live.noisy = live.noisy, self._noise.judge(health, asyncio.get_running_loop().time())
        if live.noisy is not None:
            live.attention[live.noisy.code] = str(live.noisy)
            if was is None:
                self._log.warning("link noisy", what=live.noisy.what)
        elif was is not None:
            live.attention.pop(was.code, None)
            self._log.info("link quiet again")

    def _link_up(self, event: Observed) -> None:
        if not self._linked:
            self._log.info("link up", activity=event.activity.value, run=event.run_id)
            self.live.close_link()
            self._linked, self._linked_at = True, asyncio.get_running_loop().time()
        self._lost_as = ""
        self.live.lost = None
        self.live.attention.clear()
        self.live.firmware = event.firmware

    # --- commands ---------------------------------------------------------------------------

    async def start(self, permit_id: str, work: NewBuild | str) -> None:
        """Spend the permit on one start; see `Starter.start`."""
        self.live.fraction = self.live.layer = self.live.remaining_s = None
        await self.starter.start(permit_id, work)

    def go_on(self, before: Run, actor: str, reason: str = "") -> tuple[str, Coroutine[None, None, None]]:
        """A new run where one broke off; see `Starter.go_on`."""
        self.live.layer = self.live.remaining_s = None
        return self.starter.go_on(before, actor, reason)

    def look_again(self) -> None:
        """Open the link anew, soon, to read what the machine is."""
        self._reconnect.set()

    async def pause(self) -> None:
        await self._ask(self.driver.pause())

    async def resume(self) -> None:
        await self._ask(self.driver.resume())

    async def stop(self) -> None:
        """Cancel the run safely; its end is told by the machine."""
        await self._ask(self.driver.stop())

    async def recover(self) -> None:
        """A person says that the fault is mended."""
        self._failures = 0
        fault = self.machine.fault
        if fault is not None and fault.code == DRIVER_BUG.name:
            # The daemon found this fault, so the driver knows nothing of it.
            self._ledger.record(f.MachineRecovered(at=now(), actor="daemon", machine=self.name))
            if not self._linked:
                self._ledger.record(
                    f.MachineLost(at=now(), actor="daemon", machine=self.name, reason=fault.what)
                )
            self.look_again()
        elif not self._linked:
            self.look_again()
        else:
            await self._ask(self.driver.recover())

    async def command(self, text: str) -> Reply:
        """Send one command that a person typed; who may and when is `typed`'s business."""
        return await self._ask(self.driver.command(text))

    def terminal(self, after: int) -> Sequence[TerminalLine]:
        """The last lines of the link above a number, also when it is lost. Raises `Refused`."""
        try:
            return self.driver.terminal(after)
        except FarmdError:
            raise
        except Exception as error:
            # Looking is no reason to stop a machine.
            self._log.error("no terminal", exc_info=error)
            raise bug_of(error) from error

    async def _ask(self, command: Awaitable[T]) -> T:
        """Raises what the driver raises; a bug of its own as `MachineFault`."""
        try:
            return await command
        except FarmdError:
            raise
        except Exception as error:
            self._log.error("driver failed", exc_info=error)
            bug = bug_of(error)
            self.fault(fault_of(bug))
            raise bug from error

    async def give_up(self) -> None:
        """Stop, from within the daemon: what goes wrong is told, not raised."""
        try:
            await self.stop()
        except FarmdError as error:
            self._log.warning("not stopped", code=error.code.name, what=error.what)
            self.live.attention[error.code.name] = error.told

    def estop(self) -> FarmdError | None:
        """Emergency stop, at once; the error when it could not be sent. Never raises."""
        try:
            self.driver.estop()
        except FarmdError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one driver's bug must not keep the others from stopping
            self._log.error("emergency stop failed", exc_info=error)
            return bug_of(error)
        finally:
            self.starter.break_off()
        return None

    def fault(self, fault: Fault) -> None:
        """Put the machine into a fault of the daemon's own finding."""
        self._ledger.record(f.MachineFaulted(at=now(), actor="daemon", machine=self.name, fault=fault))
