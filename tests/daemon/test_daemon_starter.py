"""Starting: at most once, called off when anything came between, and doubt where nobody can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from farmshop import (
    FED,
    SHA,
    SURE,
    UNSURE,
    Bench,
    bench,
    build,
    farm_of,
    job,
    machine,
    new_build,
    permit,
    warped,
)

from farmd.daemon.starter import EVIDENCE_S, START_S
from farmd.driver import (
    MACHINE_NOT_READY,
    Activity,
    Ended,
    Faulted,
    Finished,
    ForeignStarted,
    Observed,
    Paused,
    Rebooted,
    RunFile,
    Started,
    StartOrder,
)
from farmd.model import facts as f
from farmd.model.errors import ErrorCode, LinkLost, MachineFault, Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import FileRecord, Outcome
from farmd.store.vault import FILE_CORRUPT

CUT = ErrorCode("test-cut", "the cable went", "plug it in")
BURNT = ErrorCode("test-broken", "the board is burnt", "mend it")


def ready(**of_machine: object) -> Farm:
    return farm_of(machine(**{"state": MachineState.OFFLINE, **of_machine}), job())


async def start(b: Bench, work: object = None) -> str:
    """Start on m1 and return the run's id."""
    await b.attendants["m1"].start(permit().id, work or new_build())  # type: ignore[arg-type]
    return [record.fact.run_id for record in b.ledger.recent if isinstance(record.fact, f.RunIntended)][-1]


# --- the way it should go ---------------------------------------------------------------------


@warped
async def test_intent_is_on_disk_before_the_driver_is_asked() -> None:
    async with bench(ready()) as b:

        async def look(order: StartOrder) -> None:
            assert [type(fact).__name__ for fact in b.store.facts][-2:] == ["BuildQueued", "RunIntended"]

        b.driver().before_start = look
        run_id = await start(b)
        assert b.farm.runs[run_id].state is RunState.SENT
        assert b.machine().permit is None
        b.driver().report(Started(run_id, "it shows it"))
        assert b.farm.runs[run_id].state is RunState.RUNNING
        assert b.machine().state is MachineState.BUSY
        assert len(b.driver().starts) == 1


@warped
async def test_machine_that_tells_before_the_start_returns_is_believed() -> None:
    async with bench(ready()) as b:

        async def tell(order: StartOrder) -> None:
            b.driver().report(Started(order.run_id, "at once"))
            b.driver().report(Ended(order.run_id, Outcome.OK))

        b.driver().before_start = tell
        run_id = await start(b)
        assert b.farm.runs[run_id].outcome is Outcome.OK
        assert "RunSent" not in b.kinds()
        await b.settle(2 * EVIDENCE_S)
        assert b.driver().connects == 1


@warped
async def test_order_tells_what_the_build_is() -> None:
    farm = ready()
    farm.files[SHA] = FileRecord(SHA, "clip.gcode", 3, "gcode")
    farm.merge([job(in_work=3, open_builds=1), build("B-1", ("J-1", 3), mass_g=60.0)])
    async with bench(farm) as b:
        run_id = await start(b, "B-1")
        (order,) = b.driver().starts
        assert (order.run_id, order.parts, order.duration_s, order.mass_g) == (run_id, 3, 3600.0, 60.0)
        assert order.fence == 1
        assert order.file is not None
        assert (order.file.sha256, order.file.name) == (SHA, "clip.gcode")


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["held", None])
@warped
async def test_start_that_the_state_does_not_allow_changes_nothing(held: str | None) -> None:
    async with bench(ready(held=held)) as b:
        before = b.kinds()
        with pytest.raises(Refused):
            await b.attendants["m1"].start(permit().id if held else "P-other", new_build())
        with pytest.raises(Refused) as gone:
            await b.attendants["m1"].start(permit().id, "B-77")
        assert gone.value.code.name == "unknown-build"
        assert b.kinds() == before
        assert b.driver().starts == []


@warped
async def test_start_that_the_driver_refuses_queues_the_build_again_and_keeps_the_permit_spent() -> None:
    async with bench(ready()) as b:
        b.driver().raises["start"] = Refused(MACHINE_NOT_READY)
        await start(b)
        (queued,) = b.farm.builds.values()
        assert queued.state is BuildState.QUEUED
        assert not b.farm.runs
        assert b.machine().permit is None
        assert (b.machine().run_id, b.machine().uncleared_run_id) == (None, None)
        assert b.farm.jobs["J-1"].in_work == 1
        assert b.farm.jobs["J-1"].state is JobState.OPEN


@warped
async def test_file_that_cannot_be_read_holds_its_job_and_not_one_machine_after_the_other() -> None:
    farm = ready()
    farm.files[SHA] = FileRecord(SHA, "clip.gcode", 3, "gcode")

    def corrupt() -> object:
        raise Refused(FILE_CORRUPT, where=SHA)

    def open_file(sha256: str, name: str) -> RunFile:
        return RunFile(name, sha256, 3, corrupt)  # type: ignore[arg-type]

    async with bench(farm, open_file=open_file) as b:

        async def read(order: StartOrder) -> None:
            assert order.file is not None
            order.file.open()

        b.driver().before_start = read
        await start(b, new_build(file_sha256=SHA))
        assert b.farm.jobs["J-1"].state is JobState.HELD
        assert [each.state for each in b.farm.builds.values()] == [BuildState.QUEUED]


# --- called off -------------------------------------------------------------------------------


def while_recording(b: Bench, disturb: Callable[[], object]) -> None:
    """Have something happen after the intent was recorded and before it is on disk."""
    leave: list[Callable[[], None]] = []

    def listen(records: tuple) -> None:
        if any(isinstance(record.fact, f.RunIntended) for record in records):
            leave[0]()
            asyncio.get_running_loop().call_soon(disturb)

    leave.append(b.ledger.subscribe(listen))


@pytest.mark.parametrize(
    "event",
    [
        Observed(Activity.IDLE),
        Observed(Activity.IDLE, rebooted=True),
        Observed(Activity.IDLE, unseen_start=True),
        Observed(Activity.RUNNING, "benchy"),
        Rebooted(),
        ForeignStarted("benchy"),
        Faulted(Fault("x", "y", "z")),
    ],
)
@pytest.mark.parametrize("capabilities", [SURE, UNSURE, FED])
@warped
async def test_start_is_called_off_when_anything_happened_to_the_machine(
    event: object, capabilities: object
) -> None:
    async with bench(ready(), capabilities=capabilities) as b:  # type: ignore[arg-type]
        while_recording(b, lambda: b.driver().report(event))  # type: ignore[arg-type]
        await start(b)
        assert b.driver().starts == []
        assert [each.state for each in b.farm.builds.values()] == [BuildState.QUEUED]
        assert b.machine().permit is None


@warped
async def test_start_is_called_off_when_the_link_goes_and_comes_meanwhile() -> None:
    async with bench(ready()) as b:
        while_recording(b, lambda: b.driver().lose(LinkLost(CUT)))
        run_id = await start(b)
        # The commit was quicker than the loss, or it was not: never sent twice, never both.
        sent = [order.run_id for order in b.driver().starts]
        await b.settle(5.0)
        assert [order.run_id for order in b.driver().starts] == sent
        assert run_id not in b.farm.runs


@pytest.mark.parametrize("what", ["hold", "estop", "cancel"])
@warped
async def test_start_is_called_off_by_people(what: str) -> None:
    async with bench(ready()) as b:
        asked: list[asyncio.Future] = []

        def ask() -> None:
            match what:
                case "hold":
                    asked.append(asyncio.ensure_future(b.floor.hold("m1", "anna")))
                case "estop":
                    asked.append(asyncio.ensure_future(b.floor.estop("m1", "anna")))
                case "cancel":
                    asked.append(asyncio.ensure_future(b.desk.cancel("J-1", "anna")))

        while_recording(b, ask)
        await start(b)
        await asyncio.gather(*asked)
        assert b.driver().starts == []
        assert not b.farm.runs
        assert b.machine().permit is None


# --- doubt ------------------------------------------------------------------------------------


@warped
async def test_link_lost_while_starting_is_settled_by_a_fresh_look() -> None:
    for seen, state in (
        (Observed(Activity.RUNNING), RunState.RUNNING),
        (Observed(Activity.IDLE), None),
    ):
        async with bench(ready()) as b:

            async def cut(order: StartOrder, b: Bench = b, seen: Observed = seen) -> None:
                shown = order.run_id if seen.activity is Activity.RUNNING else None
                b.driver().seen = replace(seen, run_id=shown)
                raise LinkLost(CUT)

            b.driver().before_start = cut
            run_id = await start(b)
            assert b.farm.runs[run_id].state is RunState.UNCERTAIN
            await b.settle(2.0)
            left = b.farm.runs.get(run_id)
            assert (left.state if left else None) is state
            assert b.machine().permit is None


@pytest.mark.parametrize("capabilities", [UNSURE, FED])
@warped
async def test_link_lost_while_starting_without_an_authority_stays_for_a_person(capabilities: object) -> None:
    async with bench(ready(), capabilities=capabilities) as b:  # type: ignore[arg-type]
        b.driver().raises["start"] = LinkLost(CUT)
        run_id = await start(b)
        await b.settle(60.0)
        outcome = b.farm.runs[run_id].outcome
        assert (b.farm.runs[run_id].state is RunState.UNCERTAIN) is (capabilities is UNSURE)
        assert outcome is (None if capabilities is UNSURE else Outcome.FAILED)


@pytest.mark.parametrize("error", [ValueError("a bug"), MachineFault(BURNT)])
@warped
async def test_driver_that_fails_while_starting_leaves_doubt_and_a_fault(error: Exception) -> None:
    async with bench(ready(), capabilities=UNSURE) as b:
        b.driver().raises["start"] = error
        run_id = await start(b)
        assert b.farm.runs[run_id].state is RunState.UNCERTAIN
        assert b.machine().state is MachineState.FAULT
        assert b.machine().fault is not None
        assert b.machine().fault.code == ("driver-bug" if isinstance(error, ValueError) else "test-broken")
        await b.settle(60.0)
        assert b.farm.runs[run_id].state is RunState.UNCERTAIN, "a look alone proves nothing here"


@warped
async def test_start_without_evidence_is_doubted_and_looked_at_again() -> None:
    async with bench(ready()) as b:
        run_id = await start(b)
        b.driver().seen = Observed(Activity.IDLE)
        await b.settle(EVIDENCE_S - 1.0)
        assert b.farm.runs[run_id].state is RunState.SENT
        await b.settle(3.0)
        assert run_id not in b.farm.runs
        assert "RunDoubted" in b.kinds()
        assert [each.state for each in b.farm.builds.values()] == [BuildState.QUEUED]
        assert len(b.driver().starts) == 1


@warped
async def test_machine_that_is_fed_keeps_its_link_while_evidence_is_late() -> None:
    async with bench(ready(), capabilities=FED) as b:
        run_id = await start(b)
        await b.settle(10 * EVIDENCE_S)
        assert b.driver().connects == 1
        assert b.farm.runs[run_id].state is RunState.UNCERTAIN
        b.driver().report(Started(run_id, "at last"))
        assert b.farm.runs[run_id].state is RunState.RUNNING


@warped
async def test_evidence_may_be_a_pause() -> None:
    async with bench(ready()) as b:
        run_id = await start(b)
        b.driver().report(Paused(run_id, "no filament"))
        assert b.farm.runs[run_id].state is RunState.PAUSED
        await b.settle(2 * EVIDENCE_S)
        assert b.farm.runs[run_id].state is RunState.PAUSED


@pytest.mark.parametrize("stopped", [True, False])
@warped
async def test_start_that_hangs_is_broken_off_by_time_or_emergency_stop(stopped: bool) -> None:
    async with bench(ready(), capabilities=UNSURE) as b:

        async def hang(order: StartOrder) -> None:
            await asyncio.sleep(1e9)

        b.driver().before_start = hang
        starting = asyncio.create_task(start(b))
        await b.settle(60.0)
        (run,) = b.farm.runs.values()
        assert run.state is RunState.INTENT
        if stopped:
            await b.floor.estop(None, "anna")
            await b.settle()
        else:
            await b.settle(START_S)
        assert b.farm.runs[run.id].state is RunState.UNCERTAIN
        assert b.driver().starts == []
        await starting


@pytest.mark.parametrize("capabilities", [SURE, FED, replace(FED, history_authoritative=True)])
@warped
async def test_link_that_comes_back_while_a_start_is_handed_over_does_not_end_the_run(
    capabilities: object,
) -> None:
    """Otherwise the build is queued again, and then the first start goes out."""
    async with bench(ready(), capabilities=capabilities) as b:  # type: ignore[arg-type]

        async def lose_and_find(order: StartOrder) -> None:
            driver = b.driver()
            driver.seen = Observed(
                Activity.IDLE, history=(Finished(order.run_id, Outcome.FAILED, "cut off"),)
            )
            driver.lose(LinkLost(CUT))
            await asyncio.sleep(10.0)
            assert driver.connects == 2

        b.driver().before_start = lose_and_find
        run_id = await start(b)
        assert b.farm.runs[run_id].state is RunState.SENT
        b.driver().report(Started(run_id, "it shows it"))
        assert b.farm.runs[run_id].state is RunState.RUNNING


@warped
async def test_a_hold_calls_off_a_start_that_is_being_handed_over() -> None:
    """Whoever is told that the machine is held may reach in, also while a long file is still on its way."""
    async with bench(ready()) as b:

        async def on_its_way(order: StartOrder) -> None:
            await b.floor.hold("m1", "ada", "a hand is in it")
            assert b.driver().asked == ["stop"]
            raise Refused(MACHINE_NOT_READY)

        b.driver().before_start = on_its_way
        run_id = await start(b)
        assert b.driver().starts == []
        assert run_id not in b.farm.runs
        assert b.machine().held == "a hand is in it"
        assert b.machine().run_id is None
