"""The chronicle: one log entry for each run that ended and each job that was counted."""

from __future__ import annotations

from dataclasses import replace

from farmshop import bench, farm_of, job, machine, new_build, permit, warped
from structlog.testing import capture_logs

from farmd.daemon.chronicle import chronicle
from farmd.daemon.counting import Counted
from farmd.driver import MACHINE_NOT_READY, Ended, Started
from farmd.model.errors import Refused
from farmd.model.lifecycle import MachineState
from farmd.model.work import Outcome


def told(logs: list, event: str) -> list[dict]:
    return [
        {k: v for k, v in e.items() if k not in ("event", "log_level")} for e in logs if e["event"] == event
    ]


@warped
async def test_run_and_counts_are_told_once_each() -> None:
    farm = farm_of(
        machine(state=MachineState.OFFLINE), job(quantity=4), job("J-2", design="hook", quantity=1)
    )
    async with bench(farm) as b:
        b.ledger.subscribe(chronicle)
        with capture_logs() as logs:
            work = replace(new_build(), items=(("J-1", 3), ("J-2", 1)))
            await b.attendants["m1"].start(permit().id, work)
            run_id = b.driver().starts[-1].run_id
            b.driver().report(Started(run_id, "shown"))
            await b.settle(100.0)
            b.driver().report(Ended(run_id, Outcome.OK))
            await b.floor.clear("m1", "anna", by_job={"J-2": Counted(scrap=1)})
        (finished,) = told(logs, "run finished")
        assert finished["busy_s"] == 100.0
        assert {**finished, "busy_s": 0} == {
            "machine": "m1",
            "run": run_id,
            "build": "B-10",
            "jobs": ["J-1", "J-2"],
            "outcome": "ok",
            "busy_s": 0,
            "parts": 4,
        }
        assert told(logs, "parts counted") == [
            {"job": "J-1", "machine": "m1", "design": "clip", "good": 3, "scrap": 0},
            {"job": "J-2", "machine": "m1", "design": "hook", "good": 0, "scrap": 1},
        ]


@warped
async def test_run_that_did_not_start_was_never_busy_and_a_clearing_of_nothing_counts_nothing() -> None:
    async with bench(farm_of(machine(state=MachineState.OFFLINE), job())) as b:
        b.ledger.subscribe(chronicle)
        with capture_logs() as logs:
            b.driver().raises["start"] = Refused(MACHINE_NOT_READY)
            await b.attendants["m1"].start(permit().id, new_build())
            await b.floor.clear("m1", "anna")
        (finished,) = told(logs, "run finished")
        assert (finished["outcome"], finished["busy_s"], finished["parts"]) == ("not-started", 0.0, 0)
        assert told(logs, "parts counted") == []


@warped
async def test_job_that_closes_by_its_clearing_is_told_with_its_design() -> None:
    async with bench(farm_of(machine(state=MachineState.OFFLINE), job(quantity=1))) as b:
        b.ledger.subscribe(chronicle)
        await b.run_to_end()
        with capture_logs() as logs:
            await b.floor.clear("m1", "anna")
        assert not b.farm.jobs
        assert told(logs, "parts counted") == [
            {"job": "J-1", "machine": "m1", "design": "clip", "good": 1, "scrap": 0}
        ]
