"""Replanning: when the state changes, make a plan, have it checked, publish it.

A greedy plan comes at once; a better one follows from whoever improves plans, in its own process
and its own time. A result made from a state that has changed in what matters is dropped. Nothing
is published that the checker refuses; the last good plan stays, and dispatch asks the rules again
anyway. Whoever improves may hang, die or lie: that costs the improvement and nothing else. Work
that no plan can hold is left out, with the reason, so that it does not keep the rest from being made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from farmd.daemon.ledger import Ledger, Record
from farmd.daemon.schedule import EMPTY, Schedule, Step, schedule_of
from farmd.daemon.shop import Shop
from farmd.daemon.snapshot import Snapshot, job_of_part, take_snapshot
from farmd.driver import now
from farmd.driver.clock import wait_until
from farmd.model import facts as f
from farmd.planner.check import check
from farmd.planner.plans import Plan
from farmd.planner.problem import Problem

PERIOD_S = 1800.0
"""Plan anew at least this often, because time itself changes what is best (shop seconds)."""
RETRY_S = 30.0
"""Ask again this long after the planner failed (shop seconds)."""
TRIES = 8
"""How often less is asked for until a plan holds it."""

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

INFEASIBLE = "infeasible"

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
        self._begun: set[str] = set()
        self._listeners: list[Callable[[], None]] = []
        ledger.subscribe(self._on_records)

    def on_publish(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every published plan."""
        self._listeners.append(listener)

    def ask(self) -> None:
        """Plan anew soon."""
        self._dirty.set()

    def begin(self, step: Step) -> None:
        """A step of the published plan is being started: it is no longer ahead."""
        self._begun.add(step.run_name)
        self.schedule = self.schedule.without((step.run_name,))

    def _on_records(self, records: tuple[Record, ...]) -> None:
        if any(isinstance(record.fact, _MAKES_STALE) for record in records):
            self._generation += 1
        if any(not isinstance(record.fact, _TELLS_NOTHING_NEW) for record in records):
            self._dirty.set()

    async def run(self) -> None:
        """Plan on changes, for ever, at most once in `min_interval_s` of the loop's time."""
        wait_s = PERIOD_S
        while True:
            await wait_until(self._dirty, now() + wait_s)
            self._dirty.clear()
            try:
                await self._replan()
                wait_s = PERIOD_S
            except PlannerFailed as failure:
                self.failures += 1
                log.warning("planner failed", why=str(failure))
                wait_s = RETRY_S
            await asyncio.sleep(self._min_interval_s)

    async def _replan(self) -> None:
        generation = self._generation
        snapshot, plan = await self._first_plan()
        self.snapshot = snapshot
        if plan is None:
            self._publish(None, snapshot)
            return
        self._require_sound(plan, snapshot)
        self._publish(plan, snapshot)
        better = await self._planners.better(snapshot.problem, plan)
        if better is None or better == plan:
            return
        self._require_sound(better, snapshot)
        if self._generation != generation:
            log.debug("dropped a plan of an older state")
        elif better.status != INFEASIBLE:
            self._publish(better, snapshot)

    async def _first_plan(self) -> tuple[Snapshot, Plan | None]:
        """The first plan that holds something, of as much work as it holds; None when there is none to do."""
        left_out: dict[str, str] = {}
        share = 1.0
        for _ in range(TRIES):
            self._begun.clear()
            snapshot = take_snapshot(
                self._ledger.farm, self._shop, now(), self._announced(), backlog_share=share, without=left_out
            )
            if snapshot.is_empty:
                return snapshot, None
            plan = await self._planners.quick(snapshot.problem)
            if plan.status != INFEASIBLE:
                return snapshot, plan
            named = _named(plan.reasons, snapshot)
            left_out |= named
            share = share if named else share / 2
            log.warning("no plan holds all the work", why=plan.reasons[:1], left_out=len(left_out))
        raise PlannerFailed(f"no plan holds any of the work: {'; '.join(plan.reasons[:3])}")

    def _announced(self) -> list[tuple[str, str, float]]:
        """The next step of each machine, as people were told."""
        first = [steps[0] for steps in self.schedule.steps.values() if steps]
        return [(step.run_name, step.machine, step.start_at) for step in first if step.work is not None]

    def _require_sound(self, plan: Plan, snapshot: Snapshot) -> None:
        """Raises `PlannerFailed` for a plan that the checker refuses."""
        violations = check(snapshot.problem, plan)
        if violations:
            raise PlannerFailed(f"the checker refuses its plan: {violations[0]} ({len(violations)} in all)")

    def _publish(self, plan: Plan | None, snapshot: Snapshot) -> None:
        self.plan = plan
        if plan is None:
            self.schedule = Schedule(
                snapshot.revision, now(), left_out=snapshot.left_out, policy=self._policy
            )
        else:
            schedule = schedule_of(plan, snapshot, made_at=now(), policy=self._policy)
            # A start may have come while the plan was being made.
            self.schedule = schedule.without(self._begun)
        for listener in self._listeners:
            listener()


def _named(reasons: Iterable[str], snapshot: Snapshot) -> dict[str, str]:
    """The jobs and builds that the reasons of an infeasible plan begin with, each with its reason."""
    named: dict[str, str] = {}
    known = {build.id for build in snapshot.problem.builds} | {part.id for part in snapshot.problem.parts}
    for reason in reasons:
        name, _, why = reason.partition(": ")
        if name in known:
            named.setdefault(job_of_part(name), why)
    return named
