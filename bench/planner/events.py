"""From an event to a new checked plan, and how long the daemon's loop stands still meanwhile.

A hall in memory, planned by the daemon's own planning with its worker processes; then events one after another,
while plans are being improved. A beat on the same loop notices how late it is.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from time import perf_counter

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
from farmd.planner.generate import DAY_S, SHIFT
from farmd.store import Entry

SIZES = {"500x25": (500, 25), "2000x100": (2000, 100), "10000x250": (10_000, 250)}
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


async def measure(jobs: int, machines: int, events: int, budget_s: float) -> tuple[list[float], list[float]]:
    """Seconds from each event to the next published plan; how late each beat was."""
    rng = Random(2)
    begins_at = now()
    farm, shop = hall(jobs, machines, begins_at)
    worker = PlannerProcess(policy="plan", budget_s=budget_s, stability_price_s=9000.0)
    late: list[float] = []
    took: list[float] = []
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(Nowhere(), farm, writer)
        planning = Planning(ledger, shop, worker, policy="plan", min_interval_s=0.0)
        published = asyncio.Event()
        planning.on_publish(published.set)
        tasks = [asyncio.create_task(ledger.run()), asyncio.create_task(planning.run())]
        await published.wait()
        await asyncio.sleep(2 * budget_s)
        spare_pauses()
        beating = asyncio.create_task(beat(late))
        try:
            for number in range(events):
                published.clear()
                snapshot = planning.snapshot
                began = perf_counter()
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
                took.append(perf_counter() - began)
                await asyncio.sleep(rng.uniform(0.0, 0.3 * budget_s))
        finally:
            for task in (*tasks, beating):
                task.cancel()
            await asyncio.gather(*tasks, beating, return_exceptions=True)
            await worker.close()
    return took, late


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
    print(f"{'hall':>10} {'median':>8} {'p99':>8}   {'stall p99':>9} {'p99.9':>8} {'max':>8}   ms")
    for size in given.sizes.split(","):
        took, late = asyncio.run(measure(*SIZES[size], given.events, given.budget))
        cells = [
            quantile(took, 0.5),
            quantile(took, 0.99),
            quantile(late, 0.99),
            quantile(late, 0.999),
            max(late),
        ]
        median, p99, *stalls = (f"{1000 * value:8.1f}" for value in cells)
        print(f"{size:>10} {median} {p99}    {' '.join(stalls)}", flush=True)
