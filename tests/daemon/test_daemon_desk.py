"""The desk: orders taken or refused with reasons, and changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from farmshop import bench, build, farm_of, job, machine, powder, run, spec, station, warped

from farmd.daemon.desk import Order, Upload, design_of
from farmd.daemon.rules import demand_of, fitness
from farmd.daemon.shop import MaterialSpec
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.work import FileRecord, Job
from farmd.sim.demand import file_name, file_of
from farmd.sim.scenario import Product

PLATE = Product(name="clip", material="PLA", size_mm=(60, 60, 20), minutes=45, grams=12, parts_per_plate=4)
GEAR = Product(name="gear", process="PBF", size_mm=(40, 40, 30))


def uploaded(folder: Path, product: Product) -> Upload:
    content = file_of(product)
    path = folder / "file"
    path.write_bytes(content)
    return Upload(hashlib.sha256(content).hexdigest(), len(content), file_name(product), path)


def empty() -> Farm:
    return farm_of(machine(state=MachineState.OFFLINE))


# --- orders -----------------------------------------------------------------------------------


@warped
async def test_sliced_file_becomes_a_job_with_what_the_file_tells(tmp_path: Path) -> None:
    async with bench(empty()) as b:
        upload = uploaded(tmp_path, PLATE)
        taken = await b.desk.submit(upload, Order(7, parts_per_plate=4, due_at=2e9, priority=3.0), "anna")
        assert taken == b.farm.jobs["J-10"]
        told = (
            taken.design,
            taken.process,
            taken.quantity,
            taken.parts_per_plate,
            taken.material,
            taken.nozzle_mm,
        )
        assert told == ("clip", "MEX", 7, 4, "PLA", 0.4)
        assert (taken.duration_s, taken.mass_g, taken.due_at, taken.priority) == (2700.0, 12.0, 2e9, 3.0)
        assert b.farm.files[upload.sha256].kind == "gcode"
        again = await b.desk.submit(upload, Order(1), "anna")
        assert again.id == "J-11"
        assert b.kinds().count("FileStored") == 1


@pytest.mark.parametrize(
    ("name", "design"),
    [
        ("ok.gcode.3mf", "ok"),
        ("Ok v1.2.GCODE", "Ok v1.2"),
        ("ok.gco", "ok"),
        ("ok.3mf.gcode", "ok.3mf"),
        (".gcode", ".gcode"),
    ],
)
def test_design_is_the_files_name_without_what_says_its_kind(name: str, design: str) -> None:
    assert design_of(name) == design


@warped
async def test_file_that_is_read_otherwise_now_is_recorded_anew_and_judged_by_that(tmp_path: Path) -> None:
    upload = uploaded(tmp_path, PLATE)
    old = FileRecord(upload.sha256, upload.name, upload.size_bytes, "gcode", {"mood": "good"})
    waiting = job("J-9", file_sha256=upload.sha256)
    async with bench(farm_of(machine(state=MachineState.OFFLINE), old, waiting)) as b:
        before = fitness(demand_of(b.farm, waiting), spec(), b.shop)
        assert before is not None
        assert before.rule == "file-unread"
        await b.desk.submit(upload, Order(1), "anna")
        assert b.farm.files[upload.sha256].summary["print_time_s"] == 2700.0
        assert fitness(demand_of(b.farm, waiting), spec(), b.shop) is None
        await b.desk.submit(upload, Order(1), "anna")
        assert b.kinds().count("FileStored") == 1


@warped
async def test_mesh_becomes_powder_parts_that_are_depowdered_where_a_station_does(tmp_path: Path) -> None:
    farm = farm_of(machine("sls", state=MachineState.OFFLINE))
    specs = (powder(), station("blast", "depowder"))
    farm.merge([machine("blast", state=MachineState.OFFLINE)])
    materials = {"PA12": MaterialSpec("PA12", "PBF", density_g_cm3=0.5)}
    async with bench(farm, *specs, materials=materials) as b:
        upload = uploaded(tmp_path, GEAR)
        taken = await b.desk.submit(upload, Order(3, material="PA12", volume_mm3=10_000.0), "anna")
        assert taken.route == ("print", "depowder")
        assert taken.shape is not None
        assert (taken.shape.volume_mm3, taken.shape.height_mm, taken.shape.size_mm) == (
            10_000.0,
            30.0,
            (40.0, 40.0),
        )
        assert taken.mass_g == 5.0


@pytest.mark.parametrize(
    ("order", "where"),
    [
        (Order(0), "quantity"),
        (Order(-3), "quantity"),
        (Order(10**10), "quantity"),
        (Order(1, parts_per_plate=0), "parts_per_plate"),
        (Order(1, priority=0.0), "priority"),
        (Order(1, priority=float("nan")), "priority"),
        (Order(1, priority=float("inf")), "priority"),
        (Order(1, due_at=float("nan")), "due_at"),
        (Order(1, due_at=-1.0), "due_at"),
        (Order(1, due_at=1e15), "due_at"),
        (Order(1, volume_mm3=-1.0), "volume_mm3"),
        (Order(1, route=("print", "plate")), "route"),
        (Order(1, route=("wash",)), "route"),
        (Order(1, route=("print", "print")), "route"),
    ],
)
@warped
async def test_bad_order_is_refused_by_the_value_that_is_bad(
    order: Order, where: str, tmp_path: Path
) -> None:
    farm = empty()
    farm.merge([machine("wash", state=MachineState.OFFLINE)])
    async with bench(farm, spec(), station()) as b:
        with pytest.raises(Refused) as refused:
            await b.desk.submit(uploaded(tmp_path, PLATE), order, "anna")
        assert (refused.value.code.name, refused.value.where) == ("bad-order", where)
        assert not b.farm.jobs
        assert not b.farm.files


@pytest.mark.parametrize(
    ("order", "product", "reason"),
    [
        (Order(1, group="core"), PLATE, "m1: the job asks for core"),
        (Order(1), GEAR, "m1: it is MEX, the job needs PBF"),
        (Order(1), PLATE.model_copy(update={"size_mm": (400.0, 60.0, 20.0)}), "m1: "),
        (Order(1), PLATE.model_copy(update={"nozzle_c": 400.0}), "m1: "),
    ],
)
@warped
async def test_impossible_order_is_refused_with_each_machines_reason(
    order: Order, product: Product, reason: str, tmp_path: Path
) -> None:
    async with bench(empty()) as b:
        with pytest.raises(Refused) as refused:
            await b.desk.submit(uploaded(tmp_path, product), order, "anna")
        assert refused.value.code.name == "no-machine-fits"
        assert refused.value.what.startswith(reason)
        assert not b.farm.jobs


@warped
async def test_material_limits_count_too_hot_a_file_out(tmp_path: Path) -> None:
    async with bench(empty(), materials={"PLA": MaterialSpec("PLA", max_nozzle_c=200.0)}) as b:
        with pytest.raises(Refused) as refused:
            await b.desk.submit(uploaded(tmp_path, PLATE), Order(1), "anna")
        assert refused.value.code.name == "no-machine-fits"


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
@warped
async def test_text_that_cannot_be_kept_is_refused_and_takes_nobody_down(text: str, tmp_path: Path) -> None:
    async with bench(empty()) as b:
        with pytest.raises(Refused) as refused:
            await b.desk.submit(uploaded(tmp_path, PLATE), Order(1, owner=text), "anna")
        assert refused.value.code.name == "not-storable"
        assert not b.farm.jobs
        await b.desk.submit(uploaded(tmp_path, PLATE), Order(1), "anna")


# --- changes ----------------------------------------------------------------------------------


@warped
async def test_editing_leaves_what_is_not_named_and_clears_the_due_date_when_told() -> None:
    async with bench(farm_of(machine(), job(due_at=2e9, priority=2.0))) as b:
        edited = await b.desk.edit("J-1", "anna", quantity=9)
        assert (edited.quantity, edited.due_at, edited.priority) == (9, 2e9, 2.0)
        edited = await b.desk.edit("J-1", "anna", clear_due=True, priority=5.0)
        assert (edited.quantity, edited.due_at, edited.priority) == (9, None, 5.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 0.0},
        {"priority": float("nan")},
        {"quantity": 0},
        {"quantity": 10**12},
        {"due_at": float("inf")},
    ],
)
@warped
async def test_bad_edit_changes_nothing(wrong: dict) -> None:
    async with bench(farm_of(machine(), job())) as b:
        with pytest.raises(Refused) as refused:
            await b.desk.edit("J-1", "anna", **wrong)
        assert refused.value.code.name == "bad-order"
        assert b.farm.jobs["J-1"] == job()


def done_in_work() -> Job:
    """Done, with parts still in their route, so that it is open work."""
    return job(state=JobState.DONE, good=4, in_work=2, open_builds=1, made=6)


@warped
async def test_more_of_a_done_job_reopens_it() -> None:
    async with bench(farm_of(machine(), done_in_work(), build(state=BuildState.ASSIGNED))) as b:
        assert (await b.desk.edit("J-1", "anna", quantity=10)).state is JobState.OPEN


@warped
async def test_edit_that_closes_a_job_gives_the_closed_job() -> None:
    async with bench(farm_of(machine(), job(quantity=9, good=4, made=4))) as b:
        edited = await b.desk.edit("J-1", "anna", quantity=4)
        assert edited.state is JobState.DONE
        assert "J-1" not in b.farm.jobs


@warped
async def test_hold_and_release_of_a_job() -> None:
    async with bench(farm_of(machine(), job())) as b:
        assert (await b.desk.hold("J-1", "anna")).state is JobState.HELD
        with pytest.raises(Refused):
            await b.desk.hold("J-1", "anna")
        assert (await b.desk.release("J-1", "anna")).state is JobState.OPEN
        with pytest.raises(Refused) as refused:
            await b.desk.release("J-9", "anna")
        assert refused.value.code.name == "unknown-job"


# --- cancelling -------------------------------------------------------------------------------


def in_work(state: RunState = RunState.RUNNING) -> Farm:
    """J-1 has a queued build, one running alone, and one running together with J-2."""
    return farm_of(
        machine("m1", state=MachineState.OFFLINE, permit=None, run_id="R-1"),
        machine("m2", state=MachineState.OFFLINE, permit=None, run_id="R-2"),
        machine("m9"),
        job(quantity=9, in_work=3, open_builds=3),
        job("J-2", in_work=1, open_builds=1),
        build("B-1", state=BuildState.ASSIGNED, machine="m1"),
        build("B-2", ("J-1", 1), ("J-2", 1), state=BuildState.ASSIGNED, machine="m2"),
        build("B-3"),
        run("R-1", state=state),
        run("R-2", build_id="B-2", machine="m2", state=RunState.RUNNING),
    )


@warped
async def test_cancelling_withdraws_what_is_queued_and_stops_what_makes_nothing_else() -> None:
    farm = in_work()
    async with bench(farm, spec("m9")) as b:
        cancelled = await b.desk.cancel("J-1", "anna")
        assert cancelled.state is JobState.CANCELLED
        assert (cancelled.in_work, cancelled.open_builds) == (2, 2)
        assert "B-3" not in b.farm.builds
        assert b.stopped == ["R-1"]
        with pytest.raises(Refused):
            await b.desk.cancel("J-1", "anna")


@warped
async def test_cancelling_stops_no_machine_of_which_nobody_knows_what_it_does() -> None:
    async with bench(in_work(state=RunState.UNCERTAIN), spec("m9")) as b:
        await b.desk.cancel("J-1", "anna")
        assert b.stopped == []


@warped
async def test_cancelling_what_is_not_begun_gives_the_cancelled_job() -> None:
    async with bench(farm_of(machine(), job())) as b:
        assert (await b.desk.cancel("J-1", "anna")).state is JobState.CANCELLED
        assert not b.farm.jobs


@warped
async def test_cancelled_parts_between_two_operations_are_kept_as_surplus() -> None:
    going_on = build("B-2", ("J-1", 3), operation="wash", follows="B-1", file_sha256=None)
    farm = farm_of(
        machine(), replace(job(route=("print", "wash")), in_work=3, open_builds=1, made=3), going_on
    )
    async with bench(farm) as b:
        cancelled = await b.desk.cancel("J-1", "anna")
        assert (cancelled.surplus, cancelled.in_work, cancelled.is_closed) == (3, 0, True)
