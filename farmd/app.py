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

import structlog

from farmd import __version__
from farmd.config import Config, shift_windows
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
from farmd.daemon.service import Service
from farmd.daemon.shop import MaterialSpec, Shop
from farmd.driver import Driver, RunFile, find_driver, now, offload
from farmd.model import facts as f
from farmd.model.lifecycle import RunState
from farmd.model.machine import MachineSpec
from farmd.model.work import Build, Run
from farmd.store import DataLock, Store, StoreFailed, Vault

log = structlog.get_logger("farmd")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a farm is made of, besides its record."""

    config: Config
    planners: Planners
    policy: str = "plan"
    ids: IdSource = field(default_factory=IdSource)
    idle_close_s: float = 10.0


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
    except BaseExceptionGroup as group:
        # Whatever ended the farm is told as itself, not as a group; a lost record comes before its consequences.
        causes = list(_leaves(group))
        lost = [cause for cause in causes if isinstance(cause, StoreFailed)]
        if lost or len(causes) == 1:
            raise (lost or causes)[0] from None
        raise


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
        lock = DataLock(data_dir)
        closing.callback(lock.release)
        writer = closing.enter_context(ThreadPoolExecutor(1, thread_name_prefix="writer"))
        store = await offload(lambda: Store.open(config.database.url, data_dir=data_dir), writer)
        closing.callback(store.close)
        reader = closing.enter_context(ThreadPoolExecutor(2, thread_name_prefix="reader"))
        vault = Vault(data_dir / "vault", max_bytes=config.api.max_upload_mb << 20)
        loaded = await offload(store.load, writer)
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

        attendants = {
            name: Attendant(driver, name, ledger=ledger, shop=shop, ids=ids, open_file=open_file)
            for name, driver in drivers.items()
        }
        interval_s = config.planner.replan_min_interval_s
        planning = Planning(ledger, shop, setup.planners, policy=setup.policy, min_interval_s=interval_s)
        planning.learn(await offload(lambda: past_runs(store)))
        dispatcher = Dispatcher(ledger, planning, shop, attendants)
        boot_id = ids.boot()
        take_farm(ledger, shop, boot_id, last_at)
        await ledger.flush()

        async with asyncio.TaskGroup() as group:

            def stop_run(run: Run) -> None:
                group.create_task(attendants[run.machine].give_up(), name=f"stop:{run.machine}")

            service = Service(
                shop=shop,
                ledger=ledger,
                desk=Desk(ledger, shop, ids, stop_run, reader),
                floor=Floor(ledger, shop, attendants, ids, group.create_task),
                planning=planning,
                dispatcher=dispatcher,
                attendants=attendants,
                store=store,
                vault=vault,
                boot_id=boot_id,
                started_at=now(),
            )
            writing = group.create_task(ledger.run(), name="ledger")
            tasks = [group.create_task(a.serve(), name=f"attendant:{n}") for n, a in attendants.items()]
            tasks.append(group.create_task(planning.run(), name="planning"))
            tasks.append(group.create_task(dispatcher.run(), name="dispatcher"))
            tasks.append(group.create_task(keep_house(store, writer, data_dir), name="housekeeping"))
            log.info(
                "farm taken", farm=shop.name, boot=boot_id, machines=len(drivers), jobs=len(ledger.farm.jobs)
            )

            await body(service)

            dispatcher.paused = True
            for task in reversed(tasks):
                task.cancel()
            await asyncio.wait(tasks, timeout=setup.idle_close_s)
            await ledger.record(f.DaemonStopped(at=now(), actor="daemon", boot_id=boot_id))
            writing.cancel()
        log.info("farm left", boot=boot_id)


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


def take_farm(ledger: Ledger, shop: Shop, boot_id: str, last_at: float) -> None:
    """A new fence, and the machines as they are configured now."""
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
