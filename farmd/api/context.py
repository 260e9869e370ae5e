"""What the routes share, made once for an app, and how a route asks for it. Knows no route."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import tzinfo
from typing import Annotated

from fastapi import Depends, Request

from farmd.api.auth import Caller
from farmd.api.feed import Feed
from farmd.api.idempotency import Answers
from farmd.api.probe import Probe
from farmd.api.tally import Tally
from farmd.api.tls import Certificate
from farmd.api.uploads import Shelf
from farmd.daemon.keys import Keys
from farmd.daemon.service import Service


@dataclass(frozen=True, slots=True)
class Context:
    """The daemon and what the API keeps beside it."""

    service: Service
    zone: tzinfo
    """The shop's, for days."""
    max_upload_bytes: int
    answers: Answers
    feed: Feed
    shelf: Shelf
    tally: Tally
    probe: Probe
    uploading: asyncio.Semaphore
    terminals: asyncio.Semaphore
    """One for each follower of a terminal."""
    keys: Keys
    turned_away: Counter[str]
    """Requests that the gate refused, by why."""
    certificate: Certificate | None
    closing: asyncio.Event
    """Set when the server ends; streams then end too."""


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Ctx = Annotated[Context, Depends(_context)]
Who = Annotated[Caller, Depends(_caller)]
"""Who asks, as the gate found. Whether they may is the gate's to say, by the table in `roles`."""
