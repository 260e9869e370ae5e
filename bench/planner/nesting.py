"""Nesting of real outlines (LUZEDI's, of metal parts): batches by their layout against area with a safety factor.

The instances are read here and given to the planner as `farmd-problem/1`; files and units are described in their
README. A plan by area only is a plan of what a chamber is trusted to hold: each part's bounding box counts, or its
area and a safety factor for what is lost between outlines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from bench.planner import goals
from farmd.planner import Assignment, Budget, Chamber, Changeover, Machine, Part, Plan, Problem, check, plan

Outline = tuple[tuple[float, float], ...]
FIRST_MACHINE = {"M4": 0, "M2": 2}
HOUR_S = 3600.0
LAYING_EFFORT = 8000


@dataclass(frozen=True, slots=True)
class Shape:
    """A part of the set: its outer outline, its height and the volume that is built, support included."""

    outline: Outline
    height_mm: float
    volume_mm3: float


def shapes(folder: Path) -> list[Shape]:
    """All parts of the set, in their order."""
    lines = (folder / "projection.txt").read_text(encoding="utf-8").splitlines()
    infos = (folder / "part_info.txt").read_text(encoding="utf-8").split("\n")
    out = []
    for xs, ys, info in zip(lines[::2], lines[1::2], infos, strict=False):
        loops: list[list[tuple[float, float]]] = [[]]
        for x, y in zip(xs.split(), ys.split(), strict=True):
            if x == "NaN":
                loops.append([])
            else:
                loops[-1].append((float(x), float(y)))
        outer = max((loop for loop in loops if len(loop) >= 3), key=area_mm2)
        height, volume, support = (float(value) for value in info.split())
        out.append(Shape(tuple(outer), height, volume + support))
    return out


def area_mm2(outline: Outline | list[tuple[float, float]]) -> float:
    """The area inside an outline."""
    return (
        abs(
            math.fsum(
                a[0] * b[1] - b[0] * a[1] for a, b in zip(outline, (*outline[1:], outline[0]), strict=True)
            )
        )
        / 2
    )


def machines(folder: Path, instance: str) -> tuple[Machine, ...]:
    """The machines of an instance; a scanned mm3 and a recoated mm take their seconds."""
    rows = [
        [float(value) for value in line.split()]
        for line in (folder / "machine_info.txt").read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    first = next(row for name, row in FIRST_MACHINE.items() if name in instance)
    return tuple(
        Machine(
            f"p{i + 1}", "lpbf", "PBF", 0.0, "powder",
            Chamber(
                setup_s=setup, s_per_mm3=scan, s_per_mm=recoat, area_mm2=width * length, height_mm=height,
                precision=1.0, cooldown_s=0.0, size_mm=(width, length),
            ),
        )
        for i, (width, length, height, setup, scan, _, recoat) in enumerate(rows)
        if i >= first
    )  # fmt: skip


def problem(folder: Path, instance: str, objective: str) -> Problem:
    """An instance; its files have no due dates, which are drawn from its name."""
    known = shapes(folder)
    numbers = [int(word) for word in (folder / f"{instance}.txt").read_text(encoding="utf-8").split()]
    rng = Random(instance)
    parts = []
    for k, number in enumerate(numbers):
        shape = known[number]
        due = round(rng.uniform(12.0, 24.0 + 2.0 * len(numbers))) * HOUR_S
        parts.append(
            Part(
                f"q{k + 1}", "powder", shape.volume_mm3, shape.height_mm, area_mm2(shape.outline), 1.0, 0.0,
                due, rng.choice((1.0, 2.0, 5.0)),
                outline_mm=shape.outline,
            )
        )  # fmt: skip
    return Problem(
        0.0, 0.0, Changeover(0.0), machines(folder, instance), objective=objective, parts=tuple(parts)
    )


def area_only(given: Problem, factor: float) -> Problem:
    """The problem of a planner that trusts a chamber with this share of its area, and knows no layout.

    A part that is larger than that goes into the largest chamber, alone.
    """
    most = factor * max(m.chamber.area_mm2 for m in given.machines if m.chamber is not None)
    return replace(
        given,
        machines=tuple(
            replace(m, chamber=replace(m.chamber, area_mm2=m.chamber.area_mm2 * factor, size_mm=None))
            for m in given.machines
            if m.chamber is not None
        ),
        parts=tuple(
            replace(part, outline_mm=None, area_mm2=min(part.area_mm2, most)) for part in given.parts
        ),
    )


def lies(given: Problem, batch: Assignment) -> bool:
    """Whether a layout of the batch is found."""
    machine = next(m for m in given.machines if m.name == batch.machine)
    parts = tuple(
        replace(part, release_s=0.0, due_s=None) for part in given.parts if part.id in set(batch.parts)
    )
    alone = replace(given, machines=(machine,), parts=parts, objective="makespan")
    return len(plan(alone, budget=Budget(effort=LAYING_EFFORT), seed=1).assignments) == 1


def trusted(given: Problem, seconds: float, most: float) -> float:
    """The largest factor up to `most`, in steps of a twentieth, at which a plan by area alone can be laid out."""
    for step in range(round(20 * most), 0, -1):
        made = plan(area_only(given, step / 20), budget=Budget(seconds=seconds), seed=1)
        if made.assignments and all(lies(given, batch) for batch in made.assignments):
            return step / 20
    raise AssertionError("no factor is safe")


def density(given: Problem, made: Plan) -> float:
    """Mean share of a build's plate inside outlines."""
    plates = {m.name: m.chamber.area_mm2 for m in given.machines if m.chamber is not None}
    areas = {part.id: part.area_mm2 for part in given.parts}
    shares = [math.fsum(areas[p] for p in a.parts) / plates[a.machine] for a in made.assignments]
    return math.fsum(shares) / len(shares)


def built_s(made: Plan) -> float:
    """Machine time of all builds together."""
    return math.fsum(a.end_s - a.start_s for a in made.assignments)


def measure(folder: Path, seconds: float, objective: str, sizes: list[int], factor: float | None) -> None:
    """One line for each instance, and the means.

    The safety factor, where none is given, is the largest that is safe for all instances: whoever plans by area does
    not know yet what will come, and what cannot be laid out is no plan.
    """
    print(f"{objective}: builds, hours of these, makespan or weighted hours late, density")
    files = [
        file
        for file in sorted(folder.glob("P*M*-*.txt"))
        if not sizes or any(file.stem.startswith(f"P{size}M") for size in sizes)
    ]
    if factor is None:
        factor = 1.0
        for file in files:
            factor = min(factor, trusted(problem(folder, file.stem, objective), seconds, factor))
    sums = [[0.0] * 4, [0.0] * 4]
    losses, unsafe = 0, 0
    for file in files:
        given = problem(folder, file.stem, objective)
        by_area = plan(area_only(given, factor), budget=Budget(seconds=seconds), seed=1)
        nested = plan(given, budget=Budget(seconds=seconds), seed=1)
        assert not check(given, nested)
        unsafe += not all(lies(given, batch) for batch in by_area.assignments)
        rows = []
        for made, sum_ in zip((by_area, nested), sums, strict=True):
            value = made.value.makespan_s if objective == "makespan" else made.value.weighted_tardiness_s
            rows.append(
                (float(len(made.assignments)), built_s(made) / HOUR_S, value / HOUR_S, density(given, made))
            )
            sum_[:] = [known + new for known, new in zip(sum_, rows[-1], strict=True)]
        losses += rows[1][2] > rows[0][2] * 1.0001 + 0.01
        shown = (f"{row[0]:3.0f} {row[1]:7.1f} {row[2]:8.2f} {row[3]:5.2f}" for row in rows)
        print(f"{file.stem:<10} by area x {factor:.2f}: " + "   nested: ".join(shown), flush=True)
    if files:
        ratios = [nested_sum / max(area_sum, 1e-9) for area_sum, nested_sum in zip(*sums, strict=True)]
        print(
            f"{len(files)} instances, nested over area: builds {ratios[0]:.3f}, hours of builds {ratios[1]:.3f}, "
            f"value {ratios[2]:.3f}, density {ratios[3]:.3f}; worse in value {losses}; by area not laid {unsafe}"
        )
        goals.told(f"nesting, {objective}: builds or their hours / those by area", min(ratios[:2]), 0.9)
