"""The journal as events: pages of it, or a stream that goes on for as long as somebody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farmd.api.context import Ctx
from farmd.api.errors import BAD_REQUEST, TOO_MANY
from farmd.api.feed import Subject
from farmd.api.fields import NAME
from farmd.daemon.views import View, event_view
from farmd.driver import offload
from farmd.model.errors import Refused

KEEPALIVE_S = 15.0
STALL_S = 30.0
"""A listener that takes nothing for so long is disconnected."""
MAX_STREAMS = 100
RETRY_MS = 2000
STREAM = "text/event-stream"

Named = Annotated[str | None, Query(pattern=NAME)]

log = structlog.get_logger("api")
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
        seen = _last_event_id(request)
        seen = after if seen is None else seen
        start = context.feed.revision if seen is None else min(seen, context.feed.revision)
        pages = context.feed.follow(start, Subject(job, machine, run), KEEPALIVE_S)
        return EventStream(pages, context.closing, stall_s=STALL_S)
    store = context.service.store
    records = await offload(
        lambda: store.events(after or 0, limit, job=job, machine=machine, run=run, newest_first=newest_first)
    )
    return JSONResponse({"events": [event_view(r.seq, r.kind, r.body) for r in records]})


class EventStream(Response):
    """Sends pages of events until the listener goes, stalls, or `closing` is set."""

    media_type = STREAM

    def __init__(
        self, pages: AsyncGenerator[list[View], None], closing: asyncio.Event, *, stall_s: float
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pages = pages
        self._closing = closing
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.create_task(self._send_pages(send))
        ends = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._closing.wait())]
        try:
            await asyncio.wait([sending, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, *ends):
                task.cancel()
            await asyncio.wait([sending, *ends])
            await self._pages.aclose()
        try:
            if sending.cancelled():
                await self._send(send, b"", more=False)
            else:
                sending.result()
        except TimeoutError:
            log.warning("listener disconnected", why=f"it took nothing for {self._stall_s:g} s")

    async def _send_pages(self, send: Send) -> None:
        await self._send(send, f"retry: {RETRY_MS}\n\n".encode())
        async for page in self._pages:
            await self._send(send, b"".join(map(_event, page)) or b": nothing new\n\n")

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._stall_s):
            await send({"type": "http.response.body", "body": body, "more_body": more})


def _event(view: View) -> bytes:
    data = json.dumps(view, separators=(",", ":"), ensure_ascii=False)
    return f"id: {view['seq']}\nevent: {view['kind']}\ndata: {data}\n\n".encode()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get("last-event-id", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise Refused(BAD_REQUEST, "it is not the number of an event", where="Last-Event-ID")
    return int(text)
