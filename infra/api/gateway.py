"""What every route needs: the store, the settings, the clock, and who is asking."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from infra.metrics import GatewayMetrics
from infra.settings import Settings
from models.ports import Clock, Scope, Store, Token


@dataclass(frozen=True, slots=True)
class Gateway:
    """The one bundle that `create_app` hands to the routes."""

    store: Store
    settings: Settings
    clock: Clock
    metrics: GatewayMetrics


def gateway_of(request: Request) -> Gateway:
    """Return the bundle of the app that answers this request."""
    found: Gateway = request.app.state.gateway
    return found


AnyGateway = Annotated[Gateway, Depends(gateway_of)]

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token from `x0tta6bl4 token create NAME --scope read|operate`. operate includes read.",
)


def digest_of(secret: str) -> str:
    """Return the SHA-256 under which a token is kept, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


async def caller_of(
    request: Request,
    gateway: AnyGateway,
    presented: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Token:
    """Find who presents this token; 401 when it is missing, unknown or revoked, with the same sentence for each."""
    token: Token | None = None
    if presented is not None:
        digest = digest_of(presented.credentials)
        async with gateway.store.unit() as unit:
            token = await unit.tokens.find(digest)
        # The lookup is by digest, so its timing tells nothing of a secret; this guards against a lax adapter.
        if token is not None and not hmac.compare_digest(token.digest, digest):
            token = None
    if token is None:
        raise HTTPException(401, "present a valid token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})
    request.state.caller = token.name
    return token


Caller = Annotated[Token, Depends(caller_of)]


def reader(token: Caller) -> Token:
    """Let any valid token read."""
    return token


def operator(token: Caller) -> Token:
    """Let only a token of scope operate through."""
    if token.scope is not Scope.OPERATE:
        challenge = f'Bearer error="insufficient_scope", scope="{Scope.OPERATE.value}"'
        raise HTTPException(403, f"this needs a token of scope {Scope.OPERATE.value}", {"WWW-Authenticate": challenge})
    return token


Reader = Annotated[Token, Depends(reader)]
Operator = Annotated[Token, Depends(operator)]
