"""Bodies as they arrive: counted, and given up when they come too slowly. Streams that end with their token.

Wraps what an ASGI server hands on. Knows no path and no role.
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

MAX_BODY_BYTES = 64 * 1024
"""Of everything but an upload, which counts its own."""
SILENCE_S = 20.0
"""Of a sender in the middle of a body."""
SMALL_S = 30.0
"""In which a small body has arrived."""
GRACE_S = 60.0
SLOWEST_BYTES_S = 16 * 1024
"""An upload that comes more slowly than this, after the grace, holds a place that others need."""
_CLOSE = {"Connection": "close"}


class Arriving:
    """Receives a body: of at most `MAX_BODY_BYTES`, whatever its headers say, or an upload of any size."""

    def __init__(self, receive: Receive, *, is_upload: bool) -> None:
        self._receive = receive
        self._is_upload = is_upload
        self._began = asyncio.get_running_loop().time()
        self._size = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._patience_s()):
                message = await self._receive()
        except TimeoutError as slow:
            raise HTTPException(408, headers=_CLOSE) from slow
        self._size += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if not self._is_upload and self._size > MAX_BODY_BYTES:
            # The router passes this one kind of exception on as it is.
            raise HTTPException(413, headers=_CLOSE)
        return message

    def _patience_s(self) -> float:
        """How long the next piece may take; 0 when all time is used up."""
        gone_s = asyncio.get_running_loop().time() - self._began
        allowed_s = GRACE_S + self._size / SLOWEST_BYTES_S if self._is_upload else SMALL_S
        return max(0.0, min(SILENCE_S, allowed_s - gone_s))


class UntilEnd:
    """Receives until something ends, at a time or by an event; then says that the sender is gone."""

    def __init__(self, receive: Receive, ended: asyncio.Event, within_s: float | None) -> None:
        self._receive = receive
        self._ended = ended
        self._ends_at = None if within_s is None else asyncio.get_running_loop().time() + within_s

    async def __call__(self) -> Message:
        left_s = None
        if self._ends_at is not None:
            left_s = max(0.0, self._ends_at - asyncio.get_running_loop().time())
        receiving = asyncio.ensure_future(self._receive())
        ending = asyncio.create_task(self._ended.wait())
        try:
            done, _ = await asyncio.wait(
                {receiving, ending}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (receiving, ending):
                task.cancel()
        # Whoever keeps sending does not keep it open.
        is_over = self._ended.is_set() or receiving not in done
        return {"type": "http.disconnect"} if is_over else receiving.result()
