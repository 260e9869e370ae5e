"""Tokens: given out, listed, taken back. The secret of a token is its holder's; only its hash comes here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from farmd.api.context import Ctx, Who
from farmd.api.fields import NAME, Body, Reason, Time
from farmd.api.idempotency import IdempotentRoute, idempotency_key
from farmd.daemon.views import View, token_view
from farmd.driver import now
from farmd.model.access import Role

router = APIRouter(
    prefix="/api/v1", tags=["access"], route_class=IdempotentRoute, dependencies=[Depends(idempotency_key)]
)


class NewToken(Body):
    """A token that its holder has made: `sha256` is of its bytes, in hexadecimal digits."""

    name: Annotated[str, Field(pattern=NAME)]
    role: Annotated[Role, Field(strict=False)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    expires: Time | None = None


@router.get("/me")
async def get_me(who: Who) -> View:
    """Who asks, by the token or the local socket, and as what."""
    return {"name": who.name, "token": who.token, "role": who.role.value}


@router.get("/tokens")
async def list_tokens(context: Ctx) -> View:
    """All tokens that ever were, of one name the latest; without what would open anything."""
    at = now()
    return {"tokens": [token_view(token, at) for token in context.keys.tokens()]}


@router.post("/tokens", status_code=201)
async def add_token(context: Ctx, who: Who, body: NewToken) -> View:
    """Let a token be used from now on. An engineer's ends after 90 days at the latest."""
    token = await context.keys.add(body.name, body.role, body.sha256, who.name, body.expires)
    return token_view(token, now())


@router.post("/tokens/{name}/revoke")
async def revoke_token(context: Ctx, who: Who, name: str, body: Reason = Reason()) -> View:
    """Take a token back: it opens nothing any more when this is answered, and its streams end."""
    token = await context.keys.revoke(name, who.name, body.reason)
    return token_view(token, now())
