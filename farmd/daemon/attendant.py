"""The attendant of one machine: keeps its driver running and turns what it tells into facts.

The one boundary where a driver's exceptions end. A lost link is retried, logged once when lost
and once when back. Anything else that a driver raises, a bug included, becomes a fault of this
machine alone. Starting is here too: intent on disk, then the start once, then evidence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from farmd.daemon.dispatch import NewBuild
from farmd.daemon.evidence import Situation, facts_of, permit_of
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.shop import Shop
from farmd.driver import (
    Attention,
    BedCleared,
    Driver,
    Event,
    Observed,
    Progressed,
    RunFile,
    StartOrder,
    Temperatures,
    now,
)
from farmd.model import facts as f
from farmd.model.errors import ErrorCode, FarmdError, LinkLost, Refused
from farmd.model.lifecycle import MachineState, RunState
from farmd.model.machine import Fault, Machine
from farmd.model.work import Build, Outcome

BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
EVIDENCE_S = 120.0
"""How long a start may go without evidence before the run is called uncertain (real seconds)."""

DRIVER_BUG = ErrorCode(
    "driver-bug",
    "the machine's driver failed with an error of its own",
    "restart the machine and report the log entry to the driver's maker; then `farmctl release NAME`",
)
NO_LINK = ErrorCode("no-link", "there is no link to the machine", "look at its power, cable and port")

log = structlog.get_logger("attendant")


@dataclass(slots=True)
class Live:
    """Telemetry of one machine: what is worth showing and not worth recording."""

    fraction: float | None = None
    layer: int | None = None
    remaining_s: float | None = None
    actual_c: dict[str, float] = field(default_factory=dict)
    target_c: dict[str, float] = field(default_factory=dict)
    attention: dict[str, str] = field(default_factory=dict)
    firmware: str = ""


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
    ) -> None:
        self.driver = driver
        self.name = name
        self.live = Live()
        self._ledger = ledger
        self._shop = shop
        self._ids = ids
        self._open_file = open_file
        self._reconnect = asyncio.Event()
        self._linked = False
        self._log = log.bind(machine=name)

    @property
    def machine(self) -> Machine:
        return self._ledger.farm.machines[self.name]

    async def serve(self) -> None:
        """Keep the link up, for ever."""
        failures = 0
        while True:
            connected_before = self._linked
            error = await self._serve_once()
            failures = 0 if self._linked or connected_before else failures + 1
            self._tell_lost(error)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

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
        if isinstance(error, FarmdError):
            return error
        if error is None:
            return LinkLost(NO_LINK, "the driver ended the link")
        if not isinstance(error, Exception):
            raise error
        self._log.error("driver failed", exc_info=error)
        return FarmdError(DRIVER_BUG, f"{type(error).__name__}: {error}")

    def _tell_lost(self, error: FarmdError) -> None:
        first = self.machine.state is not MachineState.OFFLINE or self._linked
        self._linked = False
        if first:
            self._log.warning("link lost", code=error.code.name, what=error.what)
            self._ledger.record(f.MachineLost(at=now(), actor="daemon", machine=self.name, reason=error.what))
        self.live.attention[error.code.name] = f"{error.what}; {error.remedy}"

    def _situation(self) -> Situation:
        farm = self._ledger.farm
        return Situation(
            farm, farm.machines[self.name], self.driver.capabilities, self._shop.out_of_sight_s, now()
        )

    def _report(self, event: Event) -> None:
        """What the driver calls. Never raises: an event that does not follow is logged, not obeyed."""
        match event:
            case Progressed():
                self.live.fraction = event.fraction
                self.live.layer, self.live.remaining_s = event.layer, event.remaining_s
                return
            case Temperatures():
                self.live.actual_c, self.live.target_c = event.actual_c, event.target_c
                return
            case Attention():
                self.live.attention[event.code] = event.what
                self._log.warning("attention", code=event.code, what=event.what)
                return
            case Observed():
                if not self._linked:
                    self._log.info("link up", activity=event.activity.value, run=event.run_id)
                self._linked = True
                self.live.attention.clear()
                self.live.firmware = event.firmware
        try:
            if isinstance(event, BedCleared):
                facts = permit_of(event, self._situation(), self._ids.permit())
            else:
                facts = facts_of(event, self._situation())
            if facts:
                self._ledger.record(*facts)
        except Refused as refused:
            self._log.warning("event does not follow", told=type(event).__name__, why=refused.what)

    # --- commands ---------------------------------------------------------------------------

    async def start(self, permit_id: str, work: NewBuild | str) -> None:
        """Spend the permit on one start: intent on disk first, then the start once.

        Raises `Refused` before anything is sent when the state does not allow it.
        """
        farm, at = self._ledger.farm, now()
        facts: list[f.Fact] = []
        if isinstance(work, NewBuild):
            build_id = self._ids.build(farm)
            facts.append(
                f.BuildQueued(
                    at=at,
                    actor="daemon",
                    build_id=build_id,
                    operation=work.operation,
                    items=work.items,
                    duration_s=work.duration_s,
                    material=work.material,
                    nozzle_mm=work.nozzle_mm,
                    file_sha256=work.file_sha256,
                    mass_g=work.mass_g,
                )
            )
        else:
            build_id = work
        run_id = self._ids.run()
        sha256 = work.file_sha256 if isinstance(work, NewBuild) else farm.builds[work].file_sha256
        facts.append(
            f.RunIntended(
                at=at,
                actor="daemon",
                run_id=run_id,
                build_id=build_id,
                machine=self.name,
                permit_id=permit_id,
                fence=farm.counters["fence"],
                file_sha256=sha256,
            )
        )
        await self._ledger.record(*facts)
        run_log = self._log.bind(run=run_id, build=build_id)
        try:
            await self.driver.start(self._order(run_id, farm.builds[build_id]))
        except Refused as refused:
            run_log.warning("start refused", code=refused.code.name, what=refused.what)
            self._end_unstarted(run_id, str(refused))
            return
        except LinkLost as lost:
            self._doubt(run_id, f"the link was lost while starting: {lost.what}")
            return
        except Exception as error:  # noqa: BLE001 - the boundary: a driver's bug is its machine's fault alone
            run_log.error("driver failed while starting", exc_info=error)
            self._doubt(run_id, f"the driver failed while starting: {type(error).__name__}: {error}")
            self.fault(Fault(DRIVER_BUG.name, f"{type(error).__name__}: {error}", DRIVER_BUG.remedy))
            return
        run = farm.runs.get(run_id)
        if run is not None and run.state is RunState.INTENT:
            await self._ledger.record(f.RunSent(at=now(), actor="daemon", run_id=run_id))
        run_log.info("start sent")
        asyncio.get_running_loop().call_later(EVIDENCE_S, self._miss_evidence, run_id)

    def _order(self, run_id: str, build: Build) -> StartOrder:
        file = None
        if build.file_sha256 is not None:
            name = self._ledger.farm.jobs[build.items[0].job_id].file_name
            file = self._open_file(build.file_sha256, name)
        spec = self._shop.specs[self.name]
        return StartOrder(
            run_id=run_id,
            operation=build.operation,
            duration_s=spec.operation_s if spec.is_station else build.duration_s,
            parts=build.parts,
            fence=self._ledger.farm.counters["fence"],
            file=file,
            material=build.material,
            mass_g=build.mass_g,
        )

    def _end_unstarted(self, run_id: str, reason: str) -> None:
        run = self._ledger.farm.runs.get(run_id)
        if run is not None and run.state is RunState.INTENT:
            self._ledger.record(
                f.RunEnded(
                    at=now(), actor="daemon", run_id=run_id, outcome=Outcome.NOT_STARTED, reason=reason
                )
            )

    def _doubt(self, run_id: str, reason: str) -> None:
        run = self._ledger.farm.runs.get(run_id)
        if run is not None and run.state in (RunState.INTENT, RunState.SENT):
            self._log.warning("start uncertain", run=run_id, why=reason)
            self._ledger.record(f.RunDoubted(at=now(), actor="daemon", run_id=run_id, reason=reason))
        # A fresh look may settle it.
        self._reconnect.set()

    def _miss_evidence(self, run_id: str) -> None:
        run = self._ledger.farm.runs.get(run_id)
        if run is not None and run.state is RunState.SENT:
            self._doubt(run_id, f"no evidence of a start within {EVIDENCE_S:.0f} s")

    async def stop(self) -> None:
        """Cancel the run safely, from within the daemon: what goes wrong is told, not raised."""
        try:
            await self.driver.stop()
        except FarmdError as error:
            self._log.warning("not stopped", code=error.code.name, what=error.what)
            self.live.attention[error.code.name] = f"{error.what}; {error.remedy}"
        except Exception as error:  # noqa: BLE001 - the boundary: a driver's bug is its machine's fault alone
            self._log.error("driver failed while stopping", exc_info=error)
            self.fault(Fault(DRIVER_BUG.name, f"{type(error).__name__}: {error}", DRIVER_BUG.remedy))

    def estop(self) -> FarmdError | None:
        """Emergency stop, at once; the error when it could not be sent. Never raises."""
        try:
            self.driver.estop()
        except FarmdError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one driver's bug must not keep the others from stopping
            self._log.error("emergency stop failed", exc_info=error)
            return FarmdError(DRIVER_BUG, f"{type(error).__name__}: {error}", where=self.name)
        return None

    def fault(self, fault: Fault) -> None:
        """Put the machine into a fault of the daemon's own finding."""
        self._ledger.record(f.MachineFaulted(at=now(), actor="daemon", machine=self.name, fault=fault))
