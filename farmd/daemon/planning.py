"""Replanning: when the state changes, make a plan, have it checked, publish it.

A new plan comes at once: what is left of the last one, with what is new put in, or by rules where there was none.
Better ones follow from whoever improves plans, in its own process, until the next change breaks that off. A result
made from a state that has changed in what matters is dropped. Nothing is published that the checker refuses; the
last good plan stays, and dispatch asks the rules again anyway. Whoever improves may hang, die or lie: that costs
the improvement and nothing else. Work that no plan can hold is left out, with the reason, so that it does not keep
the rest from being made. What takes time with many jobs runs beside the loop, on a copy of the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

import structlog

from farmd.daemon.carry import Ahead, ahead, announced, carried
from farmd.daemon.estimates import Estimates, ended_of
from farmd.daemon.finishing import BEHIND
from farmd.daemon.known_builds import KnownBuilds
from farmd.daemon.ledger import Ledger, Record
from farmd.daemon.planned_names import job_of_part, work_of_run
from farmd.daemon.schedule import EMPTY, Schedule, Step, schedule_of
from farmd.daemon.shop import Shop
from farmd.daemon.snapshot import Snapshot, take_snapshot
from farmd.daemon.usage import Usage
from farmd.driver import now, offload, sleep
from farmd.driver.clock import wait_until
from farmd.model import facts as f
from farmd.model.work import Build, Run
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

    async def quick(self, problem: Problem, incumbent: Plan | None) -> Plan:
        """A plan at once, from what is left of the last one if there is any."""

    def better(self, problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
        """Ever better plans than the incumbent, until nothing is to be gained. It may be broken off."""


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
        self._begun: list[Step] = []
        self._since = 0
        self._improving: asyncio.Task[None] | None = None
        self._estimates = Estimates()
        self._usage = Usage()
        self._known = KnownBuilds()
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
        self._begun.append(step)
        self.schedule = self.schedule.after((step,))

    def learn(self, runs: Iterable[tuple[Run, Build]]) -> None:
        """Take into account runs that are over, the oldest first."""
        for run, build in runs:
            if run.started_at is not None and run.ended_at is not None:
                job = self._ledger.farm.jobs.get(build.items[0].job_id)
                owner = job.owner if job is not None else ""
                self._usage.saw(run.machine, owner, run.ended_at, run.ended_at - run.started_at)
            ended = ended_of(run, build, self._shop.specs.get(run.machine))
            if ended is not None:
                self._estimates.saw(ended)

    def _on_records(self, records: tuple[Record, ...]) -> None:
        self.learn(_run_and_build(record) for record in records if isinstance(record.fact, f.RunEnded))
        if any(isinstance(record.fact, _MAKES_STALE) for record in records):
            self._generation += 1
        if any(not isinstance(record.fact, _TELLS_NOTHING_NEW) for record in records):
            self._dirty.set()

    async def run(self) -> None:
        """Plan on changes, for ever, at most once in `min_interval_s` of the loop's time."""
        wait_s = PERIOD_S
        async with asyncio.TaskGroup() as improving:
            while True:
                await wait_until(self._dirty, now() + wait_s)
                self._dirty.clear()
                if self._improving is not None:
                    self._improving.cancel()
                try:
                    await self._replan(improving)
                    wait_s = PERIOD_S
                except PlannerFailed as failure:
                    self._failed(failure)
                    wait_s = RETRY_S
                await asyncio.sleep(self._min_interval_s)

    def _failed(self, failure: PlannerFailed) -> None:
        self.failures += 1
        log.warning("planner failed", why=str(failure))

    async def _replan(self, improving: asyncio.TaskGroup) -> None:
        generation = self._generation
        snapshot, plan = await self._first_plan()
        if plan is None:
            nothing = Schedule(snapshot.revision, now(), left_out=snapshot.left_out, policy=self._policy)
            self._publish(None, snapshot, nothing)
            return
        self._publish(plan, snapshot, await self._sound(plan, snapshot))
        improvement = self._improve(snapshot, plan, generation)
        self._improving = improving.create_task(improvement, name="improving-plan")

    async def _improve(self, snapshot: Snapshot, plan: Plan, generation: int) -> None:
        """Publish what is better, until nothing is or the state has changed; ask again where that fails."""
        while True:
            try:
                async with aclosing(self._planners.better(snapshot.problem, plan)) as better:
                    async for plan in better:
                        schedule = await self._sound(plan, snapshot)
                        if self._generation != generation:
                            log.debug("dropped a plan of an older state")
                            return
                        self._publish(plan, snapshot, schedule)
                return
            except PlannerFailed as failure:
                self._failed(failure)
                await sleep(RETRY_S)

    async def _first_plan(self) -> tuple[Snapshot, Plan | None]:
        """The first plan that holds something, of as much work as it holds; None when there is none to do."""
        left_out: dict[str, str] = {}
        share = 1.0
        for _ in range(TRIES):
            snapshot, incumbent = await self._look(share, dict(left_out))
            if snapshot.is_empty:
                return snapshot, None
            plan = await self._planners.quick(snapshot.problem, incumbent)
            if plan.status != INFEASIBLE:
                return snapshot, plan
            named = _named(plan.reasons, snapshot)
            left_out |= named
            share = share if named else share / 2
            log.warning("no plan holds all the work", why=plan.reasons[:1], left_out=len(left_out))
        raise PlannerFailed(f"no plan holds any of the work: {'; '.join(plan.reasons[:3])}")

    async def _look(self, share: float, without: dict[str, str]) -> tuple[Snapshot, Plan | None]:
        """The state as it is now, as a problem, and what is left of the last plan."""
        farm, shop, now_s = self._ledger.farm.copy(), self._shop, now()
        learnt, known = self._estimates.learnt(), self._known
        owners = (job.owner for job in farm.jobs.values() if job.owner and not job.is_closed)
        use = self._usage.use(shop.specs, owners, wear_price=shop.wear_price, fair_share=shop.fair_share)
        last, origin_s, schedule = self.plan, self.snapshot.origin_s if self.snapshot else 0.0, self.schedule
        self._since = len(self._begun)

        def look() -> tuple[Snapshot, Plan | None]:
            steps = ahead(last, schedule, origin_s) if last is not None else Ahead()
            snapshot = take_snapshot(
                farm,
                shop,
                now_s,
                announced(steps),
                backlog_share=share,
                without=without,
                learnt=learnt,
                use=use,
                known=known,
            )
            return snapshot, carried(steps, snapshot.problem, snapshot.origin_s)

        return await offload(look)

    async def _sound(self, plan: Plan, snapshot: Snapshot) -> Schedule:
        """The plan in the daemon's terms; raises `PlannerFailed` for one that the checker refuses."""
        made_at = now()

        def judge() -> Schedule | str:
            violations = check(snapshot.problem, plan)
            if violations:
                return f"{violations[0]} ({len(violations)} in all)"
            return schedule_of(plan, snapshot, made_at=made_at, policy=self._policy)

        schedule = await offload(judge)
        if isinstance(schedule, str):
            raise PlannerFailed(f"the checker refuses its plan: {schedule}")
        return schedule

    def _publish(self, plan: Plan | None, snapshot: Snapshot, schedule: Schedule) -> None:
        if snapshot is not self.snapshot:
            # What had begun before the state was looked at is not in the plan any more.
            del self._begun[: self._since]
        self.plan, self.snapshot = plan, snapshot
        self.schedule = schedule.after(self._begun)
        for listener in self._listeners:
            listener()


def _run_and_build(record: Record) -> tuple[Run, Build]:
    """Of a run's end."""
    run = next(entity for entity in record.changed if isinstance(entity, Run))
    return run, next(entity for entity in record.changed if isinstance(entity, Build))


def _named(reasons: Iterable[str], snapshot: Snapshot) -> dict[str, str]:
    """The jobs and builds that the reasons of an infeasible plan begin with, each with its reason."""
    named: dict[str, str] = {}
    known = {build.id for build in snapshot.problem.builds} | {part.id for part in snapshot.problem.parts}
    known |= snapshot.at_stations
    for reason in reasons:
        name, _, why = reason.partition(": ")
        if "#" in name:
            # An operation of a run: `B-12#1/wash`.
            name = work_of_run(name).removesuffix(BEHIND)
        if name in known:
            named.setdefault(job_of_part(name), why)
    return named
