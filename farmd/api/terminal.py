"""A machine's raw terminal: its last lines, or a stream of them, and single commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.responses import Response

from farmd.api.context import Context, Ctx, Who
from farmd.api.errors import TOO_MANY
from farmd.api.fields import Body, Prose, Text
from farmd.api.idempotency import IdempotentRoute, idempotency_key
from farmd.api.stream import KEEPALIVE_S, STREAM, EventStream, last_event_id, sent_event
from farmd.daemon.attendant import Attendant
from farmd.daemon.views import View, iso
from farmd.driver import TerminalLine
from farmd.model.errors import FarmdError, Refused
from farmd.model.lookup import UNKNOWN_MACHINE, find_machine

POLL_S = 0.25
"""How often a driver is asked for new lines, while somebody follows them."""
PAGE = 500
MOST = 5000

router = APIRouter(
    prefix="/api/v1", tags=["machines"], route_class=IdempotentRoute, dependencies=[Depends(idempotency_key)]
)


class Sending(Body):
    """One command, as a person typed it."""

    command: Annotated[Text, Field(min_length=1)]
    reason: Prose = ""


@router.get(
    "/machines/{name}/terminal",
    response_class=JSONResponse,
    responses={
        200: {"content": {STREAM: {}}, "description": "a page, or with Accept: " + STREAM + " a stream"}
    },
)
async def get_terminal(
    request: Request,
    context: Ctx,
    name: str,
    after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = PAGE,
) -> Response:
    """The lines of the machine's link after a number, as they went over it; the last ones without a number.

    A number that is left out says that lines in between were not kept. As a stream: from `Last-Event-ID` or
    `after` on, else from now on.
    """
    keeper = _keeper(context, name)
    if STREAM in request.headers.get("accept", ""):
        if context.terminals.locked():
            raise Refused(TOO_MANY, "too many terminals are being followed already")
        seen = last_event_id(request)
        seen = after if seen is None else seen
        if seen is None:
            seen = _newest(keeper.terminal(0))
        pages = _follow(keeper, seen, context.terminals)
        return EventStream(pages, context.closing, lambda view: sent_event(view["number"], "line", view))
    lines = keeper.terminal(after or 0)
    page = lines[-limit:] if after is None else lines[:limit]
    return JSONResponse({"machine": name, "lines": [_line_view(line) for line in page]})


@router.post("/machines/{name}/command")
async def send_command(context: Ctx, who: Who, name: str, body: Sending) -> View:
    """Send one command by hand: questions at any time, small adjustments while a run is open, else what the
    gate lets pass while the machine is held. `complete` is false when the machine has not said all yet."""
    _keeper(context, name)
    reply = await context.service.floor.command(name, who.name, body.command, body.reason)
    return {
        "machine": name,
        "command": body.command.strip(),
        "lines": list(reply.lines),
        "complete": reply.complete,
    }


def _keeper(context: Context, name: str) -> Attendant:
    find_machine(context.service.farm, name)
    if (keeper := context.service.attendants.get(name)) is None:
        raise Refused(UNKNOWN_MACHINE, "it is not configured any more", where=name)
    return keeper


async def _follow(keeper: Attendant, after: int, room: asyncio.Semaphore) -> AsyncGenerator[list[View], None]:
    """Pages of lines after a number, until the driver has no terminal any more; an empty one now and then."""
    quiet_s = 0.0
    async with room:
        while True:
            try:
                lines = keeper.terminal(after)
            except FarmdError:
                return
            after, quiet_s = _newest(lines, after), 0.0 if lines else quiet_s + POLL_S
            if lines or quiet_s >= KEEPALIVE_S:
                quiet_s = 0.0
                yield [_line_view(line) for line in lines]
            await asyncio.sleep(POLL_S)


def _newest(lines: Sequence[TerminalLine], otherwise: int = 0) -> int:
    return lines[-1].number if lines else otherwise


def _line_view(line: TerminalLine) -> View:
    return {"number": line.number, "at": iso(line.at), "sent": line.sent, "text": line.text}
