"""Why a job waits, by the daemon that plans it: the plan's reasons come with the answer."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any


async def test_a_planned_job_tells_what_it_waits_for(shop: Any) -> None:
    await shop.submit()

    async def planned() -> bool:
        return bool((await shop.get("/plan"))["steps"])

    await shop.until(planned)
    answer = await shop.get("/jobs/J-1/why")
    (waiting,) = answer["waiting"]
    assert (waiting["work"], waiting["operation"], waiting["machine"]) == ("J-1", "print", answer["machine"])
    assert waiting["waits"], "a person clears the machine at least"
    until = [datetime.fromisoformat(wait["until"]) for wait in waiting["waits"]]
    assert all(one <= two for one, two in pairwise(until))
    assert abs((until[-1] - datetime.fromisoformat(waiting["start_at"])).total_seconds()) <= 1
    assert {wait["kind"] for wait in waiting["waits"]} & {"clear", "changeover"}
    row = next(row for row in answer["machines"] if row["machine"] == answer["machine"])
    assert row["end_at"] == waiting["end_at"]
