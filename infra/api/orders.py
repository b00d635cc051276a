"""Buying: what is sold, an order, and what became of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from infra.api.gateway import AnyGateway, Buyer
from infra.api.once import Key, keyed, sent_once
from infra.api.payment_schemas import (
    ORDER_EXAMPLE,
    ORDER_PATTERN,
    LicenceView,
    OrderAsk,
    OrderStory,
    OrderView,
    PlanPage,
    PlanView,
)
from infra.api.problems import documented
from infra.licences import LicenceSigner
from models.ledger import IssuedLicence
from models.payment import OrderId, OrderState

router = APIRouter(prefix="/api", tags=["shop"])

Named = Annotated[
    str, Path(pattern=ORDER_PATTERN, description="An order's id, from POST /api/orders.", examples=[ORDER_EXAMPLE])
]


def shown(signer: LicenceSigner | None, licence: IssuedLicence | None) -> LicenceView | None:
    """Show a licence, with its text where this process can write it and it was not taken back."""
    if licence is None:
        return None
    is_good = licence.revoked_at is None
    return LicenceView.of(licence, signer.text_of(licence) if signer is not None and is_good else None)


@router.get("/plans", summary="What is sold", responses=documented(401, 403, 429, 500, 503))
async def plans(gateway: AnyGateway, _: Buyer) -> PlanPage:
    """List plans and prices. The price is not yet the amount to pay: an order's own amount names it."""
    return PlanPage(plans=[PlanView.of(one) for one in gateway.shop.plans()])


@router.post(
    "/orders",
    summary="Order a plan",
    status_code=201,
    responses=documented(401, 403, 408, 409, 413, 422, 429, 500, 503),
)
async def place(gateway: AnyGateway, customer: Buyer, wish: OrderAsk, response: Response, key: Key = None) -> OrderView:
    """Reserve an exact amount. Pay exactly that, to the address shown, before `expires_at` by the block's own time.

    Send an `Idempotency-Key` to be able to ask again when an answer was lost: it returns the same order, as it is then.
    """
    with sent_once():
        sale = await gateway.shop.place_order(
            customer.id, wish.plan, wish.currency, language=wish.language, wish=keyed(customer.id, key, wish)
        )
    response.headers["Location"] = f"/api/orders/{sale.order.id}"
    return OrderView.of(sale)


@router.get("/orders/{order}", summary="An order", responses=documented(401, 403, 404, 422, 429, 500, 503))
async def order_of(gateway: AnyGateway, customer: Buyer, order: Named) -> OrderStory:
    """Show an order of yours as the ledger has it, and the licence it earned."""
    sale = await gateway.shop.sale(OrderId(order), buyer=customer.sees)
    licence = None
    if sale.order.state in {OrderState.SETTLED, OrderState.REFUNDED}:
        async with gateway.store.unit() as unit:
            licence = await unit.licences.of_order(sale.order.id)
    return OrderStory(order=OrderView.of(sale), licence=shown(gateway.signer, licence))


@router.post(
    "/orders/{order}/cancel",
    summary="Give up an order",
    responses=documented(401, 403, 404, 408, 409, 413, 422, 429, 500, 503),
)
async def cancel(gateway: AnyGateway, customer: Buyer, order: Named) -> OrderView:
    """Cancel an order of your own that nothing came in for. A payment that comes all the same goes to a person."""
    return OrderView.of(await gateway.shop.cancel(OrderId(order), buyer=customer.id))
