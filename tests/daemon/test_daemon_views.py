"""What people and programs are shown: plain JSON values, times in ISO 8601, units in names."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from farmshop import (
    SHA,
    T0,
    build,
    farm_of,
    job,
    machine,
    powder,
    powder_job,
    run,
    schedule,
    shop,
    spec,
    step,
)

from farmd.daemon import views
from farmd.daemon.live import Live
from farmd.daemon.walk import walk_list
from farmd.daemon.why import why
from farmd.model import facts as f
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import FileRecord, Outcome, Place

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HOUR = 3600.0


def busy_farm() -> Any:
    return farm_of(
        machine(state=MachineState.BUSY, run_id="R-1", permit=None),
        machine("m2", state=MachineState.FAULT, fault=Fault("jam", "jammed", "mend it")),
        machine("m3", state=MachineState.FOREIGN, foreign="benchy", permit=None),
        machine("sls", ready_at=T0 + 60.0, permit=None, uncleared_run_id="R-2"),
        job(quantity=9, good=1, scrap=2, in_work=1, open_builds=1, made=4, due_at=T0 + 2 * HOUR),
        powder_job("J-2"),
        build(state=BuildState.ASSIGNED, machine="m1"),
        build("B-2", ("J-2", 2), state=BuildState.FAILED, machine="sls", follows=None),
        run(state=RunState.RUNNING, started_at=T0 - 600.0),
        run(
            "R-2",
            build_id="B-2",
            machine="sls",
            state=RunState.ENDED,
            outcome=Outcome.FAILED,
            place=Place(layer=7),
        ),
    )


SHOP = shop(spec(), spec("m2"), spec("m3"), powder())
PLAN = schedule(
    step(start_at=T0 + HOUR),
    step("sls", None, T0, items=(("J-2", 3),), operator_at=T0 - 60.0),
    left_out={"J-9": "later"},
)


def every_view() -> dict[str, Any]:
    farm = busy_farm()
    facts = [
        f.MachineCleared(
            at=T0, actor="anna", machine="m1", permit_id="P-1", counts=(f.ItemCount("J-1", 1, 0),)
        ),
        f.FileStored(
            at=T0, actor="anna", file=FileRecord(SHA, "clip.gcode", 3, "gcode", {"thumbnail": "long"})
        ),
        f.JobSubmitted(at=T0, actor="anna", job=farm.jobs["J-2"]),
        f.MachineFaulted(at=T0, actor="machine:m2", machine="m2", fault=Fault("a", "b", "c")),
    ]
    live = Live(
        fraction=0.25,
        layer=3,
        remaining_s=90.0,
        actual_c={"nozzle": 210.0},
        attention={"dust": "x"},
        firmware="1.2",
    )
    return {
        **{name: views.job_view(each, farm, PLAN, T0) for name, each in farm.jobs.items()},
        **{name: views.machine_view(name, farm, SHOP, PLAN, live) for name in farm.machines},
        **{name: views.run_view(each, farm.builds[each.build_id]) for name, each in farm.runs.items()},
        **{name: views.build_view(each) for name, each in farm.builds.items()},
        "plan": views.plan_view(PLAN),
        "walk": [views.task_view(task) for task in walk_list(farm, PLAN, SHOP, T0)],
        "why": views.why_view(why(farm, PLAN, SHOP, farm.jobs["J-1"])),
        "facts": [views.fact_view(number, fact) for number, fact in enumerate(facts)],
    }


def times(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in times(item, name)]
    if isinstance(value, list):
        return [found for item in value for found in times(item, key)]
    return [(key, value)] if key in ("at", "since") or key.endswith("_at") else []


def test_every_view_is_json_with_times_in_iso_8601() -> None:
    shown = every_view()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    # What is inside a fact is shown as it is recorded.
    shown["facts"] = [{"at": fact["at"]} for fact in shown["facts"]]
    found = [(key, value) for key, value in times(shown) if value is not None]
    assert len(found) > 30
    assert [pair for pair in found if not (isinstance(pair[1], str) and ISO.fullmatch(pair[1]))] == []


def test_moments_are_utc_with_milliseconds() -> None:
    assert views.iso(0.0) == "1970-01-01T00:00:00.000Z"
    assert views.iso(1_767_600_000.1239) == "2026-01-05T08:00:00.123Z"
    assert views.iso(None) is None


def test_job_tells_its_counts_and_when_it_ends() -> None:
    shown = every_view()["J-1"]
    counts = {
        name: shown[name] for name in ("quantity", "good", "scrap", "made", "in_work", "missing", "running")
    }
    assert counts == {
        "quantity": 9,
        "good": 1,
        "scrap": 2,
        "made": 4,
        "in_work": 1,
        "missing": 7,
        "running": 1,
    }
    assert shown["planned_end_at"] == views.iso(T0 + 2 * HOUR)
    assert shown["late"] is False


@pytest.mark.parametrize(
    ("changes", "planned", "late"),
    [
        ({"due_at": None}, True, False),
        ({"due_at": T0 + HOUR}, True, True),
        ({"due_at": T0 + 3 * HOUR}, True, False),
        ({"due_at": T0 + HOUR}, False, False),
        ({"due_at": T0 - HOUR}, False, True),
        ({"due_at": T0 - HOUR, "state": JobState.DONE, "closed_at": T0 - 2 * HOUR}, False, False),
        ({"due_at": T0 - HOUR, "state": JobState.DONE, "closed_at": T0}, False, True),
    ],
)
def test_job_is_late_when_it_will_be_is_or_was(changes: dict, planned: bool, late: bool) -> None:
    plan = schedule(step(start_at=T0 + HOUR)) if planned else schedule()
    assert views.job_view(job(**changes), farm_of(machine()), plan, T0)["late"] is late


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED])
def test_job_that_is_over_does_not_end_by_an_older_plan(state: JobState) -> None:
    over = job(state=state, due_at=T0, closed_at=T0 - HOUR, in_work=1, open_builds=1)
    farm = farm_of(
        machine(), over, build(state=BuildState.ASSIGNED), run(state=RunState.RUNNING, started_at=T0 - 600.0)
    )
    shown = views.job_view(over, farm, schedule(step(start_at=T0 + HOUR)), T0 + HOUR)
    assert (shown["planned_end_at"], shown["late"], shown["running"]) == (None, False, 1)


def test_run_under_way_ends_when_its_build_says_later_than_the_plan() -> None:
    farm = busy_farm()
    shown = views.job_view(farm.jobs["J-1"], farm, schedule(), T0)
    assert shown["planned_end_at"] == views.iso(T0 - 600.0 + HOUR)
    assert views.run_view(farm.runs["R-1"], farm.builds["B-1"])["expected_end_at"] == views.iso(T0 + 3000.0)
    assert views.run_view(farm.runs["R-2"], None)["expected_end_at"] is None


def test_machine_tells_what_it_does_and_waits_for() -> None:
    shown = every_view()
    assert shown["m1"]["run"]["id"] == "R-1"
    assert (shown["m1"]["fraction"], shown["m1"]["layer"], shown["m1"]["remaining_s"]) == (0.25, 3, 90.0)
    assert shown["m1"]["waits_for"]["rule"] == "busy"
    assert shown["m2"]["fault"] == {"code": "jam", "what": "jammed", "remedy": "mend it"}
    assert shown["m2"]["fraction"] is None, "telemetry of a run that is over"
    assert shown["m2"]["remaining_s"] is None
    assert (shown["m3"]["foreign"], shown["m3"]["fault"]) == ("benchy", None)
    assert shown["sls"]["next"]["items"] == [["J-2", 3]]
    assert shown["sls"]["ready_at"] == views.iso(T0 + 60.0)
    gone = views.machine_view("m1", busy_farm(), shop(), schedule(), None)
    assert (gone["driver"], gone["capabilities"], gone["actual_c"]) == (None, None, {})


def test_fact_as_an_event_leaves_out_the_summary_of_a_file() -> None:
    _, stored, _, _ = every_view()["facts"]
    assert stored["kind"] == "FileStored"
    assert stored["file"] == {"sha256": SHA, "name": "clip.gcode", "size_bytes": 3, "kind": "gcode"}


def test_plan_is_in_order_of_time_and_tells_what_it_leaves_out() -> None:
    shown = every_view()["plan"]
    assert [each["machine"] for each in shown["steps"]] == ["sls", "m1"]
    assert shown["left_out"] == {"J-9": "later"}
