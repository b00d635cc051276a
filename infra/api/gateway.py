"""What every route needs: the store, the settings, the clock, the shop, and who is asking."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from infra.access import Access
from infra.api.pace import CALLS_PER_MINUTE, Pace
from infra.licences import LicenceSigner
from infra.metrics import GatewayMetrics
from infra.settings import Settings
from infra.shop.shop import Shop
from infra.shop.verifier import PaymentVerifier
from models.ledger import BuyerId
from models.payment_policy import PaymentPolicy
from models.ports import Clock, Scope, Store, Token
from models.shop import NOTHING_SOLD, Catalogue


@dataclass(frozen=True, slots=True)
class Trade:
    """What an installation sells by, read from its settings by whoever starts the gateway.

    Attributes:
        catalogue: Plans and deposit addresses.
        policy: Windows and thresholds; the scanning worker's are the same.
        signer: Writes licences for the orders shown; None where their key is not.
        calls_per_minute: To the shop's routes, for each token.
    """

    catalogue: Catalogue = NOTHING_SOLD
    policy: PaymentPolicy = field(default_factory=PaymentPolicy)
    signer: LicenceSigner | None = None
    calls_per_minute: int = CALLS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class Gateway:
    """The one bundle that `create_app` hands to the routes.

    Attributes:
        store: The database.
        settings: As read once.
        clock: The one clock.
        metrics: What only the gateway sees.
        shop: Orders and claims.
        verifier: Is it paid.
        access: Licences, used and taken back; None where no key of theirs is.
        signer: Writes licences; None where their key is not.
        pace: How often a token may ask the shop.
    """

    store: Store
    settings: Settings
    clock: Clock
    metrics: GatewayMetrics
    shop: Shop
    verifier: PaymentVerifier
    access: Access | None
    signer: LicenceSigner | None
    pace: Pace


def open_gateway(
    store: Store,
    settings: Settings,
    clock: Clock,
    *,
    trade: Trade,
    metrics: GatewayMetrics,
    access: Access | None = None,
) -> Gateway:
    """Put the bundle together; opens nothing."""
    shop = Shop(store, clock, trade.policy, trade.catalogue)
    return Gateway(
        store=store,
        settings=settings,
        clock=clock,
        metrics=metrics,
        shop=shop,
        verifier=PaymentVerifier(store, clock, trade.policy, shop),
        access=access,
        signer=trade.signer,
        pace=Pace(trade.calls_per_minute),
    )


def gateway_of(request: Request) -> Gateway:
    """Return the bundle of the app that answers this request."""
    found: Gateway = request.app.state.gateway
    return found


AnyGateway = Annotated[Gateway, Depends(gateway_of)]

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token from `x0tta6bl4 token create NAME --scope read|pay|operate`. operate includes the others.",
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


def _insufficient(needed: Scope) -> HTTPException:
    challenge = f'Bearer error="insufficient_scope", scope="{needed.value}"'
    return HTTPException(403, f"this needs a token of scope {needed.value}", {"WWW-Authenticate": challenge})


def reader(token: Caller) -> Token:
    """Let a token of scope read or operate through; a customer's reads nothing of the mesh."""
    if token.scope is Scope.PAY:
        raise _insufficient(Scope.READ)
    return token


def operator(token: Caller) -> Token:
    """Let only a token of scope operate through."""
    if token.scope is not Scope.OPERATE:
        raise _insufficient(Scope.OPERATE)
    return token


@dataclass(frozen=True, slots=True)
class Customer:
    """Who stands at the shop's counter.

    Attributes:
        id: Whose name goes on what they buy.
        sees: Whose orders they may see; None: everybody's, for an operator.
    """

    id: BuyerId
    sees: BuyerId | None


async def customer(gateway: AnyGateway, token: Caller) -> Customer:
    """Let a token of scope pay or operate through, as often as the pace allows."""
    if token.scope is Scope.READ:
        raise _insufficient(Scope.PAY)
    if wait_s := await gateway.pace.take(token.name):
        raise HTTPException(
            429, f"more than {gateway.pace.calls_per_minute} calls a minute", {"Retry-After": f"{wait_s:g}"}
        )
    buyer = BuyerId(f"api:{token.name}")
    return Customer(buyer, None if token.scope is Scope.OPERATE else buyer)


Reader = Annotated[Token, Depends(reader)]
Operator = Annotated[Token, Depends(operator)]
Buyer = Annotated[Customer, Depends(customer)]
