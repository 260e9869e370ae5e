"""Many printers at a hundred lines a second each, through the whole daemon: cost, turn-round, starved planners."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.serial.farm import Farm, until
from bench.serial.files import checked, commands_of, even, is_exact
from bench.serial.hall import HallProcess
from bench.serial.report import Row, percentile

MOVE_S = 0.01
START_S = 90.0
END_S = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured while all printed. `core` is the daemon's share of its core, `waited` the share of
    the time that the daemon was ready and others had its core: what another computer would not have."""

    lines_per_s: float
    us_per_line: float
    core: float
    waited: float
    turn_p50_s: float
    turn_p99_s: float
    starved: int
    is_exact: bool


def cores() -> tuple[int | None, int | None]:
    """One for the daemon and one for the machines; none where there is but one."""
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


def all_print(farm: Farm, data: bytes, names: Sequence[str]) -> None:
    """Start the file on those machines, and wait until all of them print."""
    farm.wait_linked()
    # One for each machine there is: who is not cleared keeps nobody waiting.
    farm.submit(data, len(farm.names))
    farm.clear(names)
    wanted = set(names)
    until(
        lambda: wanted <= {each["name"] for each in farm.machines() if each["state"] == "busy"},
        "all machines print",
        START_S,
        pause_s=0.5,
    )


def all_over(farm: Farm, names: Sequence[str]) -> bool:
    """Wait until the runs of those machines have ended; whether all ended well."""
    wanted = set(names)
    until(
        lambda: wanted <= {each["name"] for each in farm.machines() if each["uncleared_run"]},
        "all prints are over",
        END_S,
        pause_s=0.5,
    )
    runs = farm.client.get("runs", limit=500)["runs"]
    return all(run["outcome"] == "ok" for run in runs)


def load(kind: str, count: int, moves: int, watch_s: float) -> Load:
    """`count` machines print at once through one daemon; the first seconds and the last are not measured."""
    ours, theirs = cores()
    data = even(moves, MOVE_S)
    options = ("--move-scale", "1") if kind == "strict" else ("--move-s", str(MOVE_S))
    with (
        HallProcess(kind, count, *options, core=theirs) as hall,
        Farm(hall.ports, core=ours) as farm,
        TemporaryDirectory() as folder,
    ):
        all_print(farm, data, farm.names)
        time.sleep(1.0)
        hall.ask("turns", clear=True)
        before, cpu, waited = hall.ask("total"), farm.cpu_s(), farm.waited_s()
        time.sleep(watch_s)
        after, cpu, waited = hall.ask("total"), farm.cpu_s() - cpu, farm.waited_s() - waited
        turns = hall.ask("turns") or [0.0]
        ok = all_over(farm, farm.names)
        starved = sum(stat["starved"] for stat in hall.ask("stat"))
        records = hall.records(Path(folder))
    lines, seconds = after["moves"] - before["moves"], after["at"] - before["at"]
    wanted = commands_of(data)
    if kind == "paced":
        records = [checked(record) for record in records]
    return Load(
        lines / seconds,
        cpu / lines * 1e6,
        cpu / seconds,
        waited / seconds,
        percentile(turns, 50),
        percentile(turns, 99),
        starved,
        ok and all(is_exact(record, wanted) for record in records),
    )


def rows(*, quick: bool) -> list[Row]:
    """50 and 200 light machines, then 64 strict ones."""
    found = []
    watch_s, moves = (3.0, 1_200) if quick else (15.0, 3_000)
    for count in (50, 200):
        shown = load("paced", count, moves, watch_s)
        also = {
            "lines_per_s": shown.lines_per_s,
            "starved": shown.starved,
            "daemon_core_share": shown.core,
            "daemon_waited_for_core": shown.waited,
            "turn_round_p50_ms": shown.turn_p50_s * 1e3,
            "exact": shown.is_exact,
        }
        what = f"{count} printers x 100 lines/s"
        cost = shown.us_per_line if shown.is_exact else "NOT EXACT"
        found.append(Row(f"{what}: CPU of the daemon per line", cost, "us", 25.0, also=also))
        goal = 5.0 if count == 200 else None
        found.append(Row(f"{what}: turn-round, 99 of 100", shown.turn_p99_s * 1e3, "ms", goal))
        reached = 100 * shown.lines_per_s / (count / MOVE_S)
        found.append(Row(f"{what}: of their speed", reached, "%", 99.0, more_is_better=True))
    strict = load("strict", 64, moves, watch_s)
    starved: float | str = float(strict.starved) if strict.is_exact else "NOT EXACT"
    found.append(
        Row(
            "64 strict emulators x 100 moves/s: times that a planner ran empty",
            starved,
            "",
            0.0,
            also={"us_per_line": strict.us_per_line, "daemon_waited_for_core": strict.waited},
        )
    )
    return found
