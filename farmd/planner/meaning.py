"""What makes a problem meaningless though its fields are right: a name twice or unknown, work that fits nowhere.

Part of `reader.py`; routes have theirs in `routes/reading.py`. Knows nothing of planning.
"""

from __future__ import annotations

from farmd.model.errors import ErrorCode
from farmd.planner.fields import DUPLICATE_ID, UNKNOWN_NAME, Reader, join
from farmd.planner.problem import Problem

FITS_NOWHERE = ErrorCode(
    "planning-fits-nowhere",
    "no machine of the problem can ever make this build or part",
    "add a machine that can, correct the type, setup or size, or leave it out",
)


def names_of(r: Reader, problem: Problem, where: str) -> None:
    """No name twice; every crew's window exists."""
    machines, crews = join(where, "machines"), join(where, "crews")
    r.unique(
        ((m.name, join(join(machines, i), "name")) for i, m in enumerate(problem.machines)), "the machine"
    )
    r.unique(((c.name, join(join(crews, i), "name")) for i, c in enumerate(problem.crews)), "the crew")
    made = [(b.id, join(join(join(where, "builds"), i), "id")) for i, b in enumerate(problem.builds)]
    made += [(p.id, join(join(join(where, "parts"), i), "id")) for i, p in enumerate(problem.parts)]
    r.unique(made, "the id")
    _names_of_runs(r, problem, where)
    wishes = join(where, "announced")
    r.unique(((a.id, join(join(wishes, i), "id")) for i, a in enumerate(problem.announced)), "the wish for")
    for i, crew in enumerate(problem.crews):
        if crew.window and crew.window not in problem.windows:
            r.refuse(UNKNOWN_NAME, f"there are no windows {crew.window!r}", join(join(crews, i), "window"))
    groups, known = join(where, "power_groups"), {m.name for m in problem.machines}
    r.unique(
        ((g.name, join(join(groups, i), "name")) for i, g in enumerate(problem.power_groups)),
        "the power group",
    )
    for i, group in enumerate(problem.power_groups):
        for k, name in enumerate(group.machines):
            if name not in known:
                place = join(join(join(groups, i), "machines"), k)
                r.refuse(UNKNOWN_NAME, f"there is no machine {name!r}", place)


def _names_of_runs(r: Reader, problem: Problem, where: str) -> None:
    """No part is called as a run of a build, or of a route by itself, is in a plan."""
    counts = {b.id: b.count for b in problem.builds}
    counts |= {route.id: route.count for route in problem.routes if route.of is None}
    for i, part in enumerate(problem.parts):
        name, _, number = part.id.rpartition("#")
        known = number.isdecimal() and 1 <= int(number) <= counts.get(name, 0)
        if known and str(int(number)) == number:
            place = join(join(join(where, "parts"), i), "id")
            r.refuse(DUPLICATE_ID, f"the id {part.id!r} is that of a run of {name!r}", place)


def places_of(r: Reader, problem: Problem, where: str) -> None:
    """Every build and every part has a machine that can make it."""
    for i, build in enumerate(problem.builds):
        if not any(build.runs_on(machine) for machine in problem.machines):
            types = ", ".join(sorted(build.duration_s)) or "no type"
            r.refuse(
                FITS_NOWHERE,
                f"build {build.id!r} ({build.setup}, runs on {types}) fits no machine",
                join(join(where, "builds"), i),
            )
    for i, part in enumerate(problem.parts):
        if not any(part.fits(machine) for machine in problem.machines):
            r.refuse(
                FITS_NOWHERE,
                f"part {part.id!r} ({part.setup}, {part.height_mm:g} mm high, {part.area_mm2:g} mm2, "
                f"precision {part.precision:g}) fits no chamber",
                join(join(where, "parts"), i),
            )
