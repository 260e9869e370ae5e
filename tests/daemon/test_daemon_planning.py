"""Replanning: what is published, what is dropped, and what a planner that fails can cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from farmshop import T0, MemoryStore, farm_of, job, machine, powder, powder_job, shop, spec, warped

from farmd.daemon.ledger import Ledger
from farmd.daemon.planning import PERIOD_S, RETRY_S, PlannerFailed, Planning
from farmd.model import facts as f
from farmd.model.farm import Farm
from farmd.planner import Budget, Plan, Problem, Value, check, measure, plan

WHO = {"at": T0, "actor": "anna"}
HOUR = 3600.0


def solved(problem: Problem, seed: int = 1) -> Plan:
    return plan(problem, budget=Budget(effort=1), seed=seed)


def infeasible(*reasons: str) -> Plan:
    return Plan("infeasible", None, Value(0.0, 0.0, 0, 0.0), (), reasons)


class Scripted:
    """Plans well, unless told otherwise for the next questions."""

    def __init__(self) -> None:
        self.asked: list[Problem] = []
        self.given: list[Plan | None] = []
        self.next: list[Callable[[Problem], Plan]] = []
        self.improve: Callable[[Problem, Plan], AsyncGenerator[Plan]] | None = None

    async def quick(self, problem: Problem, incumbent: Plan | None) -> Plan:
        self.asked.append(problem)
        self.given.append(incumbent)
        return self.next.pop(0)(problem) if self.next else solved(problem)

    async def better(self, problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
        if self.improve is not None:
            async for plan in self.improve(problem, incumbent):
                yield plan


def failing(problem: Problem) -> Plan:
    raise PlannerFailed("no")


@asynccontextmanager
async def planning(
    farm: Farm, *specs: Any, **of_shop: Any
) -> AsyncIterator[tuple[Planning, Scripted, Ledger]]:
    planners = Scripted()
    with ThreadPoolExecutor(1) as writer:
        ledger = Ledger(MemoryStore(), farm, writer)
        made = Planning(
            ledger, shop(*(specs or (spec(),)), **of_shop), planners, policy="plan", min_interval_s=5.0
        )
        tasks = [asyncio.create_task(made.run()), asyncio.create_task(ledger.run())]
        yield made, planners, ledger
        for task in tasks:
            task.cancel()
        for done in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(done, asyncio.CancelledError), done


def names(made: Planning) -> list[str]:
    return [step.run_name for step in made.schedule.all_steps()]


# --- when -------------------------------------------------------------------------------------


@warped
async def test_plan_is_made_at_once_and_on_changes_not_oftener_than_allowed() -> None:
    async with planning(farm_of(machine(), job(quantity=2))) as (made, planners, ledger):
        told: list[int] = []
        made.on_publish(lambda: told.append(made.schedule.revision))
        await asyncio.sleep(0.1)
        assert names(made) == ["J-1#1", "J-1#2"]
        for number in range(10):
            ledger.record(f.JobEdited(**WHO, job_id="J-1", quantity=3 + number))
        await asyncio.sleep(4.0)
        assert len(planners.asked) == 1
        await asyncio.sleep(2.0)
        assert len(planners.asked) == 2
        assert len(names(made)) == 12
        assert told == [7, 17]


@warped
async def test_facts_that_follow_the_plan_ask_for_no_new_one_but_time_does() -> None:
    async with planning(farm_of(machine(), job())) as (_, planners, ledger):
        await asyncio.sleep(10.0)
        ledger.record(f.PermitVoided(**WHO, machine="m1", reason="x"))
        await asyncio.sleep(60.0)
        assert len(planners.asked) == 1
        await asyncio.sleep(PERIOD_S)
        assert len(planners.asked) == 2


@warped
async def test_nothing_to_make_is_an_empty_plan_without_a_question() -> None:
    async with planning(farm_of(machine(), job(group="core"))) as (made, planners, _):
        await asyncio.sleep(1.0)
        assert planners.asked == []
        assert made.plan is None
        assert made.schedule.left_out == {"J-1": "no machine that can make it is available"}


@warped
async def test_next_steps_are_announced_to_the_next_plan_and_it_begins_from_what_is_left() -> None:
    async with planning(farm_of(machine(), job(quantity=4))) as (made, planners, ledger):
        await asyncio.sleep(1.0)
        assert planners.given == [None]
        first, second, third, _ = made.schedule.steps["m1"]
        made.begin(first)
        ledger.record(f.JobEdited(**WHO, job_id="J-1", quantity=3))
        await asyncio.sleep(10.0)
        told = planners.asked[1].announced
        assert [(a.id, a.machine) for a in told] == [("J-1#1", "m1"), ("J-1#2", "m1")]
        origin_s = made.snapshot.origin_s  # type: ignore[union-attr]
        assert told[0].start_s == pytest.approx(second.start_at - origin_s)
        incumbent = planners.given[1]
        assert incumbent is not None
        assert [a.build for a in incumbent.assignments] == ["J-1#1", "J-1#2", "J-1#3"]
        assert incumbent.assignments[1].start_s == pytest.approx(third.start_at - origin_s)


# --- better plans -----------------------------------------------------------------------------


@pytest.mark.parametrize("stale", [False, True])
@warped
async def test_better_plan_is_published_unless_it_is_of_an_older_state(stale: bool) -> None:
    async with planning(farm_of(machine(), machine("m2"), job()), spec(), spec("m2")) as (
        made,
        planners,
        ledger,
    ):

        async def improve(problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
            await asyncio.sleep(2.0)
            planners.improve = None
            yield an_hour_later(problem, incumbent)

        planners.improve = improve
        await asyncio.sleep(1.0)
        quick = made.schedule
        change = f.JobHeld(**WHO, job_id="J-1") if stale else f.PermitVoided(**WHO, machine="m1", reason="x")
        ledger.record(change)
        await asyncio.sleep(2.0)
        assert (made.schedule == quick) is stale


def an_hour_later(problem: Problem, changed: Plan) -> Plan:
    """The plan, each step an hour later, with the value that the checker measures for it."""
    later = tuple(
        replace(
            step,
            start_s=step.start_s + HOUR,
            end_s=step.end_s + HOUR,
            operator_start_s=None if step.operator_start_s is None else step.operator_start_s + HOUR,
        )
        for step in changed.assignments
    )
    found = replace(changed, assignments=later, status="feasible", bound=None)
    found = replace(found, value=measure(problem, found))
    assert not check(problem, found)
    return found


@warped
async def test_step_that_begins_while_a_better_plan_is_made_is_not_ahead_in_it() -> None:
    async with planning(farm_of(machine(), job(quantity=3))) as (made, planners, _):

        async def improve(problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
            await asyncio.sleep(2.0)
            yield replace(incumbent, bound=0.0, status="feasible")

        planners.improve = improve
        await asyncio.sleep(1.0)
        made.begin(made.schedule.steps["m1"][0])
        assert names(made) == ["J-1#2", "J-1#3"]
        await asyncio.sleep(2.0)
        assert names(made) == ["J-1#2", "J-1#3"]
        made.ask()
        await asyncio.sleep(4.0)
        assert len(planners.asked) == 2
        assert len(names(made)) == 3, "the next snapshot knows by itself what has begun"


@warped
async def test_plans_get_better_until_a_change_breaks_that_off() -> None:
    async with planning(farm_of(machine(), job())) as (made, planners, ledger):
        ended: list[str] = []

        async def improve(problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
            try:
                while True:
                    await asyncio.sleep(1.0)
                    incumbent = an_hour_later(problem, incumbent)
                    yield incumbent
            finally:
                ended.append("broken off")

        planners.improve = improve
        await asyncio.sleep(3.5)
        origin_s = made.snapshot.origin_s  # type: ignore[union-attr]
        first = planners.asked[0].now_s + origin_s
        assert made.schedule.steps["m1"][0].start_at == pytest.approx(first + 3 * HOUR + 300.0)
        ledger.record(f.JobEdited(**WHO, job_id="J-1", priority=2.0))
        await asyncio.sleep(0.1)
        assert not ended, "not before it is planned anew"
        planners.improve = None
        await asyncio.sleep(5.0)
        assert ended == ["broken off"]
        assert len(planners.asked) == 2


# --- planners that fail -----------------------------------------------------------------------


def overlapping(problem: Problem) -> Plan:
    good = solved(problem)
    return replace(good, assignments=tuple(replace(a, start_s=0.0, end_s=HOUR) for a in good.assignments))


@pytest.mark.parametrize("wrong", [failing, overlapping])
@warped
async def test_planner_that_fails_or_lies_leaves_the_old_plan_and_is_asked_again(wrong: Any) -> None:
    async with planning(farm_of(machine(), job())) as (made, planners, ledger):
        await asyncio.sleep(1.0)
        old = made.schedule
        planners.next = [wrong]
        ledger.record(f.JobEdited(**WHO, job_id="J-1", quantity=9))
        await asyncio.sleep(10.0)
        assert made.schedule is old
        assert made.failures == 1
        await asyncio.sleep(RETRY_S)
        assert len(names(made)) == 9


@warped
async def test_better_plan_that_is_wrong_is_not_published() -> None:
    async with planning(farm_of(machine(), job())) as (made, planners, _):

        async def lie(problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
            planners.improve = None
            yield overlapping(problem)

        planners.improve = lie
        await asyncio.sleep(1.0)
        assert made.failures == 1
        assert len(names(made)) == 4


# --- work that no plan holds ------------------------------------------------------------------


@warped
async def test_work_that_fits_no_window_is_left_out_and_the_rest_is_made() -> None:
    """One job whose preparation is longer than any shift must not stop the shop."""

    def windows(begin: float, end: float) -> dict:
        return {"day": [(T0 + day * 86400.0, T0 + day * 86400.0 + 600.0) for day in range(14)]}

    farm = farm_of(machine(), machine("m2"), job(quantity=2), job("J-2", material="PETG"))
    async with planning(
        farm, spec(), spec("m2"), people={"day": 1}, windows=windows, clear_s=300.0, changeover_s=900.0
    ) as (made, planners, _):
        await asyncio.sleep(1.0)
        assert {step.work for step in made.schedule.all_steps()} == {"J-1"}
        assert "no window" in made.schedule.left_out["J-2"]
        assert len(planners.asked) == 2


@warped
async def test_more_work_than_the_people_can_do_is_planned_as_far_as_it_goes() -> None:
    def windows(begin: float, end: float) -> dict:
        return {"day": [(T0, T0 + 3 * HOUR)]}

    jobs = [job(f"J-{n}", quantity=10, duration_s=1800.0, due_at=T0 + n * HOUR) for n in range(9)]
    machines = [machine(f"m{n}") for n in range(4)]
    async with planning(
        farm_of(*machines, *jobs),
        *(spec(f"m{n}") for n in range(4)),
        people={"day": 1},
        windows=windows,
        clear_s=600.0,
        horizon_s=20 * HOUR,
    ) as (made, planners, _):
        await asyncio.sleep(1.0)
        assert made.failures == 0
        assert 1 < len(planners.asked) <= 8
        assert 4 <= len(names(made)) <= 18
        assert "J-0" in {step.work for step in made.schedule.all_steps()}
        assert made.schedule.left_out["J-8"].startswith("later")


@warped
async def test_shop_without_people_has_no_plan_and_goes_on_asking() -> None:
    nobody: dict[str, Any] = {"people": {"day": 0}, "windows": lambda begin, end: {"day": []}}
    async with planning(farm_of(machine(), job()), **nobody) as (made, _, _):
        await asyncio.sleep(1.0)
        assert names(made) == []
        assert "no window" in made.schedule.left_out["J-1"]


@warped
async def test_reasons_of_powder_parts_leave_out_their_job() -> None:
    farm = farm_of(machine("sls"), powder_job("J-1"), powder_job("J-2"))
    async with planning(farm, powder()) as (made, planners, _):
        planners.next = [lambda problem: infeasible("J-2/1x1: too far", "J-2/2x1: too far", "nobody: knows")]
        await asyncio.sleep(1.0)
        assert made.schedule.left_out == {"J-2": "too far"}
        (batch,) = made.schedule.all_steps()
        assert [job_id for job_id, _ in batch.items] == ["J-1"]


@warped
async def test_planner_that_calls_everything_impossible_has_failed() -> None:
    async with planning(farm_of(machine(), job())) as (made, planners, _):
        planners.next = [lambda problem: infeasible("so it is")] * 8
        await asyncio.sleep(1.0)
        assert made.failures == 1
        assert len(planners.asked) == 8
