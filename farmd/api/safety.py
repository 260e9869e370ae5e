"""Safe mode: why nothing is started, and the way out of it."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from farmd.api.context import Ctx, Who
from farmd.api.fields import Reason
from farmd.api.idempotency import IdempotentRoute, idempotency_key
from farmd.daemon.views import View, safe_mode_view

router = APIRouter(
    prefix="/api/v1", tags=["shop"], route_class=IdempotentRoute, dependencies=[Depends(idempotency_key)]
)


@router.get("/safe-mode")
async def get_safe_mode(context: Ctx) -> View:
    """The causes of safe mode, each with what to do; none when all is well."""
    return {"causes": [safe_mode_view(safe) for safe in context.service.safety.causes]}


@router.post("/safe-mode/leave")
async def leave_safe_mode(context: Ctx, who: Who, body: Reason = Reason()) -> View:
    """Say that all is in order; refused while it can be seen that it is not."""
    safety = context.service.safety
    await safety.leave(who.name, body.reason)
    return {"causes": [safe_mode_view(safe) for safe in safety.causes]}
