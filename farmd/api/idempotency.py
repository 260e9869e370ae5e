"""The same request twice: one act, the same answer.

A POST with an `Idempotency-Key` is answered once; the answer is kept in the store, and whoever
sends the key with the same request and the same token again gets it again. The key goes to disk in
one transaction with the first facts of the act, so that a crash between the act and its answer does not
let it happen twice. Only what was done is kept: a refusal that changed nothing is forgotten, and the
next try may succeed. Knows requests as hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any
from weakref import WeakValueDictionary

from fastapi import Header, Request, Response
from fastapi.routing import APIRoute

from farmd.api.errors import BAD_REQUEST, answer
from farmd.daemon.claims import Claim, claimed
from farmd.driver import now, offload
from farmd.model.errors import ErrorCode, FarmdError, Refused
from farmd.model.farm import Entity
from farmd.store import Answer, Store, StoreFailed

IDEMPOTENCY_CONFLICT = ErrorCode(
    "idempotency-conflict",
    "this Idempotency-Key was used for another request",
    "use a new key for a new request",
)
ANSWER_NOT_KEPT = ErrorCode(
    "answer-not-kept",
    "the request was carried out, at least its beginning, but farmd ended before it had answered",
    "see with `farmctl events` what was done; to ask for it again use a new key",
)
REPLAYED = "Idempotent-Replayed"
_LONGEST_KEY = 200

AtOnce = Callable[[tuple[Entity, ...]], Response]
"""The whole answer by what the first facts have changed."""
Remember = Callable[[Answer], Awaitable[object]]
"""Writes an answer, on the ledger's writer; done when it is on disk."""

IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", description="same key and request, same answer")
]


def idempotency_key(key: IdempotencyKey = None) -> None:
    """Shows the header in the API's description; `Answers` reads it."""


class Answers:
    """Answers requests with a key once."""

    def __init__(self, store: Store, remember: Remember) -> None:
        self._store = store
        self._remember = remember
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def once(
        self,
        request: Request,
        content_sha256: str,
        act: Callable[[], Awaitable[Response]],
        at_once: AtOnce | None = None,
    ) -> Response:
        """What `act` answers, or answered before. `content_sha256` stands for what the request carries.

        With `at_once`, what it makes of the first facts is the answer, kept with them.
        Raises `Refused(IDEMPOTENCY_CONFLICT)` and whatever `act` raises.
        """
        key = request.headers.get("idempotency-key")
        if key is None:
            return await act()
        if not key.isascii() or not key.isprintable() or not 0 < len(key) <= _LONGEST_KEY:
            what = f"a key has 1 to {_LONGEST_KEY} printable characters"
            raise Refused(BAD_REQUEST, what, where="Idempotency-Key")
        asks = [request.method, request.url.path, request.url.query, request.state.caller.token]
        wanted = sha256_of([*asks, content_sha256])
        # Two at the same moment: the second waits for the first's answer.
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = await offload(lambda: self._store.idempotent(key))
            if known is not None:
                return _replay(known, wanted)
            return await self._act(key, wanted, act, at_once)

    async def _act(
        self, key: str, wanted: str, act: Callable[[], Awaitable[Response]], at_once: AtOnce | None
    ) -> Response:
        def kept(changed: tuple[Entity, ...]) -> Answer:
            if at_once is None:
                return Answer(key, wanted, 0, "", now())
            told = at_once(changed)
            return Answer(key, wanted, told.status_code, bytes(told.body).decode(), now())

        claim = Claim(kept)
        before = claimed.set(claim)
        try:
            response = await act()
        except StoreFailed:
            raise
        except FarmdError as error:
            if claim.answer is None:
                raise
            # Something was done and is on disk, so this is how it was answered.
            response = answer(error)
        finally:
            claimed.reset(before)
        if claim.answer is not None and claim.answer.status:
            return Response(claim.answer.response, claim.answer.status, media_type="application/json")
        text = bytes(response.body).decode()
        await self._remember(Answer(key, wanted, response.status_code, text, now()))
        return response


class IdempotentRoute(APIRoute):
    """A route whose POSTs, small ones with JSON bodies, honour the header."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            if request.method != "POST":
                return await handle(request)
            answers: Answers = request.app.state.context.answers
            content = hashlib.sha256(await request.body()).hexdigest()
            return await answers.once(request, content, lambda: handle(request))

        return handle_once


def sha256_of(value: Any) -> str:
    """The hash of a plain JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _replay(known: Answer, wanted: str) -> Response:
    if known.request_sha256 != wanted:
        raise Refused(IDEMPOTENCY_CONFLICT, where=known.key)
    if not known.status:
        raise Refused(ANSWER_NOT_KEPT, where=known.key)
    return Response(known.response, known.status, {REPLAYED: "true"}, "application/json")
