"""A light simulated FDM hall: jobs arrive, prints end early or late or fail, machines break, people keep shifts.

Knows what happens and when somebody is asked what to start next; the luck of a job's every attempt is drawn from
the seed alone, so that all policies meet the same. Knows no policy. Times are seconds from a midnight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Protocol

from farmd.planner.generate import DAY_S, SHIFT

MATERIALS = ("PLA", "PETG", "ABS")
COLOURS = ("black", "red", "grey", "blue")
SPEEDS = {"mk4": 1.0, "xl": 0.9, "mini": 1.2}
SETUPS = tuple(f"{material}-{colour}" for material in MATERIALS for colour in COLOURS)
CLEAR_S, COLOUR_S, MATERIAL_S = 300.0, 360.0, 900.0
MEDIAN_H, SPREAD = 5.0, 0.7
BUSY = 1.12
"""What share of the day a machine prints at load 1: the rest is nights that nobody clears it in."""
SLACK_H = (8.0, 84.0)
FAILS, BREAKS, REPAIR_H, NOISE = 0.04, 0.25, (2.0, 12.0), 0.08


@dataclass(frozen=True, slots=True)
class Job:
    """One print that is wanted; `seconds` by machine type is the estimate."""

    number: int
    setup: str
    seconds: dict[str, float]
    arrives_s: float
    due_s: float
    weight: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """What will come of a job's next attempt: its length over the estimate, and what of a failure."""

    ratio: float
    fails: bool
    repair_s: float


@dataclass(slots=True)
class Printer:
    """One machine. `job` runs until about `expected_s`, or it is free since `free_s`, or broken."""

    name: str
    type: str
    setup: str
    job: Job | None = None
    began_s: float = 0.0
    expected_s: float = 0.0
    free_s: float = 0.0
    broken: bool = False


class Policy(Protocol):
    """Who decides. Hears of everything that happens."""

    def choose(self, hall: Hall, printer: Printer) -> Job | None:
        """What the printer, which is free and has somebody there, starts now."""

    def arrived(self, hall: Hall, job: Job) -> None: ...

    def ended(self, hall: Hall, printer: Printer, job: Job, ratio: float | None) -> None:
        """A run ended, `ratio` of its estimate long; None where it failed."""

    def changed(self, hall: Hall) -> None:
        """All that happened at this time is told; nothing has been started yet."""


def change_s(before: str, after: str) -> float:
    """A person's work from one filament to another."""
    if before == after:
        return 0.0
    return COLOUR_S if before.partition("-")[0] == after.partition("-")[0] else MATERIAL_S


def open_at(now_s: float) -> bool:
    return SHIFT[0] <= now_s % DAY_S < SHIFT[1]


@dataclass(slots=True)
class Hall:
    """The hall at the time `now_s`. `wanted` are the jobs that have arrived and wait."""

    seed: int
    printers: list[Printer]
    coming: list[Job]
    now_s: float = 0.0
    wanted: dict[int, Job] = field(default_factory=dict)
    done_s: dict[int, float] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)

    def luck(self, job: Job) -> Attempt:
        """Of the job's next attempt."""
        rng = Random(f"{self.seed}:{job.number}:{self.tries.get(job.number, 0)}")
        fails, breaks = rng.random() < FAILS, rng.random() < BREAKS
        ratio = max(0.5, rng.gauss(1.0, NOISE)) * (rng.random() if fails else 1.0)
        repair_h = rng.uniform(*REPAIR_H) if fails and breaks else 0.0
        return Attempt(ratio, fails, repair_h * 3600.0)

    def can_start(self, printer: Printer, job: Job) -> bool:
        """Whether the printer takes the job, and the work before it is done before the shift ends."""
        work_s = CLEAR_S + change_s(printer.setup, job.setup)
        return printer.type in job.seconds and self.now_s % DAY_S + work_s <= SHIFT[1]


def hall(seed: int, machines: int, days: float, load: float) -> Hall:
    """A hall and the jobs that will come, over `days`, to keep it busy to its `load`."""
    rng = Random(seed)
    types = rng.choices(tuple(SPEEDS), (5, 3, 2), k=machines)
    printers = [Printer(f"m{i + 1}", kind, rng.choice(SETUPS)) for i, kind in enumerate(types)]
    present = sorted(set(types))
    jobs: list[Job] = []
    work_s, all_s = 0.0, BUSY * load * machines * days * DAY_S
    while work_s < all_s:
        seconds = 3600.0 * min(30.0, max(0.5, math.exp(rng.gauss(math.log(MEDIAN_H), SPREAD))))
        able = [kind for kind in present if rng.random() < 0.77] or [rng.choice(present)]
        work_s += seconds + CLEAR_S + COLOUR_S
        arrives = rng.uniform(0.0, days * DAY_S)
        due = arrives + seconds + rng.uniform(*SLACK_H) * 3600.0
        weight = rng.choice((1.0, 1.0, 1.0, 2.0, 5.0))
        by_type = {kind: float(round(seconds * SPEEDS[kind])) for kind in able}
        jobs.append(Job(len(jobs), rng.choice(SETUPS), by_type, round(arrives), round(due), weight))
    return Hall(seed, printers, sorted(jobs, key=lambda job: (job.arrives_s, job.number)))


def run(shop: Hall, policy: Policy) -> None:
    """Everything that comes is made, however long it takes."""
    total = len(shop.coming)
    agenda: list[tuple[float, int, int, Printer | Job | None]] = []
    for job in shop.coming:
        heappush(agenda, (job.arrives_s, 0, job.number, job))
    heappush(agenda, (SHIFT[0], 1, -1, None))
    order = total
    lucks: dict[str, Attempt] = {}
    while len(shop.done_s) < total:
        shop.now_s = agenda[0][0]
        while agenda and agenda[0][0] <= shop.now_s:
            _, _, _, what = heappop(agenda)
            if what is None:
                heappush(agenda, (shop.now_s + DAY_S, 1, -1, None))
            elif isinstance(what, Job):
                shop.wanted[what.number] = what
                policy.arrived(shop, what)
            elif what.job is None:
                what.broken, what.free_s = False, shop.now_s
            else:
                order += 1
                luck = lucks.pop(what.name)
                if _end(shop, policy, what, luck):
                    heappush(agenda, (shop.now_s + luck.repair_s, 2, order, what))
        policy.changed(shop)
        for printer in _free(shop):
            chosen = policy.choose(shop, printer)
            if chosen is None:
                continue
            del shop.wanted[chosen.number]
            lucks[printer.name] = luck = shop.luck(chosen)
            shop.tries[chosen.number] = shop.tries.get(chosen.number, 0) + 1
            seconds = chosen.seconds[printer.type]
            printer.job, printer.began_s = (
                chosen,
                shop.now_s + CLEAR_S + change_s(printer.setup, chosen.setup),
            )
            printer.expected_s, printer.setup = printer.began_s + seconds, chosen.setup
            order += 1
            heappush(agenda, (printer.began_s + seconds * luck.ratio, 2, order, printer))


def _free(shop: Hall) -> Iterator[Printer]:
    """The printers that a person can serve now, the one that has waited longest first."""
    if open_at(shop.now_s):
        for printer in sorted(shop.printers, key=lambda p: (p.free_s, p.name)):
            if printer.job is None and not printer.broken:
                yield printer


def _end(shop: Hall, policy: Policy, printer: Printer, luck: Attempt) -> bool:
    """A run ends; whether the machine is broken now."""
    job, printer.job, printer.free_s = printer.job, None, shop.now_s
    assert job is not None
    if luck.fails:
        shop.wanted[job.number] = job
        printer.broken = luck.repair_s > 0.0
    else:
        shop.done_s[job.number] = shop.now_s
    policy.ended(shop, printer, job, None if luck.fails else luck.ratio)
    return printer.broken


def weighted_min(shop: Hall) -> float:
    """The sum of weighted tardiness, in weighted minutes."""
    late = (job.weight * max(0.0, shop.done_s[job.number] - job.due_s) for job in shop.coming)
    return math.fsum(late) / 60.0


def late_share(shop: Hall) -> float:
    return sum(shop.done_s[job.number] > job.due_s for job in shop.coming) / len(shop.coming)
