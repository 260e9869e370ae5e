"""The planner's compiled functions, made ready before they are needed: `python -m farmd.planner.warm`.

The first call on a machine compiles them and keeps them on the disk; later ones load them. Knows small problems
that lead through all of the search, and where it is noted that this has been done. Knows no compiled function by
its name.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from farmd.planner import jit
from farmd.planner.budget import Budget
from farmd.planner.generate import fdm_shop, powder_shop
from farmd.planner.routes.generate import job_shop

EFFORT = 60
NOTE = "warm"
COMPILED, LOADED, INTERPRETED = "compiled", "loaded", "interpreted"


class Warmed(NamedTuple):
    """How the functions came to be ready, how long it took, and where they are kept (None: nowhere)."""

    how: str
    seconds: float
    kept: Path | None

    def __str__(self) -> str:
        if self.how == INTERPRETED:
            return "interpreted, and slow: nothing may be compiled here (MemoryDenyWriteExecute?)"
        where = f"kept in {self.kept}" if self.kept else "kept nowhere: no folder for it can be written"
        return f"{self.how} in {self.seconds:.1f} s, {where}"


def warm() -> Warmed:
    """Lead small problems through the whole planner."""
    began = perf_counter()
    from farmd.planner.solve import plan

    before = _misses()
    problems = (
        fdm_shop(1, 12, 3),
        fdm_shop(1, 12, 3, people=1),
        powder_shop(1, 8, 2),
        powder_shop(1, 8, 2, objective="weighted_tardiness"),
    )
    for problem in problems:
        first = plan(problem, budget=Budget(effort=EFFORT), seed=1)
        less = replace(first, assignments=first.assignments[1:])
        plan(problem, budget=Budget(effort=EFFORT), seed=1, incumbent=less)
    plan(job_shop(1, 4, 3), budget=Budget(effort=4 * EFFORT), seed=1)
    folder = _folder()
    if folder is not None:
        (folder / NOTE).write_text(_machine(), encoding="utf-8")
    how = INTERPRETED if not compiles() else COMPILED if _misses() > before else LOADED
    return Warmed(how, perf_counter() - began, folder)


def made_ready() -> Warmed | None:
    """`warm` where that has not been done on this machine since the planner was changed; else None."""
    if not compiles():
        return None
    folder = _folder()
    try:
        noted = (folder / NOTE).read_text(encoding="utf-8") if folder else ""
    except OSError:
        noted = ""
    return None if noted == _machine() else warm()


def compiles() -> bool:
    """Whether anything can be compiled here, and is to be."""
    return jit.numba is not None and not jit.numba.config.DISABLE_JIT


def _folder() -> Path | None:
    return jit.cache_folder(Path(__file__).parent) if compiles() else None


def _machine() -> str:
    """What compiled code is good for: this Python, this numba, this processor."""
    processor = import_module("llvmlite.binding").get_host_cpu_name()
    return f"{sys.version}\n{jit.numba.__version__}\n{processor}\n"


def _misses() -> int:
    """How many of the planner's functions were not found on the disk and compiled, so far in this process."""
    functions = {
        id(value): value
        for name, module in list(sys.modules.items())
        if name.startswith("farmd.planner.")
        for value in vars(module).values()
        if hasattr(value, "stats") and hasattr(value, "py_func")
    }
    return sum(sum(function.stats.cache_misses.values()) for function in functions.values())


def main() -> None:
    """Say what it was and how long it took."""
    print(f"the planner's search: {warm()}")


if __name__ == "__main__":
    main()
