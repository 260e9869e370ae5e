"""Whether the daemon is well, for machines that watch it. Asked without a token; tells nothing of the shop."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from farmd import __version__
from farmd.api.context import Ctx

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def get_health(context: Ctx) -> JSONResponse:
    """200 while the daemon works, also in safe mode, which it then tells; 503 with what is wrong when it does not."""
    trouble = "the daemon is ending" if context.closing.is_set() else await context.probe.trouble()
    body: dict[str, object] = {"status": "failing", "what": trouble} if trouble else {"status": "ok"}
    if not trouble and (causes := context.service.safety.causes):
        # What exactly was found may name runs and folders, and nobody had to say who asks.
        told = [{"cause": safe.cause.value, "remedy": safe.remedy} for safe in causes]
        body = {"status": "safe-mode", "causes": told}
    return JSONResponse({**body, "version": __version__}, 503 if trouble else 200)
