"""The composition root: the whole daemon on one screen.

`run_farm` opens the record, takes the farm, starts everything, runs `body` with it, and ends
everything in order. The service, the demo and the simulation differ only in what they hand in here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import structlog

from farmd import __version__
from farmd.config import Config, maintenance, shift_windows
from farmd.daemon.anchoring import Anchoring
from farmd.daemon.attendant import Attendant
from farmd.daemon.chronicle import chronicle
from farmd.daemon.desk import Desk
from farmd.daemon.dispatcher import Dispatcher
from farmd.daemon.estimates import RECENT as RECENT_RUNS
from farmd.daemon.floor import Floor
from farmd.daemon.housekeeping import keep_house, last_alive
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.noise import NoiseLimits
from farmd.daemon.planning import Planners, Planning
from farmd.daemon.safety import Disk, Safety
from farmd.daemon.service import Service
from farmd.daemon.shop import MaterialSpec, PowerGroup, Shop
from farmd.daemon.telemetry import Collector
from farmd.driver import Driver, RunFile, find_driver, now, offload
from farmd.model import facts as f
from farmd.model.lifecycle import RunState
from farmd.model.machine import MachineSpec
from farmd.model.work import Build, Run
from farmd.store import (
    DATABASE_DAMAGED,
    Anchor,
    DataLock,
    Loaded,
    Opened,
    Store,
    StoreFailed,
    Telemetry,
    TelemetryFailed,
    Vault,
    note_damage,
    open_record,
    read_keys,
    require_no_restore,
    set_back,
)

log = structlog.get_logger("farmd")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a farm is made of, besides its record."""

    config: Config
    planners: Planners
    policy: str = "plan"
    ids: IdSource = field(default_factory=IdSource)
    idle_close_s: float = 10.0
    lock: DataLock | None = None
    """The data folder's, where the caller holds it already."""
    guarded: bool = True
    """Whether disk, clock and record are watched; a simulated shop has none of its own."""


def shop_of(config: Config, drivers: dict[str, Driver]) -> Shop:
    """The configuration in the daemon's terms."""
    planner = config.planner
    return Shop(
        name=config.farm.name,
        specs={spec.name: spec for spec in config.machine_specs()},
        capabilities={name: driver.capabilities for name, driver in drivers.items()},
        materials={
            m.name: MaterialSpec(m.name, m.process, m.max_nozzle_c, m.max_bed_c, m.density_g_cm3)
            for m in config.materials
        },
        people=config.shift_people(),
        windows=lambda start, end: shift_windows(config, start, end),
        clear_s=planner.clear_minutes * 60,
        changeover_s=planner.default_changeover_minutes * 60,
        changeovers=config.changeover_s(),
        shut=maintenance(config),
        power_groups=tuple(
            PowerGroup(group.name, group.machines, group.at_once, group.warm_up_minutes * 60)
            for group in config.power_groups
        ),
        spool_change_s=planner.spool_change_minutes * 60,
        wear_price=planner.wear_price,
        fair_share=planner.fair_share,
        horizon_s=planner.horizon_h * 3600,
        operator_price=planner.operator_price,
        due_buffers=planner.due_buffers,
        out_of_sight_s=config.farm.out_of_sight_s,
        noise=NoiseLimits(config.farm.noisy_percent, config.farm.noisy_resends_per_min),
        parts_per_year=config.target.parts_per_year,
    )


async def run_farm(setup: Setup, body: Callable[[Service], Awaitable[None]]) -> None:
    """Run the daemon until `body` returns; then leave the machines doing what they do and end.

    Raises `Refused` or `ConfigError` when the farm cannot be opened, `StoreFailed` when its record
    can no longer be written.
    """
    try:
        await _run_farm(setup, body)
    except StoreFailed as failed:
        _note(failed, setup)
        raise
    except BaseExceptionGroup as group:
        # Whatever ended the farm is told as itself, not as a group; a lost record comes before its consequences.
        causes = list(_leaves(group))
        lost = [cause for cause in causes if isinstance(cause, StoreFailed)]
        for cause in lost:
            _note(cause, setup)
        if lost or len(causes) == 1:
            raise (lost or causes)[0] from None
        raise


def _note(failed: StoreFailed, setup: Setup) -> None:
    """What the next start should know of this end."""
    if failed.code is DATABASE_DAMAGED:
        note_damage(setup.config.farm.data_dir)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _run_farm(setup: Setup, body: Callable[[Service], Awaitable[None]]) -> None:
    config, ids = setup.config, setup.ids
    data_dir = config.farm.data_dir
    async with AsyncExitStack() as closing:
        if setup.lock is None:
            closing.enter_context(DataLock(data_dir))
        require_no_restore(data_dir)
        writer = closing.enter_context(ThreadPoolExecutor(1, thread_name_prefix="writer"))
        opened = await offload(lambda: open_record(config.database.url, data_dir=data_dir), writer)
        store, loaded = opened.store, opened.loaded
        closing.callback(store.close)
        if warning := store.library_warning():
            log.warning("let no other program write to the database or checkpoint it", why=warning)
        reader = closing.enter_context(ThreadPoolExecutor(2, thread_name_prefix="reader"))
        keys = read_keys(config.vault.key_file, config.vault.old_key_files)
        vault = Vault(data_dir / "vault", max_bytes=config.api.max_upload_mb << 20, keys=keys)
        if vault.is_locked:
            log.error("the vault is sealed and its key is not given")
        last = await offload(lambda: store.events(newest_first=True, limit=1))
        last_at = max(last[0].at if last else 0.0, last_alive(data_dir))

        drivers = {spec.name: make_driver(spec, setup) for spec in config.machine_specs()}
        unproven = sorted(
            {s.driver for s in config.machine_specs() if not drivers[s.name].capabilities.proven_on}
        )
        log.info("drivers not proven on hardware", drivers=unproven)
        shop = shop_of(config, drivers)
        ledger = Ledger(store, loaded.farm, writer)
        ledger.subscribe(chronicle)

        def open_file(sha256: str, name: str) -> RunFile:
            size = ledger.farm.files[sha256].size_bytes
            return RunFile(name, sha256, size, lambda: vault.open(sha256))

        telemetry = await offload(lambda: _telemetry(setup))
        collector = None
        if telemetry is not None:
            closing.callback(telemetry.close)
            noting = closing.enter_context(ThreadPoolExecutor(1, thread_name_prefix="telemetry"))
            kept = config.storage
            collector = Collector(
                telemetry,
                noting,
                minutes_days=kept.telemetry_minutes_days,
                hours_days=kept.telemetry_hours_days,
            )
        attendants = {
            name: Attendant(
                driver,
                name,
                ledger=ledger,
                shop=shop,
                ids=ids,
                open_file=open_file,
                collector=collector,
            )
            for name, driver in drivers.items()
        }
        interval_s = config.planner.replan_min_interval_s
        planning = Planning(ledger, shop, setup.planners, policy=setup.policy, min_interval_s=interval_s)
        planning.learn(await offload(lambda: past_runs(store)))
        dispatcher = Dispatcher(ledger, planning, shop, attendants)
        boot_id = ids.boot()
        disk = Disk(data_dir, config.storage.min_free_percent)
        safety = Safety(ledger, store, disk, ZoneInfo(config.farm.timezone), reader)
        if behind := await offload(lambda: _set_back(setup, opened)):
            ledger.record(_restored(ledger, loaded, last_at, behind))
        fence = take_farm(ledger, shop, boot_id, last_at)
        for driver in drivers.values():
            driver.fence = fence
        if setup.guarded:
            await safety.begin(last_at)
        if opened.why is not None:
            safety.enter(*opened.why)
        await ledger.flush(once=True)
        if behind and ledger.blocked is None:
            # From here on the journal is measured by what it is now.
            await offload(lambda: Anchor.of(store, last_at).append(config.anchor_path))

        async with asyncio.TaskGroup() as group:

            def stop_run(run: Run) -> None:
                group.create_task(attendants[run.machine].give_up(), name=f"stop:{run.machine}")

            service = Service(
                shop=shop,
                ledger=ledger,
                desk=Desk(ledger, shop, ids, stop_run, reader, keep_pictures=keys is None),
                floor=Floor(ledger, shop, attendants, ids, group.create_task),
                planning=planning,
                dispatcher=dispatcher,
                attendants=attendants,
                store=store,
                vault=vault,
                safety=safety,
                telemetry=telemetry,
                boot_id=boot_id,
                started_at=now(),
            )
            writing = group.create_task(ledger.run(), name="ledger")
            tasks = [group.create_task(a.serve(), name=f"attendant:{n}") for n, a in attendants.items()]
            tasks.append(group.create_task(planning.run(), name="planning"))
            tasks.append(group.create_task(dispatcher.run(), name="dispatcher"))
            tasks.append(group.create_task(keep_house(store, writer, data_dir), name="housekeeping"))
            if setup.guarded:
                tasks.append(group.create_task(safety.run(), name="safety"))
            if collector is not None:
                tasks.append(group.create_task(collector.run(), name="telemetry"))
            # A record that was begun beside the farm's own has no anchors.
            if anchoring := make_anchoring(setup, store, ledger) if opened.why is None else None:
                tasks.append(group.create_task(anchoring.run(), name="anchors"))
            log.info(
                "farm taken", farm=shop.name, boot=boot_id, machines=len(drivers), jobs=len(ledger.farm.jobs)
            )

            await body(service)

            dispatcher.paused = True
            for task in reversed(tasks):
                task.cancel()
            await asyncio.wait(tasks, timeout=setup.idle_close_s)
            await ledger.record(f.DaemonStopped(at=now(), actor="daemon", boot_id=boot_id))
            if anchoring is not None:
                await anchoring.note()
            writing.cancel()
        log.info("farm left", boot=boot_id)


def make_anchoring(setup: Setup, store: Store, ledger: Ledger) -> Anchoring | None:
    """What notes the journal's end outside it; a simulated shop has nobody to cut it."""
    if not setup.guarded:
        return None
    config = setup.config
    every_s = config.journal.anchor_minutes * 60.0
    return Anchoring(store, ledger, config.anchor_path, every_s=every_s, facts=config.journal.anchor_facts)


def _telemetry(setup: Setup) -> Telemetry | None:
    kept = setup.config.storage
    if not setup.guarded or not (kept.telemetry_minutes_days or kept.telemetry_hours_days):
        return None
    try:
        return Telemetry(setup.config.farm.data_dir / "telemetry.sqlite")
    except TelemetryFailed as failed:
        # Nothing that a farm does depends on it.
        log.warning("no telemetry is kept", why=str(failed))
        return None


def _set_back(setup: Setup, opened: Opened) -> str:
    """By its anchors, whether the record is an older one than the farm had; empty when not."""
    if not setup.guarded or opened.why is not None:
        return ""
    return set_back(opened.store, setup.config.anchor_path)


def _restored(ledger: Ledger, loaded: Loaded, last_at: float, what: str) -> f.FarmRestored:
    fence = max(ledger.farm.counters.get("fence", 0) + 1, int(now()))
    reason = f"an older record was put in place: {what}"
    return f.FarmRestored(
        at=now(), actor="daemon", fence=fence, last_seq=loaded.last_seq, last_at=last_at, reason=reason
    )


def past_runs(store: Store) -> list[tuple[Run, Build]]:
    """The recent runs that are over, with their builds, the oldest first."""
    builds = (
        (run, store.build(run.build_id)) for run in reversed(store.runs(limit=RECENT_RUNS)) if run.ended_at
    )
    return [(run, build) for run, build in builds if build is not None]


def make_driver(spec: MachineSpec, setup: Setup) -> Driver:
    """The driver of one machine, with its settings read and a folder of its own."""
    driver_type = find_driver(spec.driver)
    state_dir = setup.config.farm.data_dir / "drivers" / spec.name
    state_dir.mkdir(parents=True, exist_ok=True)
    return driver_type(spec, driver_type.settings_type.model_validate(spec.link), state_dir=state_dir)


def take_farm(ledger: Ledger, shop: Shop, boot_id: str, last_at: float) -> int:
    """A new fence, which is returned, and the machines as they are configured now."""
    farm = ledger.farm
    fence = farm.counters.get("fence", 0) + 1
    facts: list[f.Fact] = [
        f.DaemonStarted(
            at=now(), actor="daemon", boot_id=boot_id, version=__version__, fence=fence, last_seen_at=last_at
        )
    ]
    facts += [
        f.MachineAdded(
            at=now(), actor="daemon", machine=spec.name, material=spec.material, nozzle_mm=spec.nozzle_mm
        )
        for spec in shop.specs.values()
        if spec.name not in farm.machines
    ]
    for name, machine in farm.machines.items():
        if name in shop.specs:
            continue
        if machine.run_id or machine.uncleared_run_id:
            log.warning("machine with an open run is not configured any more", machine=name)
            run = farm.runs.get(machine.run_id or "")
            if run is not None and run.state is not RunState.UNCERTAIN:
                # No driver will ever tell of it; a person can.
                reason = f"{name} is not configured any more"
                facts.append(f.RunDoubted(at=now(), actor="daemon", run_id=run.id, reason=reason))
        else:
            facts.append(f.MachineRemoved(at=now(), actor="daemon", machine=name))
    ledger.record(*facts)
    return fence
