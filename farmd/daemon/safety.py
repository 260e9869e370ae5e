"""Safe mode: finds what makes a farm unsafe to run, says so by a fact, and lets people out of it.

Watched are the room on the disk, whether it can be written, the wall clock, and once a night the record
itself. Nothing here stops or starts a machine: what safe mode forbids, the rules and `apply` refuse. Knows
no machine and no HTTP.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from farmd.daemon.ledger import Ledger
from farmd.driver import now, offload, sleep_until
from farmd.driver.clock import speed
from farmd.model import facts as f
from farmd.model.errors import FarmdError, Refused
from farmd.model.lifecycle import MachineState, RunState
from farmd.model.safe_mode import SAFE_MODE_STAYS, Cause, SafeMode
from farmd.store import DISK_FULL, DISK_READ_ONLY, Store, StoreBlocked, StoreFailed, is_read_only

WATCH_S = 5.0
"""How often disk and clock are looked at (seconds of the loop)."""
CLOCK_S = 60.0
"""From so large a step on, the wall clock is said to have jumped."""
NIGHT_H = 3
"""At this hour of the shop's day the whole record is checked."""

log = structlog.get_logger("safety")


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the data folder, and what is asked of it."""

    folder: Path
    min_free_percent: float

    def trouble(self) -> tuple[Cause, str] | None:
        """What is wrong with it; None when it can be written and has room."""
        try:
            if is_read_only(self.folder):
                return Cause.READ_ONLY, f"{self.folder} can only be read"
            usage = shutil.disk_usage(self.folder)
        except OSError as error:
            return Cause.READ_ONLY, f"{self.folder}: {error.strerror}"
        # What only root may fill is no room for us.
        percent = 100.0 * usage.free / max(1, usage.used + usage.free)
        if percent < self.min_free_percent:
            what = f"{percent:.1f} % of the disk of {self.folder} are free, {self.min_free_percent:g} % are needed"
            return Cause.DISK_FULL, what
        return None


class Safety:
    """Enters and leaves safe mode."""

    def __init__(self, ledger: Ledger, store: Store, disk: Disk, zone: ZoneInfo, reader: Executor) -> None:
        self._ledger = ledger
        self._store = store
        self._disk = disk
        self._zone = zone
        self._reader = reader
        ledger.on_blocked(self._blocked)

    @property
    def causes(self) -> list[SafeMode]:
        """Why the farm is in safe mode; empty when it is not."""
        return list(self._ledger.farm.safe_modes.values())

    def enter(self, cause: Cause, what: str, until: float = 0.0) -> None:
        """Into safe mode, at once; nothing new where that cause is open already."""
        if cause in self._ledger.farm.safe_modes:
            return
        log.error("safe mode", cause=cause.value, what=what)
        self._ledger.record(f.SafeModeEntered(at=now(), actor="daemon", cause=cause, what=what, until=until))

    def _leave(self, cause: Cause, actor: str, reason: str) -> None:
        log.warning("safe mode left", cause=cause.value, actor=actor, reason=reason)
        self._ledger.record(f.SafeModeLeft(at=now(), actor=actor, cause=cause, reason=reason))

    # --- a start ----------------------------------------------------------------------------

    async def begin(self, last_at: float) -> None:
        """At a start: leave what is mended, enter what is found. `last_at` is when a daemon last lived."""
        farm, at = self._ledger.farm, now()
        trouble = await offload(self._disk.trouble)
        for safe in self.causes:
            match safe.cause:
                case Cause.DISK_FULL | Cause.READ_ONLY if trouble is None or trouble[0] is not safe.cause:
                    self._leave(safe.cause, "daemon", "the disk is in order at this start")
                case Cause.CLOCK_BACK if at >= safe.until - CLOCK_S:
                    self._leave(safe.cause, "daemon", "the clock is where it was")
                case Cause.DAMAGE if not await offload(self._store.damage, self._reader):
                    self._leave(safe.cause, "daemon", "the whole record is in order at this start")
        if trouble is not None:
            self.enter(*trouble)
        if at < last_at - CLOCK_S and Cause.CLOCK_BACK not in farm.safe_modes:
            what = f"the clock is {_span(last_at - at)} behind what it was when farmd last ran"
            self.enter(Cause.CLOCK_BACK, what, until=last_at)

    # --- while it runs ----------------------------------------------------------------------

    async def run(self) -> None:
        """Watch, for ever. Raises what the store raises."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="safety:watch")
            group.create_task(self._nightly(), name="safety:nightly")

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        wall, mono = now(), loop.time()
        while True:
            await asyncio.sleep(WATCH_S)
            new_wall, new_mono = now(), loop.time()
            self.judge_clock(wall, new_wall, (new_mono - mono) * speed())
            wall, mono = new_wall, new_mono
            if (trouble := await offload(self._disk.trouble)) is not None:
                self.enter(*trouble)

    def judge_clock(self, before: float, after: float, passed_s: float) -> None:
        """The wall clock went from `before` to `after` while really so much time passed."""
        by_s = after - before - passed_s
        if abs(by_s) <= CLOCK_S:
            return
        log.warning("the clock was set", by_s=round(by_s, 1))
        self._ledger.record(f.ClockJumped(at=after, actor="daemon", by_s=by_s))
        if by_s < 0:
            what = f"the clock was set back by {_span(-by_s)} while farmd ran"
            self.enter(Cause.CLOCK_BACK, what, until=before + passed_s)

    async def _nightly(self) -> None:
        while True:
            await sleep_until(_next_night(now(), self._zone))
            await self.check_record()

    async def check_record(self) -> str:
        """Look through the whole record; what is wrong with it, empty when nothing."""
        begun = time.monotonic()
        try:
            found = await offload(self._store.damage, self._reader)
        except StoreFailed as error:
            found = error.what
        if found:
            self.enter(Cause.DAMAGE, found)
        else:
            log.info(
                "record checked", facts=self._ledger.farm.revision, took_s=round(time.monotonic() - begun, 1)
            )
        return found

    def _blocked(self, blocked: StoreBlocked) -> None:
        log.error("nothing can be written", code=blocked.code.name, what=blocked.what)
        if blocked.code is DISK_FULL:
            self.enter(Cause.DISK_FULL, blocked.what)
        elif blocked.code is DISK_READ_ONLY:
            self.enter(Cause.READ_ONLY, blocked.what)

    # --- out of it --------------------------------------------------------------------------

    async def leave(self, actor: str, reason: str = "") -> None:
        """A person says that all is in order. Raises `Refused(SAFE_MODE_STAYS)` where it is not."""
        judged = self.causes
        for safe in judged:
            if obstacle := await self._obstacle(safe):
                raise Refused(SAFE_MODE_STAYS, obstacle, where=safe.cause, remedy=safe.remedy)
        # To look took its time: what was found meanwhile nobody has judged.
        known = self._ledger.farm.safe_modes
        facts = [
            f.SafeModeLeft(at=now(), actor=actor, cause=safe.cause, reason=reason)
            for safe in judged
            if known.get(safe.cause) == safe
        ]
        if facts:
            log.warning("safe mode left", causes=[fact.cause.value for fact in facts], actor=actor)
            await self._ledger.record(*facts)

    async def _obstacle(self, safe: SafeMode) -> str:
        match safe.cause:
            case Cause.DISK_FULL | Cause.READ_ONLY:
                if self._ledger.blocked is not None:
                    return self._ledger.blocked.what
                trouble = await offload(self._disk.trouble)
                return trouble[1] if trouble is not None else ""
            case Cause.DAMAGE:
                return await self._damage()
            case Cause.NEWER_SCHEMA:
                return safe.what
            case Cause.RESTORED:
                return self._unreconciled()
            case Cause.CLOCK_BACK:
                return ""

    async def _damage(self) -> str:
        if self._store.is_aside:
            return "this daemon runs beside its record, which is not in order"
        try:
            return await offload(self._store.damage, self._reader)
        except FarmdError as error:
            return error.what

    def _unreconciled(self) -> str:
        """What is not settled yet between the restored record and the machines."""
        farm = self._ledger.farm
        for run in farm.runs.values():
            if run.state is RunState.UNCERTAIN:
                return f"nobody has said yet what became of {run.id} on {run.machine}"
            machine = farm.machines.get(run.machine)
            is_open = run.state is not RunState.ENDED
            if is_open and (machine is None or machine.state is MachineState.OFFLINE):
                return f"{run.machine} has not been seen yet, and {run.id} is open on it"
        return ""


def _next_night(at: float, zone: ZoneInfo) -> float:
    here = datetime.fromtimestamp(at, zone)
    night = here.replace(hour=NIGHT_H, minute=0, second=0, microsecond=0)
    if night <= here:
        night += timedelta(days=1)
    return night.timestamp()


def _span(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
