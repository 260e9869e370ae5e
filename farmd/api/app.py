"""The app: every router, the gate around them, and what they share."""

from __future__ import annotations

import asyncio
from datetime import UTC, tzinfo

from fastapi import Depends, FastAPI
from fastapi.security import APIKeyHeader, HTTPBearer

from farmd import __version__
from farmd.api import docs, errors, events, health, jobs, machines, metrics, plan, terminal, work
from farmd.api.auth import Auth
from farmd.api.context import Context
from farmd.api.feed import Feed
from farmd.api.gate import Gate
from farmd.api.idempotency import Answers
from farmd.api.probe import Probe
from farmd.api.tally import Tally
from farmd.api.uploads import Shelf
from farmd.daemon.service import Service

MAX_UPLOADS = 16
"""At one time; each has half a megabyte in memory."""
MAX_TERMINALS = 20
"""Followed at one time; each asks its driver four times a second."""

# The gate decides; these only describe it in the document.
_TOKENS = [
    Depends(HTTPBearer(auto_error=False)),
    Depends(APIKeyHeader(name="X-Api-Key", auto_error=False)),
]


def create_app(service: Service, *, auth: Auth, max_upload_bytes: int, zone: tzinfo = UTC) -> FastAPI:
    """The API of a running daemon. `zone` is the shop's, for throughput by day."""
    app = FastAPI(
        title="farmd",
        version=__version__,
        description="Plans and runs a shop of additive machines. Errors are "
        '{"error": {"code", "what", "where", "remedy"}}; times are ISO 8601; numbers carry their unit in their name.',
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = Context(
        service=service,
        zone=zone,
        max_upload_bytes=max_upload_bytes,
        answers=Answers(service.store, service.ledger.remember),
        feed=Feed(service.ledger, service.store),
        shelf=Shelf(service.ledger, service.store, service.vault),
        tally=Tally(service.store),
        probe=Probe(service.store),
        uploading=asyncio.Semaphore(MAX_UPLOADS),
        terminals=asyncio.Semaphore(MAX_TERMINALS),
        closing=asyncio.Event(),
    )
    errors.install(app)
    for module in (jobs, machines, terminal, work, plan, events, metrics):
        app.include_router(module.router, dependencies=_TOKENS)
    app.include_router(jobs.submitting, dependencies=_TOKENS)
    app.include_router(health.router)
    app.include_router(docs.router)
    app.add_middleware(Gate, auth=auth)
    return app
