"""Prefect's API as nodes reach it: each with a pass of its own, and to its own queue, deployment and runs only.

Its websockets are not passed on: whoever may send events may set off automations. A worker goes on without them, and
asks every ten seconds instead whether somebody cancelled its run.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from infra.api.joining import reception_of
from infra.join import Reception
from infra.prefect_door import PrefectDoor
from infra.prefect_rules import Call, Forbidden
from models.errors import SourceUnavailable

log = structlog.get_logger()
# What passes through is Prefect's API, documented by Prefect; ours is the list of what passes.
router = APIRouter(prefix="/api/prefect", include_in_schema=False)
basic = HTTPBasic(auto_error=False)


def door_of(request: Request) -> PrefectDoor:
    """Return the door to Prefect; 503 where this gateway was not told where that is."""
    found: PrefectDoor | None = request.app.state.prefect
    if found is None:
        raise SourceUnavailable("Prefect", "this gateway was not told where it is (PREFECT_API_URL)")
    return found


Door = Annotated[PrefectDoor, Depends(door_of)]


@router.get("/health")
async def health(door: Door) -> bool:
    """Say whether Prefect is well; as in Prefect itself, this takes no password."""
    if not await door.is_well():
        raise SourceUnavailable("Prefect")
    return True


@router.api_route("/{path:path}", methods=["GET", "POST", "PATCH", "DELETE"])
async def passed_on(
    request: Request,
    door: Door,
    reception: Annotated[Reception, Depends(reception_of)],
    presented: Annotated[HTTPBasicCredentials | None, Depends(basic)],
    path: str,
) -> Response:
    """Pass a worker's call on, if it is its node's own business."""
    known = None if presented is None else await reception.of_pass(presented.username, presented.password)
    if known is None:
        challenge = {"WWW-Authenticate": 'Basic realm="node"'}
        raise HTTPException(401, "present the pass that this node got when it joined", challenge)
    request.state.caller = f"node:{known.node}"
    call = Call(request.method, path, request.url.query, await request.body())
    try:
        answer = await door.pass_on(known.node, call, request.headers)
    except Forbidden as refusal:
        log.warning("node asked Prefect for what is not its own", node=known.node, reason=str(refusal))
        raise HTTPException(403, str(refusal)) from refusal
    return Response(answer.body, answer.status, media_type=answer.media_type)
