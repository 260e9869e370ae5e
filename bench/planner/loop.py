"""The closed loop: a simulated hall run by each rule and by us, on the same luck.

Prints the sums of weighted tardiness (weighted minutes), the share of late jobs, ours over the best tuned rule, and
how many of the announced next two of each machine a replan moves.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import fmean
from typing import TypeVar

from bench.planner import goals
from bench.planner.dispatching import Rule
from bench.planner.replanning import Replanning, Settings
from bench.planner.shopfloor import Policy, hall, late_share, run, weighted_min
from farmd.daemon.wishes import FLOW_PRICE
from farmd.planner.compiled import STABILITY_PRICE_S

GOALS = {1.0: 0.15, 1.15: 0.25}
"""Weighted tardiness over that of the best tuned ATCS, by load."""
ATCS = [(k1, k2) for k1 in (0.25, 0.5, 1.0, 2.0, 4.0) for k2 in (0.25, 0.5, 1.0, 2.0)]
RULES: dict[str, Callable[[], Policy]] = {
    "fifo, first free": partial(Rule, "fifo"),
    "fifo, same filament": partial(Rule, "same"),
    "edd": partial(Rule, "edd"),
    "wspt": partial(Rule, "wspt"),
}
PROCESSES = 2
Outcome = tuple[float, float]
P = TypeVar("P", bound=Policy)


def outcome(policy: Callable[[], P], machines: int, days: float, load: float, seed: int) -> tuple[Outcome, P]:
    """Weighted minutes of tardiness and the share of late jobs of one run; and who decided in it."""
    shop, decides = hall(seed, machines, days, load), policy()
    run(shop, decides)
    return (weighted_min(shop), late_share(shop)), decides


def told(name: str, outcomes: list[Outcome], best: float, note: str = "") -> None:
    minutes = math.fsum(m for m, _ in outcomes)
    share = fmean(late for _, late in outcomes)
    print(f"  {name:<22} {minutes:12.0f} {minutes / max(best, 1.0):9.3f} {share:7.1%}   {note}", flush=True)


def measure(seeds: range, machines: int, days: float, load: float, settings: Settings) -> None:
    """All policies at one load."""
    jobs = fmean(len(hall(seed, machines, days, load).coming) for seed in seeds)
    print(
        f"load {load:g}: {machines} machines, {days:g} days, {jobs:.0f} jobs, seeds {seeds[0]} to {seeds[-1]}\n"
        f"  {'policy':<22} {'weighted min':>12} {'over ATCS':>9} {'late':>7}",
        flush=True,
    )
    with ProcessPoolExecutor(PROCESSES) as pool:

        def outcomes(policy: Callable[[], P]) -> list[tuple[Outcome, P]]:
            return list(pool.map(partial(outcome, policy, machines, days, load), seeds))

        tuned = {setting: [o for o, _ in outcomes(partial(Rule, "atcs", *setting))] for setting in ATCS}
        single = min(tuned, key=lambda setting: math.fsum(m for m, _ in tuned[setting]))
        best = math.fsum(m for m, _ in tuned[single])
        by_seed = [min(tuned[setting][i] for setting in ATCS) for i in range(len(seeds))]
        for name, rule in RULES.items():
            told(name, [o for o, _ in outcomes(rule)], best)
        told("atcs, best setting", tuned[single], best, f"k1 {single[0]:g}, k2 {single[1]:g}")
        told("atcs, best of each seed", by_seed, best)
        runs = outcomes(partial(Replanning, settings))
    ours, policies = [o for o, _ in runs], [policy for _, policy in runs]
    told("plan", ours, best)
    took = sorted(seconds for policy in policies for seconds in policy.took_s)
    moved = sum(policy.moved for policy in policies) / max(1, sum(policy.told for policy in policies))
    pairs = [(mine, theirs) for (mine, _), (theirs, _) in zip(ours, tuned[single], strict=True)]
    worst = max(range(len(seeds)), key=lambda i: pairs[i][0] - pairs[i][1])
    tell_goals(
        f"closed loop, load {load:g}", load, math.fsum(m for m, _ in ours) / max(best, 1.0), moved, pairs
    )
    print(
        f"  announced next two moved: {moved:.1%} per replan; {len(took)} replans, of which the checker refused "
        f"{sum(policy.refused for policy in policies)}; plan {1000 * took[len(took) // 2]:.0f} ms median, "
        f"{1000 * took[int(0.99 * len(took))]:.0f} ms p99\n"
        f"  worst seed against ATCS: {seeds[worst]}; by seed {', '.join(f'{m:.0f}/{t:.0f}' for m, t in pairs)}",
        flush=True,
    )


def tell_goals(name: str, load: float, ratio: float, moved: float, pairs: list[tuple[float, float]]) -> None:
    """The goals of a closed loop: (ours, theirs) by seed in weighted minutes."""
    if load in GOALS:
        goals.told(f"{name}: tardiness / best tuned ATCS", ratio, GOALS[load])
    worst = max(mine - max(1.05 * theirs, theirs + 1000.0) for mine, theirs in pairs)
    goals.told(f"{name}: weighted minutes of the worst seed beyond 5 % or 1,000 over ATCS", worst, 0.0)
    goals.told(f"{name}: announced next two moved per replan", moved, 0.03)


def main(arguments: list[str]) -> None:
    """Read the arguments and measure."""
    shipped = Settings()
    parser = argparse.ArgumentParser(prog="python -m bench.planner loop", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--days", type=float, default=5.0)
    parser.add_argument("--load", default="1.0,1.15", help="one or more, e.g. 1.0,1.15")
    parser.add_argument("--effort", type=int, default=shipped.effort, help="of each replan")
    parser.add_argument(
        "--every", type=float, default=shipped.every_s, help="seconds between replans, at least"
    )
    parser.add_argument("--buffers", type=float, default=shipped.due_buffers, help="[planner] due_buffers")
    parser.add_argument(
        "--stability", type=float, default=STABILITY_PRICE_S, help="[planner] stability_price_s"
    )
    parser.add_argument("--flow", type=float, default=FLOW_PRICE, help="the price of a later end")
    given = parser.parse_args(arguments)
    settings = Settings(given.effort, given.every, given.buffers, given.stability, given.flow)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    for load in given.load.split(","):
        measure(seeds, given.machines, given.days, float(load), settings)
