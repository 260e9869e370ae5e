"""All goals of the planner beside what is measured now: `python -m bench.planner`, `--long` for the whole of it.

Each part runs as a program of its own, one after another, so that none disturbs the next; a part that is not
there, that needs instances which are not there, that fails or takes too long is left out with a line that says so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.planner.goals import Goal, read, table

ROOT = Path(__file__).parents[2]
INSTANCES = "FARMD_BENCH_INSTANCES"
LIMIT_S, LONG_LIMIT_S = 150.0, 7200.0


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the bench, and its arguments for the short and the long form; None: not in that form.

    `{}` among them is the file or folder `needs` of the instances.
    """

    name: str
    short: str | None
    long: str | None
    needs: str = ""


def fdm(size: str, people: str, short_seeds: int, *, load: str = "1.3", seconds: int = 10) -> Part:
    """Halls of one size, with people enough and with few."""
    what = f"--halls colours --no-rivals --sizes {size} --loads {load} --people {people} --seconds {seconds}"
    return Part("fdm", f"{what} --seeds {short_seeds}" if short_seeds else None, f"{what} --seeds 10")


PARTS = (
    fdm("500x25", "none,2", 2),
    fdm("2000x100", "none,5", 1),
    fdm("10000x250", "none,12", 1),
    fdm("50000x250", "none", 0, load="1.0,1.3", seconds=30),
    Part("fdm", None, "--halls copies --sizes 500x25,2000x100 --people none,2 --seconds 10 --seeds 10"),
    Part("powder", "--uamsp {} --seconds 2", "--uamsp {} --seconds 10", "uamsp-r.json"),
    Part("powder", "--luzedi {} --seconds 1 --sizes 25", "--luzedi {} --seconds 10", "luzedi"),
    Part(
        "routes",
        "--instances {} --seconds 5 --only mk01,mk02,mk04,mk06,mk10 --no-rival",
        "--instances {} --seconds 60",
        "fjsp",
    ),
    Part("events", "--events 30 --budget 0.5", "--events 300"),
    Part("loop", "--seeds 2 --machines 25 --days 3", "--seeds 10"),
    Part("fuzz", "--replans 600", "--replans 100000"),
)


def main(arguments: list[str]) -> int:
    """Run the parts and print the goals; the exit code is 1 when a part failed."""
    default = Path(os.environ.get(INSTANCES, ROOT.parent / "shared" / "instances"))
    parser = argparse.ArgumentParser(prog="python -m bench.planner", description=__doc__)
    parser.add_argument(
        "--long", action="store_true", help="all sizes, ten seeds, full budgets: several hours"
    )
    parser.add_argument(
        "--only", nargs="+", choices=sorted({p.name for p in PARTS}), help="these parts alone"
    )
    parser.add_argument(
        "--instances", type=Path, default=default, help=f"public instances; also by {INSTANCES}"
    )
    given = parser.parse_args(arguments)
    goals: list[Goal] = []
    left_out: list[str] = []
    failed = False
    began = time.monotonic()
    for part in PARTS:
        words = part.long if given.long else part.short
        if words is None or (given.only and part.name not in given.only):
            continue
        missing = _missing(part, given.instances)
        if missing:
            left_out.append(missing)
            print(missing, flush=True)
            continue
        command = [part.name, *words.replace("{}", str(given.instances / part.needs)).split()]
        told, fault = run(command, LONG_LIMIT_S if given.long else LIMIT_S)
        goals += told
        if fault:
            failed = True
            left_out.append(fault)
            print(fault, flush=True)
    print(f"\n{table(goals)}")
    for line in left_out:
        print(line)
    print(f"{time.monotonic() - began:.0f} s; load of the computer now {os.getloadavg()[0]:.1f}")
    return 1 if failed else 0


def run(command: list[str], limit_s: float) -> tuple[list[Goal], str]:
    """What a part tells while its lines are passed on; and, unless it went well, a line about that."""
    print(f"\n$ python -m bench.planner {' '.join(command)}", flush=True)
    began = time.monotonic()
    goals: list[Goal] = []
    # A part that says nothing for long is ended too: the limit is kept by another program.
    whole = ["timeout", f"{limit_s:g}", sys.executable, "-m", "bench.planner", *command]
    with subprocess.Popen(whole, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            goal = read(line)
            if goal is None:
                print(line, end="", flush=True)
            else:
                goals.append(goal)
    took = f"after {time.monotonic() - began:.0f} s"
    if process.returncode == 0:
        return goals, ""
    why = "took too long" if process.returncode == 124 else f"failed with exit code {process.returncode}"
    return goals, f"left out: {' '.join(command)} {why}, {took}"


def _missing(part: Part, instances: Path) -> str:
    """A line about what a part needs and is not there; empty where all is."""
    if find_spec(f"bench.planner.{part.name}") is None:
        return f"left out: {part.name}, which is not there"
    if part.needs and not (instances / part.needs).exists():
        return f"left out: {part.name}, for {instances / part.needs} is not there"
    return ""
