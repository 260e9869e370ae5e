"""How fast sliced files are read: `python -m bench.gcode FILE...`.

Prints, for each file, seconds, lines a second, MB of text a second and the growth of resident memory; of
binary G-code also how fast its text is decoded, before anybody looks for lines in it.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

from farmd.gcode import executable_lines, open_gcode, read_sliced

CHUNK = 1 << 18


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measured(what: str, path: Path, text_mb: float, read: Callable[[Path], int]) -> None:
    before = _peak_mb()
    began = time.perf_counter()
    lines = read(path)
    seconds = time.perf_counter() - began
    print(
        f"{path.name:24} {what:16} {seconds:7.2f} s {lines / seconds:12,.0f} lines/s "
        f"{text_mb / seconds:7.1f} MB/s {_peak_mb() - before:6.1f} MB more memory at the peak"
    )


def _chunks(path: Path) -> tuple[int, int]:
    """Bytes and lines of the text in a file, decoded if need be."""
    size = lines = 0
    with open_gcode(path) as stream:
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            lines += chunk.count(b"\n")
    return size, lines


def _commands(path: Path) -> int:
    with open_gcode(path) as stream:
        return sum(1 for _ in executable_lines(stream))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    for path in parser.parse_args().files:
        text_mb = _chunks(path)[0] / 1e6
        if path.suffix == ".bgcode":
            _measured("decode", path, text_mb, lambda path: _chunks(path)[1])
        _measured("read_sliced", path, text_mb, lambda path: read_sliced(path).lines)
        _measured("executable_lines", path, text_mb, _commands)


if __name__ == "__main__":
    main()
