"""How fast sliced files are read: `python -m bench.gcode FILE...`.

Prints, for each file, seconds, lines a second, MB a second and the growth of resident memory.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

from farmd.gcode import executable_lines, read_sliced


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measured(what: str, path: Path, read: Callable[[Path], int]) -> None:
    before = _peak_mb()
    began = time.perf_counter()
    lines = read(path)
    seconds = time.perf_counter() - began
    size_mb = path.stat().st_size / 1e6
    print(
        f"{path.name:24} {what:16} {seconds:7.2f} s {lines / seconds:12,.0f} lines/s "
        f"{size_mb / seconds:7.1f} MB/s {_peak_mb() - before:6.1f} MB more memory at the peak"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    for path in parser.parse_args().files:
        _measured("read_sliced", path, lambda path: read_sliced(path).lines)
        _measured("executable_lines", path, lambda path: sum(1 for _ in executable_lines(path)))


if __name__ == "__main__":
    main()
