"""The journal as events: pages of it, or a stream that goes on for as long as somebody listens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from farmd.api.context import Ctx
from farmd.api.errors import TOO_MANY
from farmd.api.feed import Subject
from farmd.api.fields import NAME
from farmd.api.stream import KEEPALIVE_S, STREAM, EventStream, last_event_id, sent_event
from farmd.daemon.views import View, event_view
from farmd.driver import offload
from farmd.model.errors import Refused

MAX_STREAMS = 100

Named = Annotated[str | None, Query(pattern=NAME)]

router = APIRouter(prefix="/api/v1", tags=["events"])


@router.get(
    "/events",
    response_class=JSONResponse,
    responses={
        200: {"content": {STREAM: {}}, "description": "a page, or with Accept: " + STREAM + " a stream"}
    },
)
async def list_events(
    request: Request,
    context: Ctx,
    after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    job: Named = None,
    machine: Named = None,
    run: Named = None,
    newest_first: bool = False,
) -> Response:
    """Facts after a number, those about a job, a machine and a run where named.

    As a stream: from `Last-Event-ID` or `after` on, else from now on.
    """
    if STREAM in request.headers.get("accept", ""):
        if context.feed.followers >= MAX_STREAMS:
            raise Refused(TOO_MANY, f"there are {MAX_STREAMS} listeners already")
        seen = last_event_id(request)
        seen = after if seen is None else seen
        start = context.feed.revision if seen is None else min(seen, context.feed.revision)
        pages = context.feed.follow(start, Subject(job, machine, run), KEEPALIVE_S)
        return EventStream(pages, context.closing, event_bytes)
    store = context.service.store
    records = await offload(
        lambda: store.events(after or 0, limit, job=job, machine=machine, run=run, newest_first=newest_first)
    )
    return JSONResponse({"events": [event_view(r.seq, r.kind, r.body) for r in records]})


def event_bytes(view: View) -> bytes:
    """One event as it is streamed."""
    return sent_event(view["seq"], view["kind"], view)
