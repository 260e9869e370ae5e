"""Powder beds: the makespan over the best published value of each instance of a UAMSP-R file.

The instances are read here and given to the planner as `farmd-problem/1`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.planner import goals
from bench.planner.nesting import measure
from farmd.planner import Budget, Chamber, Changeover, Machine, Part, Problem, check, plan
from farmd.planner.problem import OBJECTIVES
from farmd.planner.warm import warm

UAMSP_PRECISION_SCALE_S = 1000.0


def uamsp_problem(instance: dict[str, Any]) -> Problem:
    """An instance as a problem; its unit of time becomes 1,000 s, so that 1 s of tolerance is nothing."""
    scale = UAMSP_PRECISION_SCALE_S
    machines = tuple(
        Machine(
            f"p{i}",
            "sls",
            "PBF",
            0.0,
            "powder",
            Chamber(
                setup_s=m["setup"] * scale,
                s_per_mm3=m["per_volume"] * scale,
                s_per_mm=m["per_height"] * scale,
                area_mm2=m["area"],
                height_mm=m["max_height"],
                precision=m["precision"],
                cooldown_s=0.0,
            ),
        )
        for i, m in enumerate(instance["machines"])
    )
    parts = tuple(
        Part(
            f"q{i}", "powder", p["volume"], p["height"], p["area"], p["precision"], p["release"] * scale, None
        )
        for i, p in enumerate(instance["parts"])
    )
    return Problem(0.0, 0.0, Changeover(0.0), machines, objective="makespan", parts=parts)


def uamsp(file: Path, seconds: float, sizes: Sequence[int]) -> None:
    """One line for each instance, then the mean ratio to the best published value."""
    ratios = []
    for instance in json.loads(file.read_text(encoding="utf-8")):
        if sizes and len(instance["parts"]) not in sizes:
            continue
        problem = uamsp_problem(instance)
        made = plan(problem, budget=Budget(seconds=seconds), seed=1)
        assert not check(problem, made)
        value = made.value.makespan_s / UAMSP_PRECISION_SCALE_S
        ratio = value / instance["best_published"]
        ratios.append(ratio)
        print(
            f"{instance['name']:<24} {value:10.2f} {instance['best_published']:10.2f} {ratio:7.4f} {made.status}",
            flush=True,
        )
    if ratios:
        mean = math.fsum(ratios) / len(ratios)
        better = sum(ratio < 0.9999 for ratio in ratios)
        worse = sum(ratio > 1.0001 for ratio in ratios)
        print(
            f"{len(ratios)} instances: mean {mean:.4f}, min {min(ratios):.4f}, max {max(ratios):.4f}; "
            f"{better} better, {len(ratios) - better - worse} equal, {worse} worse"
        )
        goals.told(f"powder bed, {len(ratios)} instances: mean makespan / best published", mean, 0.988)
        goals.told(f"powder bed, {len(ratios)} instances: greatest of these", round(max(ratios), 4), 1.0)


def main(arguments: list[str]) -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.planner powder", description=__doc__)
    parser.add_argument("--uamsp", type=Path, help="a UAMSP-R file in JSON")
    parser.add_argument("--luzedi", type=Path, help="the folder of the LUZEDI instances: nesting of outlines")
    parser.add_argument("--objective", choices=OBJECTIVES, default="makespan", help="of the nested ones")
    parser.add_argument(
        "--factor", type=float, help="safety factor of plans by area; without it, the largest safe one"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="budget of each plan")
    parser.add_argument("--sizes", default="", help="only instances with these numbers of parts, e.g. 10,50")
    given = parser.parse_args(arguments)
    sizes = [int(size) for size in given.sizes.split(",") if size]
    print(f"compiled functions: {warm()}")
    runs: tuple[tuple[Path | None, Callable[[Path], None]], ...] = (
        (given.uamsp, lambda path: uamsp(path, given.seconds, sizes)),
        (given.luzedi, lambda path: measure(path, given.seconds, given.objective, sizes, given.factor)),
    )
    for path, run in runs:
        if path is None:
            continue
        if path.exists():
            run(path)
        else:
            print(f"left out: {path} is not there")
