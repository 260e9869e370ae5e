"""Server-sent events: pages of views to a listener, for as long as it listens. Knows no route and no farm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable

import structlog
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farmd.api.errors import BAD_REQUEST
from farmd.daemon.views import View
from farmd.model.errors import Refused

STREAM = "text/event-stream"
KEEPALIVE_S = 15.0
STALL_S = 30.0
"""A listener that takes nothing for so long is disconnected."""
RETRY_MS = 2000

log = structlog.get_logger("api")


def sent_event(number: int, kind: str, view: View) -> bytes:
    """One event: `number` is what `Last-Event-ID` names it by."""
    data = json.dumps(view, separators=(",", ":"), ensure_ascii=False)
    return f"id: {number}\nevent: {kind}\ndata: {data}\n\n".encode()


class EventStream(Response):
    """Sends pages of views until the listener goes, stalls, or `closing` is set. An empty page is a sign of life."""

    media_type = STREAM

    def __init__(
        self,
        pages: AsyncGenerator[list[View], None],
        closing: asyncio.Event,
        encoded: Callable[[View], bytes],
        *,
        stall_s: float = STALL_S,
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._pages = pages
        self._closing = closing
        self._encoded = encoded
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
            if not sending.cancelled():
                sending.result()
            await self._send(send, b"", more=False)
        except TimeoutError:
            log.warning("listener disconnected", why=f"it took nothing for {self._stall_s:g} s")

    async def _send_pages(self, send: Send) -> None:
        await self._send(send, f"retry: {RETRY_MS}\n\n".encode())
        async for page in self._pages:
            await self._send(send, b"".join(map(self._encoded, page)) or b": nothing new\n\n")

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._stall_s):
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def last_event_id(request: Request) -> int | None:
    """The number that a listener saw last, where it names one. Raises `Refused(BAD_REQUEST)`."""
    text = request.headers.get("last-event-id", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise Refused(BAD_REQUEST, "it is not the number of an event", where="Last-Event-ID")
    return int(text)
