"""The whole daemon on virtual time, with its real store and simulated machines: lives that end as they should."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from crashpeople import PART, PLATE, Acked, Shopkeeper
from crashproof import violations
from crashshop import make_config
from farmshop import T0
from structlog.testing import capture_logs

from farmd.app import Setup, run_farm
from farmd.config import Config
from farmd.daemon.desk import Order
from farmd.daemon.ids import IdSource
from farmd.daemon.service import Service
from farmd.driver import now, sleep
from farmd.driver.clock import Clock, set_clock
from farmd.model.lifecycle import JobState, MachineState, RunState
from farmd.model.work import Outcome
from farmd.sim.demand import file_name, file_of, upload
from farmd.sim.loop import WarpLoop
from farmd.sim.planners import CountedPlanner
from farmd.store import Store, StoreFailed, Vault, verify
from farmd.store.errors import STORE_FAILED
from farmd_drivers.simulated.driver import SimulatedDriver
from farmd_drivers.simulated.machine import Answer

Body = Callable[[Service], Awaitable[None]]


def live(config: Config, body: Body, *, begins: float = T0, seed: int = 1) -> float:
    """One life of the daemon on virtual time, until `body` returns; when that was."""
    loop = WarpLoop()
    set_clock(loop, Clock(begins, 0.0))
    planner = CountedPlanner(policy="plan", effort=0, seed=seed, stability_price_s=9000.0)
    try:
        loop.run_until_complete(run_farm(Setup(config, planner, ids=IdSource(seed)), body))
        return begins + loop.time()
    finally:
        loop.close()


def opened(config: Config) -> Store:
    data_dir = config.farm.data_dir
    return Store.open(config.database.url, data_dir=data_dir)


def unit(service: Service, name: str) -> Any:
    driver = service.attendants[name].driver
    assert isinstance(driver, SimulatedDriver)
    return driver.machine


async def order(service: Service, quantity: int, product: Any = PLATE, **wishes: Any) -> str:
    taken = await upload(service, file_name(product), file_of(product))
    wishes = {"material": product.material, **wishes}
    return (await service.desk.submit(taken, Order(quantity, **wishes), "customer")).id


def keeper(service: Service, folder: Path, orders: int, seed: int = 5) -> Shopkeeper:
    return Shopkeeper(service, random.Random(seed), Acked(folder), orders=orders)


# --- everything is made -----------------------------------------------------------------------


def test_shop_makes_all_that_is_ordered_and_the_counts_are_those_of_the_journal(tmp_path: Path) -> None:
    heads = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        config = make_config(folder, 7)

        async def body(service: Service, folder: Path = folder) -> None:
            await keeper(service, folder, orders=12).work(0.0)

        with capture_logs() as logs:
            live(config, body, seed=7)
        assert violations(folder) == []
        with opened(config) as store:
            events = store.events(limit=1 << 31)
            jobs, runs = store.jobs(limit=100), store.runs(limit=10_000)
            heads.append([(event.kind, event.at) for event in events])
        assert len(jobs) == 12
        assert all(job.state is JobState.DONE and job.good == job.quantity for job in jobs)
        assert {job.process for job in jobs} == {"MEX", "PBF"}
        assert any("wash" in job.route for job in jobs)
        ended = [entry for entry in logs if entry["event"] == "run finished"]
        assert len(ended) == len(runs)
        counted = [entry for entry in logs if entry["event"] == "parts counted"]
        assert sum(entry["scrap"] for entry in counted) == sum(job.scrap for job in jobs)
    assert heads[0] == heads[1], "a seed gives the same life"


# --- a daemon that ends and comes back --------------------------------------------------------


def test_stopped_daemon_leaves_machines_printing_and_takes_them_up_again(tmp_path: Path) -> None:
    config = quiet(make_config(tmp_path, 1))
    run_ids: list[str] = []

    async def start(service: Service) -> None:
        await sleep(10.0)
        await service.floor.clear("fdm-01", "anna")
        await service.floor.clear("fdm-02", "anna")
        await order(service, 4, parts_per_plate=4)
        await sleep(600.0)
        (run,) = service.farm.runs.values()
        assert run.state is RunState.RUNNING
        run_ids.append(run.id)

    async def look(service: Service) -> None:
        await sleep(10.0)
        (run,) = service.farm.runs.values()
        assert (run.id, run.state) == (run_ids[0], RunState.RUNNING)
        idle = "fdm-02" if run.machine == "fdm-01" else "fdm-01"
        assert service.farm.machines[idle].permit is not None, "nobody is sent to clear a clear bed"
        await sleep(3600.0)
        assert service.farm.runs[run.id].outcome is Outcome.OK
        starts = [start for name in ("fdm-01", "fdm-02") for start in unit(service, name).starts()]
        assert [(start.run_id, start.answer) for start in starts] == [(run.id, Answer.TAKEN)]
        await service.floor.clear(run.machine, "anna")

    ends = live(config, start)
    live(config, look, begins=ends + 300.0, seed=2)
    with opened(config) as store:
        assert verify(store, Vault(config.farm.data_dir / "vault")) == []
        assert store.jobs(limit=10)[0].state is JobState.DONE


def quiet(config: Config) -> Config:
    """The same machines without any chance."""
    machines = tuple(
        machine.model_copy(update={"link": {"truth_dir": machine.link["truth_dir"]}})
        for machine in config.machines
    )
    return config.model_copy(update={"machines": machines})


def test_run_that_ended_while_nobody_looked_is_recorded_once_and_cools_from_then(tmp_path: Path) -> None:
    config = quiet(make_config(tmp_path, 1))

    async def start(service: Service) -> None:
        await sleep(10.0)
        await service.floor.clear("powder", "anna")
        await order(service, 3, PART)
        while not any(run.state is RunState.RUNNING for run in service.farm.runs.values()):
            await sleep(60.0)

    async def look(service: Service) -> None:
        await sleep(10.0)
        machine = service.farm.machines["powder"]
        assert service.farm.runs[str(machine.uncleared_run_id)].outcome is Outcome.OK
        assert machine.ready_at > now() + 7000.0, "nobody knows for how long it has cooled"

    ends = live(config, start)
    begins = ends + 86_400.0
    live(config, look, begins=begins, seed=2)
    live(config, look_nothing, begins=begins + 100.0, seed=3)
    with opened(config) as store:
        assert [event.kind for event in store.events(limit=1000)].count("RunEnded") == 1


async def look_nothing(service: Service) -> None:
    await sleep(10.0)


def test_machine_that_is_not_configured_any_more_leaves_its_run_to_a_person(tmp_path: Path) -> None:
    config = quiet(make_config(tmp_path, 1))
    where: list[str] = []

    async def start(service: Service) -> None:
        await sleep(10.0)
        await service.floor.clear("fdm-01", "anna")
        await order(service, 1, group="fdm-01")
        await sleep(600.0)
        (run,) = service.farm.runs.values()
        where.extend((run.machine, run.id))

    async def resolve(service: Service) -> None:
        await sleep(10.0)
        name, run_id = where
        assert service.farm.runs[run_id].state is RunState.UNCERTAIN
        assert service.farm.machines[name].state is MachineState.OFFLINE
        await service.floor.resolve(run_id, "failed", "anna")
        await service.floor.clear(name, "anna")
        assert not service.farm.runs

    async def gone(service: Service) -> None:
        assert where[0] not in service.farm.machines

    ends = live(config, start)
    kept = tuple(each for table in config.machines for each in table.each() if each.name != "fdm-01")
    smaller = config.model_copy(update={"machines": kept})
    ends = live(smaller, resolve, begins=ends, seed=2)
    live(smaller, gone, begins=ends, seed=3)


# --- a daemon that must not go on -------------------------------------------------------------


def test_record_that_cannot_be_written_ends_the_daemon_before_a_start_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quiet(make_config(tmp_path, 1))
    commit = Store.commit
    sent: list[int] = []

    def fails_at_intents(self: Store, entries: Any) -> int:
        kinds = {type(fact).__name__ for entry in entries for fact in entry.facts}
        if "RunIntended" in kinds:
            raise StoreFailed(STORE_FAILED, "the disk is full")
        return commit(self, entries)

    async def body(service: Service) -> None:
        try:
            await sleep(10.0)
            for name in ("fdm-01", "fdm-02"):
                await service.floor.clear(name, "anna")
            await order(service, 4)
            await sleep(1e6)
        finally:
            sent.append(sum(len(unit(service, name).starts()) for name in ("fdm-01", "fdm-02")))

    monkeypatch.setattr(Store, "commit", fails_at_intents)
    with pytest.raises(StoreFailed):
        live(config, body)
    assert sent == [0]
    monkeypatch.setattr(Store, "commit", commit)
    with opened(config) as store:
        assert "RunIntended" not in {event.kind for event in store.events(limit=1000)}


def test_bug_in_one_driver_goes_unnoticed_by_the_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quiet(make_config(tmp_path, 1))
    serve, start = SimulatedDriver.serve, SimulatedDriver.start

    async def buggy_serve(self: SimulatedDriver, report: Any) -> None:
        if self._name == "fdm-01":
            raise RuntimeError("serve is broken")
        await serve(self, report)

    async def buggy_start(self: SimulatedDriver, given: Any) -> None:
        if self._name == "ejector":
            raise RuntimeError("start is broken")
        await start(self, given)

    monkeypatch.setattr(SimulatedDriver, "serve", buggy_serve)
    monkeypatch.setattr(SimulatedDriver, "start", buggy_start)

    async def body(service: Service) -> None:
        await order(service, 40, parts_per_plate=4)
        hands = keeper(service, tmp_path, orders=0)
        for _ in range(200):
            await hands.round()
            await sleep(300.0)
        assert service.farm.machines["fdm-01"].state is MachineState.FAULT
        assert not service.farm.jobs

    live(config, body)
    with opened(config) as store:
        runs = store.runs(limit=100)
        (job,) = store.jobs(limit=100)
    assert {run.machine for run in runs if run.outcome is Outcome.OK} == {"fdm-02"}
    assert job.good == 40
