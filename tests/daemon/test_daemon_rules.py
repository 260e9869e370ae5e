"""Which machine may make what: each rule alone, in its order, and what would free it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from farmshop import (
    CHAMBER,
    SHA,
    SURE,
    build,
    farm_of,
    job,
    machine,
    powder,
    powder_job,
    run,
    shop,
    spec,
    station,
)

from farmd.daemon.rules import (
    MEMO_LIMIT,
    Demand,
    builds_of,
    can_make,
    fitness,
    readiness,
    unwanted,
    wants_work,
    wrong_setup,
)
from farmd.daemon.shop import MaterialSpec, family, satisfies
from farmd.gcode import SlicedFile
from farmd.model.codec import encode
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import FileRecord, Job, PartShape


def asked(of: Job, operation: str = "print", file: FileRecord | None = None) -> Demand:
    return Demand(of, operation, file)


# --- fitness ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demand", "machine_spec", "rule"),
    [
        (asked(job()), spec(), None),
        (asked(job(), "wash"), spec(), "operation"),
        (asked(job()), station("wash", "wash"), "operation"),
        (asked(job(), "wash"), station("wash", "wash", "depowder"), None),
        (asked(job(group="core")), spec(), "group"),
        (asked(job(group="mk4")), spec(), None),
        (asked(job(group="m1")), spec("m1"), None),
        (asked(job(group="core"), "wash"), station(), None),
        (asked(powder_job()), spec(), "process"),
        (asked(job()), powder(), "process"),
        (asked(powder_job()), powder(), None),
        (asked(powder_job(material="PA11")), powder(), "material"),
        (asked(powder_job(material=None)), powder(), None),
        (asked(powder_job(shape=PartShape(1.0, 201.0, 1.0))), powder(), "too-large"),
        (asked(powder_job(shape=PartShape(1.0, 1.0, 1.0, (301.0, 10.0)))), powder(), "too-large"),
        (asked(powder_job(shape=PartShape(1.0, 1.0, 90_000.0))), powder(), "too-large"),
        (asked(powder_job(shape=PartShape(1.0, 1.0, 1.0, None, 1.5))), powder(), "precision"),
    ],
)
def test_each_rule_of_fitness(demand: Demand, machine_spec: Any, rule: str | None) -> None:
    found = fitness(demand, machine_spec, shop(machine_spec))
    assert (found.rule if found else None) == rule
    if found is not None:
        assert found.what
        assert found.remedy


@pytest.mark.parametrize(
    ("size", "fits"), [((290.0, 350.0), True), ((350.0, 290.0), True), ((310.0, 310.0), False)]
)
def test_part_may_be_turned_in_the_chamber(size: tuple[float, float], fits: bool) -> None:
    oblong = powder(chamber=replace(CHAMBER, size_mm=(360.0, 300.0)))
    demand = asked(powder_job(shape=PartShape(1.0, 1.0, 1.0, size)))
    assert (fitness(demand, oblong, shop(oblong)) is None) is fits


@pytest.mark.parametrize(("kinds", "fits"), [((), True), (("gcode",), True), (("3mf", "bgcode"), False)])
def test_machine_takes_the_kinds_of_files_that_its_driver_names(kinds: tuple[str, ...], fits: bool) -> None:
    the_shop = shop(spec(), capabilities=replace(SURE, file_kinds=kinds))
    found = fitness(asked(job(file_name="Clip.GCODE")), spec(), the_shop)
    assert (found is None) is fits
    assert found is None or found.rule == "file-kind"


@pytest.mark.parametrize(
    ("extra", "lacks", "rule"),
    [
        ({"mood": "good"}, (), None),
        ({"thumbnail": {"width": 1, "height": 1, "png_base64": "", "mood": "good"}}, (), None),
        ({}, ("lines",), None),
        ({"mood": "good"}, ("kind",), "file-unread"),
        ({"max_nozzle_c": "hot"}, (), "file-unread"),
        ({"denied": [{"line": 3}]}, (), "file-unread"),
        ({"mood": "good", "max_nozzle_c": 500.0}, ("lines",), "nozzle-too-hot"),
    ],
)
def test_summary_of_another_version_is_read_as_far_as_it_is_understood(
    extra: dict, lacks: tuple[str, ...], rule: str | None
) -> None:
    summary = {k: v for k, v in encode(SlicedFile("gcode")).items() if k not in lacks} | extra
    found = fitness(
        asked(job(), file=FileRecord(SHA, "clip.gcode", 1, "gcode", summary)), spec(), shop(spec())
    )
    assert (found.rule if found else None) == rule


@pytest.mark.parametrize(
    ("asks", "material", "rule"),
    [
        ({}, "PLA", None),
        ({"max_nozzle_c": 250.0}, "PETG", None),
        ({"max_nozzle_c": 250.0}, "PLA", "nozzle-too-hot"),
        ({"max_nozzle_c": 270.0}, "PETG", "nozzle-too-hot"),
        ({"max_bed_c": 120.0}, None, "bed-too-hot"),
        ({"max_nozzle_c": 250.0}, None, "nozzle-too-hot"),
    ],
)
def test_file_asks_no_more_than_machine_and_material_may(
    asks: dict, material: str | None, rule: str | None
) -> None:
    """Without a wish of the job's, the material that the machine is configured with counts."""
    file = FileRecord(SHA, "clip.gcode", 10, "gcode", encode(SlicedFile("gcode", **asks)))
    the_shop = shop(spec(), materials={"PLA": MaterialSpec("PLA", max_nozzle_c=230.0)})
    found = fitness(asked(job(material=material), file=file), spec(), the_shop)
    assert (found.rule if found else None) == rule


def test_each_group_of_answers_is_remembered_by_what_the_rules_look_at() -> None:
    the_shop = shop(spec("m1"), spec("m2", group="core"))
    assert [each.name for each in can_make(asked(job()), the_shop)] == ["m1", "m2"]
    assert [each.name for each in can_make(asked(job(group="core")), the_shop)] == ["m2"]
    assert [each.name for each in can_make(asked(job("J-2")), the_shop)] == ["m1", "m2"]
    known = len(the_shop.memo)
    fitness(asked(job("J-3", quantity=77, priority=9.0)), spec("m1"), the_shop)
    assert len(the_shop.memo) == known
    for number in range(MEMO_LIMIT + 2 - known):
        the_shop.memo[number] = None
    fitness(asked(job(file_name="other.gcode")), spec("m1"), the_shop)
    assert len(the_shop.memo) == 1


# --- readiness --------------------------------------------------------------------------------

FAULT = Fault("jam", "jammed", "mend it")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, None),
        ({"state": MachineState.OFFLINE, "held": "x"}, "offline"),
        ({"state": MachineState.FAULT, "fault": FAULT, "held": "x"}, "fault"),
        ({"state": MachineState.FAULT}, "fault"),
        ({"held": "smells", "state": MachineState.FOREIGN}, "held"),
        ({"state": MachineState.FOREIGN, "foreign": "benchy", "permit": None}, "foreign-run"),
        ({"run_id": "R-9", "permit": None}, "uncertain"),
        ({"run_id": "R-1", "permit": None, "state": MachineState.BUSY}, "busy"),
        ({"uncleared_run_id": "R-1"}, "not-clear"),
        ({"permit": None}, "not-clear"),
    ],
)
def test_each_rule_of_readiness(changes: dict, rule: str | None) -> None:
    farm = farm_of(run("R-1", state=RunState.RUNNING), run("R-9", state=RunState.UNCERTAIN))
    found = readiness(machine(**changes), farm)
    assert (found.rule if found else None) == rule
    if rule in ("held", "uncertain", "not-clear"):
        assert found is not None
        assert "farmctl" in found.remedy


# --- setup ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loaded", "wanted", "fits"),
    [
        ("PLA black", "PLA black", True),
        ("PLA black", "PLA", True),
        ("PLA black", None, True),
        ("PLA black", "PLA red", False),
        ("PLA", "PLA black", False),
        ("PLA", "PL", False),
        (None, "PLA", False),
        (None, None, True),
        ("", "PLA", False),
    ],
)
def test_family_is_served_by_any_of_it_and_a_colour_only_by_itself(
    loaded: str | None, wanted: str | None, fits: bool
) -> None:
    assert satisfies(loaded, wanted) is fits
    obstacle = wrong_setup(machine(material=loaded), spec(), job(material=wanted))
    assert (obstacle is None) is fits
    assert obstacle is None or (obstacle.rule, repr(wanted) in obstacle.remedy) == ("wrong-material", True)


@pytest.mark.parametrize(
    ("mounted", "wanted", "fits"), [(0.4, 0.4, True), (0.4, 0.6, False), (None, 0.6, True), (0.4, None, True)]
)
def test_nozzle(mounted: float | None, wanted: float | None, fits: bool) -> None:
    obstacle = wrong_setup(machine(nozzle_mm=mounted), spec(), job(nozzle_mm=wanted))
    assert (obstacle is None) is fits
    assert obstacle is None or (obstacle.rule, obstacle.remedy.split()[-2:]) == (
        "wrong-nozzle",
        ["--nozzle", "0.6`"],
    )


def test_wrong_material_and_nozzle_are_told_in_one_command() -> None:
    loaded = machine(material="PLA black", nozzle_mm=0.4)
    obstacle = wrong_setup(loaded, spec(), job(material="PETG", nozzle_mm=0.6))
    assert obstacle is not None
    assert obstacle.remedy == "`farmctl load m1 'PETG' --nozzle 0.6`"


def test_station_is_not_set_up() -> None:
    assert wrong_setup(machine(material=None), station(), job(material="PEEK", nozzle_mm=0.8)) is None


@pytest.mark.parametrize(
    ("loaded", "fits"), [("PA12", True), ("PA12 used", True), ("PA11", False), (None, False)]
)
@pytest.mark.parametrize("wanted", ["PA12", None])
def test_chamber_makes_nothing_with_another_powder_than_its_own(
    loaded: str | None, fits: bool, wanted: str | None
) -> None:
    found = wrong_setup(machine("sls", material=loaded), powder(), job(material=wanted, nozzle_mm=0.8))
    assert (found is None) is fits
    assert found is None or (found.rule, found.remedy) == ("wrong-material", "`farmctl load sls 'PA12'`")


def test_families_and_limits_of_materials() -> None:
    the_shop = shop(
        spec(), materials={"PLA": MaterialSpec("PLA", max_nozzle_c=230.0), "PLA cf": MaterialSpec("PLA cf")}
    )
    assert family("PLA black") == "PLA"
    assert the_shop.material("PLA black").name == "PLA"  # type: ignore[union-attr]
    assert the_shop.material("PLA cf").name == "PLA cf"  # type: ignore[union-attr]
    assert the_shop.material("PETG") is None
    assert the_shop.material(None) is None
    assert the_shop.limits(spec(), "PLA black").material_max_nozzle_c == 230.0
    assert the_shop.limits(spec(), "PETG").material_max_nozzle_c is None


# --- demand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, None),
        ({"state": JobState.HELD}, "job-held"),
        ({"state": JobState.DONE}, "job-closed"),
        ({"state": JobState.CANCELLED}, "job-closed"),
        ({"in_work": 3, "good": 1}, "in-work"),
        ({"in_work": 3}, None),
    ],
)
def test_why_nothing_is_planned_for_a_job(changes: dict, rule: str | None) -> None:
    found = wants_work(job(**changes))
    assert (found.rule if found else None) == rule


@pytest.mark.parametrize(
    ("of_jobs", "of_build", "gone"),
    [
        ({"in_work": 1}, {}, False),
        ({"in_work": 1, "state": JobState.HELD}, {}, False),
        ({"in_work": 1, "state": JobState.CANCELLED}, {}, True),
        ({"in_work": 1, "state": JobState.DONE, "good": 4}, {}, True),
        ({"in_work": 5}, {}, True),
        ({"in_work": 4}, {}, False),
        ({"in_work": 5}, {"state": BuildState.ASSIGNED}, False),
        ({"in_work": 1, "state": JobState.DONE, "good": 4}, {"operation": "wash"}, False),
        ({"in_work": 1, "state": JobState.CANCELLED}, {"operation": "wash"}, True),
    ],
)
def test_queued_build_is_wanted_while_its_parts_are_missing(
    of_jobs: dict, of_build: dict, gone: bool
) -> None:
    farm = farm_of(job(open_builds=1, **of_jobs), build(**of_build))
    assert unwanted(farm, farm.builds["B-1"]) is gone


def test_build_of_several_jobs_is_wanted_while_one_wants_it() -> None:
    cancelled = job(in_work=1, open_builds=1, state=JobState.CANCELLED)
    farm = farm_of(
        cancelled, job("J-2", in_work=1, open_builds=1), build("B-1", ("J-1", 1), ("J-2", 1)), build("B-2")
    )
    assert not unwanted(farm, farm.builds["B-1"])
    assert [each.id for each in builds_of(farm, "J-1")] == ["B-1", "B-2"]
    assert [each.id for each in builds_of(farm, "J-2")] == ["B-1"]
