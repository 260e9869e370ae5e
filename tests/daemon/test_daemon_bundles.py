"""Powder parts from the shop to the planner: boxes and outlines, bundles as blocks, chambers by plate or density."""

from __future__ import annotations

from dataclasses import replace

import pytest
from farmshop import T0, farm_of, machine, powder, powder_job, shop

from farmd.daemon.bundles import block_mm, bundle_of
from farmd.daemon.plan_wire import Held, Question, pack_plan, pack_question, unpack_plan, unpack_question
from farmd.daemon.rules import load_of
from farmd.daemon.snapshot import take_snapshot
from farmd.model.machine import ChamberSpec
from farmd.model.work import PartShape
from farmd.planner import Budget, check, plan

CHAMBER = ChamberSpec((200.0, 100.0), 300.0, 3600.0, 0.01, 60.0)
CORNER = ((0.0, 0.0), (90.0, 0.0), (90.0, 30.0), (30.0, 90.0), (0.0, 90.0))
ANGLE = PartShape(81000.0, 20.0, 6300.0, (90.0, 90.0), outline_mm=CORNER)


def test_a_bundle_is_a_block_of_rows() -> None:
    shape = PartShape(1000.0, 10.0, 80.0, (8.0, 10.0))
    assert block_mm(shape, 1) == (8.0, 10.0)
    assert block_mm(shape, 6) == (24.0, 20.0)
    assert block_mm(replace(shape, size_mm=None), 6) is None


def test_a_bundle_lies_on_every_plate() -> None:
    long = PartShape(1000.0, 10.0, 190.0, (190.0, 1.0))
    assert bundle_of(long, 1000, [CHAMBER]) == 8
    assert bundle_of(long, 8, [CHAMBER]) == 2
    awkward = PartShape(1000.0, 10.0, 60.0, (60.0, 40.0))
    bundle = bundle_of(awkward, 1000, [CHAMBER])
    block = block_mm(awkward, bundle)
    assert block is not None
    assert max(block) <= 200.0
    assert min(block) <= 100.0


def test_a_bundle_is_a_share_of_the_volume_where_parts_lie_above_each_other() -> None:
    above = replace(CHAMBER, packing_density=0.1)
    assert above.most_volume_mm3 == pytest.approx(0.1 * 0.85 * 6e6)
    assert bundle_of(PartShape(25500.0, 10.0, 100.0), 1000, [above]) == 2
    assert load_of(PartShape(25500.0, 10.0, 100.0), above) == 20
    assert above.load_s(255000.0, 10.0) == 3600.0 + 2550.0 + 60.0 * 150.0
    assert above.load_s(25500.0, 40.0) == 3600.0 + 255.0 + 60.0 * 40.0


def test_a_load_of_boxes_is_what_stands_in_rows() -> None:
    assert load_of(PartShape(1.0, 1.0, 4000.0, (80.0, 60.0)), CHAMBER) == 3
    assert load_of(PartShape(1.0, 1.0, 4000.0), CHAMBER) == 4


def test_the_planner_lays_what_the_files_show() -> None:
    """Two corners interlock on one plate, where their boxes would not lie side by side."""
    chamber = replace(CHAMBER, size_mm=(130.0, 125.0), packing=1.0)
    farm = farm_of(machine("sls"), powder_job(quantity=2, shape=ANGLE))
    problem = take_snapshot(farm, shop(powder(chamber=chamber)), T0).problem
    (bed,) = problem.machines
    assert bed.chamber is not None
    assert bed.chamber.size_mm == (130.0, 125.0)
    assert [part.outline_mm for part in problem.parts] == [CORNER, CORNER]
    made = plan(problem, budget=Budget(effort=600), seed=1)
    assert not check(problem, made)
    assert [len(a.placements) for a in made.assignments] == [2]
    assert any(place.turn_deg for a in made.assignments for place in a.placements)
    assert unpack_plan(*pack_plan(made, problem), problem) == made
    question = Question(1, problem, None, 600, 1, "plan", 0.0, made)
    pieces, _ = pack_question(question, Held())
    assert unpack_question(pieces, Held()) == question


def test_what_lies_above_each_other_has_no_places() -> None:
    chamber = replace(CHAMBER, packing_density=0.2)
    farm = farm_of(machine("sls"), powder_job(quantity=4, shape=ANGLE))
    problem = take_snapshot(farm, shop(powder(chamber=chamber)), T0).problem
    made = plan(problem, budget=Budget(effort=200), seed=1)
    assert not check(problem, made)
    assert [(len(a.parts), a.placements) for a in made.assignments] == [(4, ())]
