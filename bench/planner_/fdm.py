"""Measures the planner: `python -m bench.planner [--seconds S] [--uamsp FILE] [--sizes N,…]`.

FDM halls: each policy's weighted tardiness over that of the best of ten ATCS settings. Powder beds:
the makespan over the best published value of each instance of a UAMSP-R file, whose instances are
read here and given to the planner as `farmd-problem/1`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farmd.planner import Budget, Chamber, Changeover, Machine, Part, Problem, check, plan
from farmd.planner.compiled import Compiled
from farmd.planner.generate import fdm_shop
from farmd.planner.greedy import Dispatcher, Rule

TEN_ATCS = [Rule("atcs", k1, k2) for k1 in (0.5, 1.0, 2.0, 4.0, 8.0) for k2 in (0.2, 0.8)]
UAMSP_PRECISION_SCALE_S = 1000.0


def best_of_ten(problem: Problem) -> float:
    """The least weighted tardiness of ten ATCS passes."""
    compiled = Compiled(problem)
    dispatcher = Dispatcher(compiled)
    jobs, queues = compiled.with_batches([[] for _ in problem.machines])
    passes = [dispatcher.run(rule, jobs, queues) for rule in TEN_ATCS]
    return min(s.value.weighted_tardiness_s for s in passes if s is not None)


def fdm(seconds: float) -> None:
    """One line for each hall: size, load, people, then the ratio of every policy."""
    names = " ".join(f"{name:>8}" for name in ("fifo", "edd", "atcs", "plan"))
    print(f"{'hall':>10} {'load':>5} {'people':>7} {names}   {'wall':>7}   ({seconds:g} s)")
    for runs, machines in ((200, 10), (500, 25)):
        for load in (1.0, 1.3):
            for people in (None, 2):
                problem = fdm_shop(7, runs, machines, load=load, people=people)
                base = max(best_of_ten(problem), 1.0)
                ratios = []
                for policy in ("fifo", "edd", "atcs"):
                    made = plan(problem, budget=Budget(effort=1), seed=1, policy=policy)
                    ratios.append(made.value.weighted_tardiness_s / base)
                began = time.perf_counter()
                made = plan(problem, budget=Budget(seconds=seconds), seed=1)
                wall = time.perf_counter() - began
                assert not check(problem, made)
                ratios.append(made.value.weighted_tardiness_s / base)
                cells = " ".join(f"{ratio:8.3f}" for ratio in ratios)
                print(
                    f"{runs:>6}x{machines:<3} {load:5.1f} {people or '-':>7} {cells}   {wall:7.2f}",
                    flush=True,
                )


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


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="budget of each plan")
    parser.add_argument(
        "--uamsp", type=Path, help="a UAMSP-R file in JSON; measures powder beds instead of FDM"
    )
    parser.add_argument("--sizes", default="", help="only instances with these numbers of parts, e.g. 10,50")
    arguments = parser.parse_args()
    if arguments.uamsp is None:
        fdm(arguments.seconds)
    else:
        sizes = [int(size) for size in arguments.sizes.split(",") if size]
        uamsp(arguments.uamsp, arguments.seconds, sizes)


if __name__ == "__main__":
    main()
