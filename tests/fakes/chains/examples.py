"""Small made-up payments and orders to think with."""

from __future__ import annotations

from datetime import datetime, timedelta

from infra.lab.chains.made import NOON, account, made_hash
from models.payment import Asset, Money, Order, OrderId, OrderState, Provider, Transfer
from models.payment_address import Chain

TRON_BOTH = frozenset({Provider.TRONSCAN, Provider.TRONGRID})
TON_BOTH = frozenset({Provider.TONAPI, Provider.TONCENTER})


OURS = account(Chain.TRON, "ours")
OURS_ON_TON = account(Chain.TON, "ours")


def order(
    units: int = 29_000_123,
    *,
    name: str = "o1",
    asset: Asset = Asset.USDT_TRON,
    code: str | None = None,
    state: OrderState = OrderState.NEW,
    created_at: datetime = NOON,
) -> Order:
    """Return an order of one hour, watched for a day."""
    return Order(
        id=OrderId(name),
        amount=Money(asset, units),
        deposit=OURS if asset.chain is Chain.TRON else OURS_ON_TON,
        code=code,
        created_at=created_at,
        expires_at=created_at + timedelta(hours=1),
        watched_until=created_at + timedelta(hours=25),
        state=state,
    )


def paid(
    units: int = 29_000_123,
    *,
    name: object = "tx",
    asset: Asset = Asset.USDT_TRON,
    index: int | None = 0,
    at: timedelta = timedelta(minutes=5),
    memo: str | None = None,
    final: bool = True,
    vouched_by: frozenset[Provider] | None = None,
    absent: frozenset[Provider] = frozenset(),
    disputed: bool = False,
) -> Transfer:
    """Return a transfer to us, that long after noon; vouched by both providers unless said otherwise."""
    both = TRON_BOTH if asset.chain is Chain.TRON else TON_BOTH
    return Transfer(
        chain=asset.chain,
        tx=made_hash(name),
        event_index=index,
        asset=asset,
        sender=account(asset.chain, "payer"),
        receiver=OURS if asset.chain is Chain.TRON else OURS_ON_TON,
        units=units,
        position=1,
        block_time=NOON + at,
        memo=memo,
        final=final,
        vouched_by=(both if final else frozenset()) if vouched_by is None else vouched_by,
        absent=absent,
        disputed=disputed,
    )
