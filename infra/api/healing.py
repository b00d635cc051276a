"""Ask for a turn of the cycle, and switch healing off and on. Nothing here acts: the watch run takes requests up."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Annotated

import structlog
from fastapi import APIRouter, HTTPException, Path, Response

from infra.api.gateway import AnyGateway, Gateway, Operator, Reader
from infra.api.problems import documented
from infra.api.schemas import ID_PATTERN, HealAccepted, HealAsk, HealView, PauseView
from models.errors import RefusedError
from models.ports import HealRequest, Token

log = structlog.get_logger()
router = APIRouter(prefix="/api/v1", tags=["healing"])


@router.post(
    "/heal",
    summary="Ask for a turn of the cycle",
    status_code=202,
    responses=documented(401, 403, 408, 409, 413, 422, 500, 503),
)
async def ask(gateway: AnyGateway, token: Operator, response: Response, wish: HealAsk | None = None) -> HealAccepted:
    """Store the request; the watch run turns it into a heal-mesh run. An empty body asks for a dry run."""
    wish = wish or HealAsk()
    request = HealRequest(
        id=wish.id or uuid.uuid4().hex,
        mesh=gateway.settings.mesh,
        dry_run=wish.dry_run,
        asked_by=f"api:{token.name}",
        asked_at=gateway.clock.now(),
    )
    async with gateway.store.unit() as unit:
        await unit.requests.post(request)
        stored = await unit.requests.get(request.id)
    if stored is not None and _wish(stored) != _wish(request):
        raise RefusedError(f"the id {request.id} was used before for another request; choose a new one")
    url = f"/api/v1/heal/{request.id}"
    response.headers["Location"] = url
    log.info("heal requested", request=request.id, dry_run=request.dry_run, asked_by=request.asked_by)
    return HealAccepted(id=request.id, status_url=url)


@router.get("/heal/{request}", summary="What became of a request", responses=documented(401, 403, 404, 422, 500, 503))
async def status(
    gateway: AnyGateway,
    _: Reader,
    request: Annotated[str, Path(pattern=ID_PATTERN, description="The id that POST /api/v1/heal gave.")],
) -> HealView:
    """Show a request and, once it is done, its outcome."""
    async with gateway.store.unit() as unit:
        stored = await unit.requests.get(request)
    if stored is None or stored.mesh != gateway.settings.mesh:
        raise HTTPException(404, f"there is no request {request}")
    return HealView(
        id=stored.id,
        dry_run=stored.dry_run,
        asked_by=stored.asked_by,
        asked_at=stored.asked_at,
        is_done=stored.outcome is not None,
        outcome=stored.outcome,
    )


@router.post("/pause", summary="Stop acting", responses=documented(401, 403, 408, 413, 500, 503))
async def pause(gateway: AnyGateway, token: Operator) -> PauseView:
    """Switch healing off: it still watches, diagnoses and plans, and changes nothing until /resume."""
    return await _switch(gateway, token, paused=True)


@router.post("/resume", summary="Act again", responses=documented(401, 403, 408, 413, 500, 503))
async def resume(gateway: AnyGateway, token: Operator) -> PauseView:
    """Switch healing on again."""
    return await _switch(gateway, token, paused=False)


async def _switch(gateway: Gateway, token: Token, *, paused: bool) -> PauseView:
    mesh = gateway.settings.mesh
    async with gateway.store.unit() as unit:
        state = await unit.guards.load(mesh)
        await unit.guards.save(mesh, replace(state, paused=paused))
    log.info("pause switch set", mesh=mesh, paused=paused, by=f"api:{token.name}")
    return PauseView(paused=paused)


def _wish(request: HealRequest) -> tuple[str, bool, str]:
    """What must be the same for two requests with one id to be one request."""
    return request.mesh, request.dry_run, request.asked_by
