"""Errors as HTTP answers: one body shape and one table of statuses for everything that can go wrong.

The body is `{"error": {"code", "what", "where", "remedy"}}` whoever found the error: farmd itself,
the validation of a request, or the router. Knows no route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from farmd.model.errors import ErrorCode, FarmdError, Refused

UNAUTHORIZED = ErrorCode(
    "unauthorized",
    "the request has no token, or one that is not known",
    "send `Authorization: Bearer TOKEN`; farmctl takes it from --token or FARMCTL_TOKEN",
)
FORBIDDEN = ErrorCode(
    "forbidden",
    "the role of this token does not reach so far",
    "ask with a token of the role that is named; an administrator makes one with `farmd token add`",
)
TOO_SLOW = ErrorCode(
    "request-too-slow", "the request did not arrive in time", "see to the network, then send it again"
)
BAD_REQUEST = ErrorCode(
    "bad-request", "the request cannot be understood", "see /docs for what each request takes"
)
NOT_FOUND = ErrorCode(
    "not-found", "there is nothing at this address", "see /docs for the addresses there are"
)
BAD_METHOD = ErrorCode(
    "method-not-allowed", "this address does not take that method", "see /docs for what it takes"
)
TOO_LARGE_UPLOAD = ErrorCode(
    "too-large-upload",
    "the request is larger than farmd takes",
    "slice the file into smaller ones, or raise `max_upload_mb` in [api]",
)
TOO_MANY = ErrorCode("too-many-requests", "too much is going on at once", "try again in a moment")
INTERNAL = ErrorCode(
    "internal-error", "farmd failed with an error of its own", "report the log entry to farmd's makers"
)

_STATUS = {
    UNAUTHORIZED.name: 401,
    FORBIDDEN.name: 403,
    TOO_SLOW.name: 408,
    NOT_FOUND.name: 404,
    BAD_METHOD.name: 405,
    TOO_LARGE_UPLOAD.name: 413,
    "file-too-large": 413,
    TOO_MANY.name: 429,
    BAD_REQUEST.name: 422,
    "bad-command": 422,
    "bad-order": 422,
    "bad-count": 422,
    "bad-load": 422,
    "bad-token": 422,
    "bad-verdict": 422,
    "command-refused": 422,
    "idempotency-conflict": 422,
    "not-storable": 422,
    "vault-full": 507,
}
"""Refusals whose status is not 409. All `unknown-…` are 404."""

_BY_STATUS = {
    401: UNAUTHORIZED,
    403: FORBIDDEN,
    404: NOT_FOUND,
    405: BAD_METHOD,
    408: TOO_SLOW,
    413: TOO_LARGE_UPLOAD,
    429: TOO_MANY,
}


def status_of(error: FarmdError) -> int:
    """The HTTP status of an error: the caller's fault below 500, the farm's own from there on."""
    if error.code.name in _STATUS:
        return _STATUS[error.code.name]
    if isinstance(error, Refused):
        return 404 if error.code.name.startswith("unknown-") else 409
    return 503


def answer(
    error: FarmdError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The error in the one shape that clients know."""
    return JSONResponse({"error": error.as_dict()}, status or status_of(error), headers)


def install(app: FastAPI) -> None:
    """Make every error of the app answer in that shape."""

    @app.exception_handler(FarmdError)
    async def farmd_error(request: Request, error: FarmdError) -> Response:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(_told(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = _BY_STATUS.get(error.status_code, BAD_REQUEST)
        told = Refused(code, "" if code is not BAD_REQUEST else str(error.detail), where=request.url.path)
        return answer(told, status=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        # What it was is in the log, not in the answer.
        return answer(Refused(INTERNAL, where=request.url.path), status=500)


def _told(errors: Any) -> Refused:
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    what = first["msg"].removeprefix("Value error, ")
    return Refused(BAD_REQUEST, what, where=place or str(first["loc"][0]))
