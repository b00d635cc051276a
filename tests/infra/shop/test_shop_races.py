"""One wish, sent twenty times at once over connections of their own: one order."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from infra.db.unit import PostgresStore
from infra.lab.chains.made import NOON
from infra.shop.shop import Shop
from models.errors import KeyInFlight
from models.payment import Asset, OrderId
from models.wishes import KeyedWish
from tests.infra.shop.counter import BEN, CATALOGUE, POLICY, MovingClock

AT_ONCE = 20
WISH = KeyedWish(BEN, "k-1", hashlib.sha256(b"a week").digest())


async def ordered(shop: Shop) -> OrderId:
    """Ask as a client does: again, while the first is being answered."""
    while True:
        try:
            return (await shop.place_order(BEN, "week", Asset.USDT_TRON, wish=WISH)).order.id
        except KeyInFlight:
            await asyncio.sleep(0.01)


@pytest.mark.postgres
async def test_twenty_at_once_get_one_order_from_postgres(postgres_store: PostgresStore):
    shop = Shop(postgres_store, MovingClock(NOON), POLICY, CATALOGUE)
    names = await asyncio.gather(*(ordered(shop) for _ in range(AT_ONCE)))
    assert len(set(names)) == 1
    assert [one.order.id for one in await shop.sales_of(BEN)] == [names[0]]
