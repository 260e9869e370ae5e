"""Builds, runs, material lots, and the pictures of files."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from farmd.api import history
from farmd.api.context import Ctx, Who
from farmd.api.errors import NOT_FOUND
from farmd.api.fields import NAME, Body, Prose, Reason, is_name
from farmd.api.idempotency import IdempotentRoute, idempotency_key
from farmd.daemon.views import View, build_view
from farmd.model.codec import encode
from farmd.model.errors import Refused

router = APIRouter(
    prefix="/api/v1", tags=["work"], route_class=IdempotentRoute, dependencies=[Depends(idempotency_key)]
)

Named = Annotated[str | None, Query(pattern=NAME)]
_PNG = b"\x89PNG\r\n\x1a\n"


class Verdict(Body):
    """What a person saw at the machine."""

    verdict: Literal["printing", "not-started", "failed"]
    reason: Prose = ""


@router.get("/builds")
async def list_builds(context: Ctx) -> View:
    """Open builds, the oldest first."""
    return {"builds": [build_view(build) for build in context.service.farm.builds.values()]}


@router.get("/runs")
async def list_runs(
    context: Ctx, machine: Named = None, job: Named = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> View:
    """Runs, open and ended, the newest first."""
    return {"runs": await history.run_views(context.service, machine=machine, job=job, limit=limit)}


@router.get("/runs/{run_id}")
async def get_run(context: Ctx, run_id: str) -> View:
    """One run."""
    return await history.find_run_view(context.service, run_id)


@router.post("/runs/{run_id}/resolve")
async def resolve_run(context: Ctx, who: Who, run_id: str, body: Verdict) -> View:
    """A person looked: an uncertain run is printing, did not start, or failed."""
    service = context.service
    run = await service.floor.resolve(run_id, body.verdict, who.name, body.reason)
    # A run that did not start has left memory by now.
    return await history.find_run_view(service, run.id)


@router.post("/runs/{run_id}/continue")
async def continue_run(context: Ctx, who: Who, run_id: str, body: Reason = Reason()) -> View:
    """Go on where a run broke off, with what it made still on the machine, by a new run: the answer.

    Only on machines whose driver says that it can (`capabilities.continues`). Whether it started is told
    by its machine.
    """
    service = context.service
    run = await service.floor.go_on(run_id, who.name, body.reason)
    return await history.find_run_view(service, run.id)


@router.get("/lots")
async def list_lots(context: Ctx) -> View:
    """All material lots and what is left of them."""
    lots = context.service.farm.lots
    return {"lots": [encode(lots[lot_id]) for lot_id in sorted(lots)]}


@router.get(
    "/files/{sha256}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "the picture"}},
)
async def get_thumbnail(context: Ctx, sha256: str) -> Response:
    """The picture that the slicer put into a file."""
    file = await history.find_file(context.service, sha256) if is_name(sha256) else None
    picture = _png(file.summary.get("thumbnail") if file is not None else None)
    if picture is None:
        raise Refused(NOT_FOUND, "there is no picture of this file", where=sha256[:80])
    # The address is the content's hash: it never changes.
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


def _png(thumbnail: Any) -> bytes | None:
    """The bytes of a recorded thumbnail, if they are a PNG."""
    if not thumbnail:
        return None
    try:
        picture = base64.b64decode(thumbnail["png_base64"], validate=True)
    except (KeyError, binascii.Error):
        return None
    return picture if picture.startswith(_PNG) else None
