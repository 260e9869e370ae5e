"""Plans from a child process, one long-lived worker; see `plan_worker` for its other end.

A worker that does not answer in time, dies, or answers nonsense is killed and started anew at the
next question. The question that it failed raises `PlannerFailed`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from farmd.daemon.planning import PlannerFailed
from farmd.planner.fields import PlanningErrors
from farmd.planner.plans import Plan, read_plan
from farmd.planner.problem import Problem

QUICK_EFFORT = 1
QUICK_TIMEOUT_S = 30.0
"""Generous: the first question also waits for the worker to start."""
OVERTIME_S = 5.0
WORKER = (sys.executable, "-m", "farmd.daemon.plan_worker")
LINE_LIMIT = 256 * 1024 * 1024


class PlannerProcess:
    """Owns the worker. `close` ends it."""

    def __init__(self, *, policy: str, budget_s: float, stability_price_s: float, seed: int = 0) -> None:
        self._policy = policy
        self._budget_s = budget_s
        self._stability_price_s = stability_price_s
        self._seed = seed
        self._process: asyncio.subprocess.Process | None = None

    async def quick(self, problem: Problem) -> Plan:
        return await self._ask(problem, {"effort": QUICK_EFFORT}, None, QUICK_TIMEOUT_S)

    async def better(self, problem: Problem, incumbent: Plan) -> Plan | None:
        if self._policy != "plan" or self._budget_s <= 0:
            return None
        return await self._ask(problem, {"seconds": self._budget_s}, incumbent, self._budget_s + OVERTIME_S)

    async def _ask(
        self, problem: Problem, budget: dict[str, float], incumbent: Plan | None, timeout_s: float
    ) -> Plan:
        request = {
            "problem": problem.as_dict(),
            "budget": budget,
            "seed": self._seed,
            "policy": self._policy,
            "stability_price_s": self._stability_price_s,
            "incumbent": incumbent.as_dict() if incumbent else None,
        }
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._exchange(json.dumps(request, separators=(",", ":")))
        except (TimeoutError, OSError, ValueError) as error:
            await self.close()
            raise PlannerFailed(f"the planner's worker did not answer: {error!r}") from error
        except asyncio.CancelledError:
            # Its answer would be taken for the next question's.
            await self.close()
            raise
        if "error" in reply:
            raise PlannerFailed(str(reply["error"]))
        try:
            return read_plan(reply["plan"])
        except (PlanningErrors, KeyError) as error:
            await self.close()
            raise PlannerFailed(f"the planner's worker answered nonsense: {error}") from error

    async def _exchange(self, line: str) -> dict[str, Any]:
        process = await self._worker()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()
        answer = await process.stdout.readline()
        if not answer:
            raise OSError("the worker ended")
        reply = json.loads(answer)
        if not isinstance(reply, dict):
            raise ValueError(f"the answer is not an object: {answer[:40]!r}")
        return reply

    async def _worker(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *WORKER,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_LIMIT,
            )
        return self._process

    async def close(self) -> None:
        """End the worker, if there is one."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.kill()
        await process.wait()
