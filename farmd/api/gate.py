"""The gate: every request passes here first, before a byte of its body is read.

Without a known token nothing is answered but what `OPEN` names. Bodies are small, uploads aside.
Acts are logged with who asked. Knows paths and headers; knows no farm.
"""

from __future__ import annotations

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farmd.api.auth import Auth
from farmd.api.errors import TOO_LARGE_UPLOAD, UNAUTHORIZED, answer
from farmd.model.errors import Refused

OPEN = frozenset({"/healthz", "/openapi.json", "/docs"})
"""What is answered without a token; it says nothing about the shop."""
UPLOADS = frozenset({"/api/v1/jobs"})
"""Where large bodies go; the upload itself counts them."""
MAX_BODY_BYTES = 64 * 1024

log = structlog.get_logger("api")


class Gate:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, auth: Auth) -> None:
        self._app = app
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        started = _Started(send)
        if path not in OPEN:
            try:
                caller = self._auth.caller(headers)
            except Refused as refused:
                await answer(refused)(scope, receive, started)
                return
            if caller is None:
                told = answer(Refused(UNAUTHORIZED), headers={"WWW-Authenticate": "Bearer"})
                await told(scope, receive, started)
                return
            scope.setdefault("state", {})["caller"] = caller
        if path not in UPLOADS:
            if _length(headers) > MAX_BODY_BYTES:
                await answer(_too_large(), headers={"Connection": "close"})(scope, receive, started)
                return
            receive = _Counted(receive)
        try:
            await self._app(scope, receive, started)
        finally:
            if method not in ("GET", "HEAD", "OPTIONS") and path not in OPEN:
                actor = scope["state"]["caller"].name
                # An error of our own is answered further out.
                log.info("asked", method=method, path=path, actor=actor, status=started.status or 500)


class _Started:
    """Passes an answer on, with the headers that all answers have."""

    def __init__(self, send: Send) -> None:
        self.status = 0
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


class _Counted:
    """Receives a body of at most `MAX_BODY_BYTES`, whatever its headers say."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > MAX_BODY_BYTES:
            # The router passes this one kind of exception on as it is.
            raise HTTPException(413, headers={"Connection": "close"})
        return message


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0


def _too_large() -> Refused:
    return Refused(TOO_LARGE_UPLOAD, f"the body has more than {MAX_BODY_BYTES} bytes")
