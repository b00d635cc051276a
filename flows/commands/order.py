"""What a person does with orders: look at what waits for one, read an order's history, decide."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import caller, opened, out
from models.payment import Money
from models.payment_state import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.shop.shop import Shop
    from models.ledger import AuditEntry, Sale, SetAside
    from models.payment import Transfer
    from models.ports import Store

order = typer.Typer(no_args_is_help=True, help="What waits for a person, and what a person decides.")

Id = Annotated[str, typer.Argument(help="As the buyer names it: ord-k3mn7pqr.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the order for ever, so no personal data.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides, for the record; the user who types by default.")]


@order.command()
def waiting() -> None:
    """List what waits for a person: orders on hold, orders in review, transfers that are no order's."""
    for line in asyncio.run(queue()):
        out.print(line, markup=False, highlight=False)


@order.command()
def show(order_id: Id) -> None:
    """Show an order, the transfers counted for it, and everything that was done with it."""
    for line in asyncio.run(story(order_id)):
        out.print(line, markup=False, highlight=False)


@order.command()
def decide(order_id: Id, decision: Decision, *, reason: Reason, by: By = None) -> None:
    """Confirm, hold, cancel or refund. A refund only notes that you sent the money back yourself."""
    out.print(asyncio.run(do(order_id, decision, reason=reason, by=by)), markup=False, highlight=False)


async def queue(*, store: Store | None = None) -> list[str]:
    """Return a line for each thing that waits."""
    async with opened(store) as at_hand:
        found = await _shop(at_hand).queue()
    sales = [_line(one) for one in (*found.held, *found.in_review)]
    return [*sales, *map(_stray, found.aside)] or ["nothing waits for a person"]


async def story(order_id: str, *, store: Store | None = None) -> list[str]:
    """Return an order, the transfers counted for it, and its history, a line each.

    Raises:
        OrderUnknown: there is none.
    """
    from models.payment import OrderId  # noqa: PLC0415 - `--help` needs none of it

    async with opened(store) as at_hand:
        shop = _shop(at_hand)
        sale = await shop.sale(OrderId(order_id))
        async with at_hand.unit() as unit:
            counted = await unit.ledger.transfers_of(sale.order.id)
        return [_line(sale), *map(_counted, counted), *_entries(await shop.history(sale.order.id))]


async def do(
    order_id: str, decision: Decision, *, reason: str, by: str | None = None, store: Store | None = None
) -> str:
    """Decide, and return the order as it is now.

    Raises:
        OrderUnknown: there is none.
        PaymentInvalid: no reason was given.
        PaymentMismatch: the order's state does not allow it.
    """
    from models.payment import OrderId  # noqa: PLC0415 - `--help` needs none of it

    actor = by or caller()
    async with opened(store) as at_hand:
        shop = _shop(at_hand)
        if decision is Decision.REFUND:
            return _line(await shop.refund_note(OrderId(order_id), actor=actor, note=reason))
        return _line(await shop.decide(OrderId(order_id), decision, actor=actor, reason=reason))


def _shop(store: Store) -> Shop:
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from infra.shop.settings import ShopSettings, policy_of  # noqa: PLC0415 - as above
    from infra.shop.shop import Shop  # noqa: PLC0415 - as above
    from models.shop import NOTHING_SOLD  # noqa: PLC0415 - as above

    # Deciding sells nothing, so a mistake in the list of plans does not keep anybody from deciding.
    return Shop(store, SystemClock(), policy_of(ShopSettings()), NOTHING_SOLD)


def _line(sale: Sale) -> str:
    order = sale.order
    flags = f" ({', '.join(sorted(order.flags))})" if order.flags else ""
    return f"{order.id}  {order.state}{flags}  {order.paid} of {order.amount}  {sale.plan.name}  {sale.buyer}"


def _counted(transfer: Transfer) -> str:
    return f"  {transfer.block_time:%F %T}  {transfer.key}  {Money(transfer.asset, transfer.units)}"


def _stray(aside: SetAside) -> str:
    transfer = aside.transfer
    return f"{transfer.key}  {aside.why}  {transfer.units} base units of {transfer.asset}  {transfer.block_time:%F %T}"


def _entries(history: list[AuditEntry]) -> Iterator[str]:
    for entry in history:
        yield f"  {entry.at:%F %T}  {entry.actor}  {entry.what}  {entry.detail}".rstrip()
