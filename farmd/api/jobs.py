"""Jobs: submitting, looking at, changing. Orders become jobs at the desk, not here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farmd.api import history
from farmd.api.auth import Caller
from farmd.api.context import Context, Ctx, Who
from farmd.api.errors import TOO_MANY
from farmd.api.fields import Amount, Body, Prose, Quantity, Reason, Text, Time
from farmd.api.idempotency import IdempotentRoute, idempotency_key, sha256_of
from farmd.api.uploads import FILE_FIELD, Incoming, receive
from farmd.daemon.desk import BAD_ORDER, Order, Upload
from farmd.daemon.service import Service
from farmd.daemon.views import View, job_view, why_view
from farmd.daemon.waits import tell
from farmd.daemon.why import next_steps, why
from farmd.driver import now, offload
from farmd.model.errors import ErrorCode, Refused
from farmd.model.farm import Entity
from farmd.model.lifecycle import JobState
from farmd.model.lookup import UNKNOWN_JOB
from farmd.model.work import FileRecord, Job

PAGE = 500
JOB_CLOSED = ErrorCode(
    "job-closed", "the job is done or cancelled, and nothing of it is open any more", "submit a new one"
)

submitting = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], dependencies=[Depends(idempotency_key)])
router = APIRouter(
    prefix="/api/v1/jobs",
    tags=["jobs"],
    route_class=IdempotentRoute,
    dependencies=[Depends(idempotency_key)],
)


class OrderForm(BaseModel):
    """The fields beside the file. An empty field counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantity: Quantity
    parts_per_plate: Quantity | None = None
    due: Time | None = None
    priority: Amount = 1.0
    material: Text | None = None
    group: Text | None = None
    design: Text | None = None
    owner: Text = ""
    route: Text = Field(default="", description="operations, separated by commas")
    volume_mm3: Amount | None = None
    height_mm: Amount | None = None
    area_mm2: Amount | None = None

    def order(self) -> Order:
        values = self.model_dump(exclude={"due", "route"})
        route = tuple(step.strip() for step in self.route.split(",") if step.strip())
        return Order(**values, due_at=self.due, route=route)


class JobEdit(Body):
    """What is left out stays; `due` null removes the due date."""

    due: Time | None = None
    priority: Amount | None = None
    quantity: Quantity | None = None
    reason: Prose = ""


def read_order(fields: Mapping[str, str]) -> Order:
    """The order in a form's fields. Raises `Refused(BAD_ORDER)`."""
    try:
        return OrderForm.model_validate({k: v for k, v in fields.items() if v != ""}).order()
    except ValidationError as error:
        first = error.errors()[0]
        unknown = first["type"] == "extra_forbidden"
        what = "there is no such field" if unknown else first["msg"].removeprefix("Value error, ")
        where = ".".join(map(str, first["loc"]))[:80]
        raise Refused(BAD_ORDER, what, where=where) from error


def _form_schema() -> dict[str, Any]:
    schema = OrderForm.model_json_schema()
    schema["properties"][FILE_FIELD] = {"type": "string", "format": "binary"}
    schema["required"].append(FILE_FIELD)
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@submitting.post("", status_code=201, response_class=JSONResponse, openapi_extra=_form_schema())
async def submit_job(request: Request, context: Ctx, who: Who) -> Response:
    """Take a file and an order for parts of it; refused at once when no machine can ever make it."""
    if context.uploading.locked():
        raise Refused(TOO_MANY, "too many files are being uploaded")
    vault, max_bytes = context.service.vault, context.max_upload_bytes
    async with context.uploading, receive(request, vault, max_bytes) as incoming:
        # Before the file is kept: an order that cannot be read costs nothing.
        order = read_order(incoming.fields)
        return await _submit(request, context, who, incoming, order)


async def _submit(
    request: Request, context: Context, who: Caller, incoming: Incoming, order: Order
) -> Response:
    service = context.service
    async with context.shelf.keep(incoming.sink) as stored:
        file = service.vault.file(stored)
        upload = Upload(stored.sha256, stored.size_bytes, incoming.file_name, file)

        async def act() -> Response:
            return submitted((await service.desk.submit(upload, order, who.name),))

        def submitted(changed: tuple[Entity, ...]) -> Response:
            job = next(entity for entity in changed if isinstance(entity, Job))
            return JSONResponse(_view(service, job), 201)

        content = sha256_of([incoming.fields, incoming.file_name, stored.sha256])
        return await context.answers.once(request, content, act, submitted)


@router.get("")
async def list_jobs(
    context: Ctx,
    state: Literal["open", "closed", "all"] = "open",
    late: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> View:
    """Jobs, the newest first. `late`: only those that are, or by the plan will be, finished late."""
    views: list[View] = []
    async for job in _jobs(context.service, state, 0 if late else offset, PAGE if late else limit):
        # A job without a due date is never late; its view need not be made.
        if late and job.due_at is None:
            continue
        view = _view(context.service, job)
        # Against a long plan a view takes a good part of a millisecond: machines must not wait for hundreds.
        await asyncio.sleep(0)
        if late and not view["late"]:
            continue
        views.append(view)
        if len(views) == limit + (offset if late else 0):
            break
    return {"jobs": views[offset:] if late else views}


@router.get("/{job_id}")
async def get_job(context: Ctx, job_id: str) -> View:
    """A job with all its builds and runs and what is known of its file."""
    service = context.service
    job = await history.find_job(service, job_id)
    file = await history.find_file(service, job.file_sha256)
    return {
        **_view(service, job),
        "builds": await history.build_views(service, job.id),
        "runs": await history.run_views(service, job=job.id),
        "file": _file_view(file) if file is not None else None,
    }


@router.get("/{job_id}/why")
async def why_job(context: Ctx, job_id: str) -> View:
    """Why its missing parts are not being made this moment: by the plan, and machine by machine."""
    service = context.service
    job = await history.find_job(service, job_id)
    planning = service.planning
    schedule = planning.schedule
    steps = next_steps(service.farm, schedule, job)
    told = await offload(partial(tell, planning.plan, planning.snapshot, steps))
    return why_view(why(service.farm, schedule, service.shop, job, told, now()))


@router.patch("/{job_id}")
async def edit_job(context: Ctx, who: Who, job_id: str, edit: JobEdit) -> View:
    """Change due date, priority or quantity."""
    change = context.service.desk.edit(
        job_id,
        who.name,
        due_at=edit.due,
        clear_due="due" in edit.model_fields_set and edit.due is None,
        priority=edit.priority,
        quantity=edit.quantity,
        reason=edit.reason,
    )
    return await _changed(context.service, job_id, change)


@router.post("/{job_id}/hold")
async def hold_job(context: Ctx, who: Who, job_id: str, body: Reason = Reason()) -> View:
    """Start nothing more for a job; what runs goes on."""
    return await _changed(context.service, job_id, context.service.desk.hold(job_id, who.name, body.reason))


@router.post("/{job_id}/release")
async def release_job(context: Ctx, who: Who, job_id: str, body: Reason = Reason()) -> View:
    """Go on with a held job."""
    return await _changed(
        context.service, job_id, context.service.desk.release(job_id, who.name, body.reason)
    )


@router.post("/{job_id}/cancel")
async def cancel_job(context: Ctx, who: Who, job_id: str, body: Reason = Reason()) -> View:
    """Make nothing more for a job; runs that make nothing else are stopped."""
    return await _changed(context.service, job_id, context.service.desk.cancel(job_id, who.name, body.reason))


async def _changed(service: Service, job_id: str, change: Awaitable[Job]) -> View:
    """The job after a change. Raises `Refused(JOB_CLOSED)` for one that only the store still knows."""
    try:
        return _view(service, await change)
    except Refused as refused:
        if refused.code is not UNKNOWN_JOB:
            raise
        closed = await history.find_job(service, job_id)
        raise Refused(JOB_CLOSED, f"the job is {closed.state.value}", where=closed.id) from refused


def _view(service: Service, job: Job) -> View:
    return job_view(job, service.farm, service.planning.schedule, now())


def _file_view(file: FileRecord) -> View:
    summary = {key: value for key, value in file.summary.items() if key != "thumbnail"}
    return {
        **summary,
        "name": file.name,
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
        "kind": file.kind,
        "has_thumbnail": bool(file.summary.get("thumbnail")),
    }


async def _jobs(service: Service, state: str, offset: int, page_size: int) -> AsyncIterator[Job]:
    """Jobs from memory (open) or page by page from the store, the newest first."""
    farm = service.farm
    if state == "open":
        unfinished = [job for job in farm.jobs.values() if job.state in (JobState.OPEN, JobState.HELD)]
        for job in sorted(unfinished, key=lambda job: job.submitted_at, reverse=True)[offset:]:
            yield job
        return
    states = (JobState.DONE, JobState.CANCELLED) if state == "closed" else None
    while page := await offload(partial(service.store.jobs, states, page_size, offset)):
        for job in page:
            yield farm.jobs.get(job.id, job)
        offset += len(page)
