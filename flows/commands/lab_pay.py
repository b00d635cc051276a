"""`x0tta6bl4 lab pay ORDER`: what a customer's wallet does, on the lab's own chains and with nobody's money."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import opened, out

if TYPE_CHECKING:
    from pathlib import Path

    from infra.lab.chains.living import Paid
    from models.payment import Money, Order

PAY_SECONDS = 5.0
"""The stand-in answers within milliseconds; whoever waits this long has a lab that is down."""


def pay(
    order: Annotated[str, typer.Argument(help="The order to pay, as the API or the bot named it.")],
    *,
    amount: Annotated[
        str | None, typer.Option(help="As people write it, such as 4.5; unset: what is still due.")
    ] = None,
    comment: Annotated[str | None, typer.Option(help="On TON; unset: the order's code, '' for none.")] = None,
    payer: Annotated[str, typer.Option(help="Whose wallet; any name makes one.")] = "customer",
) -> None:
    """Pay an order on the lab's made-up chains; it counts once the block is final, on TRON after about a minute."""
    from infra.settings import Settings  # noqa: PLC0415 - `--help` needs none of it

    told = asyncio.run(pay_order(Settings().state, order, amount=amount, comment=comment, payer=payer))
    out.print(told, markup=False, highlight=False)


async def pay_order(state: Path, order: str, *, amount: str | None, comment: str | None, payer: str) -> str:
    """Send what a wallet would and tell what was sent.

    Raises:
        OrderUnknown: there is no such order.
        PaymentInvalid: nothing is due any more, or no wallet could send this.
    """
    from models.errors import OrderUnknown  # noqa: PLC0415 - `--help` needs none of it
    from models.payment import Money, OrderId  # noqa: PLC0415 - as above

    async with opened() as store, store.unit() as uow:
        sale = await uow.ledger.sale(OrderId(order))
    if sale is None:
        raise OrderUnknown(order)
    asset = sale.order.amount.asset
    money = sale.order.remainder if amount is None else Money.parse(amount, asset)
    tx = await send(state, payment_of(sale.order, money, comment=comment, payer=payer))
    return f"{money} sent to {sale.order.deposit} in transaction {tx}"


def payment_of(order: Order, money: Money, *, comment: str | None, payer: str) -> Paid:
    """Return the payment that a wallet would make for an order.

    Raises:
        PaymentInvalid: nothing is due any more, or the comment or the payer's name is too long.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - `--help` needs none of it

    from infra.lab.chains.living import Paid  # noqa: PLC0415 - as above
    from models.errors import PaymentInvalid  # noqa: PLC0415 - as above

    if not money.units:
        raise PaymentInvalid("the amount", f"{order.id} is paid in full; --amount pays more all the same")
    said = order.code if comment is None else comment or None
    try:
        return Paid(chain=order.deposit.chain, to=str(order.deposit), units=money.units, comment=said, payer=payer)
    except ValidationError as error:
        first = error.errors()[0]
        raise PaymentInvalid(f"the payment's {first['loc'][0]}", first["msg"]) from error


async def send(state: Path, paid: Paid) -> str:
    """Put a payment on the lab's chain and return its hash.

    Raises:
        ConfigurationInvalid: this state folder has no lab chains.
        PaymentInvalid: the chain cannot take it.
        SourceUnavailable: the lab is down.
    """
    import httpx  # noqa: PLC0415 - `--help` needs none of it

    from infra.lab.chains.living import read_facts  # noqa: PLC0415 - as above
    from models.errors import PaymentInvalid, SourceUnavailable  # noqa: PLC0415 - as above

    url = read_facts(state).url
    try:
        async with httpx.AsyncClient(timeout=PAY_SECONDS, trust_env=False) as client:
            answer = await client.post(f"{url}/lab/pay", json=paid.model_dump(mode="json"))
    except httpx.TransportError as error:
        raise SourceUnavailable("the lab's chain", f"is the lab up? {url}") from error
    if not answer.is_success:
        raise PaymentInvalid("the payment", str(answer.json().get("error", answer.status_code)))
    return str(answer.json()["tx"])
