"""Crashes, kills and power cuts by the thousand, in several processes.

    python -m bench.reliability campaign --crashes 1000000 --kills 1000 --cuts 100000 --seed 1 --state FILE
    python -m bench.reliability campaign --minutes 60 …       not longer than that; the same command goes on

Each piece is a program of the tests with a seed (`tests/daemon/crashfast.py`, `crashkills.py`, `powercut.py`), so a
piece that went wrong is gone through again by the line that is printed. What is done is kept in FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parents[2] / "tests" / "daemon"
SEEDS_APART = 1000
"""No piece uses more seeds than that."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of piece: its program, how many in one piece, and what its answer calls them."""

    name: str
    program: tuple[str, ...]
    piece: int
    counted: str

    def command(self, seed: int, count: int) -> list[str]:
        program, *words = self.program
        return [sys.executable, str(PROGRAMS / program), *words, str(seed), str(count)]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("crashes", ("crashfast.py",), 1000, "crashes"),
        Kind("kills", ("crashkills.py",), 20, "kills"),
        Kind("cuts", ("powercut.py", "cut"), 2000, "cuts"),
    )
}


@dataclass(slots=True)
class Tally:
    """What was done so far; kept between two sittings."""

    done: Counter[str] = field(default_factory=Counter)
    pieces: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    """Of the pieces, by kind; with several processes more than the clock's."""
    broken: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, file: Path | None) -> Tally:
        if file is None or not file.exists():
            return cls()
        kept = json.loads(file.read_text())
        counts = [Counter(kept[name]) for name in ("done", "pieces", "happened", "seconds")]
        return cls(*counts, kept["broken"])

    def keep(self, file: Path | None) -> None:
        if file is not None:
            names = ("done", "pieces", "happened", "seconds", "broken")
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps({name: getattr(self, name) for name in names}))
            fresh.replace(file)

    def add(self, kind: Kind, command: Sequence[str], told: dict[str, Any]) -> None:
        self.done[kind.name] += told[kind.counted]
        self.happened.update(told.get("happened", {}))
        self.seconds[kind.name] += told["seconds"]
        for found in told["broken"]:
            self.broken.append({**found, "command": " ".join(command)})


def piece(command: Sequence[str]) -> dict[str, Any]:
    """What one program tells; one that tells nothing is itself something broken."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def campaign(
    wanted: dict[str, int],
    *,
    seed: int,
    workers: int,
    minutes: float,
    tally: Tally,
    state: Path | None = None,
) -> Tally:
    """Everything wanted that is not done yet, or what fits the time."""
    until = time.monotonic() + minutes * 60.0
    told_at = time.monotonic()
    running: dict[Future[dict[str, Any]], tuple[Kind, list[str]]] = {}
    todo = _pieces(wanted, tally, seed)
    with ThreadPoolExecutor(workers) as pool:
        while True:
            while len(running) < workers and time.monotonic() < until and (following := next(todo, None)):
                kind, command = following
                running[pool.submit(piece, command)] = kind, command
            if not running:
                return tally
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                kind, command = running.pop(future)
                tally.add(kind, command, future.result())
            tally.keep(state)
            if time.monotonic() - told_at > 30.0:
                told_at = time.monotonic()
                print(", ".join(f"{n:,} {name}" for name, n in tally.done.items()), flush=True)


def _pieces(wanted: dict[str, int], tally: Tally, seed: int) -> Iterator[tuple[Kind, list[str]]]:
    """Kind after kind in turn; a piece's seed follows from the campaign's and its own number."""
    left = {name: count - tally.done[name] for name, count in wanted.items() if count > tally.done[name]}
    while left:
        for name in list(left):
            kind = KINDS[name]
            count = min(kind.piece, left[name])
            yield kind, kind.command(seed * 10**7 + tally.pieces[name] * SEEDS_APART, count)
            tally.pieces[name] += 1
            left[name] -= count
            if left[name] <= 0:
                del left[name]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.reliability campaign", description=__doc__)
    parser.add_argument("--crashes", type=int, default=0, help="simulated, memory thrown away")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILLs of real processes")
    parser.add_argument("--cuts", type=int, default=0, help="power cuts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--state", type=Path, help="where what is done is kept, to go on from")
    given = parser.parse_args(words)
    wanted = {"crashes": given.crashes, "kills": given.kills, "cuts": given.cuts}
    tally = Tally.of(given.state)
    begun = time.monotonic()
    print(f"seed {given.seed}, {given.workers} processes", flush=True)
    campaign(
        wanted,
        seed=given.seed,
        workers=given.workers,
        minutes=given.minutes,
        tally=tally,
        state=given.state,
    )
    for name, count in tally.done.items():
        rate = count / tally.seconds[name] if tally.seconds[name] else 0.0
        print(f"{count:,} {name}, {rate:.1f} a second and process")
    print("of these: " + ", ".join(f"{name} {n:,}" for name, n in sorted(tally.happened.items())))
    for found in tally.broken:
        print(f"BROKEN: {json.dumps(found)}")
    print(f"{len(tally.broken)} broken, {time.monotonic() - begun:,.0f} s")
    return bool(tally.broken)
