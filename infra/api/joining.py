"""Becoming a node: a machine shows a token that can only join, and is told all that a node needs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import Field

from infra.api.gateway import bearer
from infra.api.problems import documented
from infra.api.schemas import Ask, View
from infra.join import Reception
from models.joining import JoinRefused

router = APIRouter(prefix="/api/v1", tags=["nodes"])

LONGEST_NAME = 128


class JoinAsk(Ask):
    """Which node wants to be let in."""

    node: str = Field(max_length=LONGEST_NAME, examples=["n7"], description="The name it wants; as declared, if it is.")
    mesh: str = Field(max_length=LONGEST_NAME, examples=["lab"], description="The mesh it believes this to be.")


class WelcomeView(View):
    """All that a node needs. It holds two secrets, and is told once."""

    mesh: str
    node: str
    database_url: str = Field(description="The app database, with a role that is this node's alone.")
    prefect_auth: str = Field(description="`user:password` for /api/prefect on this gateway.")
    control_pub: str | None = Field(description="Public half of the key that orders are signed with, base64.")
    place: str | None = Field(description="The node's place as declared, JSON.")


def reception_of(request: Request) -> Reception:
    """Return the reception of the app that answers this request."""
    found: Reception = request.app.state.reception
    return found


@router.post("/join", summary="Become a node", responses=documented(401, 403, 408, 413, 422, 500, 503))
async def join(
    reception: Annotated[Reception, Depends(reception_of)],
    presented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    wish: JoinAsk,
) -> WelcomeView:
    """Let a machine in as a node. The token comes from `x0tta6bl4 join-token create` and is used up by this."""
    if presented is None:
        raise HTTPException(401, "present a join token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})
    try:
        welcome = await reception.join(presented.credentials, wish.node, mesh=wish.mesh)
    except JoinRefused as refusal:
        raise HTTPException(403, str(refusal)) from refusal
    return WelcomeView.model_validate(welcome)
