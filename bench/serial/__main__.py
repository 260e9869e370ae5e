"""The goals of the serial link beside what is measured, with other hosts in the same run: `python -m bench.serial`.

One row for each goal: our figure, the rivals' on the same machine in the same run, how many times better ours
is, the goal, and whether it is met. Machines are emulators on pseudo-terminals, so the figures are the
ceilings of the host and not of a cable or a board. Two cores are needed: one has the daemon, one the machines.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.serial import estop, long_file, many_printers, memory, one_printer, recovery, upsets
from bench.serial.report import Row, table
from bench.serial.rivals import NAMES, Rival, rivals

ROOT = Path(__file__).parents[2]
LONG_FILE = "FARMD_BENCH_GCODE"

Measure = Callable[[], list[Row]]


def measures(found: list[Rival], file: Path, *, quick: bool) -> dict[str, Measure]:
    """What is measured, by name, in the order of the goals."""
    return {
        "cost": lambda: one_printer.cost(found, quick=quick),
        "many": lambda: many_printers.rows(quick=quick),
        "recovery": lambda: recovery.lost(found, quick=quick),
        "slow": lambda: recovery.slow_moves(quick=quick),
        "damage": lambda: one_printer.damage(found, quick=quick),
        "estop": lambda: estop.rows(quick=quick),
        "upsets": lambda: upsets.rows(found, quick=quick),
        "memory": lambda: memory.rows(found, quick=quick),
        "long": lambda: long_file.rows(file),
    }


def main() -> int:
    """Measure and tell; the exit code is 1 when something could not be measured."""
    default = Path(os.environ.get(LONG_FILE, ROOT.parent / "shared" / "gcode" / "tower_0.1.gcode"))
    names = list(measures([], default, quick=True))
    parser = argparse.ArgumentParser(prog="python -m bench.serial", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short and coarse; leaves out the long file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rivals", nargs="*", choices=NAMES, default=NAMES, help="these alone, or none")
    parser.add_argument("--file", type=Path, default=default, help=f"the long file; also by {LONG_FILE}")
    given = parser.parse_args()
    wanted = given.only or [name for name in names if not (given.quick and name == "long")]

    found, left_out = rivals(given.rivals)
    for line in left_out:
        print(line, file=sys.stderr)
    rows: list[Row] = []
    failed = False
    for name, measure in measures(found, given.file, quick=given.quick).items():
        if name not in wanted:
            continue
        began = time.monotonic()
        try:
            rows += measure()
        except Exception as error:  # noqa: BLE001 - what else can be measured is; the exit code tells
            failed = True
            rows.append(
                Row(f"{name}: not measured", "failed", also={"error": f"{type(error).__name__}: {error}"})
            )
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if given.json:
        document = {"load": os.getloadavg(), "left_out": left_out, "rows": [row.as_dict() for row in rows]}
        print(json.dumps(document, indent=1))
    else:
        print(table(rows, [rival.name for rival in found]))
        for row in rows:
            if row.also:
                print(
                    f"  {row.figure}: "
                    + ", ".join(f"{key} {_short(value)}" for key, value in row.also.items())
                )
    return int(failed)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return f"[{' '.join(_short(each) for each in value)}]"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
