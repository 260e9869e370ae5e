"""`farmd simulate`: the shipping daemon through days of a shop in seconds, the same for the same seed."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from farmd.app import Setup, run_farm
from farmd.config import Config, load_config
from farmd.daemon.ids import IdSource
from farmd.daemon.service import Service
from farmd.driver import now, sleep_until
from farmd.driver.clock import Clock, set_clock
from farmd.model.errors import ConfigError, ConfigErrors
from farmd.sim.demand import Customers
from farmd.sim.loop import WarpLoop
from farmd.sim.machines import at_home_in, simulated_names, with_links
from farmd.sim.people import People
from farmd.sim.planners import CountedPlanner
from farmd.sim.report import Span, report
from farmd.sim.scenario import (
    APART,
    BAD_SCENARIO,
    UNKNOWN_FAULT_TARGET,
    Faults,
    Injection,
    Simulation,
    read_faults,
    read_simulation,
)
from farmd_drivers.simulated.driver import SimulatedDriver

DAY_S = 86400.0
REPLAN_S = 1800.0
EFFORT = 8


@dataclass(frozen=True, slots=True)
class Request:
    """What to simulate. `data_dir` None keeps nothing."""

    shop: Path
    days: float
    seed: int
    policy: str = "plan"
    faults: Path | None = None
    data_dir: Path | None = None
    effort: int = EFFORT


Progress = Callable[[float], None]
"""Called with the share of the time that is done, about a hundred times."""


def simulate(request: Request, progress: Progress | None = None) -> dict[str, Any]:
    """The report of one simulated time. Raises `ConfigErrors`."""
    simulation = read_simulation(request.shop)
    faults = Faults() if request.faults is None else read_faults(request.faults)
    config = load_config(request.shop, apart=APART)
    with tempfile.TemporaryDirectory(prefix="farmd-simulate-") as folder:
        data_dir = request.data_dir or Path(folder)
        config = _prepared(config, simulation, faults, request.seed, data_dir)
        return _simulate(config, simulation, faults, request, progress or (lambda share: None))


def _prepared(config: Config, simulation: Simulation, faults: Faults, seed: int, data_dir: Path) -> Config:
    """The shop with its record in `data_dir` and its machines' chances set."""
    names = simulated_names(config)
    unknown = [
        ConfigError(UNKNOWN_FAULT_TARGET, f"{fault.machine!r}", where="fault")
        for fault in faults.fault
        if fault.machine not in names
    ]
    if unknown:
        raise ConfigErrors(unknown)
    config = with_links(config, simulation.machines, {**faults.machines, "seed": seed})
    interval_s = max(config.planner.replan_min_interval_s, REPLAN_S)
    planner = config.planner.model_copy(update={"replan_min_interval_s": interval_s})
    return at_home_in(config.model_copy(update={"planner": planner}), data_dir)


def _simulate(
    config: Config, simulation: Simulation, faults: Faults, request: Request, progress: Progress
) -> dict[str, Any]:
    begins = _start(simulation, request.shop)
    span = Span(begins, begins + request.days * DAY_S)
    result: dict[str, Any] = {}
    chance = random.Random(request.seed)

    async def body(service: Service) -> None:
        people = People(service, simulation, random.Random(chance.random()))
        customers = Customers(service, simulation, random.Random(chance.random()))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(people.run()), group.create_task(customers.run())]
            tasks += [group.create_task(_inject(service, fault, begins)) for fault in faults.fault]
            for step in range(1, 101):
                await sleep_until(begins + span.seconds * step / 100)
                progress(step / 100)
            for task in tasks:
                task.cancel()
        await service.ledger.flush()
        groups = {spec.name: spec.group for spec in service.shop.specs.values()}
        result.update(report(service.store, span, groups, people.worked))

    loop = WarpLoop()
    set_clock(loop, Clock(begins, 0.0))
    planner = CountedPlanner(
        policy=request.policy,
        effort=request.effort,
        seed=request.seed,
        stability_price_s=config.planner.stability_price_s,
    )
    setup = Setup(config, planner, policy=request.policy, ids=IdSource(request.seed), guarded=False)
    try:
        loop.run_until_complete(run_farm(setup, body))
    finally:
        loop.close()
    head = {"shop": config.farm.name, "seed": request.seed, "policy": request.policy}
    return {**head, **result}


def _start(simulation: Simulation, where: Path) -> float:
    try:
        return datetime.fromisoformat(simulation.start).timestamp()
    except ValueError as error:
        raise ConfigErrors(
            [ConfigError(BAD_SCENARIO, str(error), where=f"{where}: simulation.start")]
        ) from error


async def _inject(service: Service, fault: Injection, begins: float) -> None:
    await sleep_until(begins + fault.at_h * 3600.0)
    driver = service.attendants[fault.machine].driver
    assert isinstance(driver, SimulatedDriver)
    machine = driver.machine
    match fault.kind:
        case "link":
            machine.pull_cable(now() + fault.for_s)
        case "reboot":
            machine.reboot()
        case "panel":
            machine.panel_start("panel", fault.for_s)
        case "fail":
            machine.fail_now("injected")
        case "break":
            machine.break_now()
        case "drop-start":
            machine.drop_next_start()
