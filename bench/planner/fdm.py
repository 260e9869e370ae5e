"""FDM halls: each policy's weighted tardiness over that of the best of ten ATCS settings, and the plan's."""

from __future__ import annotations

import argparse
import time

from farmd.planner import Budget, Problem, check, plan
from farmd.planner.compiled import Compiled
from farmd.planner.generate import fdm_shop
from farmd.planner.greedy import Dispatcher, Rule

TEN_ATCS = [Rule("atcs", k1, k2) for k1 in (0.5, 1.0, 2.0, 4.0, 8.0) for k2 in (0.2, 0.8)]


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


def main(arguments: list[str]) -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.planner fdm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="budget of each plan")
    fdm(parser.parse_args(arguments).seconds)
