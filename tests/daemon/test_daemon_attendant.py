"""The attendant: one machine's link, its driver's errors, and nothing of it anywhere else."""

from __future__ import annotations

import asyncio

import pytest
from farmshop import SURE, T0, UNSURE, bench, build, farm_of, job, machine, run, running_farm, spec, warped
from structlog.testing import capture_logs

from farmd.driver import (
    Activity,
    Attention,
    BedCleared,
    Ended,
    Faulted,
    ForeignStarted,
    Observed,
    Progressed,
    Started,
    Temperatures,
)
from farmd.model.errors import ErrorCode, LinkLost, MachineFault, ProtocolError
from farmd.model.lifecycle import BuildState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import Outcome

UNPLUGGED = ErrorCode("test-unplugged", "the cable is out", "plug it in")
BURNT = ErrorCode("test-burnt", "the heater is burnt", "mend it")
OFFLINE = {"state": MachineState.OFFLINE}


def logged(logs: list, event: str) -> int:
    return sum(entry["event"] == event for entry in logs)


# --- the link ---------------------------------------------------------------------------------


@warped
async def test_lost_link_is_told_once_and_tried_again_ever_more_slowly() -> None:
    with capture_logs() as logs:
        async with bench(farm_of(machine(**OFFLINE))) as b:
            assert b.machine().state is MachineState.IDLE
            driver = b.driver()
            driver.raises["connect"] = LinkLost(UNPLUGGED)
            driver.lose(LinkLost(UNPLUGGED))
            await b.settle()
            assert b.machine().state is MachineState.OFFLINE
            tries = []
            for _ in range(4):
                before = driver.connects
                await b.settle(60.0)
                tries.append(driver.connects - before)
            assert b.kinds().count("MachineLost") == 1
            assert logged(logs, "link lost") == 1
            assert tries[0] > tries[-1] == 2, "every 30 s in the end"
            assert "test-unplugged" in b.attendants["m1"].live.attention
            del driver.raises["connect"]
            await b.settle(31.0)
            assert b.machine().state is MachineState.IDLE
            assert logged(logs, "link up") == 2
            assert b.attendants["m1"].live.attention == {}


@warped
async def test_machine_that_never_answers_is_told_once_and_adds_no_facts() -> None:
    with capture_logs() as logs:
        async with bench(farm_of(machine(**OFFLINE))) as b:
            b.driver().raises["connect"] = LinkLost(UNPLUGGED)
            b.driver().lose(LinkLost(UNPLUGGED))
            await b.settle()
            before = len(b.kinds())
            await b.settle(3600.0)
            assert len(b.kinds()) == before
            assert logged(logs, "link lost") == 1


@warped
async def test_link_that_comes_and_goes_does_not_flood_the_record() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        for _ in range(1000):
            if b.machine().state is not MachineState.OFFLINE:
                b.driver().lose(LinkLost(UNPLUGGED))
            await b.settle(1.0)
        assert b.kinds().count("MachineLost") < 1000 / 30 + 10


@warped
async def test_link_that_was_steady_is_tried_again_at_once() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        for _ in range(6):
            await b.settle(100.0)
            b.driver().lose(LinkLost(UNPLUGGED))
            await b.settle(1.5)
            assert b.machine().state is MachineState.IDLE


@warped
async def test_event_before_the_machine_was_read_is_not_obeyed() -> None:
    async with bench(running_farm(state=MachineState.OFFLINE)) as b:
        driver = b.driver()
        driver.seen = Observed(Activity.RUNNING, "R-1")
        driver.lose(LinkLost(UNPLUGGED))
        await b.settle(0.1)
        for stray in (
            Ended("R-1", Outcome.OK),
            Faulted(Fault("x", "y", "z")),
            ForeignStarted("b"),
            Started("R-2", ""),
        ):
            driver.report(stray)
        assert b.machine().state is MachineState.OFFLINE
        assert b.farm.runs["R-1"].state is RunState.UNCERTAIN
        await b.settle(5.0)
        assert b.farm.runs["R-1"].state is RunState.RUNNING


@warped
async def test_leaving_closes_the_link_and_gives_the_machine_no_command() -> None:
    async with bench(running_farm(state=MachineState.OFFLINE)) as b:
        driver = b.driver()
        assert driver.asked == []
    assert driver.asked == ["left"]


# --- errors of drivers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("index 3"), ExceptionGroup("tasks", [KeyError("x")]), KeyError("\0 and \udc80")]
)
@warped
async def test_bug_in_serve_is_a_fault_of_that_machine_alone(error: Exception) -> None:
    farm = farm_of(machine(**OFFLINE), machine("m2", **OFFLINE))
    async with bench(farm, spec("m1"), spec("m2")) as b:
        b.driver().raises["connect"] = error
        b.driver().lose(error)
        await b.settle()
        found = b.machine().fault
        assert b.machine().state is MachineState.FAULT
        assert found is not None
        assert found.code == "driver-bug"
        assert "farmctl release" in found.remedy
        assert b.machine("m2").state is MachineState.IDLE
        await b.settle(3600.0)
        assert b.kinds().count("MachineFaulted") == 1
        b.driver().raises.clear()
        await b.settle(60.0)
        assert b.machine().state is MachineState.FAULT, "a person says when to go on"
        await b.floor.release("m1", "anna")
        await b.settle(3.0)
        assert b.machine().state is MachineState.IDLE
        assert b.machine().fault is None


@warped
async def test_machine_released_from_a_bug_that_is_still_there_is_in_fault_again() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        b.driver().raises["connect"] = RuntimeError("still there")
        b.driver().lose(RuntimeError("still there"))
        await b.settle(100.0)
        await b.floor.release("m1", "anna")
        assert b.machine().state is MachineState.OFFLINE, "nothing may be started without a link"
        await b.settle(1.0)
        assert b.machine().state is MachineState.FAULT


@pytest.mark.parametrize("wrap", [False, True])
@warped
async def test_fault_raised_by_serve_carries_its_own_remedy(wrap: bool) -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        error = MachineFault(BURNT)
        b.driver().lose(ExceptionGroup("tasks", [ValueError("late"), error]) if wrap else error)
        await b.settle()
        assert b.machine().fault == Fault("test-burnt", "the heater is burnt", "mend it")
        await b.settle(5.0)
        assert b.machine().state is MachineState.IDLE, "what the machine shows counts"


@pytest.mark.parametrize("error", [ProtocolError(UNPLUGGED), None])
@warped
async def test_broken_talk_or_an_end_without_reason_is_a_lost_link(error: Exception | None) -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        b.driver().lose(error)
        await b.settle()
        assert b.machine().state is MachineState.OFFLINE


@warped
async def test_nonsense_that_a_driver_tells_ends_as_its_machines_fault() -> None:
    async with bench(running_farm(state=MachineState.OFFLINE)) as b:
        driver = b.driver()
        driver.seen = Observed(Activity.RUNNING, "R-1")
        b.attendants["m1"].look_again()
        await b.settle(3.0)
        driver.report(Ended("R-1", Outcome.FAILED, "\0"))
        assert b.machine().state is MachineState.FAULT
        assert b.farm.runs["R-1"].state is RunState.RUNNING
        driver.report(Ended("R-1", Outcome.FAILED, used_g=float("nan")))
        assert b.farm.runs["R-1"].state is RunState.RUNNING
        driver.seen = Observed("idle")  # type: ignore[arg-type]
        await b.floor.release("m1", "anna")
        assert b.machine().state is MachineState.BUSY
        await b.settle(3.0)
        assert b.machine().state is MachineState.FAULT
        assert b.machine().fault is not None
        assert "AttributeError" in b.machine().fault.what


@warped
async def test_event_that_does_not_follow_is_logged_and_changes_nothing() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        before = b.kinds()
        with capture_logs() as logs:
            b.driver().report(Ended("R-7", Outcome.OK))
            b.driver().report("nonsense")  # type: ignore[arg-type]
        assert b.kinds() == before
        assert logs == []


# --- telemetry and permits --------------------------------------------------------------------


@warped
async def test_telemetry_is_kept_for_show_and_not_recorded() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        before = b.kinds()
        b.driver().report(Progressed("R-1", 0.5, 12, 60.0))
        b.driver().report(Temperatures({"nozzle": 209.0}, {"nozzle": 210.0}))
        b.driver().report(Attention("dust", "the filter is full"))
        live = b.attendants["m1"].live
        assert (live.fraction, live.layer, live.remaining_s) == (0.5, 12, 60.0)
        assert (live.actual_c, live.target_c) == ({"nozzle": 209.0}, {"nozzle": 210.0})
        assert live.attention == {"dust": "the filter is full"}
        assert b.kinds() == before


@pytest.mark.parametrize("ejects", [True, False])
@warped
async def test_machine_gives_permits_only_where_it_is_configured_to(ejects: bool) -> None:
    ended = run(state=RunState.ENDED, outcome=Outcome.OK)
    farm = farm_of(
        machine(**OFFLINE, permit=None, uncleared_run_id="R-1"),
        job(in_work=1, open_builds=1, made=1),
        build(state=BuildState.DONE),
        ended,
    )
    async with bench(farm, spec(permit_from_machine=ejects)) as b:
        b.driver().report(BedCleared())
        assert (b.machine().permit is not None) is ejects
        assert (b.farm.jobs["J-1"].good == 1) is ejects


# --- a restart --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "since", "kept"), [(SURE, T0 - 1e6, True), (UNSURE, T0 - 5.0, True)]
)
@warped
async def test_restart_of_the_daemon_alone_voids_no_permit(
    capabilities: object, since: float, kept: bool
) -> None:
    farm = farm_of(machine(**OFFLINE, since=since))
    async with bench(farm, capabilities=capabilities) as b:  # type: ignore[arg-type]
        assert (b.machine().permit is not None) is kept
        await asyncio.sleep(1.0)
        assert b.machine().state is MachineState.IDLE
