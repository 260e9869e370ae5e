"""Replanning: when the state changes, make a plan, have it checked, publish it.

A greedy plan comes at once; a better one follows from whoever improves plans, in its own process
and its own time. A result made from a state that has changed in what matters is dropped. Nothing
is published that the checker refuses; the last good plan stays, and dispatch asks the rules again
anyway. Whoever improves may hang, die or lie: that costs the improvement and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from farmd.daemon.ledger import Ledger, Record
from farmd.daemon.schedule import EMPTY, Schedule, schedule_of
from farmd.daemon.shop import Shop
from farmd.daemon.snapshot import Snapshot, take_snapshot
from farmd.driver import now
from farmd.model import facts as f
from farmd.planner.check import check
from farmd.planner.plans import Plan
from farmd.planner.problem import Problem

PERIOD_S = 1800.0
"""Plan anew at least this often, because time itself changes what is best (shop seconds)."""

_TELLS_NOTHING_NEW = (
    f.DaemonStopped,
    f.FileStored,
    f.RunSent,
    f.RunStarted,
    f.RunPaused,
    f.RunResumed,
    f.PermitVoided,
    f.RunIntended,
    f.BuildQueued,
)
"""Facts that follow the plan, or change nothing that a plan is made of."""

_MAKES_STALE = (
    f.JobSubmitted,
    f.JobEdited,
    f.JobHeld,
    f.JobReleased,
    f.JobCancelled,
    f.MachineLost,
    f.MachineFaulted,
    f.MachineHeld,
    f.ForeignRunStarted,
    f.MaterialLoaded,
)
"""Facts after which a plan made from an earlier state is not worth publishing."""

log = structlog.get_logger("planning")


class Planners(Protocol):
    """Who makes plans. Both raise nothing but `PlannerFailed`."""

    async def quick(self, problem: Problem) -> Plan: ...

    async def better(self, problem: Problem, incumbent: Plan) -> Plan | None:
        """A plan that may be better than the incumbent, or None when there is nothing to gain."""


class PlannerFailed(Exception):
    """The planner did not answer, or not with a plan."""


class Planning:
    """Keeps the published schedule current."""

    def __init__(
        self, ledger: Ledger, shop: Shop, planners: Planners, *, policy: str, min_interval_s: float
    ) -> None:
        self.schedule: Schedule = EMPTY
        self.snapshot: Snapshot | None = None
        self.plan: Plan | None = None
        self.failures = 0
        self._ledger = ledger
        self._shop = shop
        self._planners = planners
        self._policy = policy
        self._min_interval_s = min_interval_s
        self._dirty = asyncio.Event()
        self._dirty.set()
        self._generation = 0
        self._listeners: list[Callable[[], None]] = []
        ledger.subscribe(self._on_records)

    def on_publish(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every published plan."""
        self._listeners.append(listener)

    def _on_records(self, records: tuple[Record, ...]) -> None:
        if any(isinstance(record.fact, _MAKES_STALE) for record in records):
            self._generation += 1
        if any(not isinstance(record.fact, _TELLS_NOTHING_NEW) for record in records):
            self._dirty.set()

    async def run(self) -> None:
        """Plan on changes, for ever, at most once in `min_interval_s` of the loop's time."""
        while True:
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._dirty.wait()
            except TimeoutError:
                log.debug("planning anew because time has passed")
            self._dirty.clear()
            await self._replan()
            await asyncio.sleep(self._min_interval_s)

    async def _replan(self) -> None:
        farm = self._ledger.farm
        snapshot = take_snapshot(farm, self._shop, now(), self._announced())
        self.snapshot = snapshot
        if snapshot.is_empty:
            self._publish(None, snapshot)
            return
        generation = self._generation
        try:
            plan = await self._planners.quick(snapshot.problem)
            if not self._accept(plan, snapshot):
                return
            better = await self._planners.better(snapshot.problem, plan)
        except PlannerFailed as failure:
            self.failures += 1
            log.warning("planner failed", why=str(failure))
            return
        if better is None or better == plan:
            return
        if self._generation != generation:
            log.debug("dropped a plan of an older state")
            return
        self._accept(better, snapshot)

    def _announced(self) -> list[tuple[str, str, float]]:
        """The next step of each machine, as people were told."""
        first = [steps[0] for steps in self.schedule.steps.values() if steps]
        return [(step.run_name, step.machine, step.start_at) for step in first if step.work is not None]

    def _accept(self, plan: Plan, snapshot: Snapshot) -> bool:
        violations = check(snapshot.problem, plan)
        if violations:
            self.failures += 1
            log.error("plan refused by the checker", first=str(violations[0]), count=len(violations))
            return False
        self._publish(plan, snapshot)
        return True

    def _publish(self, plan: Plan | None, snapshot: Snapshot) -> None:
        self.plan = plan
        if plan is None:
            self.schedule = Schedule(
                snapshot.revision, now(), left_out=snapshot.left_out, policy=self._policy
            )
        else:
            self.schedule = schedule_of(plan, snapshot, made_at=now(), policy=self._policy)
        for listener in self._listeners:
            listener()
