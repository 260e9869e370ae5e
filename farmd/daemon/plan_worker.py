"""The planner's process: reads problems from standard input, writes plans to standard output.

One JSON object a line each way. Started and restarted by `planner_process`; niced, so that
planning never starves the daemon's loop. It may be killed at any time.
"""

from __future__ import annotations

import json
import os
import sys

from farmd.model.errors import FarmdError
from farmd.planner import Budget, PlanningErrors, plan, read_plan, read_problem

NICE = 10


def answer(line: str) -> dict[str, object]:
    """The reply to one request."""
    request = json.loads(line)
    budget = request["budget"]
    incumbent = request.get("incumbent")
    found = plan(
        read_problem(request["problem"]),
        budget=Budget(seconds=budget.get("seconds"), effort=budget.get("effort")),
        seed=request["seed"],
        policy=request["policy"],
        stability_price_s=request["stability_price_s"],
        incumbent=None if incumbent is None else read_plan(incumbent),
    )
    return {"plan": found.as_dict()}


def main() -> None:
    os.nice(NICE)
    for line in sys.stdin:
        try:
            reply = answer(line)
        except (FarmdError, PlanningErrors, ValueError, KeyError, TypeError, ArithmeticError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main()
