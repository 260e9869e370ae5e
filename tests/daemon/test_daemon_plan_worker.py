"""The planner's process: killed, hanging or answering nonsense, it costs one question and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from farmshop import T0, farm_of, job, machine, shop, spec

from farmd.daemon import planner_process
from farmd.daemon.planner_process import PlannerProcess
from farmd.daemon.planning import PlannerFailed
from farmd.daemon.snapshot import take_snapshot
from farmd.planner import Plan, Problem, Value, check


def problem() -> Problem:
    return take_snapshot(farm_of(machine(), job()), shop(spec()), T0).problem


def worker(budget_s: float = 0.2) -> PlannerProcess:
    return PlannerProcess(policy="plan", budget_s=budget_s, stability_price_s=9000.0)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A worker that runs this program instead."""

    def use(program: str) -> None:
        monkeypatch.setattr(planner_process, "WORKER", (sys.executable, "-S", "-c", program))

    return use


async def test_real_worker_answers_both_questions_and_a_bad_problem_costs_one_answer() -> None:
    planners = worker()
    try:
        quick = await planners.quick(problem())
        assert not check(problem(), quick)
        better = await planners.better(problem(), quick)
        assert better is not None
        assert not check(problem(), better)
        unheard = replace(problem(), machines=())
        with pytest.raises(PlannerFailed):
            await planners.quick(unheard)
        assert planners._process is not None
        pid = planners._process.pid
        assert await planners.quick(problem()) == quick
        assert planners._process.pid == pid, "a bad problem is no reason to start anew"
    finally:
        await planners.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_worker_killed_in_the_middle_of_a_question_is_started_anew_for_the_next(fake: Any) -> None:
    planners = worker()
    fake("import time; input(); time.sleep(60)")
    process = await planners._worker()
    asking = asyncio.create_task(planners.quick(problem()))
    await asyncio.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(PlannerFailed, match="did not answer"):
        await asking
    fake('input(); print(\'{"error": "but alive"}\')')
    with pytest.raises(PlannerFailed, match="but alive"):
        await planners.quick(problem())
    await planners.close()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "not json",
        "17",
        "[]",
        "null",
        "{}",
        '{"plan": 3}',
        '{"plan": {}}',
        '{"plan": {"format": "x"}}',
        "\\xff",
    ],
)
async def test_nonsense_is_a_failure_of_the_planner(answer: str, fake: Any) -> None:
    fake(f"input(); import sys; sys.stdout.buffer.write(b'''{answer}\\n''')")
    planners = worker()
    with pytest.raises(PlannerFailed):
        await planners.quick(problem())
    await planners.close()


async def test_worker_that_hangs_is_given_up(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner_process, "QUICK_TIMEOUT_S", 0.3)
    fake("import time; time.sleep(60)")
    planners = worker()
    with pytest.raises(PlannerFailed, match="did not answer"):
        await planners.quick(problem())
    assert planners._process is None


async def test_question_that_is_cancelled_leaves_no_worker_whose_answer_came_late(fake: Any) -> None:
    fake("import time; time.sleep(60)")
    planners = worker()
    await planners._worker()
    asking = asyncio.create_task(planners.quick(problem()))
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert planners._process is None


async def test_without_a_budget_or_by_a_rule_there_is_nothing_better() -> None:
    for planners in (worker(0.0), PlannerProcess(policy="edd", budget_s=1.0, stability_price_s=9000.0)):
        assert await planners.better(problem(), Plan("infeasible", None, Value(0.0, 0.0, 0, 0.0), ())) is None
        assert planners._process is None
