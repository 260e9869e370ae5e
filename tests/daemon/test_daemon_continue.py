"""Going on where a run broke off: only by a person's word, only while its part is where it was, and once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from farmshop import SHA, SURE, Bench, bench, build, farm_of, job, machine, run, schedule, warped

from farmd.daemon.attendant import NO_LINK
from farmd.daemon.walk import walk_list
from farmd.driver import (
    MACHINE_NOT_READY,
    Activity,
    Capabilities,
    Ended,
    Finished,
    Observed,
    Started,
    StartOrder,
)
from farmd.model import facts as f
from farmd.model.errors import LinkLost, Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.work import FileRecord, Outcome, Place

ABLE = replace(SURE, continues=True)
PLACE = Place(line=1200, byte=30_000, layer=12, z_mm=2.4, fraction=0.3)


def broken(place: Place | None = PLACE, outcome: Outcome = Outcome.FAILED, **of_machine: object) -> Farm:
    """m1 with the part of a run on it that broke off."""
    farm = farm_of(
        machine(**{"state": MachineState.OFFLINE, "permit": None, "uncleared_run_id": "R-1", **of_machine}),
        job(quantity=3, open_builds=1),
        build("B-1", ("J-1", 2), state=BuildState.FAILED, machine="m1", mass_g=40.0),
        run(state=RunState.ENDED, outcome=outcome, place=place),
    )
    farm.files[SHA] = FileRecord(SHA, "clip.gcode", 3, "gcode")
    return farm


async def go_on(b: Bench, run_id: str = "R-1") -> str:
    new = await b.floor.go_on(run_id, "ada")
    await b.settle()
    return new.id


@warped
async def test_a_new_run_goes_on_from_the_place_and_makes_the_parts() -> None:
    async with bench(broken(), capabilities=ABLE) as b:

        async def look(order: StartOrder) -> None:
            assert isinstance(b.store.facts[-1], f.RunContinued), "the intent is on disk first"

        b.driver().before_start = look
        run_id = await go_on(b)
        (order,) = b.driver().starts
        assert (order.run_id, order.resume_at, order.parts) == (run_id, PLACE, 2)
        assert order.file is not None
        assert b.farm.builds["B-1"].state is BuildState.ASSIGNED
        assert b.farm.jobs["J-1"].in_work == 2
        assert "R-1" not in b.farm.runs
        b.driver().report(Started(run_id, "it moves"))
        b.driver().report(Ended(run_id, Outcome.OK))
        assert b.farm.jobs["J-1"].made == 2
        await b.floor.clear("m1", "ada")
        assert b.farm.jobs["J-1"].good == 2
        assert b.farm.builds == {}


@warped
async def test_one_that_fails_again_can_be_gone_on_with_again() -> None:
    async with bench(broken(), capabilities=ABLE) as b:
        second = await go_on(b)
        b.driver().report(Started(second, "it moves"))
        further = replace(PLACE, line=5000, z_mm=9.0)
        b.driver().report(Ended(second, Outcome.FAILED, "cable", further))
        assert b.machine().uncleared_run_id == second
        assert b.farm.jobs["J-1"].in_work == 0
        third = await go_on(b, second)
        assert [order.resume_at for order in b.driver().starts] == [PLACE, further]
        assert b.farm.runs[third].continues == second


@warped
async def test_a_refused_start_leaves_the_part_on_the_machine_and_its_place_known() -> None:
    async with bench(broken(), capabilities=ABLE) as b:
        b.driver().raises["start"] = Refused(MACHINE_NOT_READY)
        second = await go_on(b)
        assert b.farm.runs[second].outcome is Outcome.NOT_STARTED
        assert (b.machine().uncleared_run_id, b.machine().permit) == (second, None)
        assert b.farm.builds["B-1"].state is BuildState.FAILED
        assert b.farm.jobs["J-1"].in_work == 0
        del b.driver().raises["start"]
        third = await go_on(b, second)
        assert [(order.run_id, order.resume_at) for order in b.driver().starts] == [(third, PLACE)]


@warped
async def test_a_crash_between_intent_and_start_is_settled_by_the_machine() -> None:
    """As after any crash: the machine is read first, and what it surely did not start lies there as before."""
    farm = broken(state=MachineState.OFFLINE, uncleared_run_id=None, run_id="R-2")
    farm.merge(
        [
            build("B-1", ("J-1", 2), state=BuildState.ASSIGNED, machine="m1"),
            job(quantity=3, open_builds=1, in_work=2),
            run("R-2", state=RunState.INTENT, continues="R-1", place=PLACE),
        ]
    )
    del farm.runs["R-1"]
    async with bench(farm, capabilities=ABLE) as b:
        assert b.farm.runs["R-2"].outcome is Outcome.NOT_STARTED
        assert b.machine().uncleared_run_id == "R-2"
        assert b.driver().starts == []
        await go_on(b, "R-2")
        assert b.driver().starts[0].resume_at == PLACE


CANNOT: list[tuple[str, Farm, Capabilities]] = [
    ("the driver cannot", broken(), SURE),
    ("no place", broken(place=None), ABLE),
    ("no height", broken(place=replace(PLACE, z_mm=None)), ABLE),
    ("it ended well", broken(outcome=Outcome.OK), ABLE),
    ("held", broken(held="a person"), ABLE),
    ("something else lies there", broken(uncleared_run_id=None), ABLE),
]


@pytest.mark.parametrize(("farm", "capabilities"), [c[1:] for c in CANNOT], ids=[c[0] for c in CANNOT])
@warped
async def test_refused_with_nothing_changed(farm: Farm, capabilities: Capabilities) -> None:
    async with bench(farm.copy(), capabilities=capabilities) as b:
        before = b.kinds()
        with pytest.raises(Refused) as caught:
            await b.floor.go_on("R-1", "ada")
        assert caught.value.code.name in ("not-continuable", "not-startable")
        assert b.kinds() == before
        assert b.driver().starts == []


@warped
async def test_not_for_a_cancelled_job_nor_without_a_link() -> None:
    farm = broken()
    farm.merge([job(state=JobState.CANCELLED, open_builds=1)])
    async with bench(farm, capabilities=ABLE) as b:
        with pytest.raises(Refused):
            await b.floor.go_on("R-1", "ada")
    async with bench(broken(), capabilities=ABLE) as b:
        b.driver().raises["connect"] = LinkLost(NO_LINK)
        b.driver().lose(LinkLost(NO_LINK))
        await b.settle()
        with pytest.raises(Refused):
            await b.floor.go_on("R-1", "ada")
        assert b.driver().starts == []


@warped
async def test_a_link_lost_while_it_is_handed_over_is_a_doubt_and_no_second_start() -> None:
    async with bench(broken(), capabilities=replace(ABLE, history_authoritative=False)) as b:
        b.driver().raises["start"] = LinkLost(NO_LINK)
        second = await go_on(b)
        assert b.farm.runs[second].state is RunState.UNCERTAIN
        with pytest.raises(Refused):
            await b.floor.go_on("R-1", "ada")
        b.driver().raises.clear()
        await b.floor.resolve(second, "not-started", "ada")
        assert b.machine().uncleared_run_id == second
        assert b.driver().starts == []


@warped
async def test_the_walk_list_tells_of_both_ways() -> None:
    async with bench(broken(), capabilities=ABLE) as b:
        (task,) = walk_list(b.farm, schedule(), b.shop, 1e9)
        assert task.command == "farmctl clear m1"
        assert "farmctl continue R-1" in task.what
    async with bench(broken()) as b:
        (task,) = walk_list(b.farm, schedule(), b.shop, 1e9)
        assert "continue" not in task.what


@warped
async def test_its_place_after_a_lost_link_is_the_newer_one() -> None:
    further = replace(PLACE, line=5000)
    async with bench(broken(), capabilities=ABLE) as b:
        second = await go_on(b)
        b.driver().report(Started(second, "it moves"))
        b.driver().seen = Observed(
            Activity.IDLE, history=(Finished(second, Outcome.FAILED, "cut off", further),)
        )
        b.driver().lose(LinkLost(NO_LINK))
        await b.settle(5)
        assert b.farm.runs[second].place == further
        assert b.machine().uncleared_run_id == second
