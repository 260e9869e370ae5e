"""A second FDM hall, unlike the first in everything that a search could be tuned to by mistake.

Few colours of one material with changeovers that differ by direction, long prints in many copies, tight due dates
after releases spread over all the time, and three crews whose windows touch or overlap, with a pause at noon.
"""

from __future__ import annotations

import math
from random import Random

from farmd.planner import Build, Changeover, Crew, Machine, Problem

DAY_S, HOUR_S = 86400.0, 3600.0
COLOURS = ("white", "grey", "black")
CLEAR_S = 480.0
SHIFTS_H = {"early": ((6, 11.5), (12, 14.5)), "late": ((14, 22),), "cleaners": ((21, 23),)}


def copies_hall(
    seed: int, runs: int, machines: int, *, load: float = 1.0, people: int | None = None
) -> Problem:
    """About `runs` runs in builds of 1 to 40 copies; `load` as in `generate.fdm_shop`; `people` of the day's crews."""
    rng = Random(seed)
    pairs = tuple(
        (a, b, 300.0 if i < j else 1200.0)
        for i, a in enumerate(COLOURS)
        for j, b in enumerate(COLOURS)
        if i != j
    )
    shop = tuple(
        Machine(
            f"m{i + 1}", rng.choice(("a", "a", "b")), "MEX", rng.uniform(0, 8) * HOUR_S, rng.choice(COLOURS)
        )
        for i in range(machines)
    )
    kinds = sorted({machine.type for machine in shop})
    plates: list[tuple[float, set[str], int]] = []
    left = runs
    while left > 0:
        count = min(left, rng.choice((1, 1, 2, 5, 10, 40)))
        seconds = HOUR_S * min(60.0, max(1.0, math.exp(rng.gauss(math.log(11.0), 0.6))))
        on = {kind for kind in kinds if rng.random() < 0.85} or {kinds[0]}
        plates.append((round(seconds), on, count))
        left -= count
    span = sum((seconds + CLEAR_S + 600.0) * count for seconds, _, count in plates) / machines / load
    builds = []
    for i, (seconds, on, count) in enumerate(plates):
        release = rng.uniform(0.0, 0.8 * span)
        builds.append(
            Build(
                id=f"b{i + 1}",
                setup=rng.choice(COLOURS),
                duration_s={kind: seconds * (1.0 if kind == "a" else 1.4) for kind in sorted(on)},
                release_s=round(release),
                due_s=round(release + seconds * (rng.uniform(1.5, 4.0) + 3.0 * count / machines)),
                weight=rng.choice((0.5, 1.0, 3.0)),
                count=count,
            )
        )
    days = 10 + math.ceil(4 * span * max(load, 1.0) / DAY_S) + runs // machines
    windows = {
        name: tuple(
            (day * DAY_S + begin * HOUR_S, day * DAY_S + end * HOUR_S)
            for day in range(days)
            for begin, end in hours
        )
        for name, hours in SHIFTS_H.items()
    }
    crews = (Crew("early", "early", people), Crew("late", "late", people), Crew("cleaners", "cleaners", 1))
    return Problem(
        now_s=0.0,
        clear_s=CLEAR_S,
        changeover_s=Changeover(900.0, pairs),
        machines=shop,
        windows=windows,
        crews=crews[: 2 if people is None else 3],
        builds=tuple(builds),
    )
