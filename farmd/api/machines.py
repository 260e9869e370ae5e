"""Machines: looking at them, clearing, loading, and telling them what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from farmd.api import history
from farmd.api.auth import Caller
from farmd.api.context import Ctx, Who
from farmd.api.errors import BAD_REQUEST
from farmd.api.fields import Amount, Body, Count, Prose, Reason, Text, Time
from farmd.api.idempotency import IdempotentRoute, idempotency_key
from farmd.daemon.counting import Counted
from farmd.daemon.floor import Floor
from farmd.daemon.service import Service
from farmd.daemon.views import View, iso, machine_view
from farmd.driver import now, offload
from farmd.model.errors import ErrorCode, Refused
from farmd.model.lookup import find_machine
from farmd.store import SPAN_S, TelemetryFailed

NO_TELEMETRY = ErrorCode(
    "no-telemetry", "what machines measured cannot be read now", "look at the disk; the farm itself goes on"
)
RUNS_SHOWN = 20
MOST_SPANS = 3000
"""Of telemetry at once."""
MOST_JOBS = 10_000
"""Of one build."""

router = APIRouter(
    prefix="/api/v1", tags=["machines"], route_class=IdempotentRoute, dependencies=[Depends(idempotency_key)]
)


class JobCount(Body):
    """What came off of one job; what is left out follows from the other number."""

    good: Count | None = None
    scrap: Count | None = None


class Clearing(Body):
    """What came off, of the whole build or by job id in `counts`.

    Without numbers all parts of a run that ended well are good, and those of a failed print lost.
    """

    good: Count | None = None
    scrap: Count | None = None
    counts: dict[Text, JobCount] = Field(default_factory=dict, max_length=MOST_JOBS)
    reason: Prose = ""


class Loading(Body):
    """What is on the machine now. A known lot's id may stand for the material."""

    material: Text
    grams: Amount | None = None
    nozzle_mm: Amount | None = None
    lot: Text | None = None
    reason: Prose = ""


@router.get("/machines")
async def list_machines(context: Ctx) -> View:
    """All machines, in the order of the configuration."""
    service = context.service
    names = [*service.shop.specs, *sorted(service.farm.machines.keys() - service.shop.specs.keys())]
    return {"machines": [_view(service, name) for name in names if name in service.farm.machines]}


@router.get("/machines/{name}")
async def get_machine(context: Ctx, name: str) -> View:
    """A machine with its last runs."""
    service = context.service
    find_machine(service.farm, name)
    return {**_view(service, name), "runs": await history.run_views(service, machine=name, limit=RUNS_SHOWN)}


@router.get("/machines/{name}/telemetry")
async def get_telemetry(
    context: Ctx,
    name: str,
    since: Annotated[Time | None, Query()] = None,
    until: Annotated[Time | None, Query()] = None,
    step: Literal["minute", "hour"] = "minute",
) -> View:
    """What a machine measured, by the minute or by the hour; the last hour, or day, unless told otherwise."""
    find_machine(context.service.farm, name)
    end = min(until if until is not None else now(), now())
    start = since if since is not None else end - (3600.0 if step == "minute" else 86400.0)
    if start >= end or end - start > MOST_SPANS * SPAN_S[step]:
        what = f"`since` must be before `until`, by at most {MOST_SPANS} {step}s"
        raise Refused(BAD_REQUEST, what, where="since")
    telemetry = context.service.telemetry
    measures: dict[str, list[View]] = {}
    if telemetry is not None:
        try:
            rows = await offload(lambda: telemetry.series(name, start, end, step))
        except TelemetryFailed as failed:
            raise Refused(NO_TELEMETRY, str(failed), where=name) from failed
        for row in rows:
            told = {"at": iso(row.at), "n": row.n, "low": row.low, "high": row.high, "mean": row.mean}
            measures.setdefault(row.measure, []).append({**told, "last": row.last})
    return {"machine": name, "step": step, "since": iso(start), "until": iso(end), "measures": measures}


@router.post("/machines/{name}/clear")
async def clear_machine(context: Ctx, who: Who, name: str, body: Clearing = Clearing()) -> View:
    """Everything is off the machine and it is ready: counts the parts and gives the permit."""
    counted = await context.service.floor.clear(
        name,
        who.name,
        good=body.good,
        scrap=body.scrap,
        by_job={job_id: Counted(count.good, count.scrap) for job_id, count in body.counts.items()},
        reason=body.reason,
    )
    return {**counted, "machine": _view(context.service, name)}


@router.post("/machines/{name}/load")
async def load_machine(context: Ctx, who: Who, name: str, body: Loading) -> View:
    """Another material, lot or nozzle is on the machine."""
    await context.service.floor.load(
        name,
        who.name,
        body.material,
        grams=body.grams,
        nozzle_mm=body.nozzle_mm,
        lot_id=body.lot,
        reason=body.reason,
    )
    return _view(context.service, name)


@router.post("/machines/{name}/hold")
async def hold_machine(context: Ctx, who: Who, name: str, body: Reason = Reason()) -> View:
    """Start nothing on a machine; what runs goes on."""
    await context.service.floor.hold(name, who.name, body.reason)
    return _view(context.service, name)


@router.post("/machines/{name}/release")
async def release_machine(context: Ctx, who: Who, name: str, body: Reason = Reason()) -> View:
    """Let a held machine work again; of a fault, that it is mended."""
    await context.service.floor.release(name, who.name, body.reason)
    return _view(context.service, name)


@router.post("/machines/{name}/pause")
async def pause_machine(context: Ctx, who: Who, name: str, body: Reason = Reason()) -> View:
    """Pause the run on a machine."""
    return await _drive(context.service, name, Floor.pause, who, body.reason)


@router.post("/machines/{name}/resume")
async def resume_machine(context: Ctx, who: Who, name: str, body: Reason = Reason()) -> View:
    """Go on with a paused run."""
    return await _drive(context.service, name, Floor.resume, who, body.reason)


@router.post("/machines/{name}/stop")
async def stop_machine(context: Ctx, who: Who, name: str, body: Reason = Reason()) -> View:
    """Cancel the run on a machine safely; its end is recorded when the machine tells it."""
    return await _drive(context.service, name, Floor.stop, who, body.reason)


@router.post("/machines/{name}/estop")
async def estop_machine(context: Ctx, who: Who, name: str, body: Reason = Reason()) -> View:
    """Emergency stop; the machine is held after it."""
    await context.service.floor.estop(name, who.name, body.reason)
    return _view(context.service, name)


@router.post("/estop")
async def estop_all(context: Ctx, who: Who, body: Reason = Reason()) -> View:
    """Emergency stop of every machine. `not_stopped` are those that could not be told."""
    service = context.service
    stopped = await service.floor.estop(None, who.name, body.reason)
    return {"stopped": stopped, "not_stopped": [name for name in service.attendants if name not in stopped]}


async def _drive(
    service: Service,
    name: str,
    act: Callable[[Floor, str, str, str], Awaitable[None]],
    who: Caller,
    reason: str,
) -> View:
    find_machine(service.farm, name)
    await act(service.floor, name, who.name, reason)
    return _view(service, name)


def _view(service: Service, name: str) -> View:
    attendant = service.attendants.get(name)
    live = attendant.live if attendant is not None else None
    return machine_view(name, service.farm, service.shop, service.planning.schedule, live)
