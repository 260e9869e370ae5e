"""Starting a run on one machine: the intent on disk first, then the start once, then evidence.

This is where at most one physical start is kept. An intent is called off when anything happened to
the machine before it was sent. A start that was handed over, or broken off, is never sent again:
whoever cannot tell what became of it says so, and a fresh look at the machine or a person settles it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

import structlog

from farmd.daemon.blame import bug_of, fault_of, printable
from farmd.daemon.dispatch import NewBuild
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.rules import safe_mode
from farmd.daemon.shop import Shop
from farmd.driver import Driver, RunFile, StartOrder, now, offload
from farmd.model import facts as f
from farmd.model.errors import FarmdError, LinkLost, ProtocolError, Refused
from farmd.model.lifecycle import JobState, RunState
from farmd.model.lookup import find_build
from farmd.model.machine import Fault
from farmd.model.work import Build, Outcome, Run
from farmd.store.vault import FILE_CORRUPT, FILE_LOCKED, FILE_MISSING

START_S = 1800.0
"""How long handing over a start may take, the file's way to the machine included (seconds of the loop)."""
EVIDENCE_S = 120.0
"""How long a start may go without evidence before the run is called uncertain (seconds of the loop)."""

log = structlog.get_logger("starter")


class Keeper(Protocol):
    """Who looks after the machine that is started: its attendant."""

    @property
    def name(self) -> str: ...
    @property
    def driver(self) -> Driver: ...

    def fault(self, fault: Fault) -> None: ...

    def look_again(self) -> None: ...


class Starter:
    """The starts of one machine."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        ledger: Ledger,
        shop: Shop,
        ids: IdSource,
        open_file: Callable[[str, str], RunFile],
    ) -> None:
        self.run_id: str | None = None
        """The run whose start is under way: intended, and not handed over yet."""
        self._keeper = keeper
        self._ledger = ledger
        self._shop = shop
        self._ids = ids
        self._open_file = open_file
        self._disturbed: str | None = None
        self._handing_over: asyncio.Timeout | None = None
        self._log = log.bind(machine=keeper.name)

    async def start(self, permit_id: str, work: NewBuild | str) -> None:
        """Spend the permit on one start. Raises `Refused` before anything is sent or recorded when the
        state does not allow it."""
        farm, at = self._ledger.farm, now()
        facts: list[f.Fact] = []
        if isinstance(work, NewBuild):
            build_id = self._ids.build(farm)
            file_sha256 = work.file_sha256
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
                    file_sha256=file_sha256,
                    mass_g=work.mass_g,
                )
            )
        else:
            build_id = work
            file_sha256 = find_build(farm, work).file_sha256
        run_id = self._ids.run()
        facts.append(
            f.RunIntended(
                at=at,
                actor="daemon",
                run_id=run_id,
                build_id=build_id,
                machine=self._keeper.name,
                permit_id=permit_id,
                fence=farm.counters["fence"],
                file_sha256=file_sha256,
            )
        )
        await self._begin(run_id, build_id, facts)

    def go_on(self, before: Run, actor: str, reason: str = "") -> tuple[str, Coroutine[None, None, None]]:
        """Start a new run where a run broke off, with what it made on the machine.

        A person says so and thereby gives the permit. Returns the new run's id, which is recorded, and the
        handing over, which is the caller's to run. Raises `Refused` as `start` does.
        """
        run_id = self._ids.run()
        fact = f.RunContinued(
            at=now(),
            actor=actor,
            run_id=run_id,
            continues=before.id,
            build_id=before.build_id,
            machine=self._keeper.name,
            permit_id=self._ids.permit(),
            fence=self._ledger.farm.counters["fence"],
            file_sha256=before.file_sha256,
            reason=reason,
        )
        return run_id, self._begin(run_id, before.build_id, [fact])

    def _begin(self, run_id: str, build_id: str, facts: list[f.Fact]) -> Coroutine[None, None, None]:
        """Record the intent, now; the rest is to be awaited."""
        durable = self._ledger.record(*facts)
        self.run_id, self._disturbed = run_id, None
        return self._carry_out(run_id, build_id, durable)

    async def _carry_out(self, run_id: str, build_id: str, durable: Awaitable[object]) -> None:
        try:
            await durable
            await self._hand_over(run_id, build_id)
        finally:
            self.run_id = None

    def disturb(self, what: str) -> None:
        """Something happened to the machine: what a start under way relied on may not hold any more."""
        self._disturbed = self._disturbed or what

    def break_off(self) -> None:
        """Stop handing over a start, now."""
        self.disturb("the start was broken off")
        if self._handing_over is not None:
            self._handing_over.reschedule(asyncio.get_running_loop().time())

    async def _hand_over(self, run_id: str, build_id: str) -> None:
        """Send the start of an intent that is on disk, once, unless something has come between."""
        farm = self._ledger.farm
        run_log = self._log.bind(run=run_id, build=build_id)
        try:
            if (reason := self._called_off(run_id, build_id)) is None:
                order = self._order(farm.runs[run_id], farm.builds[build_id])
                await _check_file(order)
                # To read the file took its time.
                reason = self._called_off(run_id, build_id)
            if reason is not None:
                run_log.warning("start called off", why=reason)
                self._end_unstarted(run_id, reason)
                return
            async with asyncio.timeout(START_S) as self._handing_over:
                await self._keeper.driver.start(order)
        except Refused as refused:
            run_log.warning("start refused", code=refused.code.name, what=refused.what)
            self._end_unstarted(run_id, str(refused))
            if refused.code in (FILE_MISSING, FILE_CORRUPT, FILE_LOCKED):
                self._hold_jobs(build_id, str(refused))
            return
        except TimeoutError:
            self._doubt(run_id, "handing over the start was broken off")
            return
        except Exception as error:  # noqa: BLE001 - the boundary: a driver's bug is its machine's fault alone
            told = error if isinstance(error, FarmdError) else bug_of(error)
            self._doubt(run_id, f"while starting: {told.what}")
            if not isinstance(told, LinkLost | ProtocolError):
                run_log.error("driver failed while starting", exc_info=error)
                self._keeper.fault(fault_of(told))
            return
        finally:
            self._handing_over = None
        run = farm.runs.get(run_id)
        if run is not None and run.state is RunState.INTENT:
            await self._ledger.record(f.RunSent(at=now(), actor="daemon", run_id=run_id))
        run_log.info("start sent")
        asyncio.get_running_loop().call_later(EVIDENCE_S, self._miss_evidence, run_id)

    def _called_off(self, run_id: str, build_id: str) -> str | None:
        """Why a start must not be sent after all; None when it may."""
        farm = self._ledger.farm
        run, machine = farm.runs.get(run_id), farm.machines[self._keeper.name]
        if run is None or run.state is not RunState.INTENT:
            return "the run is settled already"
        if (obstacle := safe_mode(farm)) is not None:
            return obstacle.what
        if machine.held is not None:
            return f"a person holds the machine: {machine.held}"
        jobs = [farm.jobs[item.job_id] for item in farm.builds[build_id].items]
        if all(job.state is JobState.CANCELLED for job in jobs):
            return "nobody wants it any more"
        return self._disturbed

    def _order(self, run: Run, build: Build) -> StartOrder:
        file = None
        if build.file_sha256 is not None:
            name = self._ledger.farm.jobs[build.items[0].job_id].file_name
            file = self._open_file(build.file_sha256, name)
        spec = self._shop.specs[self._keeper.name]
        return StartOrder(
            run_id=run.id,
            operation=build.operation,
            duration_s=spec.operation_s if spec.is_station else build.duration_s,
            parts=build.parts,
            fence=self._ledger.farm.counters["fence"],
            file=file,
            material=build.material,
            mass_g=build.mass_g,
            resume_at=run.place if run.continues else None,
        )

    def _end_unstarted(self, run_id: str, reason: str) -> None:
        run = self._ledger.farm.runs.get(run_id)
        if run is not None and run.state is RunState.INTENT:
            self._ledger.record(
                f.RunEnded(
                    at=now(),
                    actor="daemon",
                    run_id=run_id,
                    outcome=Outcome.NOT_STARTED,
                    reason=printable(reason),
                )
            )

    def _hold_jobs(self, build_id: str, reason: str) -> None:
        """A file that cannot be read would be refused by every machine, and each try costs a permit."""
        farm = self._ledger.farm
        for item in farm.builds[build_id].items:
            if farm.jobs[item.job_id].state is JobState.OPEN:
                self._ledger.record(
                    f.JobHeld(at=now(), actor="daemon", job_id=item.job_id, reason=printable(reason))
                )

    def _doubt(self, run_id: str, reason: str, *, look: bool = True) -> None:
        run = self._ledger.farm.runs.get(run_id)
        if run is not None and run.state in (RunState.INTENT, RunState.SENT):
            self._log.warning("start uncertain", run=run_id, why=reason)
            self._ledger.record(
                f.RunDoubted(at=now(), actor="daemon", run_id=run_id, reason=printable(reason))
            )
        if look:
            # A fresh look may settle it.
            self._keeper.look_again()

    def _miss_evidence(self, run_id: str) -> None:
        run = self._ledger.farm.runs.get(run_id)
        if run is not None and run.state is RunState.SENT:
            # Where the link is what feeds the machine, opening it anew would end the run.
            adopts = self._keeper.driver.capabilities.adopts
            self._doubt(run_id, f"no evidence of a start within {EVIDENCE_S:.0f} s", look=adopts)


async def _check_file(order: StartOrder) -> None:
    """The file is there, whole, and can be opened, before anything is sent. Raises `Refused`.

    What a driver reads of it then is checked once more, as it reads it.
    """
    file = order.file
    if file is not None:
        await offload(lambda: file.open().close())
