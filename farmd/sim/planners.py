"""Plans for a simulation: in process, counted in effort instead of seconds, so that a seed decides all."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from farmd.daemon.planning import PlannerFailed
from farmd.driver import offload, sleep
from farmd.planner import Budget, Plan, Problem, plan
from farmd.planner.fields import PlanningErrors

LATENCY_S = 2.0
"""How long a plan takes the shop, whatever it took to compute."""


class CountedPlanner:
    """A planner without a clock. All its effort goes into the first plan after a change."""

    def __init__(self, *, policy: str, effort: int, seed: int, stability_price_s: float) -> None:
        self._policy = policy
        self._budget = Budget(effort=effort)
        self._seed = seed
        self._stability_price_s = stability_price_s

    async def quick(self, problem: Problem, incumbent: Plan | None) -> Plan:
        try:
            made = await offload(
                lambda: plan(
                    problem,
                    budget=self._budget,
                    seed=self._seed,
                    policy=self._policy,
                    incumbent=incumbent if self._policy == "plan" else None,
                    stability_price_s=self._stability_price_s,
                )
            )
        except PlanningErrors as error:
            raise PlannerFailed(str(error)) from error
        await sleep(LATENCY_S)
        return made

    async def better(self, problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
        """Nothing: there is no time in between."""
        return
        yield incumbent
