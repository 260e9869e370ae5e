"""From an event to a new checked plan, and how long the daemon's loop stands still meanwhile.

A hall in memory, planned by the daemon's own planning with its worker processes; then events one after another,
while plans are being improved. A beat on the same loop notices how late it is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter, process_time

from bench.planner import goals
from farmd.daemon.ledger import Ledger
from farmd.daemon.pauses import spare_pauses
from farmd.daemon.planner_process import PlannerProcess
from farmd.daemon.planning import Planning
from farmd.daemon.shop import Shop
from farmd.driver import Capabilities, now
from farmd.model import facts as f
from farmd.model.farm import Farm
from farmd.model.lifecycle import MachineState
from farmd.model.machine import Machine, MachineSpec, Permit
from farmd.model.work import Job
from farmd.planner.compiled import STABILITY_PRICE_S
from farmd.planner.generate import DAY_S, SHIFT
from farmd.store import Entry

SIZES = {"500x25": (500, 25), "2000x100": (2000, 100), "10000x250": (10_000, 250)}
GOALS_S = {"500x25": 0.05, "2000x100": 0.2, "10000x250": 0.5}
"""From an event to a new checked plan, 99 of 100."""
BEAT_S = 0.001
MATERIALS = [
    f"{family} {colour}" for family in ("PLA", "PETG", "ABS") for colour in ("black", "red", "grey", "blue")
]


class Nowhere:
    """A store that keeps nothing."""

    def commit(self, entries: Sequence[Entry]) -> int:
        return 0


def hall(jobs: int, machines: int, begins_at: float) -> tuple[Farm, Shop]:
    """Jobs of one plate each, on machines of three groups."""
    rng = Random(1)
    groups = ("mk4", "xl", "mini")
    specs = {
        f"m{i}": MachineSpec(
            f"m{i}", "any", rng.choices(groups, (5, 3, 2))[0], "MEX", (250.0, 210.0, 220.0), 0.4
        )
        for i in range(machines)
    }
    farm = Farm(counters={"fence": 1}, revision=1)
    for name in specs:
        permit = Permit(f"P-{name}", begins_at, "bench")
        material = rng.choice(MATERIALS)
        farm.machines[name] = Machine(
            name, MachineState.IDLE, since=begins_at, permit=permit, material=material, nozzle_mm=0.4
        )
    span_s = jobs / machines * 6 * 3600.0
    for i in range(jobs):
        job = job_of(i, rng, begins_at, span_s)
        farm.jobs[job.id] = job

    def windows(begin: float, end: float) -> dict[str, list[tuple[float, float]]]:
        days = int((end - begins_at) // DAY_S) + 1
        spans = [
            (begins_at + day * DAY_S, begins_at + day * DAY_S + SHIFT[1] - SHIFT[0]) for day in range(days)
        ]
        return {"day": [(max(a, begin), b) for a, b in spans if b > begin]}

    capabilities = dict.fromkeys(specs, Capabilities())
    shop = Shop("bench", specs, capabilities, people={"day": None}, windows=windows, horizon_s=60 * DAY_S)
    return farm, shop


def job_of(number: int, rng: Random, begins_at: float, span_s: float) -> Job:
    seconds = min(30.0, max(0.5, rng.lognormvariate(1.6, 0.8))) * 3600.0
    return Job(
        id=f"J-{number}",
        design=f"d{number}",
        file_sha256="ab" * 32,
        file_name="a.gcode",
        process="MEX",
        quantity=1,
        submitted_at=begins_at,
        due_at=begins_at + seconds + rng.uniform(0.1, 1.0) * span_s,
        priority=rng.choice((1.0, 1.0, 1.0, 2.0, 5.0)),
        duration_s=seconds,
        material=rng.choice(MATERIALS),
        nozzle_mm=0.4,
        group=rng.choice((None, None, None, "mk4")),
    )


@dataclass(slots=True)
class Measured:
    """Seconds from each event to the next published plan; what the daemon and its first worker computed meanwhile,
    in seconds of a core, which is what a computer would need that has nothing else to do; how late each beat was."""

    took: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


def cpu_s(pid: int | None) -> float:
    """Of a process, so far; Linux alone."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(jobs: int, machines: int, events: int, budget_s: float) -> Measured:
    """So many events, one after another."""
    rng = Random(2)
    begins_at = now()
    farm, shop = hall(jobs, machines, begins_at)
    worker = PlannerProcess(policy="plan", budget_s=budget_s, stability_price_s=STABILITY_PRICE_S)
    measured = Measured()
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(Nowhere(), farm, writer)
        planning = Planning(ledger, shop, worker, policy="plan", min_interval_s=0.0)
        published = asyncio.Event()
        planning.on_publish(published.set)
        tasks = [asyncio.create_task(ledger.run()), asyncio.create_task(planning.run())]
        await published.wait()
        await asyncio.sleep(2 * budget_s)
        spare_pauses()
        beating = asyncio.create_task(beat(measured.late))
        try:
            for number in range(events):
                published.clear()
                snapshot = planning.snapshot
                began, before_s = perf_counter(), process_time() + cpu_s(worker.first.pid)
                if number % 2:
                    job = job_of(jobs + number, rng, begins_at, 4 * DAY_S)
                    ledger.record(f.JobSubmitted(at=now(), actor="bench", job=job))
                else:
                    job_id = rng.choice(list(farm.jobs))
                    ledger.record(
                        f.JobEdited(at=now(), actor="bench", job_id=job_id, priority=rng.choice((1.0, 3.0)))
                    )
                while planning.snapshot is snapshot:
                    await published.wait()
                    published.clear()
                measured.took.append(perf_counter() - began)
                measured.computed.append(process_time() + cpu_s(worker.first.pid) - before_s)
                await asyncio.sleep(rng.uniform(0.0, 0.3 * budget_s))
        finally:
            for task in (*tasks, beating):
                task.cancel()
            await asyncio.gather(*tasks, beating, return_exceptions=True)
            await worker.close()
    return measured


async def beat(late: list[float]) -> None:
    """Note by how much each beat came late."""
    while True:
        began = perf_counter()
        await asyncio.sleep(BEAT_S)
        late.append(max(0.0, perf_counter() - began - BEAT_S))


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main(arguments: list[str]) -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.planner events", description=__doc__)
    parser.add_argument("--sizes", default=",".join(SIZES), help="of " + ", ".join(SIZES))
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of improvement after each")
    given = parser.parse_args(arguments)
    print(
        f"{'hall':>10} {'median':>8} {'p99':>8} {'computed':>9} {'p99':>8}   "
        f"{'stall p99':>9} {'p99.9':>8} {'max':>8}   ms"
    )
    for size in given.sizes.split(","):
        measured = asyncio.run(measure(*SIZES[size], given.events, given.budget))
        took, late = measured.took, measured.late
        cells = [
            quantile(took, 0.5),
            quantile(took, 0.99),
            quantile(late, 0.99),
            quantile(late, 0.999),
            max(late),
        ]
        own = [quantile(measured.computed, 0.5), quantile(measured.computed, 0.99)]
        median, p99, *stalls = (f"{1000 * value:8.1f}" for value in cells)
        computed = " ".join(f"{1000 * value:8.1f}" for value in own)
        print(f"{size:>10} {median} {p99}  {computed}    {' '.join(stalls)}", flush=True)
        print(f"  load of the computer: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        for what, value, goal in zip(
            ("event to new plan, p99", "loop's stall, p99.9", "loop's stall, greatest"),
            (cells[1], cells[3], cells[4]),
            (GOALS_S[size], 0.01, 0.05),
            strict=True,
        ):
            goals.told(f"{size}: {what}, ms", 1000 * value, 1000 * goal)
