"""The goals of farmd's reliability beside what this computer does: `python -m bench.reliability`, under 10 minutes.

`--only PART…` for some of them; `--json` for programs. `python -m bench.reliability campaign --help` for the long ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench.reliability import campaign, hall, years
from bench.reliability.figures import Row, load, table

ROOT = Path(__file__).parents[2]
CRASHES, KILLS, CUTS = 400, 10, 1500
NIGHT_H = 10.0


def crash_rows(folder: Path) -> list[Row]:
    """The rates of the three campaigns on two processes, and what the long one would take."""
    rows = []
    goals = {"crashes": (CRASHES, 1_000_000), "kills": (KILLS, 1000), "cuts": (CUTS, 100_000)}
    for name, (count, long) in goals.items():
        kind = campaign.KINDS[name]
        pieces = [kind.command(9_000_000 + n * campaign.SEEDS_APART, count // 2) for n in range(2)]
        tally = campaign.Tally()
        with campaign.ThreadPoolExecutor(2) as pool:
            for command, told in zip(pieces, pool.map(campaign.piece, pieces), strict=True):
                tally.add(kind, command, told)
        rate = 2 * tally.done[name] / tally.seconds[name]
        words = {"crashes": "simulated crashes", "kills": "SIGKILLs", "cuts": "power cuts"}[name]
        note = f"{long:,} take {long / rate / 3600:.1f} h on 2 processes"
        rows.append(Row(f"{words} a second", rate, "/s", note=note))
        wrong = f"of {tally.done[name]:,}"
        rows.append(Row(f"{words} after which something was wrong", len(tally.broken), "", 0.0, note=wrong))
        for found in tally.broken:
            print(f"BROKEN: {json.dumps(found)}", flush=True)
    return rows


def store_rows(folder: Path) -> list[Row]:
    from bench.store import measure

    rate, median_ms = measure("sqlite:///bench.db", 10, 3.0)
    single, _ = measure("sqlite:///bench.db", 1, 2.0)
    note = f"10 in a commit, {median_ms:.2f} ms; {single:,.0f}/s one by one"
    return [Row("durable control transactions", rate, "/s", 2000.0, True, note)]


def role_rows(folder: Path) -> list[Row]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=--import-mode=importlib",
        "-n",
        "0",
        "tests/api/test_roles_api.py",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1]
    return [
        Row(
            "role x route x command, unexplained allows",
            float(done.returncode != 0),
            "",
            0.0,
            note=last.strip("= "),
        )
    ]


PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "crashes": crash_rows,
    "restart": hall.restart_rows,
    "loaded": hall.loaded_rows,
    "store": store_rows,
    "years": years.rows,
    "roles": role_rows,
}


def main(words: list[str]) -> int:
    if words[:1] == ["campaign"]:
        return campaign.main(words[1:])
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    rows: list[Row] = []
    for name in given.only:
        with tempfile.TemporaryDirectory(prefix="farmd-bench-") as folder:
            before = load()
            found = PARTS[name](Path(folder).resolve())
            rows += found
            if not given.json:
                print(f"{name}: {before} before, {load()} after\n{table(found)}\n", flush=True)
    if given.json:
        print(json.dumps([{**asdict(row), "met": row.is_met} for row in rows]))
    else:
        print(
            f"{sum(not row.is_met for row in rows)} of {sum(row.goal is not None for row in rows)} goals missed"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
