"""A long sliced file through the whole daemon, at full rate: executed exactly as it stands."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.serial.farm import Farm, until
from bench.serial.files import commands_of, is_exact
from bench.serial.hall import HallProcess
from bench.serial.report import Row

LIMIT_S = 400.0


def rows(file: Path) -> list[Row]:
    """One row; says that it was left out where the file is not there."""
    what = "a sliced file of 507,715 lines executed exactly, whole daemon"
    if not file.exists():
        return [Row(what, f"left out: no {file.name} (--file)")]
    data = file.read_bytes()
    wanted = commands_of(data)
    with HallProcess("strict", 1) as hall, Farm(hall.ports) as farm, TemporaryDirectory() as folder:
        farm.wait_linked()
        material = farm.client.get("jobs", farm.submit(data, 1))["material"]
        farm.client.post("machines", farm.names[0], "load", body={"material": material or "PLA"})
        farm.clear(farm.names)
        began, cpu = time.monotonic(), farm.cpu_s()
        until(lambda: farm.machines()[0]["uncleared_run"], "the print is over", LIMIT_S, pause_s=0.5)
        seconds, cpu = time.monotonic() - began, farm.cpu_s() - cpu
        [run] = farm.client.get("runs", limit=1)["runs"]
        [record] = hall.records(Path(folder))
    exact = run["outcome"] == "ok" and is_exact(record, wanted)
    lines = data.count(b"\n")
    return [
        Row(
            f"a sliced file of {lines:,} lines executed exactly, whole daemon",
            "yes" if exact else "no",
            goal="yes",
            also={"commands": len(wanted), "seconds": seconds, "us_per_command": cpu / len(wanted) * 1e6},
        )
    ]
