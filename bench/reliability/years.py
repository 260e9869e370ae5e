"""Simulated time: years a night, the same trace for the same seed, and memory over a month."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.reliability.figures import Row

SHOP = Path(__file__).parents[2] / "config" / "shops" / "mixed-25.toml"
DAYS, MONTH = 6.0, 30.0
NIGHT_S, CORES = 10 * 3600.0, 2
FAULTS = """
[machines]
noise = 0.1
failure_rate = 0.05
mtbf_h = 200
drop_rate = 0.02
link_mtbf_h = 30
reboot_every_h = 200
panel_every_h = 200
"""


def life(days: float, seed: int, faults: Path) -> None:
    """In a process of its own: prints the journal's head, seconds of the processor, and memory on the way."""
    import structlog

    from farmd.sim.simulate import Request, simulate

    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    memory: list[tuple[float, float]] = []
    begun = time.process_time()

    def progress(share: float) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory.append((share, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))

    report = simulate(Request(SHOP, days, seed, policy="fifo", faults=faults), progress)
    told = {"head": report["journal"]["head"], "facts": report["journal"]["facts"], "memory": memory}
    print(json.dumps({**told, "cpu_s": time.process_time() - begun}))


def rows(folder: Path) -> list[Row]:
    faults = folder / "faults.toml"
    faults.write_text(FAULTS)

    def lived(days: float, seed: int) -> dict[str, object]:
        command = [sys.executable, "-m", "bench.reliability.years", str(days), str(seed), str(faults)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return told

    first, again, other = lived(DAYS, 1), lived(DAYS, 1), lived(MONTH, 2)
    cpu_s = float(str(other["cpu_s"]))
    years = NIGHT_S * CORES / cpu_s * MONTH / 365.0
    memory: list[tuple[float, float]] = other["memory"]  # type: ignore[assignment]
    settled = [mb for share, mb in memory if share >= 0.33]
    grown = (settled[-1] - settled[0]) / settled[0] * 100
    note = f"{SHOP.name}, 25 machines, random faults, policy fifo"
    return [
        Row(
            "simulated years a night",
            years,
            "years",
            100.0,
            True,
            f"{note}; {NIGHT_S / 3600:.0f} h of 2 cores",
        ),
        Row(
            "seeds whose trace differs from itself", float(first["head"] != again["head"]), "", 0.0, note=note
        ),
        Row(
            "memory, from day 10 to day 30",
            grown,
            "%",
            5.0,
            note=f"{settled[0]:.0f} to {settled[-1]:.0f} MB, {note}",
        ),
    ]


if __name__ == "__main__":
    life(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
