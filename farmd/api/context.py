"""What the routes share, made once for an app, and how a route asks for it. Knows no route."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import tzinfo
from typing import Annotated

from fastapi import Depends, Request

from farmd.api.auth import Caller
from farmd.api.feed import Feed
from farmd.api.idempotency import Answers
from farmd.api.probe import Probe
from farmd.api.tally import Tally
from farmd.api.uploads import Shelf
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
"""Who asks, as the gate found; a route that needs a right will ask for it here."""
Engineer = Annotated[Caller, Depends(_caller)]
"""Who asks for what is an engineer's to do. Tokens have no roles yet, so any may; when they have, it is asked here."""
