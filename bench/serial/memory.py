"""Memory: of a machine at rest, and while a large file is printed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.serial.farm import Farm, until
from bench.serial.files import sliced
from bench.serial.hall import HallProcess
from bench.serial.report import Figure, Row
from bench.serial.rivals import Rival

IDLE = 100
SETTLE_S = 5.0
LIMIT_S = 120.0


def rows(found: Sequence[Rival], *, quick: bool) -> list[Row]:
    settle_s = 2.0 if quick else SETTLE_S
    few, many = _at_rest(1, settle_s), _at_rest(1 + IDLE, settle_s)
    rivals = {rival.name: _process(rival) for rival in found}
    size, grown = _printing(1_500_000, settle_s)
    return [
        Row(
            f"memory of a machine at rest, mean of {IDLE}",
            (many - few) / IDLE,
            "MB",
            0.5,
            rivals=rivals,
            also={"daemon_mb": few, "daemon_with_all_mb": many},
        ),
        Row(
            f"memory grown by checking and printing a file of {size:.0f} MB",
            grown,
            "MB",
            size / 4,
            also={"file_mb": size},
        ),
    ]


def _at_rest(count: int, settle_s: float) -> float:
    with HallProcess("paced", count) as hall, Farm(hall.ports) as farm:
        farm.wait_linked()
        time.sleep(settle_s)
        return farm.rss_mb()


def _process(rival: Rival) -> Figure:
    """A rival's process, connected and at rest: it takes one for each printer."""
    with HallProcess("strict", 1) as hall, TemporaryDirectory() as folder:
        file = Path(folder) / "bench.gcode"
        file.write_bytes(sliced(10))
        return rival.print(hall.ports[0], file, LIMIT_S).idle_mb


def _printing(moves: int, watch_s: float) -> tuple[float, float]:
    """The size of a file, and how much memory its submission and print took at most; both MB.

    A small file is printed before, so that what any first print loads does not count.
    """
    data = sliced(moves)
    with HallProcess("strict", 1) as hall, Farm(hall.ports) as farm:
        farm.wait_linked()
        farm.submit(sliced(3_000), 1)
        farm.clear(farm.names)
        until(lambda: farm.machines()[0]["uncleared_run"], "the small print is over", LIMIT_S)
        before = farm.rss_mb()
        farm.submit(data, 1)
        farm.clear(farm.names)
        until(lambda: hall.ask("total")["moves"] > 10_000, "the large file is printed", LIMIT_S)
        time.sleep(watch_s)
        return len(data) / 1e6, max(farm.peak_mb(), farm.rss_mb()) - before
