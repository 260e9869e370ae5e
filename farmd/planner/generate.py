"""Random shops from a seed, for tests and measurements.

Knows how shops look: shifts, plates of a few hours to a day, filament colours, due dates around the
load. Knows nothing of planning. The same arguments give the same problem.
"""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

from farmd.planner.problem import (
    OBJECTIVES,
    Announced,
    Build,
    Chamber,
    Changeover,
    Crew,
    Machine,
    Part,
    PowerGroup,
    Problem,
)

DAY_S = 86400.0
SHIFT = (7 * 3600.0, 22 * 3600.0)


def shift_windows(days: int) -> tuple[tuple[float, float], ...]:
    """A shift from 07:00 to 22:00 on each of these days; the clock starts at midnight."""
    return tuple((day * DAY_S + SHIFT[0], day * DAY_S + SHIFT[1]) for day in range(days))


def fdm_shop(seed: int, runs: int, machines: int, *, load: float = 1.0, people: int | None = None) -> Problem:
    """An FDM hall: filaments of three materials in four colours, three machine types, one shift.

    `runs` builds of one run each. `load` is the machine time of all runs, clearing included, over
    what the machines give until the latest due date.
    """
    rng = Random(seed)
    setups = [
        f"{material}-{colour}"
        for material in ("PLA", "PETG", "ABS")
        for colour in ("black", "red", "grey", "blue")
    ]
    pairs = tuple(
        (a, b, 360.0) for a in setups for b in setups if a != b and a.split("-")[0] == b.split("-")[0]
    )
    types = ("mk4", "xl", "mini")
    shop = tuple(
        Machine(f"m{i + 1}", types[rng.choices(range(3), (5, 3, 2))[0]], "MEX", 0.0, rng.choice(setups))
        for i in range(machines)
    )
    speeds = {"mk4": 1.0, "xl": 0.9, "mini": 1.2}
    present = {machine.type for machine in shop}
    sizes = []
    for _ in range(runs):
        hours = min(30.0, max(0.5, math.exp(rng.gauss(math.log(5.0), 0.8))))
        on = {t for t in types if t in present and rng.random() < 0.77} or {rng.choice(sorted(present))}
        sizes.append((hours * 3600.0, on))
    span = sum(seconds + 1500.0 for seconds, _ in sizes) / machines / load
    builds = []
    for i, (seconds, on) in enumerate(sizes):
        release = rng.uniform(0.0, 0.5 * span) if rng.random() < 0.5 else 0.0
        due = release + seconds + rng.uniform(0.1, 1.0) * (span + DAY_S / 2 - release)
        builds.append(
            Build(
                id=f"b{i + 1}",
                setup=rng.choice(setups),
                duration_s={t: round(seconds * speeds[t]) for t in sorted(on)},
                release_s=round(release),
                due_s=round(due),
                weight=rng.choice((1.0, 1.0, 1.0, 2.0, 5.0)),
            )
        )
    days = 3 + math.ceil(4 * span * load / DAY_S) + runs // machines
    return Problem(
        now_s=0.0,
        clear_s=300.0,
        changeover_s=Changeover(900.0, pairs),
        machines=shop,
        windows={"day": shift_windows(days)},
        crews=(Crew("day", "day", people),),
        builds=tuple(builds),
    )


def powder_shop(seed: int, parts: int, machines: int, *, objective: str = "makespan") -> Problem:
    """A powder-bed hall: unrelated chambers of one powder, parts with releases and due dates."""
    rng = Random(seed)
    shop = []
    for i in range(machines):
        side = rng.choice((250.0, 300.0, 350.0))
        chamber = Chamber(
            setup_s=rng.choice((3600.0, 5400.0)),
            s_per_mm3=rng.choice((0.02, 0.03, 0.05)),
            s_per_mm=rng.choice((60.0, 90.0, 120.0)),
            area_mm2=side * side,
            height_mm=rng.choice((300.0, 350.0, 400.0)),
            precision=rng.choice((2.0, 3.0)),
            cooldown_s=rng.choice((0.0, 7200.0)),
        )
        shop.append(Machine(f"p{i + 1}", "sls", "PBF", 0.0, "PA12", chamber))
    pieces = []
    for i in range(parts):
        width, length = rng.uniform(30, 160), rng.uniform(30, 160)
        height = rng.uniform(20, 280)
        release = round(rng.uniform(0, 40000))
        pieces.append(
            Part(
                id=f"q{i + 1}",
                setup="PA12",
                volume_mm3=round(0.25 * width * length * height),
                height_mm=round(height, 1),
                area_mm2=round(width * length, 1),
                precision=rng.choice((1.0, 1.0, 2.0)),
                release_s=release,
                due_s=release + round(rng.uniform(20000, 400000)),
                weight=rng.choice((1.0, 2.0, 5.0)),
            )
        )
    return Problem(
        now_s=0.0,
        clear_s=600.0,
        changeover_s=Changeover(900.0),
        machines=tuple(shop),
        objective=objective,
        parts=tuple(pieces),
    )


def small_shop(seed: int, *, runs: int = 6, parts: int = 5, whole: bool = False) -> Problem:
    """A few of everything the format knows, in combinations drawn from the seed; it may be infeasible.

    `whole` draws whole seconds only.
    """
    rng = Random(seed)

    def seconds(low: float, high: float) -> float:
        value = rng.uniform(low, high)
        return float(round(value)) if whole else value

    setups = ("A", "B", "C")
    sized = rng.random() < 0.4
    shop = []
    for i in range(rng.randint(1, 3)):
        shop.append(
            Machine(f"m{i + 1}", rng.choice(("x", "y")), "MEX", seconds(0, 5000), rng.choice((*setups, None)))
        )
    for i in range(rng.randint(0, 2) if parts else 0):
        chamber = Chamber(
            setup_s=seconds(100, 2000),
            s_per_mm3=rng.choice((0.0, 0.01)),
            s_per_mm=rng.choice((10.0, 20.0)),
            area_mm2=10000.0,
            height_mm=200.0,
            precision=2.0,
            cooldown_s=rng.choice((0.0, 1500.0)),
            crewed=rng.random() < 0.5,
            size_mm=(100.0, 100.0) if sized else None,
        )
        kind = rng.choice(("sls", "x"))
        shop.append(Machine(f"p{i + 1}", kind, "PBF", seconds(0, 5000), rng.choice(("A", "P")), chamber))
    builds: list[Build] = []
    while sum(build.count for build in builds) < runs:
        times = {t: seconds(500, 9000) for t in ("x", "y") if rng.random() < 0.7}
        build = Build(
            id=f"b{len(builds) + 1}",
            setup=rng.choice(setups),
            duration_s=times,
            release_s=seconds(0, 8000) if rng.random() < 0.5 else 0.0,
            due_s=seconds(3000, 30000) if rng.random() < 0.8 else None,
            weight=rng.choice((1.0, 2.0, 0.0, 4.0)),
            count=min(rng.randint(1, 3), runs - sum(b.count for b in builds)),
        )
        if any(build.runs_on(machine) for machine in shop):
            builds.append(build)
        elif not any(machine.chamber is None for machine in shop):
            break
    pieces = []
    for i in range(parts):
        width, length = rng.uniform(5, 70), rng.uniform(5, 70)
        part = Part(
            id=f"q{i + 1}",
            setup=rng.choice(("A", "P")),
            volume_mm3=rng.uniform(100, 50000),
            height_mm=rng.uniform(5, 200),
            area_mm2=width * length,
            precision=rng.choice((1.0, 2.0)),
            release_s=seconds(0, 8000),
            due_s=seconds(3000, 30000) if rng.random() < 0.8 else None,
            weight=rng.choice((1.0, 3.0)),
            size_mm=(width, length) if sized else None,
        )
        if any(part.fits(machine) for machine in shop):
            pieces.append(part)
    windows = {
        "early": tuple((day * 10000.0, day * 10000.0 + 4000.0) for day in range(1, 15)),
        "late": tuple((day * 10000.0 + 3000.0, day * 10000.0 + 7000.0) for day in range(15)),
    }
    crews = tuple(Crew(name, name, rng.choice((None, 1, 2))) for name in windows if rng.random() < 0.6)
    names = [run for build in builds for run in build.run_ids()] + [part.id for part in pieces]
    wishes = {rng.choice(names): rng.choice(shop).name for _ in range(rng.choice((0, 3)))} if names else {}
    return Problem(
        now_s=seconds(0, 3000),
        clear_s=300.0,
        changeover_s=Changeover(900.0, (("A", "B", 200.0), ("B", "A", 400.0), ("C", "C", 50.0))),
        machines=tuple(shop),
        objective=rng.choice(OBJECTIVES),
        windows=windows,
        crews=crews,
        builds=tuple(builds),
        parts=tuple(pieces),
        announced=tuple(Announced(name, machine, 5000.0) for name, machine in wishes.items()),
        operator_price=rng.choice((0.0, 0.5)),
    )


def with_terms(problem: Problem, seed: int, *, deadlines: bool = True) -> Problem:
    """The problem with maintenance, deadlines, a power group, wear and short lots drawn from the seed.

    It may be infeasible by its deadlines, which can be left out.
    """
    rng = Random(seed)
    span = max([10_000.0, *(build.due_s or 0.0 for build in problem.builds)])

    def shut() -> tuple[tuple[float, float], ...]:
        begins = sorted(round(rng.uniform(0.0, span)) for _ in range(rng.choice((0, 1, 1, 3))))
        return tuple((float(begin), begin + float(round(rng.uniform(600, 0.2 * span)))) for begin in begins)

    def deadline(due_s: float | None) -> float | None:
        if not deadlines or due_s is None or rng.random() < 0.7:
            return None
        return float(round(due_s + rng.uniform(0.2, 1.0) * span))

    machines = tuple(
        replace(
            machine,
            shut=shut(),
            wear_price=rng.choice((0.0, 0.0, 0.1, 0.5)),
            grams_left=rng.choice((None, 0.0, 120.0, float(round(rng.uniform(50, 400))))),
        )
        for machine in problem.machines
    )
    names = [machine.name for machine in machines]
    group = PowerGroup(
        "hall", tuple(names), rng.randint(1, max(1, len(names) - 1)), rng.choice((300.0, 1200.0))
    )
    return replace(
        problem,
        machines=machines,
        builds=tuple(
            replace(b, deadline_s=deadline(b.due_s), grams=rng.choice((0.0, 40.0, 90.5)), owner="ann")
            for b in problem.builds
        ),
        parts=tuple(replace(p, deadline_s=deadline(p.due_s)) for p in problem.parts),
        power_groups=(group,) if rng.random() < 0.6 else (),
        spool_change_s=240.0,
    )
