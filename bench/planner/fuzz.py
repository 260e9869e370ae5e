"""Random farms, random events, and planners that fail in every way: how many published plans does the checker refuse?

The daemon's own planning, fed by facts. Its planner is a worker process, which lives on from farm to farm until it is
killed or stopped at random, and may die at its start or write garbage; or the planner in this process. Either's
answers come late, not at all, spoilt, or are of another problem. A beat on the loop notices whether anything of that
ever holds it up.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from random import Random
from time import perf_counter

import structlog

from bench.planner import goals
from bench.planner.fuzz_farm import Happenings, empty, shop_of, specs_of
from farmd.daemon import planner_process
from farmd.daemon.ledger import Ledger
from farmd.daemon.plan_seats import Children, Seat
from farmd.daemon.planner_process import PlannerProcess, Worker
from farmd.daemon.planning import PlannerFailed, Planning
from farmd.driver.clock import Clock, offload, set_clock
from farmd.planner import Budget, Plan, PlanningErrors, Problem, check, plan
from farmd.planner.warm import made_ready
from farmd.store import Entry

BEGINS_AT = 1_767_600_000.0
REPLANS_A_FARM = 60
PATIENCE_S = 60.0
BEAT_S = 0.005
KILLED_WITHIN_S = 0.02
"""After the question: while it is read, answered, or soon after."""
STOPPED_SHARE = 0.2
"""Of the workers that something is done to, how many are stopped and not killed."""
SPREAD_SEEDS = 1_000_000


class Nowhere:
    """A store that keeps nothing."""

    def commit(self, entries: Sequence[Entry]) -> int:
        return 0


@dataclass(slots=True)
class Tally:
    """What happened. `refused` are published plans that the checker refuses: there should be none."""

    replans: int = 0
    asked: int = 0
    """Questions to worker processes."""
    published: int = 0
    refused: int = 0
    failures: int = 0
    spoilt: int = 0
    killed: int = 0
    stopped: int = 0
    bad_workers: int = 0
    longest_stall_s: float = 0.0

    def add(self, other: Tally) -> None:
        """What happened elsewhere happened too."""
        stall_s = max(self.longest_stall_s, other.longest_stall_s)
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)
        self.longest_stall_s = stall_s


@dataclass(frozen=True, slots=True)
class Rates:
    """`processes`: the share of plans asked of a worker process; `kills`: of these questions, how many kill it;
    `bad`: of the workers' starts."""

    processes: float = 0.5
    kills: float = 0.005
    bad: float = 0.3


HELLO = "import sys, json; print(json.dumps({'ready': True}), flush=True); q = sys.stdin.buffer.readline(); "
BAD_WORKERS = (
    "import sys; sys.exit(3)",
    "print('{')",
    HELLO + "sys.exit(0)",
    HELLO + "sys.stdout.buffer.write(bytes(range(256)) * 50); sys.stdout.flush()",
    HELLO + "print(json.dumps({'question': 10 ** 9, 'bytes': 0}))",
    HELLO + "print(json.dumps({'question': json.loads(q)['question'], 'bytes': 1 << 40}))",
    HELLO
    + "print(json.dumps({'question': json.loads(q)['question'], 'bytes': 0, 'status': 'optimal', 'rows': 0}))",
)
"""Programs that die at their start, or answer with garbage."""


class Seating:
    """Workers as the daemon has them, and bad ones among them."""

    def __init__(self, rng: Random, tally: Tally, bad: float) -> None:
        self._rng, self._tally, self._bad = rng, tally, bad
        self._good = Children()

    async def take(self, *, interpreted: bool = False, warm: bool = False) -> Seat:
        if warm or self._rng.random() >= self._bad:
            return await self._good.take(interpreted=interpreted, warm=warm)
        self._tally.bad_workers += 1
        program = self._rng.choice(BAD_WORKERS)
        return await Children((sys.executable, "-S", "-c", program)).take()


class Mischief:
    """Plans, and does what a planner must not."""

    def __init__(self, rng: Random, tally: Tally, worker: PlannerProcess, rates: Rates) -> None:
        self._rng, self._tally, self._worker, self._rates = rng, tally, worker, rates
        self._before: Plan | None = None

    async def quick(self, problem: Problem, incumbent: Plan | None) -> Plan:
        if self._rng.random() < self._rates.processes:
            self._tally.asked += 1
            async with asyncio.TaskGroup() as group:
                if self._rng.random() < self._rates.kills:
                    group.create_task(self._kill(self._worker.first))
                made = await _settled(self._worker.quick(problem, incumbent))
            if isinstance(made, PlannerFailed):
                raise made
        else:
            made = await self._here(problem, incumbent)
        return self._perhaps_spoilt(made)

    async def better(self, problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan, None]:
        if self._rng.random() < self._rates.processes:
            self._tally.asked += 1
            async with asyncio.TaskGroup() as group:
                if self._rng.random() < self._rates.kills:
                    group.create_task(self._kill(self._worker.improver))
                found = [made async for made in self._worker.better(problem, incumbent)]
            for made in found:
                yield self._perhaps_spoilt(made)
        while self._rng.random() < 0.3:
            yield self._perhaps_spoilt(await self._here(problem, incumbent))

    async def _here(self, problem: Problem, incumbent: Plan | None) -> Plan:
        effort, seed = self._rng.choice((0, 1, 20)), self._rng.randrange(1000)
        try:
            return await offload(
                lambda: plan(problem, budget=Budget(effort=effort), seed=seed, incumbent=incumbent)
            )
        except PlanningErrors as error:
            raise PlannerFailed(str(error)) from error

    async def _kill(self, worker: Worker) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, KILLED_WITHIN_S))
        if worker.pid is not None:
            try:
                if self._rng.random() < STOPPED_SHARE:
                    os.kill(worker.pid, signal.SIGSTOP)
                    self._tally.stopped += 1
                else:
                    os.kill(worker.pid, signal.SIGKILL)
                    self._tally.killed += 1
            except ProcessLookupError:
                return

    def _perhaps_spoilt(self, made: Plan) -> Plan:
        before, self._before = self._before, made
        if self._rng.random() >= 0.1 or not made.assignments:
            return made
        self._tally.spoilt += 1
        some = list(made.assignments)
        i = self._rng.randrange(len(some))
        match self._rng.randrange(6):
            case 0 if before is not None:
                return before
            case 1:
                some[i] = replace(some[i], start_s=some[i].start_s - 500.0, end_s=some[i].end_s - 500.0)
            case 2:
                del some[i]
            case 3:
                some.append(some[i])
            case 4:
                some[i] = replace(some[i], machine=some[-1].machine, end_s=some[i].end_s + 50.0)
            case _:
                return replace(made, value=replace(made.value, weighted_tardiness_s=-1e6))
        return replace(made, assignments=tuple(some))


async def _settled(asked: object) -> Plan | PlannerFailed:
    try:
        return await asked  # type: ignore[misc,no-any-return]
    except PlannerFailed as failure:
        return failure


async def one_farm(seed: int, tally: Tally, worker: PlannerProcess, rates: Rates, replans: int) -> None:
    """A farm's life of so many replans."""
    rng = Random(seed)
    shop = shop_of(rng, specs_of(rng), BEGINS_AT)
    loop = asyncio.get_running_loop()
    wall_s = BEGINS_AT
    set_clock(loop, Clock(wall_s, loop.time()))
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(Nowhere(), empty(), writer)
        planners = Mischief(rng, tally, worker, rates)
        planning = Planning(ledger, shop, planners, policy="plan", min_interval_s=0.0)
        settled = asyncio.Event()

        def published() -> None:
            tally.published += 1
            snapshot, made = planning.snapshot, planning.plan
            if made is not None and (snapshot is None or check(snapshot.problem, made)):
                tally.refused += 1
            settled.set()

        planning.on_publish(published)
        happenings = Happenings(ledger, shop, rng)
        happenings.begin()
        tasks = [asyncio.create_task(ledger.run()), asyncio.create_task(planning.run())]
        try:
            for _ in range(replans):
                failures = planning.failures
                deadline = loop.time() + PATIENCE_S
                while not settled.is_set() and planning.failures == failures and loop.time() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                tally.failures += planning.failures - failures
                tally.replans += 1
                settled.clear()
                wall_s += rng.choice((0.0, 60.0, 1800.0, 14400.0))
                set_clock(loop, Clock(wall_s, loop.time()))
                happenings.happen(planning.schedule)
                planning.ask()
                await asyncio.sleep(0)
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
                    raise ended


async def fuzz(replans: int, first_seed: int, rates: Rates, seconds: float = math.inf) -> Tally:
    """So many replans, farm by farm, or as many as there is time for."""
    tally = Tally()
    # A stopped worker is given up after as long as it takes; here that is time lost.
    planner_process.QUICK_TIMEOUT_S = planner_process.OVERTIME_S = 1.0
    planner_process.START_TIMEOUT_S = 10.0
    planner_process.QUICK_S = 0.003
    seats = Seating(Random(first_seed), tally, rates.bad)
    worker = PlannerProcess(policy="plan", budget_s=0.05, stability_price_s=9000.0, seats=seats)
    beating = asyncio.create_task(_beat(tally))
    began, seed = perf_counter(), first_seed
    told = 0
    try:
        while tally.replans < replans and perf_counter() < began + seconds:
            await one_farm(seed, tally, worker, rates, min(REPLANS_A_FARM, replans - tally.replans))
            seed += 1
            if tally.replans >= told + 5000:
                told = tally.replans
                print(f"  {tally}, {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        beating.cancel()
        await worker.close()
        # Pipes of killed workers close in the loop's next turns, and not after its end.
        await asyncio.sleep(0.1)
    return tally


async def _beat(tally: Tally) -> None:
    """Note by how much the loop is late at most."""
    while True:
        began = perf_counter()
        await asyncio.sleep(BEAT_S)
        tally.longest_stall_s = max(tally.longest_stall_s, perf_counter() - began - BEAT_S)


def portion(replans: int, rates: Rates, seconds: float, first_seed: int) -> Tally:
    """In a process of its own."""
    structlog.configure(processors=[_drop])
    made_ready()
    return asyncio.run(fuzz(replans, first_seed, rates, seconds))


def main(arguments: list[str]) -> None:
    """Read the arguments and fuzz."""
    usual = Rates()
    parser = argparse.ArgumentParser(prog="python -m bench.planner fuzz", description=__doc__)
    parser.add_argument("--replans", type=int, default=2_000)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no farm after so long")
    parser.add_argument("--processes", type=float, default=usual.processes, help="share asked of a worker")
    parser.add_argument("--kills", type=float, default=usual.kills, help="of the questions to workers")
    parser.add_argument("--bad", type=float, default=usual.bad, help="of the workers' starts")
    parser.add_argument("--jobs", type=int, default=2, help="farms at a time, each with its own workers")
    given = parser.parse_args(arguments)
    began = perf_counter()
    rates = Rates(given.processes, given.kills, given.bad)
    some = partial(portion, -(-given.replans // given.jobs), rates, given.seconds)
    seeds = [given.first_seed + i * SPREAD_SEEDS for i in range(given.jobs)]
    tally = Tally()
    with ProcessPoolExecutor(given.jobs) as pool:
        for each in pool.map(some, seeds):
            tally.add(each)
    print(
        f"{tally.replans} replans in {perf_counter() - began:.0f} s, seeds from {seeds}, {tally.asked} questions to "
        f"workers: {tally.published} plans published, "
        f"{tally.refused} of them refused by the checker; {tally.spoilt} answers spoilt, {tally.killed} workers "
        f"killed, {tally.stopped} stopped, {tally.bad_workers} bad from their start, {tally.failures} replans that "
        f"kept the plan before; the loop was held up for at most {1000 * tally.longest_stall_s:.0f} ms"
    )
    goals.told(f"plans refused by the checker in {tally.replans:,} fuzzed replans", tally.refused, 0)


def _drop(logger: object, name: str, event: object) -> str:
    raise structlog.DropEvent
