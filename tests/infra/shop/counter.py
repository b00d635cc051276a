"""A shop over a store in memory, a clock that moves when told to, and payments that arrive when a test says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infra.lab.chains.made import NOON
from infra.shop.shop import Shop
from models.ledger import BuyerId, Language, Plan, Reach, Sale
from models.payment import Asset, Money, Order, Provider, Transfer
from models.payment_address import Chain
from models.payment_policy import PaymentPolicy
from models.payment_ports import Watermark
from models.payment_quorum import Sighting, TxState
from models.payment_state import advance
from models.ports import Store
from models.shop import Catalogue, draw_up
from tests.fakes.chains.examples import OURS, OURS_ON_TON, paid

POLICY = PaymentPolicy()
MONTH = Plan("month", 30, 2, {Asset.USDT_TRON: 9_990_000, Asset.TON: 3_500_000_000})
WEEK = Plan("week", 7, 1, {Asset.USDT_TRON: 2_990_000})
CATALOGUE = Catalogue((MONTH, WEEK), {Chain.TRON: OURS, Chain.TON: OURS_ON_TON})
ANN = BuyerId("telegram:4711")
BEN = BuyerId("api:ben")
SHOP_SEED = 7


@dataclass
class MovingClock:
    """Time moves when a test says so."""

    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    def pass_by(self, **how_long: float) -> datetime:
        self.at += timedelta(**how_long)
        return self.at


class Draws:
    """Numbers in a row instead of random ones."""

    def __init__(self, start: int = SHOP_SEED) -> None:
        self._next = start

    def __call__(self, below: int) -> int:
        self._next += 1
        return self._next % below


def a_shop(store: Store, clock: MovingClock, *, catalogue: Catalogue = CATALOGUE) -> Shop:
    return Shop(store, clock, POLICY, catalogue, draw=Draws())


def a_sale(number: int, *, buyer: BuyerId = ANN, at: datetime = NOON, plan: Plan = MONTH) -> Sale:
    """Return a sale in USDT that nothing else was asked about."""
    price = Money(Asset.USDT_TRON, plan.prices[Asset.USDT_TRON])
    order = draw_up(price, OURS, (), name=number, tail=number, now=at, policy=POLICY)
    return Sale(order, buyer, plan, Language.ENGLISH)


def payment_of(order: Order, *, at: datetime, name: object = "tx", units: int | None = None, **told) -> Transfer:
    """Return a transfer that pays an order."""
    return paid(
        order.amount.units if units is None else units,
        name=name,
        asset=order.amount.asset,
        at=at - NOON,
        memo=order.code,
        **told,
    )


async def tell(store: Store, transfer: Transfer, *, state: TxState, at: datetime, by: Provider | None = None) -> None:
    """Let a provider tell of a transfer, as the scan writes it down: what it comes to is for the quorum to say."""
    teller = by or (Provider.TRONSCAN if transfer.chain is Chain.TRON else Provider.TONAPI)
    told = replace(transfer, final=False, vouched_by=frozenset())
    heard = Sighting(teller, transfer.tx, state, (told,), at)
    async with store.unit() as uow:
        await uow.ledger.sight(transfer.chain, transfer.receiver, [heard], now=at)


async def see(store: Store, sale: Sale, transfer: Transfer, *, at: datetime) -> None:
    """Let a provider tell of a payment that is not final, as the scan does: the order knows of it at once."""
    await tell(store, transfer, state=TxState.PENDING, at=at)
    await settle(store, sale, replace(transfer, final=False, vouched_by=frozenset()), at=at)


async def settle(store: Store, sale: Sale, *transfers: Transfer, at: datetime) -> Order:
    """Count transfers for an order, as the scan does."""
    after = advance(sale.order, transfers, at, policy=POLICY, scanned_until=at)
    async with store.unit() as uow:
        await uow.ledger.save(after, [one for one in transfers if one.final])
    return after


async def scanned(
    store: Store, *, at: datetime | None, failing: str = "", provider: Provider = Provider.TRONSCAN
) -> None:
    """Write down how far a provider was read for our address."""
    address = OURS if provider.chain is Chain.TRON else OURS_ON_TON
    since = None if not failing else (at or NOON)
    async with store.unit() as uow:
        await uow.ledger.save_reach(Reach(Watermark(provider, address, at or NOON), at, since, failing))
