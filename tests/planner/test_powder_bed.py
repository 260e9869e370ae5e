"""Powder beds: batches side by side and above each other, nested, waited for, proven; against brute force."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, permutations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.planner import (
    Assignment,
    Budget,
    Chamber,
    Changeover,
    Crew,
    Machine,
    Part,
    Plan,
    PlanningErrors,
    Problem,
    check,
    plan,
    read_problem,
)
from farmd.planner.bounds import lower_bound
from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.generate import powder_shop
from farmd.planner.powder.bounds import makespan_bound
from farmd.planner.powder.plates import Plates

HOUR_S = 3600.0
CHAMBER = Chamber(HOUR_S, 0.01, 60.0, 40000.0, 300.0, 1.0, 0.0)


def stacked(problem: Problem, density: float = 0.12) -> Problem:
    """The problem with parts above each other in every chamber, parts that do not fit left out."""
    machines = tuple(
        replace(m, chamber=replace(m.chamber, packing_density=density))
        for m in problem.machines
        if m.chamber is not None
    )
    parts = tuple(part for part in problem.parts if any(part.fits(machine) for machine in machines))
    return replace(problem, machines=machines, parts=parts)


def hall(parts: tuple[Part, ...], *machines: Machine, objective: str = "makespan") -> Problem:
    return Problem(0.0, 600.0, Changeover(0.0), machines, objective=objective, parts=parts)


def piece(name: str, release_s: float = 0.0, due_s: float | None = None, **fields: float) -> Part:
    shape = {"volume_mm3": 100000.0, "height_mm": 50.0, "area_mm2": 4000.0} | fields
    return Part(name, "P", precision=1.0, release_s=release_s, due_s=due_s, **shape)


def bed(name: str, **fields: object) -> Machine:
    return Machine(name, "sls", "PBF", 0.0, "P", replace(CHAMBER, **fields))  # type: ignore[arg-type]


# --- brute force ----------------------------------------------------------------------------


def groupings(items: list[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    for rest in groupings(items[1:]):
        yield [[items[0]], *rest]
        for i in range(len(rest)):
            yield [*rest[:i], [items[0], *rest[i]], *rest[i + 1 :]]


def best_by_hand(problem: Problem) -> float:
    """Of all groupings, machines and orders, by the sentences of the format."""
    best = float("inf")
    for batches in groupings(list(range(len(problem.parts)))):
        for machines in product(problem.machines, repeat=len(batches)):
            if all(goes(problem, m, batch) for m, batch in zip(machines, batches, strict=True)):
                for order in permutations(range(len(batches))):
                    best = min(best, worth(problem, [(machines[i], batches[i]) for i in order]))
    return best


def goes(problem: Problem, machine: Machine, batch: list[int]) -> bool:
    chamber, parts = machine.chamber, [problem.parts[i] for i in batch]
    assert chamber is not None
    if not all(p.height_mm <= chamber.height_mm and p.precision <= chamber.precision for p in parts):
        return False
    if chamber.packing_density is None:
        return sum(p.area_mm2 for p in parts) <= chamber.area_mm2
    room = chamber.packing_density * chamber.area_mm2 * chamber.height_mm
    return all(p.area_mm2 <= chamber.area_mm2 for p in parts) and sum(p.volume_mm3 for p in parts) <= room


def worth(problem: Problem, order: list[tuple[Machine, list[int]]]) -> float:
    free: dict[str, float] = {}
    late = last = 0.0
    for machine, batch in order:
        chamber, parts = machine.chamber, [problem.parts[i] for i in batch]
        assert chamber is not None
        volume, height = sum(p.volume_mm3 for p in parts), max(p.height_mm for p in parts)
        if chamber.packing_density is not None:
            height = max(height, volume / chamber.packing_density / chamber.area_mm2)
        start = max(free.get(machine.name, machine.available_s), *(p.release_s for p in parts))
        end = start + chamber.setup_s + chamber.s_per_mm3 * volume + chamber.s_per_mm * height
        free[machine.name] = end + chamber.cooldown_s
        last = max(last, end)
        late += sum(p.weight * max(0.0, end - p.due_s) for p in parts if p.due_s is not None)
    return last if problem.objective == "makespan" else late


@pytest.mark.parametrize("aim", ["makespan", "weighted_tardiness"])
@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_small_optima_are_optima(seed: int, above: bool, aim: str) -> None:
    problem = powder_shop(seed, 5, 2, objective=aim)
    if above:
        problem = stacked(problem)
    by_hand = best_by_hand(problem)
    made = plan(problem, budget=Budget(effort=4000), seed=seed)
    assert not check(problem, made)
    value = made.value.makespan_s if aim == "makespan" else made.value.weighted_tardiness_s
    assert value == pytest.approx(by_hand, abs=0.1)
    assert made.bound is not None
    assert made.bound <= by_hand + 0.1
    assert made.status == "optimal"


@pytest.mark.parametrize("above", [False, True])
def test_the_relaxation_is_below_every_plan(above: bool) -> None:
    for seed in range(3, 7):
        problem = powder_shop(seed, 5, 2)
        if above:
            problem = stacked(problem)
        c = Compiled(problem)
        bound = makespan_bound(c, Plates(c), lower_bound(c), Meter(Budget(effort=500)))
        assert lower_bound(c) <= bound <= best_by_hand(problem) + 1e-6


# --- above each other -----------------------------------------------------------------------


def test_a_chamber_that_costs_no_time_bounds_nothing() -> None:
    free = bed("free", setup_s=0.0, s_per_mm3=0.0, s_per_mm=0.0)
    problem = hall(tuple(piece(f"q{i}", release_s=100.0 * i) for i in range(16)), free, bed("other"))
    c = Compiled(problem)
    bound = makespan_bound(c, Plates(c), lower_bound(c), Meter(Budget(effort=500)))
    made = plan(problem, budget=Budget(effort=500), seed=1)
    assert check(problem, made) == ()
    assert bound <= made.value.makespan_s == 1500.0


def test_parts_lie_above_each_other_up_to_the_density() -> None:
    """Twelve parts of 4,000 mm2 and 100,000 mm3: ten on the plate, or 24 in a tenth of 12,000,000 mm3 and more."""
    parts = tuple(piece(f"q{i}") for i in range(12))
    side_by_side = plan(hall(parts, bed("p")), budget=Budget(effort=300), seed=1)
    assert sorted(len(a.parts) for a in side_by_side.assignments) in ([2, 10], [3, 9], [4, 8], [5, 7], [6, 6])
    above = hall(parts, bed("p", packing_density=0.1))
    made = plan(above, budget=Budget(effort=300), seed=1)
    assert not check(above, made)
    assert [len(a.parts) for a in made.assignments] == [12]
    assert made.assignments[0].placements == ()
    height = 12 * 100000.0 / (0.1 * 40000.0)
    assert height == 300.0
    assert made.value.makespan_s == pytest.approx(HOUR_S + 0.01 * 1.2e6 + 60.0 * height)


def test_the_checker_knows_the_room_of_a_stacked_chamber() -> None:
    parts = tuple(piece(f"q{i}") for i in range(13))
    problem = hall(parts, bed("p", packing_density=0.1))
    names = tuple(part.id for part in parts)
    lasts = HOUR_S + 0.01 * 1.3e6 + 60.0 * 325.0
    made = Plan("feasible", None, replace_value(lasts), (Assignment("p", 0.0, lasts, parts=names),))
    assert [v.code for v in check(problem, made)] == ["overfull"]
    fewer = hall(parts[:3], bed("p", packing_density=0.1))
    shorter = HOUR_S + 0.01 * 3e5 + 60.0 * 50.0
    made = Plan("feasible", None, replace_value(shorter), (Assignment("p", 0.0, shorter, parts=names[:3]),))
    assert [v.code for v in check(fewer, made)] == ["wrong-duration"]
    wide = hall(
        (replace(parts[0], size_mm=(300.0, 10.0)),), bed("p", packing_density=0.1, size_mm=(200.0, 200.0))
    )
    made = Plan("feasible", None, replace_value(7600.0), (Assignment("p", 0.0, 7600.0, parts=("q0",)),))
    assert [v.code for v in check(wide, made)] == ["layout"]


def replace_value(makespan_s: float) -> object:
    empty = plan(hall((), bed("p")), budget=Budget(effort=1), seed=1).value
    return replace(empty, makespan_s=makespan_s)


@pytest.mark.parametrize("density", [0, 1.5, "much"])
def test_a_density_is_a_share(density: object) -> None:
    given = hall((piece("q"),), bed("p")).as_dict()
    given["machines"][0]["chamber"]["packing_density"] = density
    with pytest.raises(PlanningErrors) as refused:
        read_problem(given)
    assert "machines[0].chamber.packing_density" in str(refused.value)


def test_a_density_is_read_and_written() -> None:
    problem = hall((piece("q"),), bed("p", packing_density=0.1), bed("r"))
    assert read_problem(problem.as_dict()) == problem
    with pytest.raises(PlanningErrors, match="fits no chamber"):
        read_problem(hall((piece("q", volume_mm3=1.3e6),), bed("p", packing_density=0.1)).as_dict())


# --- when ------------------------------------------------------------------------------------


@pytest.mark.parametrize("aim", ["makespan", "weighted_tardiness"])
def test_a_build_waits_until_it_is_fuller_where_that_is_better(aim: str) -> None:
    """A second build would cost another hour: ten minutes are worth waiting for, two hours are not."""
    for later, builds in ((600.0, 1), (4 * HOUR_S, 2)):
        parts = (piece("q1", due_s=0.0), piece("q2", later, due_s=0.0))
        problem = hall(parts, bed("p"), objective=aim)
        made = plan(problem, budget=Budget(effort=500), seed=1)
        assert not check(problem, made)
        assert len(made.assignments) == builds
        assert made.assignments[0].start_s == (later if builds == 1 else 0.0)


def test_one_person_clears_one_chamber_at_a_time() -> None:
    machines = tuple(bed(f"p{i}", crewed=True) for i in range(3))
    parts = tuple(piece(f"q{i}", area_mm2=30000.0) for i in range(6))
    problem = replace(
        hall(parts, *machines), windows={"day": ((0.0, 60 * HOUR_S),)}, crews=(Crew("day", "day", 1),)
    )
    made = plan(problem, budget=Budget(effort=500), seed=1)
    assert not check(problem, made)
    starts = sorted(a.operator_start_s or 0.0 for a in made.assignments)
    assert all(b - a >= 600.0 - 1e-6 for a, b in pairwise(starts))


@pytest.mark.parametrize(("boxes", "starts"), [(1, [0, 12, 24, 36]), (2, [0, 2, 12, 14]), (4, [0, 2, 4, 6])])
def test_a_load_cools_down_in_the_machine_or_in_its_box(boxes: int, starts: list[int]) -> None:
    """Loads of two hours that cool for ten: the machine waits for them, or for the box of the one before the last."""
    chamber = {"setup_s": 2 * HOUR_S, "s_per_mm3": 0.0, "s_per_mm": 0.0, "cooldown_s": 10 * HOUR_S}
    parts = tuple(piece(f"q{i}", area_mm2=39000.0) for i in range(4))
    problem = hall(parts, bed("p", boxes=boxes, **chamber))
    assert read_problem(problem.as_dict()) == problem
    made = plan(problem, budget=Budget(effort=300), seed=1)
    assert not check(problem, made)
    assert sorted(a.start_s for a in made.assignments) == [hours * HOUR_S for hours in starts]
    fewer = hall(parts, bed("p", boxes=max(1, boxes - 1), **chamber))
    codes = {violation.code for violation in check(fewer, made)}
    assert codes == {1: set(), 2: {"overlap"}, 4: {"no-box"}}[boxes]


# --- always ----------------------------------------------------------------------------------


def any_hall(seed: int) -> Problem:
    """Chambers and parts of all kinds: areas only, boxes, outlines, above each other, crewed, cooling down."""
    rng = Random(seed)
    machines = []
    for i in range(rng.randint(1, 3)):
        machines.append(
            bed(
                f"p{i}",
                size_mm=(200.0, 200.0) if rng.random() < 0.6 else None,
                packing_density=rng.choice((None, None, 0.08, 0.3)),
                crewed=rng.random() < 0.3,
                cooldown_s=rng.choice((0.0, HOUR_S)),
                boxes=rng.choice((1, 1, 2)),
            )
        )
    parts = []
    for i in range(rng.randint(1, 14)):
        width, length = rng.uniform(10, 120), rng.uniform(10, 120)
        part = piece(
            f"q{i}", round(rng.uniform(0, 9000)), rng.choice((None, rng.uniform(0, 90000))),
            volume_mm3=width * length * 20, height_mm=rng.uniform(10, 200), area_mm2=width * length,
        )  # fmt: skip
        shape = rng.random()
        if shape < 0.3:
            part = replace(part, size_mm=(width, length))
        elif shape < 0.6:
            corner = (
                (0.0, 0.0),
                (width, 0.0),
                (width, length / 3),
                (width / 3, length / 3),
                (width / 3, length),
            )
            part = replace(part, outline_mm=(*corner, (0.0, length)), area_mm2=width * length * 5 / 9)
        parts.append(part)
    problem = hall(tuple(parts), *machines, objective=rng.choice(("makespan", "weighted_tardiness")))
    if rng.random() < 0.5:
        windows = {"day": tuple((d * 24 * HOUR_S, (d * 24 + 10) * HOUR_S) for d in range(40))}
        problem = replace(problem, windows=windows, crews=(Crew("day", "day", rng.choice((None, 1))),))
    return problem


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["plan", "edd", "fifo"]))
def test_no_plan_of_powder_is_refused_and_each_comes_again(seed: int, policy: str) -> None:
    problem = any_hall(seed)
    made = plan(problem, budget=Budget(effort=60), seed=seed, policy=policy)
    assert made.status != "infeasible"
    assert not check(problem, made)
    assert plan(problem, budget=Budget(effort=60), seed=seed, policy=policy) == made


@pytest.mark.parametrize("parts", [150, 500])
def test_the_budget_is_kept(parts: int) -> None:
    problem = powder_shop(3, parts, 8)
    problem = replace(
        problem, parts=tuple(p for p in problem.parts if any(p.fits(m) for m in problem.machines))
    )
    plan(problem, budget=Budget(effort=20), seed=1)
    began = time.perf_counter()
    made = plan(problem, budget=Budget(seconds=2.0), seed=1)
    assert time.perf_counter() - began < 4.0
    assert not check(problem, made)
