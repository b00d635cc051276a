"""Many connections that would count one transfer at once: it is counted once."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator

import numpy as np
import pytest

from infra.db.unit import PostgresStore
from models.errors import TransferSpent
from models.payment import Asset, Order, Transfer
from models.payment_state import advance
from models.ports import Store
from tests.contracts.ledger_examples import POLICY, later, opened
from tests.fakes.chains.examples import order, paid

pytestmark = pytest.mark.postgres

CONNECTIONS = 16
TRANSFERS_AN_ORDER = 20
PART = 1_000_000_000


@pytest.fixture
async def stores(database: str) -> AsyncIterator[list[PostgresStore]]:
    """A pool of its own for each who tries, as if each were a process."""
    stores = [PostgresStore(database) for _ in range(CONNECTIONS)]
    yield stores
    for one in stores:
        await one.close()


def prepared(transfers: int) -> tuple[list[Order], list[Transfer]]:
    """Return orders that many parts fit into, and the parts, no two of one size."""
    count = transfers // TRANSFERS_AN_ORDER
    orders = [order(10**15 + number, name=f"o{number}", asset=Asset.TON) for number in range(count)]
    return orders, [paid(PART + number, name=number, asset=Asset.TON) for number in range(transfers)]


async def credit(store: Store, one: Order, transfer: Transfer) -> str:
    """Try as a scanner does; say what came of it."""
    try:
        async with store.unit() as unit:
            sale = await unit.ledger.sale(one.id, for_update=True)
            assert sale is not None
            moved = advance(sale.order, [transfer], later(), policy=POLICY, scanned_until=later())
            await unit.ledger.save(moved, [transfer])
    except TransferSpent:
        return "spent"
    return "counted before" if moved == sale.order else "counted"


async def race(stores: list[PostgresStore], transfers: int) -> None:
    orders, parts = prepared(transfers)
    await opened(stores[0], *orders)
    # Each part is tried twice for its own order and once for another's.
    attempts = [
        (orders[(number + other) % len(orders)], part) for number, part in enumerate(parts) for other in (0, 0, 1)
    ]
    np.random.default_rng(4711).shuffle(attempts)
    waiting = iter(attempts)
    ended: Counter[str] = Counter()

    async def work(store: Store) -> None:
        for one, part in waiting:
            ended[await credit(store, one, part)] += 1

    await asyncio.gather(*(work(store) for store in stores))
    assert ended.total() == 3 * transfers
    assert ended["counted"] == transfers
    async with stores[0].unit() as unit:
        credited = await unit.ledger.credited_to([part.key for part in parts if part.key])
        sales = [await unit.ledger.sale(one.id) for one in orders]
    assert len(credited) == transfers
    assert sum(sale.order.paid.units for sale in sales if sale) == sum(part.units for part in parts)
    assert sum(len(sale.order.credits) for sale in sales if sale) == transfers


async def test_each_of_two_hundred_transfers_is_counted_once_by_sixteen_connections(stores: list[PostgresStore]):
    await race(stores, 200)


@pytest.mark.e2e
@pytest.mark.timeout(1_800)
@pytest.mark.skipif("X0_CHAOS" not in os.environ, reason="30,000 attempts take minutes: run it with `make chaos`")
async def test_each_of_ten_thousand_transfers_is_counted_once_in_thirty_thousand_attempts(
    stores: list[PostgresStore],
):
    await race(stores, 10_000)
