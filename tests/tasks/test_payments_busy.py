"""A feed that takes many calls is read whole now and then, and only its newest in between."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models.payment import OrderState, Provider
from models.payment_address import Chain
from tasks.payments import Scanner
from tasks.payments_reading import MANY
from tasks.wiring import adapters
from tests.fakes.store import FakeStore
from tests.tasks.till import Till, open_till


@pytest.fixture
async def till() -> AsyncIterator[Till]:
    """A till over a ledger in memory."""
    async with open_till(FakeStore()) as opened:
        yield opened


async def calls_of(till: Till, scanner: Scanner, ticks: int) -> list[int]:
    """Tick every three seconds; return how many pages of the feed each tick took."""
    calls = till.faults(Provider.TRONSCAN).calls
    pages = []
    for _ in range(ticks):
        till.wait(3)
        calls.clear()
        await scanner.tick()
        pages.append(sum("token_trc20" in path for path in calls))
    return pages


async def test_a_busy_feed_costs_one_call_a_tick_but_for_one_in_five(till: Till):
    order = await till.sell()
    chains = adapters().chains
    assert chains is not None
    scanner = Scanner.of(Chain.TRON, chains)
    assert await calls_of(till, scanner, 2) == [1, 1]
    for _ in range(2 * MANY):
        till.stand_in.tron.pay(order.deposit, 1_000_000)
        till.stand_in.tron.height -= 1
    till.pay(order)
    till.wait(9)  # older than what is read in between
    whole, *brief, again = await calls_of(till, scanner, 5)
    assert whole > 1
    assert brief == [1, 1, 1]
    assert again > 1
    await calls_of(till, scanner, 24)
    assert (await till.order()).state is OrderState.SETTLED
