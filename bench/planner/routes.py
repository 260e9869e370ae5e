"""Routes: flexible job shops against their best known makespans, and farms with finishing against a foreman's rules.

The instances (one line a job: its number of operations, then for each its number of choices and, for each choice,
station and duration) are read here and given to the planner as `farmd-problem/1`.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

from bench.planner import goals
from bench.planner.routes_rivals import by_foreman, cp_sat_alone
from farmd.planner import Budget, Changeover, Problem, check, plan
from farmd.planner.routes.data import Operation, Route, Station
from farmd.planner.routes.generate import finishing_shop
from farmd.planner.warm import warm

FOREMEN = ("fifo", "edd", "edd-full")


def job_shop(file: Path) -> Problem:
    """An instance as a problem; its unit of time becomes a thousand seconds, so that 1 s of tolerance is nothing."""
    lines = file.read_text(encoding="utf-8").splitlines()
    jobs, stations = (int(word) for word in lines[0].split()[:2])
    routes = []
    for j, line in enumerate(lines[1 : jobs + 1]):
        words = iter(int(word) for word in line.split())
        steps = [
            {f"s{next(words)}": next(words) * SCALE_S for _ in range(next(words))} for _ in range(next(words))
        ]
        operations = tuple(Operation(f"o{i}", durations) for i, durations in enumerate(steps))
        routes.append(Route(f"j{j}", operations, release_s=0.0))
    return Problem(
        now_s=0.0,
        clear_s=0.0,
        changeover_s=Changeover(0.0),
        machines=(),
        objective="makespan",
        stations=tuple(Station(f"s{k}", f"s{k}", 0.0) for k in range(stations)),
        routes=tuple(routes),
    )


SCALE_S = 1000.0


def measure_job_shops(folder: Path, seconds: float, only: list[str], seed: int, rival: bool) -> None:
    """One line for each instance, then the mean gaps."""
    gaps: list[float] = []
    rivals: list[float] = []
    print(
        f"{'instance':<10}{'best known':>12}{'planner':>10}{'bound':>8}{'gap %':>8}{'CP-SAT':>9}{'gap %':>8}"
    )
    for known in json.loads((folder / "best-known.json").read_text(encoding="utf-8")):
        name = known["name"]
        if only and name not in only:
            continue
        best = known["optimum"] if known["optimum"] is not None else known["bounds"]["upper"]
        problem = job_shop(folder / f"{name}.txt")
        made = plan(problem, budget=Budget(seconds=seconds), seed=seed)
        assert not check(problem, made)
        value = made.value.makespan_s / SCALE_S
        gaps.append(100 * (value / best - 1))
        line = f"{name:<10}{best:>12g}{value:>10g}{(made.bound or 0.0) / SCALE_S:>8.4g}{gaps[-1]:>8.2f}"
        if rival:
            theirs, _ = cp_sat_alone(problem, seconds, seed)
            rivals.append(100 * (theirs / SCALE_S / best - 1))
            line += f"{theirs / SCALE_S:>9g}{rivals[-1]:>8.2f}"
        print(f"{line} {made.status}", flush=True)
    if gaps:
        told = f"{len(gaps)} instances, mean gap {math.fsum(gaps) / len(gaps):.2f} %"
        if rivals:
            told += f"; CP-SAT alone {math.fsum(rivals) / len(rivals):.2f} %"
        print(told)
        name = f"flexible job shop, {len(gaps)} instances, {seconds:g} s: mean gap to best known, %"
        goals.told(name, math.fsum(gaps) / len(gaps), 0.7)


def measure_farms(builds: int, machines: int, seconds: float, seeds: int) -> None:
    """Weighted tardiness at the end of the routes, in weighted hours: the planner against a foreman's rules.

    The foreman gets the builds as the planner without routes makes them in the same time.
    """
    print(
        f"{builds} builds on {machines} machines, {seconds:g} s: weighted hours late at the end of the route"
    )
    ratios = []
    for seed in range(1, seeds + 1):
        problem = finishing_shop(seed, builds, machines)
        bare = replace(problem, stations=(), routes=())
        first = plan(bare, budget=Budget(seconds=seconds), seed=seed)
        theirs = {rule: by_foreman(problem, first, rule) / 3600 for rule in FOREMEN}
        made = plan(problem, budget=Budget(seconds=seconds), seed=seed)
        assert not check(problem, made), check(problem, made)[:3]
        ours = made.value.weighted_tardiness_s / 3600
        ratios.append((ours + 1.0) / (min(theirs.values()) + 1.0))
        told = ", ".join(f"{rule} {value:.0f}" for rule, value in theirs.items())
        print(f"seed {seed}: planner {ours:.0f}, {told}; {ratios[-1]:.2f} of the best rule", flush=True)
    mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean of {len(ratios)} seeds: {mean:.2f} of the best rule")


def main(arguments: list[str]) -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.planner routes", description=__doc__)
    parser.add_argument("--instances", type=Path, help="the folder of the flexible job shops")
    parser.add_argument("--seconds", type=float, default=60.0, help="budget of each plan")
    parser.add_argument("--only", default="", help="only these instances, e.g. mk01,mk10")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-rival", action="store_true", help="leave CP-SAT alone out")
    parser.add_argument(
        "--farm", default="", metavar="BUILDSxMACHINES", help="drawn farms of this size, e.g. 100x20"
    )
    parser.add_argument("--seeds", type=int, default=5, help="of the drawn farms")
    given = parser.parse_args(arguments)
    print(f"compiled functions: {warm()}")
    if given.instances is not None:
        if given.instances.is_dir():
            only = [name for name in given.only.split(",") if name]
            measure_job_shops(given.instances, given.seconds, only, given.seed, not given.no_rival)
        else:
            print(f"left out: {given.instances} is not there")
    if given.farm:
        builds, machines = (int(word) for word in given.farm.split("x"))
        measure_farms(builds, machines, given.seconds, given.seeds)
