"""Plans for a simulation: in process, counted in effort instead of seconds, so that a seed decides all."""

from __future__ import annotations

from farmd.daemon.planning import PlannerFailed
from farmd.driver import offload
from farmd.planner import Budget, Plan, Problem, plan
from farmd.planner.fields import PlanningErrors

QUICK_EFFORT = 1


class CountedPlanner:
    """A planner without a clock. `effort` 0 makes the first plan the only one."""

    def __init__(self, *, policy: str, effort: int, seed: int, stability_price_s: float) -> None:
        self._policy = policy
        self._effort = effort
        self._seed = seed
        self._stability_price_s = stability_price_s

    async def quick(self, problem: Problem) -> Plan:
        return await self._plan(problem, QUICK_EFFORT, None)

    async def better(self, problem: Problem, incumbent: Plan) -> Plan | None:
        if self._policy != "plan" or self._effort == 0:
            return None
        return await self._plan(problem, self._effort, incumbent)

    async def _plan(self, problem: Problem, effort: int, incumbent: Plan | None) -> Plan:
        budget = Budget(effort=effort)
        try:
            return await offload(
                lambda: plan(
                    problem, budget=budget, seed=self._seed, policy=self._policy, incumbent=incumbent
                )
            )
        except PlanningErrors as error:
            raise PlannerFailed(str(error)) from error
