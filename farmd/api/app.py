"""The app: every router, the gate around them, and what they share."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, tzinfo

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer

from farmd import __version__
from farmd.api import (
    docs,
    errors,
    events,
    health,
    jobs,
    machines,
    metrics,
    plan,
    safety,
    terminal,
    tokens,
    work,
)
from farmd.api.auth import Auth
from farmd.api.context import Context
from farmd.api.feed import Feed
from farmd.api.gate import Gate
from farmd.api.idempotency import Answers
from farmd.api.limits import Limits
from farmd.api.probe import Probe
from farmd.api.roles import LEAST
from farmd.api.tally import Tally
from farmd.api.tls import Certificate
from farmd.api.uploads import Shelf
from farmd.daemon.keys import Keys
from farmd.daemon.service import Service

MODULES = (jobs, machines, terminal, work, plan, safety, events, tokens, metrics)
ROUTERS = [*(module.router for module in MODULES), jobs.submitting]
MAX_UPLOADS = 16
"""At one time; each has half a megabyte in memory."""
MAX_TERMINALS = 20
"""Followed at one time; each asks its driver four times a second."""

# The gate decides; these only describe it in the document.
_TOKENS = [
    Depends(HTTPBearer(auto_error=False)),
    Depends(APIKeyHeader(name="X-Api-Key", auto_error=False)),
]


def create_app(
    service: Service,
    *,
    auth: Auth,
    max_upload_bytes: int,
    zone: tzinfo = UTC,
    limits: Limits | None = None,
    certificate: Certificate | None = None,
) -> FastAPI:
    """The API of a running daemon. `zone` is the shop's, for throughput by day; `certificate` is only told of."""
    turned_away: Counter[str] = Counter()
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
        keys=Keys(service.ledger),
        turned_away=turned_away,
        certificate=certificate,
        closing=asyncio.Event(),
    )
    errors.install(app)
    _require_roles()
    for router in ROUTERS:
        app.include_router(router, dependencies=_TOKENS)
    app.include_router(health.router)
    app.include_router(docs.router)
    app.add_middleware(Gate, auth=auth, limits=limits or Limits(), turned_away=turned_away)
    return app


def operations() -> dict[tuple[str, str], APIRoute]:
    """All that is served to those who prove who they are, by method and path."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return {(method, route.path): route for route in routes for method in route.methods or ()}


def _require_roles() -> None:
    """Nothing is served of which the table of roles does not say who may ask for it."""
    served = operations().keys()
    if served != LEAST.keys():
        differing = sorted(served ^ LEAST.keys())
        raise RuntimeError(f"the API and its table of roles differ: {differing}")
