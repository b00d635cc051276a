"""Sales, sightings, messages and licences for the ledger's contracts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from infra.lab.chains.made import NOON, made_hash
from models.ledger import BuyerId, IssuedLicence, Message, MessageKind, Plan, Sale
from models.payment import Asset, Order, OrderId, Provider, Transfer
from models.payment_policy import PaymentPolicy
from models.payment_quorum import Sighting, TxState
from models.payment_state import advance
from models.ports import Store
from tests.fakes.chains.examples import order, paid

POLICY = PaymentPolicy()
MONTH = Plan("month", days=30, devices=2, prices={Asset.USDT_TRON: 29_000_000, Asset.TON: 9_000_000_000})
ALICE = BuyerId("telegram:4711")
CODE = "ord-7k2m9qab"


def later(minutes: float = 10) -> datetime:
    """Return an instant so long after noon."""
    return NOON + timedelta(minutes=minutes)


def sale(one: Order | None = None, *, buyer: BuyerId = ALICE) -> Sale:
    """Return what Alice buys."""
    return Sale(one or order(), buyer, MONTH)


def ton_order(units: int = 29_000_000_000, *, name: str = "o1", code: str | None = CODE) -> Order:
    """Return an order that may be paid in parts."""
    return order(units, name=name, asset=Asset.TON, code=code)


def part(units: int, **facts: object) -> Transfer:
    """Return a payment toward it."""
    return paid(units, asset=Asset.TON, memo=CODE, **facts)  # type: ignore[arg-type]


def after(one: Order, *transfers: Transfer, minutes: float = 10) -> Order:
    """Return the order as these transfers make it."""
    return advance(one, transfers, later(minutes), policy=POLICY, scanned_until=later(minutes))


def heard(
    transfer: Transfer,
    *,
    by: Provider = Provider.TRONSCAN,
    state: TxState = TxState.FINAL,
    at: float = 10,
) -> Sighting:
    """Return what a provider says of a transfer, as a provider says it: unjudged."""
    told = replace(transfer, final=False, vouched_by=frozenset(), absent=frozenset())
    return Sighting(by, transfer.tx, state, (told,), later(at))


def message(key: str = "licence:o1", *, kind: MessageKind = MessageKind.LICENCE, to: str = ALICE) -> Message:
    """Return something to tell."""
    return Message(key, kind, to, OrderId("o1"), {"plan": "month", "devices": 2, "late": False}, later())


def licence(name: str = "lic-o1", *, of: str = "o1") -> IssuedLicence:
    """Return what a settled order earns."""
    return IssuedLicence(name, OrderId(of), "month", 2, later(), later() + timedelta(days=30))


async def opened(store: Store, *orders: Order) -> None:
    """Open orders, each in a unit of its own."""
    for one in orders:
        async with store.unit() as unit:
            await unit.ledger.open_order(sale(one))


async def settled(store: Store, one: Order | None = None) -> Order:
    """Open an order and settle it with an exact payment."""
    new = one or order()
    transfer = paid(new.amount.units, name=new.id, asset=new.amount.asset)
    done = after(new, transfer)
    await opened(store, new)
    async with store.unit() as unit:
        await unit.ledger.save(done, [transfer])
    return done


HASH = made_hash("tx")
