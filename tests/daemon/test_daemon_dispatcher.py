"""The dispatcher: it wakes for state, plan and time, starts each thing once, and withdraws what nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from farmshop import (
    T0,
    Bench,
    bench,
    build,
    farm_of,
    job,
    machine,
    powder,
    powder_job,
    run,
    schedule,
    spec,
    station,
    step,
    warped,
)

from farmd.daemon.dispatch import BATCH_GRACE_S
from farmd.daemon.dispatcher import PERIOD_S, Dispatcher
from farmd.daemon.schedule import Schedule, Step
from farmd.driver import MACHINE_NOT_READY, Ended, StartOrder
from farmd.driver.clock import Clock, set_clock
from farmd.model import facts as f
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.work import Outcome

OFFLINE = {"state": MachineState.OFFLINE}
WHO = {"at": T0, "actor": "anna"}


class Published:
    """A plan as the dispatcher sees it."""

    def __init__(self) -> None:
        self.schedule: Schedule = schedule()
        self.begun: list[Step] = []
        self.asks = 0
        self._told: Callable[[], None] = lambda: None

    def on_publish(self, listener: Callable[[], None]) -> None:
        self._told = listener

    def publish(self, *steps: Step) -> None:
        self.schedule = schedule(*steps)
        self._told()

    def begin(self, begun: Step) -> None:
        self.begun.append(begun)
        self.schedule = self.schedule.after((begun,))

    def ask(self) -> None:
        self.asks += 1


@asynccontextmanager
async def dispatching(farm: Farm, *specs: Any) -> AsyncIterator[tuple[Bench, Published, Dispatcher]]:
    async with bench(farm, *specs) as b:
        plan = Published()
        dispatcher = Dispatcher(b.ledger, plan, b.shop, b.attendants)  # type: ignore[arg-type]
        running = asyncio.create_task(dispatcher.run())
        await b.settle()
        yield b, plan, dispatcher
        running.cancel()
        assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], asyncio.CancelledError)


@warped
async def test_published_step_is_started_once_and_is_no_longer_ahead() -> None:
    async with dispatching(farm_of(machine(**OFFLINE), job())) as (b, plan, _):
        assert b.driver().starts == []
        plan.publish(step(), step(run_name="J-1#2"))
        await b.settle()
        assert len(b.driver().starts) == 1
        assert plan.begun == [step()]
        await b.settle(10 * PERIOD_S)
        assert len(b.driver().starts) == 1


@warped
async def test_cleared_machine_goes_on_with_its_own_next_step_not_with_what_another_has_yet_to_do() -> None:
    farm = farm_of(machine(**OFFLINE), job(quantity=2), job("J-2"))
    async with dispatching(farm) as (b, plan, _):
        plan.publish(step(), step(work="J-2"))
        await b.settle()
        b.driver().report(Ended(b.driver().starts[-1].run_id, Outcome.OK))
        await b.floor.clear("m1", "anna")
        await b.settle()
        queued = [r.fact.items for r in b.ledger.recent if isinstance(r.fact, f.BuildQueued)]
        assert queued == [(("J-1", 1),), (("J-2", 1),)]


@warped
async def test_paused_dispatcher_starts_nothing() -> None:
    async with dispatching(farm_of(machine(**OFFLINE), job())) as (b, plan, dispatcher):
        dispatcher.paused = True
        plan.publish(step())
        await b.settle()
        assert b.driver().starts == []


@pytest.mark.parametrize("speed", [1.0, 600.0])
@warped
async def test_batch_starts_when_its_time_comes_though_nothing_happens(speed: float) -> None:
    set_clock(asyncio.get_running_loop(), Clock(T0, 0.0, speed))
    async with dispatching(farm_of(machine("sls", **OFFLINE), powder_job()), powder()) as (b, plan, _):
        plan.publish(step("sls", None, T0 + 7200.0, items=(("J-1", 2),)))
        await b.settle((7200.0 - BATCH_GRACE_S - PERIOD_S) / speed - 1.0)
        assert b.driver("sls").starts == []
        await b.settle((2 * PERIOD_S) / speed + 1.0)
        assert len(b.driver("sls").starts) == 1


@warped
async def test_one_slow_start_does_not_keep_other_machines_waiting() -> None:
    farm = farm_of(machine(**OFFLINE), machine("m2", **OFFLINE), job())
    async with dispatching(farm, spec(), spec("m2")) as (b, plan, _):

        async def upload(order: StartOrder) -> None:
            await asyncio.sleep(600.0)

        b.driver("m1").before_start = upload
        plan.publish(step("m1"))
        await b.settle()
        plan.publish(step("m2", run_name="J-1#2"))
        await b.settle()
        assert len(b.driver("m2").starts) == 1
        await b.settle(600.0)
        assert len(b.driver("m1").starts) == 1


@warped
async def test_build_that_goes_between_decision_and_start_costs_that_start_only() -> None:
    """The decision is made, then somebody cancels, then the start's task runs."""
    farm = farm_of(machine(**OFFLINE), job(in_work=1, open_builds=1), build())
    async with dispatching(farm) as (b, plan, _):
        begin = plan.begin

        def cancel_then_begin(begun: Step) -> None:
            b.ledger.record(f.JobCancelled(**WHO, job_id="J-1"), f.BuildWithdrawn(**WHO, build_id="B-1"))
            begin(begun)

        plan.begin = cancel_then_begin  # type: ignore[method-assign]
        plan.publish(step(work="B-1"))
        await b.settle()
        assert b.driver().starts == []
        assert plan.asks == 1
        assert b.machine().permit is not None


@warped
async def test_refused_start_is_not_tried_again_without_a_new_permit() -> None:
    async with dispatching(farm_of(machine(**OFFLINE), job())) as (b, plan, _):
        b.driver().raises["start"] = Refused(MACHINE_NOT_READY)
        plan.publish(step(), step(work="B-10"), step(run_name="J-1#2"))
        await b.settle(10 * PERIOD_S)
        assert b.kinds().count("RunIntended") == 1
        b.driver().raises.clear()
        await b.floor.clear("m1", "anna")
        await b.settle()
        assert [order.parts for order in b.driver().starts] == [1]


# --- what nobody wants any more ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled while starting", "quantity lowered", "others made enough"])
@warped
async def test_queued_print_that_is_not_missing_any_more_is_withdrawn_and_its_job_closes(how: str) -> None:
    async with dispatching(
        farm_of(machine(**OFFLINE), job(quantity=2, in_work=1, open_builds=1, good=1), build())
    ) as (
        b,
        _,
        _dispatcher,
    ):
        match how:
            case "cancelled while starting":
                b.ledger.record(f.JobCancelled(**WHO, job_id="J-1"))
            case "quantity lowered":
                await b.desk.edit("J-1", "anna", quantity=1)
            case "others made enough":
                b.farm.jobs["J-1"] = job(quantity=2, in_work=1, open_builds=1, good=2)
                b.ledger.record(f.JobEdited(**WHO, job_id="J-1"))
        await b.settle()
        assert not b.farm.builds
        assert not b.farm.jobs


@warped
async def test_cancelled_run_whose_start_is_refused_leaves_nothing_behind() -> None:
    async with dispatching(farm_of(machine(**OFFLINE), job())) as (b, plan, _):

        async def cancelled_meanwhile(order: StartOrder) -> None:
            await b.desk.cancel("J-1", "anna")
            raise Refused(MACHINE_NOT_READY)

        b.driver().before_start = cancelled_meanwhile
        plan.publish(step())
        await b.settle()
        assert not b.farm.builds
        assert not b.farm.jobs
        assert b.driver().starts == []


@warped
async def test_parts_of_a_cancelled_job_do_not_wait_at_a_station_for_ever() -> None:
    ended = {"state": BuildState.ASSIGNED, "machine": "m1"}
    cancelled = job(state=JobState.CANCELLED, route=("print", "wash"), in_work=1, open_builds=1)
    farm = farm_of(
        machine(**OFFLINE, permit=None, run_id="R-1"), machine("wash", **OFFLINE), cancelled, build(**ended)
    )
    farm.merge([run(state=RunState.RUNNING, started_at=T0 - 10.0)])
    async with dispatching(farm, spec(), station()) as (b, _, _dispatcher):
        b.ledger.record(f.RunEnded(**WHO, run_id="R-1", outcome=Outcome.OK, made=1))
        await b.floor.clear("m1", "anna")
        await b.settle()
        assert not b.farm.builds
        assert not b.farm.jobs
        (counted,) = [
            e for r in b.ledger.recent if isinstance(r.fact, f.BuildWithdrawn) for e in r.changed[:1]
        ]
        assert counted.surplus == 1  # type: ignore[union-attr]
