"""The short benchmarks, one after another, so that none disturbs the next: `python -m bench`.

Each runs as a program of its own, as in docs/BENCHMARKS.md; the first that fails ends it.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "config" / "shops" / "samples" / "box20.gcode"
LINES = 500_000


def long_file(folder: Path) -> Path:
    """The moves of a sliced file over and over: LINES lines between its own head and tail."""
    lines = SAMPLE.read_text().splitlines(keepends=True)
    moves = [line for line in lines if line.startswith("G1 ")]
    head, tail = lines[: lines.index(moves[0])], lines[lines.index(moves[-1]) + 1 :]
    path = folder / "long.gcode"
    repeated = itertools.islice(itertools.cycle(moves), LINES - len(head) - len(tail))
    path.write_text("".join([*head, *repeated, *tail]))
    return path


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="farmd-bench-") as folder:
        short = {
            "bench.gcode": [str(long_file(Path(folder)))],
            "bench.serial": ["--quick"],
            "bench.store": [],
            "bench.planner": ["fdm", "--seconds", "2"],
        }
        for module, arguments in short.items():
            print(f"\n$ python -m {' '.join([module, *arguments])}", flush=True)
            done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=False)
            if done.returncode != 0:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
