"""FDM halls: the weighted tardiness, and people's minutes, of policies and of the plan over those of tuned ATCS.

`base` is the best of ten ATCS settings under the same limits. Every plan is checked. Figures are geometric means
over the seeds; the spread of `plan` is its least and greatest.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.planner import goals
from bench.planner.halls import copies_hall
from farmd.planner import Budget, Problem, check, plan
from farmd.planner.compiled import Compiled
from farmd.planner.generate import fdm_shop
from farmd.planner.greedy import Dispatcher, Rule
from farmd.planner.schedule import Schedule

TEN_ATCS = [Rule("atcs", k1, k2) for k1 in (0.5, 1.0, 2.0, 4.0, 8.0) for k2 in (0.2, 0.8)]
RIVALS = (Rule("fifo"), Rule("same"), Rule("edd"), Rule("wspt"))
NEXT_TO_NOTHING_S = 60.0
"""Tardiness below this counts as this: a ratio to nothing says nothing."""
FIRST_SEED = 1000
GOALS = {(500, 25): (0.22, 0.18), (2000, 100): (0.24, 0.20), (10000, 250): (0.35, 0.25)}
"""Of tardiness over the base at load 1.3 with people enough, by size; and what it would be at best."""
GOAL_OF_FEW, GOAL_OF_MINUTES = 0.5, 1.1
LARGEST, GOAL_OF_LARGEST = (50000, 250), 0.28
HALLS: dict[str, Callable[..., Problem]] = {"colours": fdm_shop, "copies": copies_hall}


@dataclass(slots=True)
class Figures:
    """Logarithms of ratios to the base, one a seed."""

    tardiness: list[float] = field(default_factory=list)
    minutes: list[float] = field(default_factory=list)

    def add(self, tardiness_s: float, operator_s: float, base: Schedule) -> None:
        least = NEXT_TO_NOTHING_S
        self.tardiness.append(math.log(max(tardiness_s, least) / max(base.value.weighted_tardiness_s, least)))
        self.minutes.append(math.log(operator_s / base.value.operator_s))

    def __str__(self) -> str:
        return f"{mean(self.tardiness):8.3f} {mean(self.minutes):5.2f}"


def mean(logarithms: list[float]) -> float:
    """The geometric mean of what these are the logarithms of."""
    return math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else math.nan


class Rivals:
    """One problem's passes by rule."""

    def __init__(self, problem: Problem) -> None:
        self.compiled = Compiled(problem)
        self.dispatcher = Dispatcher(self.compiled)
        self.work = self.compiled.with_batches([[] for _ in problem.machines])

    def run(self, rule: Rule) -> Schedule | None:
        """A pass; `same` is FIFO that rather takes what needs no changeover, as farm tools do at best."""
        return self.dispatcher.run(rule, *self.work)

    def base(self) -> Schedule:
        passes = [schedule for schedule in map(self.run, TEN_ATCS) if schedule is not None]
        return min(passes, key=lambda schedule: schedule.value.weighted_tardiness_s)


def measure(
    hall: str, runs: int, machines: int, load: float, people: int | None, given: argparse.Namespace
) -> None:
    """One line: all rivals and the plan over the base."""
    figures = {rule.name: Figures() for rule in RIVALS}
    planned, longest = Figures(), 0.0
    for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
        problem = HALLS[hall](seed, runs, machines, load=load, people=people)
        rivals = Rivals(problem)
        base = rivals.base()
        for rule in RIVALS if given.rivals else ():
            schedule = rivals.run(rule)
            if schedule is not None:
                figures[rule.name].add(schedule.value.weighted_tardiness_s, schedule.value.operator_s, base)
        began = time.perf_counter()
        made = plan(problem, budget=Budget(seconds=given.seconds), seed=seed)
        longest = max(longest, time.perf_counter() - began)
        faults = check(problem, made)
        if faults:
            raise SystemExit(f"{hall} {runs}x{machines}, seed {seed}: {faults[0]}")
        planned.add(made.value.weighted_tardiness_s, made.value.operator_s, base)
    spread = f"{math.exp(min(planned.tardiness)):.3f}-{math.exp(max(planned.tardiness)):.3f}"
    cells = "  ".join(str(figures[rule.name]) for rule in RIVALS) if given.rivals else ""
    print(
        f"{hall:>8} {runs:>6}x{machines:<3} {load:4.2f} {people or '-':>6}  {cells}  {planned} {spread:>13} "
        f"{longest:6.2f} {os.getloadavg()[0]:5.1f}",
        flush=True,
    )
    if hall == "colours":
        tell_goals(runs, machines, load, people, planned)


def tell_goals(runs: int, machines: int, load: float, people: int | None, planned: Figures) -> None:
    """The goals of this kind of hall."""
    tardiness, minutes = mean(planned.tardiness), mean(planned.minutes)
    name = f"{runs:,} x {machines}, load {load:g}, {people or 'any'} people"
    if load == 1.3 and people is not None:
        goals.told(f"{name}: tardiness / ATCS", tardiness, GOAL_OF_FEW)
        goals.told(f"{name}: people's minutes / ATCS", minutes, GOAL_OF_MINUTES)
    elif load == 1.3 and (runs, machines) in GOALS:
        goal, stretch = GOALS[runs, machines]
        goals.told(f"{name}: tardiness / ATCS", tardiness, goal, stretch=stretch)
    elif (runs, machines) == LARGEST:
        goals.told(f"{name}: tardiness / ATCS", tardiness, GOAL_OF_LARGEST)


def warm_up() -> None:
    """Load, or compile, what is compiled, so that it is in no figure."""
    for people in (None, 1):
        plan(fdm_shop(1, 20, 3, people=people), budget=Budget(effort=200), seed=1)


def sizes(text: str) -> list[tuple[int, int]]:
    """`500x25,2000x100` as pairs."""
    return [(int(runs), int(machines)) for runs, machines in (size.split("x") for size in text.split(","))]


def crowds(text: str) -> Iterable[int | None]:
    """`none,2` as numbers of people."""
    return [None if word == "none" else int(word) for word in text.split(",")]


def main(arguments: list[str]) -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.planner fdm", description=__doc__)
    parser.add_argument("--halls", default="colours,copies", help=f"which of {', '.join(HALLS)}")
    parser.add_argument("--sizes", type=sizes, default=sizes("200x10,500x25"), help="runs x machines")
    parser.add_argument("--loads", default="1.0,1.3", help="machine time of all runs over what there is")
    parser.add_argument("--people", type=crowds, default=crowds("none,2"), help="at work at once in a crew")
    parser.add_argument("--seeds", type=int, default=3, help="how many problems of each kind")
    parser.add_argument("--seconds", type=float, default=10.0, help="budget of each plan")
    parser.add_argument("--no-rivals", dest="rivals", action="store_false", help="the plan and the base only")
    given = parser.parse_args(arguments)
    warm_up()
    names = "  ".join(f"{rule.name:>8} {'min':>5}" for rule in RIVALS) if given.rivals else ""
    print(
        f"{'hall':>8} {'size':>10} {'load':>4} {'people':>6}  {names}  {'plan':>8} {'min':>5} {'plan of':>13} "
        f"{'wall s':>6} {'busy':>5}   ({given.seconds:g} s, {given.seeds} seeds)"
    )
    for hall in given.halls.split(","):
        for runs, machines in given.sizes:
            for load in map(float, given.loads.split(",")):
                for people in given.people:
                    measure(hall, runs, machines, load, people, given)
