"""The shop as a whole: what it is, its plan, what people should do next, what it produced."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from farmd import __version__
from farmd.api.context import Ctx
from farmd.api.errors import BAD_REQUEST, NOT_FOUND
from farmd.api.fields import Time
from farmd.daemon.views import View, iso, plan_view, safe_mode_view, task_view
from farmd.daemon.walk import walk_list
from farmd.driver import now, offload
from farmd.driver.clock import speed
from farmd.model.errors import Refused
from farmd.model.lifecycle import JobState
from farmd.store import ThroughputRow

DAY_S = 86400.0
YEAR_S = 365 * DAY_S
UNFINISHED = (JobState.OPEN, JobState.HELD)
LONGEST_DAYS = 1100
"""Of a throughput by day."""

router = APIRouter(prefix="/api/v1", tags=["shop"])


@router.get("/farm")
async def get_farm(context: Ctx) -> View:
    """What this farm is and how it is doing, in a few numbers."""
    service = context.service
    return {
        "name": service.shop.name,
        "version": __version__,
        "boot_id": service.boot_id,
        "started_at": iso(service.started_at),
        "now": iso(now()),
        "revision": service.farm.revision,
        "policy": service.planning.schedule.policy,
        "safe_mode": [safe.cause.value for safe in service.safety.causes],
        "machines": len(service.farm.machines),
        "jobs_open": sum(job.state in UNFINISHED for job in service.farm.jobs.values()),
        "planner_failures": service.planning.failures,
        "speed": speed(),
    }


@router.get("/plan")
async def get_plan(context: Ctx) -> View:
    """The published plan."""
    return plan_view(context.service.planning.schedule)


@router.get("/plan/problem")
async def get_problem(context: Ctx) -> View:
    """The planning problem of the latest snapshot, `farmd-problem/1`."""
    snapshot = context.service.planning.snapshot
    if snapshot is None:
        raise Refused(NOT_FOUND, "nothing has been planned yet", where="plan")
    return snapshot.problem.as_dict()


@router.get("/next")
async def get_next(context: Ctx) -> View:
    """What people should do next, the most urgent first."""
    service = context.service
    tasks = walk_list(service.farm, service.planning.schedule, service.shop, now(), service.lives)
    safe_mode = [safe_mode_view(safe) for safe in service.safety.causes]
    return {"safe_mode": safe_mode, "tasks": [task_view(task) for task in tasks]}


@router.get("/throughput")
async def get_throughput(
    context: Ctx,
    since: Annotated[Time | None, Query()] = None,
    until: Annotated[Time | None, Query()] = None,
    by: Literal["machine", "design", "day"] = "machine",
) -> View:
    """What was produced; the last 24 hours unless told otherwise."""
    end = min(until if until is not None else now(), now())
    start = since if since is not None else end - DAY_S
    if start >= end:
        raise Refused(BAD_REQUEST, "`since` must be before `until` and not in the future", where="since")
    if by == "day" and end - start > LONGEST_DAYS * DAY_S:
        raise Refused(BAD_REQUEST, f"by day at most {LONGEST_DAYS} days can be told at once", where="since")
    store = context.service.store
    rows = await offload(lambda: store.throughput(start, end, by, zone=context.zone))
    # By design, a run with several designs counts as a run of each; the total counts it once.
    total = _total(await offload(lambda: store.throughput(start, end)) if by == "design" else rows)
    return {
        "since": iso(start),
        "until": iso(end),
        "by": by,
        "rows": [asdict(row) for row in rows],
        "total": total,
        "annualised_good": total["good"] / (end - start) * YEAR_S,
        "target": context.service.shop.parts_per_year,
    }


def _total(rows: list[ThroughputRow]) -> View:
    names = [field.name for field in fields(ThroughputRow) if field.name != "key"]
    return {name: sum(getattr(row, name) for row in rows) for name in names}
