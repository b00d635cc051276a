"""Is it paid, and what was sent back. No route here asks a provider: the scan does, for everybody at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError

from infra.api.gateway import AnyGateway, Buyer, Operator
from infra.api.once import Key, keyed, sent_once
from infra.api.orders import shown
from infra.api.payment_schemas import OrderView, PaymentAnswer, RefundAsk, TransferView, VerifyAsk
from infra.api.problems import documented
from models.errors import ChainUnavailable, PaymentInvalid, PaymentMismatch
from models.payment import CLOSED, Money, OrderId

router = APIRouter(prefix="/api/payment", tags=["shop"])

_NOT_YET: dict[int | str, dict[str, Any]] = {
    202: {"model": PaymentAnswer, "description": "Not final yet; the body says what is known."}
}


@contextmanager
def concerning(field: str) -> Iterator[None]:
    """Blame a field of the body for what cannot be used."""
    try:
        yield
    except PaymentInvalid as error:
        fault = {"type": "value_error", "loc": ("body", field), "msg": str(error)}
        raise RequestValidationError([fault]) from error


@router.post(
    "/verify",
    summary="Is an order paid",
    responses=_NOT_YET | documented(401, 403, 404, 408, 409, 413, 422, 429, 500, 503),
)
async def verify(
    gateway: AnyGateway, customer: Buyer, wish: VerifyAsk, response: Response, key: Key = None
) -> PaymentAnswer:
    """Answer 200 when it is settled, 202 with what is known until then, within 4.5 s always.

    With `tx_hash` the transaction is claimed for the order first: it is looked up at once, and counts only with the
    order's own amount or comment, because anybody can read hashes off the chain. The same claim again is one claim; its
    `Idempotency-Key` only keeps another body from being sent by mistake, and the answer is always the newest. 503 says
    that the chain cannot be read at present; the order stays as it is and nothing expires meanwhile.
    """
    order_id = OrderId(wish.order_id)
    amount = Money(wish.currency, wish.amount)
    with concerning("tx_hash"), sent_once():
        view = await gateway.verifier.confirm_payment(
            order_id,
            tx=wish.tx_hash,
            amount=amount,
            buyer=customer.sees,
            actor=customer.id,
            wish=keyed(customer.id, key, wish),
        )
    state = view.sale.order.state
    if state in CLOSED and not view.is_settled:
        raise PaymentMismatch(order_id, f"it is {state}")
    if view.away and not view.is_settled:
        raise ChainUnavailable(view.sale.order.deposit.chain.value, view.away)
    response.status_code = 200 if view.is_settled else 202
    return PaymentAnswer(
        verified=view.is_settled,
        order=OrderView.of(view.sale),
        seen=[TransferView.of(one) for one in view.seen],
        scanned_at=view.scanned_at,
        next_check_seconds=view.next_check_s,
        licence=shown(gateway.signer, view.licence),
    )


@router.post(
    "/refund-note",
    summary="Note a refund",
    responses=documented(401, 403, 404, 408, 409, 413, 422, 500, 503),
)
async def refund_note(gateway: AnyGateway, token: Operator, wish: RefundAsk) -> OrderView:
    """Keep that a person sent an order's money back. It becomes REFUNDED, and its licence is taken back.

    This system holds no key that could send money; it only keeps the note.
    """
    with concerning("note"):
        sale = await gateway.shop.refund_note(OrderId(wish.order_id), actor=f"api:{token.name}", note=wish.note)
    return OrderView.of(sale)
