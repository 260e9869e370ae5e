"""The planner's processes: killed, hanging, late, flooding or lying, they cost one question and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest
from farmshop import T0, farm_of, job, machine, shop, spec

from farmd.daemon import plan_seats, planner_process
from farmd.daemon.planner_process import PlannerProcess
from farmd.daemon.planning import PlannerFailed
from farmd.daemon.snapshot import take_snapshot
from farmd.planner import Plan, Problem, Value, check
from farmd.planner.generate import fdm_shop

NOTHING = Plan("infeasible", None, Value(0.0, 0.0, 0, 0.0), ())
HELLO = "import sys, json, time; print('{\"ready\": true}', flush=True); stdin = sys.stdin.buffer; "
ASKED = HELLO + "head = json.loads(stdin.readline()); "
"""A worker that has read the head of a question, and what it asks."""
SAY = "say = lambda text: (sys.stdout.buffer.write(text), sys.stdout.flush()); "
PLAN = (
    'plan = dict(question=head["question"], bytes=0, status="feasible", bound=None, reasons=[], '
    "conflicts=[], proved=False, rows=0, batches=[], "
    "value=dict(weighted_tardiness_s=0, makespan_s=0, changeovers=0, operator_s=0)); "
)


def problem() -> Problem:
    return take_snapshot(farm_of(machine(), job()), shop(spec()), T0).problem


@asynccontextmanager
async def worker(budget_s: float = 0.2, policy: str = "plan") -> AsyncIterator[PlannerProcess]:
    planners = PlannerProcess(policy=policy, budget_s=budget_s, stability_price_s=9000.0)
    try:
        yield planners
    finally:
        await planners.close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Workers that run this program instead, and have nothing to compile."""
    monkeypatch.setattr(planner_process, "START_WAIT_S", 0.0)

    def use(program: str) -> None:
        monkeypatch.setattr(plan_seats, "WORKER", (sys.executable, "-S", "-c", program))

    return use


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60.0):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_real_workers_answer_both_questions_and_a_bad_problem_costs_one_answer() -> None:
    async with worker() as planners:
        quick = await planners.quick(problem(), None)
        assert not check(problem(), quick)
        found = [plan async for plan in planners.better(problem(), quick)]
        for better in found:
            assert not check(problem(), better)
        # Until the search was compiled the first worker did without; now it is another.
        await planners.quick(problem(), quick)
        pids = planners.first.pid, planners.improver.pid
        assert None not in pids
        assert len(set(pids)) == 2
        unheard = replace(problem(), builds=(replace(problem().builds[0], release_s="x"),))  # type: ignore[arg-type]
        with pytest.raises(PlannerFailed, match="Error"):
            await planners.quick(unheard, None)
        assert not check(problem(), await planners.quick(problem(), quick))
        assert planners.first.pid == pids[0], "a bad problem is no reason to start anew"
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid or 0, 0)


async def test_worker_is_told_only_what_changed_and_plans_from_the_last_plan() -> None:
    whole = fdm_shop(3, 40, 4)
    async with worker() as planners:
        first = await planners.quick(whole, None)
        fewer = replace(whole, builds=whole.builds[3:])
        kept = replace(
            first, assignments=tuple(a for a in first.assignments if a.build not in ("b1#1", "b2#1", "b3#1"))
        )
        second = await planners.quick(fewer, kept)
        assert not check(fewer, second)
        more = replace(whole, builds=(*whole.builds[5:], replace(whole.builds[0], id="new")))
        third = await planners.quick(more, None)
        assert not check(more, third)


async def test_improvement_that_nobody_waits_for_stops_and_its_answer_is_dropped() -> None:
    whole = fdm_shop(3, 200, 10, load=1.3)
    async with worker(budget_s=60.0) as planners:
        quick = await planners.quick(whole, None)

        async def improve() -> None:
            async for _ in planners.better(whole, quick):
                raise AssertionError("too soon")

        asking = asyncio.create_task(improve())
        await until(lambda: planners.improver._waiting is not None)
        await asyncio.sleep(0.5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        pid = planners.improver.pid
        planners._budget_s = 0.5
        began = perf_counter()
        async for plan in planners.better(whole, quick):
            assert not check(whole, plan)
            break
        assert planners.improver.pid == pid, "it has not been killed for being stopped"
        assert perf_counter() - began < 30.0, "the first slice of the old budget alone is 6 s, all of it 60 s"


async def test_worker_killed_in_the_middle_of_a_question_is_started_anew_for_the_next(fake: Any) -> None:
    fake(ASKED + "time.sleep(60)")
    async with worker() as planners:
        asking = asyncio.create_task(planners.quick(problem(), None))
        await until(lambda: planners.first._waiting is not None)
        os.kill(planners.first.pid or 0, signal.SIGKILL)
        with pytest.raises(PlannerFailed, match="did not answer"):
            await asking
        fake(ASKED + 'print(json.dumps({"error": "but alive", "question": head["question"]}))')
        with pytest.raises(PlannerFailed, match="but alive"):
            await planners.quick(problem(), None)


@pytest.mark.parametrize(
    "answer",
    [
        "b''",
        "b'not json\\n'",
        "b'17\\n'",
        "b'[]\\n'",
        "b'null\\n'",
        "b'{}\\n'",
        "b'\\xff\\n'",
        'b\'{"question": 99, "bytes": 0}\\n\'',
        'json.dumps({**plan, "rows": 3}).encode() + b"\\n"',
        'json.dumps({**plan, "rows": 1, "bytes": 36}).encode() + b"\\n" + bytes(12) + bytes([255] * 24)',
        'json.dumps({**plan, "rows": 1, "bytes": 36}).encode() + b"\\n" + bytes([9] * 36)',
        'json.dumps({**plan, "rows": -1}).encode() + b"\\n"',
        'json.dumps({**plan, "bytes": 1 << 40}).encode() + b"\\n"',
        'json.dumps({**plan, "status": "splendid"}).encode() + b"\\n"',
        'json.dumps({**plan, "value": {}}).encode() + b"\\n"',
        'json.dumps({**plan, "value": {**plan["value"], "makespan_s": float("nan")}}).encode() + b"\\n"',
        'json.dumps({**plan, "batches": [[0, [0], []]]}).encode() + b"\\n"',
        "json.dumps({\"question\": plan['question'], \"bytes\": 0}).encode() + b'\\n'",
    ],
)
async def test_nonsense_is_a_failure_of_the_planner(answer: str, fake: Any) -> None:
    fake(ASKED + SAY + PLAN + f"say({answer})")
    async with worker() as planners:
        with pytest.raises(PlannerFailed):
            await planners.quick(problem(), None)


async def test_worker_that_floods_is_killed_and_costs_its_question(fake: Any) -> None:
    fake(ASKED + SAY + PLAN + "line = json.dumps(plan).encode() + b'\\n'\nwhile True: say(line)")
    async with worker() as planners:
        assert (await planners.quick(problem(), None)).assignments == ()
        await until(lambda: planners.first._process is None or planners.first._process.gone)
        fake(ASKED + 'print(json.dumps({"error": "a new one", "question": head["question"]}))')
        with pytest.raises(PlannerFailed, match="a new one"):
            await planners.quick(problem(), None)


async def test_answer_that_comes_late_is_not_taken_for_the_next_questions(fake: Any) -> None:
    late = (
        ASKED
        + SAY
        + PLAN
        + "stdin.read(sum(head['pieces'])); stop = json.loads(stdin.readline()); "
        + "more = json.loads(stdin.readline()); "
        + "say(json.dumps({'error': 'late', 'question': stop['stop']}).encode() + b'\\n'); "
        + "say(json.dumps({'error': 'in time', 'question': more['question']}).encode() + b'\\n'); time.sleep(60)"
    )
    fake(late)
    async with worker() as planners:
        asking = asyncio.create_task(planners.quick(problem(), None))
        await until(lambda: planners.first._waiting is not None)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        with pytest.raises(PlannerFailed, match="in time"):
            await planners.quick(problem(), None)


async def test_worker_that_hangs_is_given_up(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner_process, "QUICK_TIMEOUT_S", 0.3)
    fake(HELLO + "time.sleep(60)")
    async with worker() as planners:
        with pytest.raises(PlannerFailed, match="did not answer"):
            await planners.quick(problem(), None)
        assert planners.first.pid is None


@pytest.mark.parametrize(
    ("warming", "code", "told"),
    [("pass", 0, None), ("pass", 1, "1"), ("time.sleep(9)", 0, "1")],
)
async def test_first_plan_does_not_wait_for_the_compiler(
    warming: str, code: int, told: str | None, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner_process, "WARM_TIMEOUT_S", 20.0)
    monkeypatch.setattr(planner_process, "START_WAIT_S", 2.0)
    fake(
        f"import sys, time, json, os\nif '--warm' in sys.argv: {warming}; sys.exit({code})\n"
        "print('{\"ready\": true}', flush=True)\n"
        "head = json.loads(sys.stdin.buffer.readline()); mode = os.environ.get('NUMBA_DISABLE_JIT')\n"
        "print(json.dumps({'error': f'mode {mode}', 'question': head['question']}))"
    )
    async with worker() as planners:
        with pytest.raises(PlannerFailed, match=f"mode {told}"):
            await planners.quick(problem(), None)


@pytest.mark.parametrize("hello", ["print(17)", "print('what?')", "time.sleep(60)", "sys.exit(3)"])
async def test_worker_that_never_gets_ready_is_given_up(
    hello: str, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner_process, "WARM_TIMEOUT_S", 0.5)
    monkeypatch.setattr(planner_process, "START_TIMEOUT_S", 0.5)
    fake(f"import sys, time; {hello}; sys.stdin.read()")
    async with worker() as planners:
        with pytest.raises(PlannerFailed, match="did not answer"):
            await planners.quick(problem(), None)
        assert planners.first.pid is None


async def test_without_a_budget_or_by_a_rule_there_is_nothing_better() -> None:
    for budget_s, policy in ((0.0, "plan"), (1.0, "edd")):
        async with worker(budget_s, policy) as planners:
            assert [plan async for plan in planners.better(problem(), NOTHING)] == []
            assert planners.improver.pid is None
