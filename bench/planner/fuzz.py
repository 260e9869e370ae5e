"""Random farms, random events, and planners that fail in every way: how many published plans does the checker refuse?

The daemon's own planning, fed by facts. Its planner is a worker process that is killed at random, or the planner
in this process; and either's answers come late, not at all, spoilt, or are of another problem.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from time import perf_counter

import structlog

from bench.planner.fuzz_farm import Happenings, empty, shop_of, specs_of
from farmd.daemon.ledger import Ledger
from farmd.daemon.planner_process import PlannerProcess, Worker
from farmd.daemon.planning import PlannerFailed, Planning
from farmd.driver.clock import Clock, offload, set_clock
from farmd.planner import Budget, Plan, PlanningErrors, Problem, check, plan
from farmd.planner.warm import made_ready
from farmd.store import Entry

BEGINS_AT = 1_767_600_000.0
REPLANS_A_FARM = 60
PATIENCE_S = 60.0


class Nowhere:
    """A store that keeps nothing."""

    def commit(self, entries: Sequence[Entry]) -> int:
        return 0


@dataclass(slots=True)
class Tally:
    """What happened. `refused` are published plans that the checker refuses: there should be none."""

    replans: int = 0
    published: int = 0
    refused: int = 0
    failures: int = 0
    spoilt: int = 0
    killed: int = 0


class Mischief:
    """Plans, and does what a planner must not."""

    def __init__(self, rng: Random, tally: Tally, worker: PlannerProcess, processes: float) -> None:
        self._rng, self._tally, self._worker, self._processes = rng, tally, worker, processes
        self._before: Plan | None = None

    async def quick(self, problem: Problem, incumbent: Plan | None) -> Plan:
        if self._rng.random() < self._processes:
            async with asyncio.TaskGroup() as group:
                if self._rng.random() < 0.3:
                    group.create_task(self._kill(self._worker.first))
                made = await _settled(self._worker.quick(problem, incumbent))
            if isinstance(made, PlannerFailed):
                raise made
        else:
            made = await self._here(problem, incumbent)
        return self._perhaps_spoilt(made)

    async def better(self, problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan, None]:
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
        await asyncio.sleep(self._rng.uniform(0.0, 0.05))
        if worker.pid is not None:
            try:
                os.kill(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            self._tally.killed += 1

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


async def one_farm(seed: int, tally: Tally, worker: PlannerProcess, processes: float, replans: int) -> None:
    """A farm's life of so many replans."""
    rng = Random(seed)
    shop = shop_of(rng, specs_of(rng), BEGINS_AT)
    loop = asyncio.get_running_loop()
    wall_s = BEGINS_AT
    set_clock(loop, Clock(wall_s, loop.time()))
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(Nowhere(), empty(), writer)
        planners = Mischief(rng, tally, worker, processes)
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


async def fuzz(replans: int, first_seed: int, processes: float) -> Tally:
    """So many replans, farm by farm."""
    tally = Tally()
    worker = PlannerProcess(policy="plan", budget_s=0.2, stability_price_s=9000.0)
    began, seed = perf_counter(), first_seed
    told = 0
    try:
        while tally.replans < replans:
            await one_farm(seed, tally, worker, processes, min(REPLANS_A_FARM, replans - tally.replans))
            seed += 1
            if tally.replans >= told + 5000:
                told = tally.replans
                print(f"  {tally}, {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        await worker.close()
    return tally


def main(arguments: list[str]) -> None:
    """Read the arguments and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m bench.planner fuzz", description=__doc__)
    parser.add_argument("--replans", type=int, default=2_000)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--processes", type=float, default=0.02, help="share asked of a worker process")
    given = parser.parse_args(arguments)
    structlog.configure(processors=[_drop])
    made_ready()
    began = perf_counter()
    tally = asyncio.run(fuzz(given.replans, given.first_seed, given.processes))
    print(
        f"{tally.replans} replans in {perf_counter() - began:.0f} s: {tally.published} plans published, "
        f"{tally.refused} of them refused by the checker; {tally.spoilt} answers spoilt, {tally.killed} workers "
        f"killed, {tally.failures} replans that kept the plan before"
    )


def _drop(logger: object, name: str, event: object) -> str:
    raise structlog.DropEvent
