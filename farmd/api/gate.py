"""The gate: every request passes here first, before a byte of its body is read.

Without a known token nothing is answered but what `roles.OPEN` names; with one, what the table of roles
says and nothing else. Nobody asks without measure; an emergency stop alone is never counted. Acts are
logged with who asked. Knows paths and headers; knows no farm.
"""

from __future__ import annotations

from collections import Counter

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farmd.api.arriving import MAX_BODY_BYTES, Arriving, UntilEnd
from farmd.api.auth import Auth, Caller
from farmd.api.errors import (
    BAD_METHOD,
    FORBIDDEN,
    NOT_FOUND,
    TOO_LARGE_UPLOAD,
    TOO_MANY,
    UNAUTHORIZED,
    answer,
)
from farmd.api.limits import STREAMS_EACH, Limits
from farmd.api.roles import LEAST, OPEN, Operations, permits
from farmd.api.stream import STREAM
from farmd.driver import now
from farmd.driver.clock import speed
from farmd.model.errors import ErrorCode, Refused

UPLOADS = frozenset({("POST", "/api/v1/jobs")})
"""Where large bodies go; the upload itself counts them."""
STOPS = frozenset({("POST", "/api/v1/estop"), ("POST", "/api/v1/machines/{name}/estop")})
"""What no limit holds up."""

log = structlog.get_logger("api")

Operation = tuple[str, str]


class Gate:
    """ASGI middleware around the whole app. `turned_away` counts refusals by why."""

    def __init__(self, app: ASGIApp, auth: Auth, limits: Limits, turned_away: Counter[str]) -> None:
        self._app = app
        self._auth = auth
        self._limits = limits
        self._turned_away = turned_away
        self._operations = Operations(LEAST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        started = _Started(send)
        caller: Caller | None = None
        try:
            if path in OPEN:
                if wait_s := self._limits.requests.take(f"address {_address(scope)}"):
                    raise _too_many("too many requests from this address", wait_s)
                await self._app(scope, Arriving(receive, is_upload=False), started)
                return
            caller = self._caller(scope)
            scope.setdefault("state", {})["caller"] = caller
            operation = self._operation(method, path, caller)
            await self._pass(scope, receive, started, caller, operation)
        except _TurnedAway as told:
            self._turned_away[told.why] += 1
            await answer(told.refused, headers=told.headers)(scope, receive, started)
        finally:
            if (method not in ("GET", "HEAD", "OPTIONS") or started.status == 403) and path not in OPEN:
                actor = caller.name if caller is not None else ""
                # An error of our own is answered further out.
                log.info("asked", method=method, path=path, actor=actor, status=started.status or 500)

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, caller: Caller, operation: Operation
    ) -> None:
        headers = Headers(scope=scope)
        if operation not in STOPS and (wait_s := self._limits.requests.take(caller.token)):
            raise _too_many(f"{caller.token} asks too often", wait_s)
        is_upload = operation in UPLOADS
        if not is_upload and _length(headers) > MAX_BODY_BYTES:
            what = f"the body has more than {MAX_BODY_BYTES} bytes"
            raise _TurnedAway("size", TOO_LARGE_UPLOAD, what, {"Connection": "close"})
        # Only what is read can be a stream: a body counts as one whatever else its sender says.
        if operation[0] != "GET" or STREAM not in headers.get("accept", ""):
            await self._app(scope, Arriving(receive, is_upload=is_upload), send)
            return
        if self._limits.streams(caller.token) >= STREAMS_EACH:
            raise _too_many(f"{caller.token} has {STREAMS_EACH} streams open already", 1)
        left_s = None if caller.good_until is None else max(0.0, caller.good_until - now()) / speed()
        with self._limits.streaming(caller.token):
            await self._app(scope, UntilEnd(receive, self._auth.end_of(caller), left_s), send)

    def _caller(self, scope: Scope) -> Caller:
        peer = scope.get("state", {}).get("peer")
        try:
            caller = self._auth.caller(Headers(scope=scope), peer)
        except Refused as refused:
            raise _TurnedAway("request", refused.code, refused.what, where=refused.where) from refused
        if caller is None:
            self._count_stranger(scope)
            what = f"{peer.user} has no role on the local socket, or the token is not known" if peer else ""
            raise _TurnedAway("token", UNAUTHORIZED, what, {"WWW-Authenticate": "Bearer"})
        return caller

    def _operation(self, method: str, path: str, caller: Caller) -> Operation:
        """What is asked for; raises when there is no such thing, or the caller may not."""
        methods = self._operations.find(path)
        if methods is None:
            raise _TurnedAway("request", NOT_FOUND, where=path[:200])
        if (operation := methods.get(method)) is None:
            allowed = {"Allow": ", ".join(sorted(methods))}
            raise _TurnedAway("request", BAD_METHOD, where=path[:200], headers=allowed)
        if not permits(caller.role, operation):
            what = f"{caller.name} is {caller.role.value}, and this takes {LEAST[operation].value}"
            raise _TurnedAway("role", FORBIDDEN, what)
        return operation

    def _count_stranger(self, scope: Scope) -> None:
        """Raises when too many requests without a token have come from one address."""
        if wait_s := self._limits.strangers.take(_address(scope)):
            raise _too_many("too many requests without a good token", wait_s)


class _TurnedAway(Exception):
    """A request that does not get further than the gate."""

    def __init__(
        self,
        why: str,
        code: ErrorCode,
        what: str = "",
        headers: dict[str, str] | None = None,
        where: str = "",
    ) -> None:
        self.why = why
        self.refused = Refused(code, what, where=where)
        self.headers = headers
        super().__init__(why)


def _too_many(what: str, wait_s: int) -> _TurnedAway:
    return _TurnedAway("rate", TOO_MANY, what, {"Retry-After": str(wait_s)})


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


def _address(scope: Scope) -> str:
    """Where a request comes from; whoever can reach the local socket is one."""
    client = scope.get("client")
    return str(client[0]) if client else "local"


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0
