"""The planner: a snapshot of the shop in, a plan out; and an independent judge of plans.

Pure: no loop, no sockets, no files. The solver and OR-Tools are loaded by the first call of `plan`,
so a process that only reads and checks plans never loads them.
"""

from __future__ import annotations

from farmd.planner.budget import Budget
from farmd.planner.check import Violation, check, measure
from farmd.planner.compiled import STABILITY_PRICE_S
from farmd.planner.fields import PlanningErrors
from farmd.planner.plans import Assignment, Placement, Plan, Value, read_plan
from farmd.planner.problem import (
    POLICIES,
    Announced,
    Build,
    Chamber,
    Changeover,
    Crew,
    Machine,
    Part,
    PowerGroup,
    Problem,
)
from farmd.planner.reader import read_problem
from farmd.planner.schema import problem_schema


def plan(
    problem: Problem,
    *,
    budget: Budget,
    seed: int,
    policy: str = "plan",
    incumbent: Plan | None = None,
    stability_price_s: float = STABILITY_PRICE_S,
) -> Plan:
    """The best plan found within the budget; see `farmd.planner.solve.plan`."""
    from farmd.planner.solve import plan as solve

    return solve(
        problem,
        budget=budget,
        seed=seed,
        policy=policy,
        incumbent=incumbent,
        stability_price_s=stability_price_s,
    )


__all__ = [
    "POLICIES",
    "STABILITY_PRICE_S",
    "Announced",
    "Assignment",
    "Budget",
    "Build",
    "Chamber",
    "Changeover",
    "Crew",
    "Machine",
    "Part",
    "Placement",
    "Plan",
    "PlanningErrors",
    "PowerGroup",
    "Problem",
    "Value",
    "Violation",
    "check",
    "measure",
    "plan",
    "problem_schema",
    "read_plan",
    "read_problem",
]
