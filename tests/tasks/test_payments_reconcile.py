"""The nightly look: whatever the scan missed is found, told, and put before the scan again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from infra.lab.chains.faults import says
from models.payment import Asset, OrderState, Provider
from models.payment_address import Chain
from tasks.payments_reconcile import reconcile
from tests.fakes.chains.examples import OURS_ON_TON
from tests.fakes.store import FakeStore
from tests.tasks.till import Till, open_till

HOURS = timedelta(hours=5)


@pytest.fixture
async def till() -> AsyncIterator[Till]:
    async with open_till(FakeStore()) as opened:
        yield opened


async def test_what_was_booked_is_no_difference(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    till.pay(order)
    till.pay(order)  # set aside
    till.stand_in.ton.pay_jettons(OURS_ON_TON, 7_000_000)
    await till.scan_for(Chain.TON, 6)
    found = await reconcile(Chain.TON, till.clock.at - HOURS)
    assert found.is_clean, found
    assert found.looked_at == 3


async def test_a_payment_the_scan_never_saw_is_told_and_then_settles(till: Till):
    order = await till.sell()
    till.pay(order)
    till.wait(75)
    found = await reconcile(Chain.TRON, till.clock.at - HOURS)
    assert (len(found.unheard), found.unbooked, found.unread) == (1, (), ())
    assert await till.alerts() == ["reconcile"]
    await till.scan_for(Chain.TRON, 6)
    assert (await till.order()).state is OrderState.SETTLED
    assert (await reconcile(Chain.TRON, till.clock.at - HOURS)).is_clean


async def test_what_was_heard_and_never_booked_gets_its_case_back(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    tx = till.pay(order)
    async with till.store.unit() as uow:
        page = await till.world.chains.all[Provider.TONAPI].discover(OURS_ON_TON, since=till.clock.at - HOURS)
        await uow.ledger.sight(Chain.TON, OURS_ON_TON, page.sightings, now=till.clock.at)
        await uow.ledger.conclude(Chain.TON, {tx})
    found = await reconcile(Chain.TON, till.clock.at - HOURS)
    assert found.unbooked == (tx.hex(),)
    assert await till.open_cases(Chain.TON) == 1


async def test_a_provider_that_cannot_be_read_is_no_agreement(till: Till):
    till.faults(Provider.TRONGRID).plan(says(502, {}))
    found = await reconcile(Chain.TRON, till.clock.at - HOURS)
    assert not found.is_clean
    assert "trongrid" in found.unread[0]


async def settled(till: Till, asset: Asset) -> bytes:
    """Return the transaction that paid an order, long enough ago to be judged."""
    order = await till.sell(asset=asset, units=29_000_123 if asset is Asset.USDT_TRON else 5_000_001_000)
    tx = till.pay(order)
    await till.scan_for(asset.chain, 90, every=15)
    assert (await till.order()).state is OrderState.SETTLED
    till.wait(600)
    return tx


@pytest.mark.parametrize("asset", [Asset.USDT_TRON, Asset.TON])
async def test_a_counted_payment_that_a_deep_reorganisation_took_is_told_and_stays_counted(till: Till, asset: Asset):
    tx = await settled(till, asset)
    assert (await reconcile(asset.chain, till.clock.at - HOURS)).is_clean
    world = till.stand_in.tron if asset is Asset.USDT_TRON else till.stand_in.ton
    world.vanish(tx)
    for _ in range(2):
        found = await reconcile(asset.chain, till.clock.at - HOURS)
        assert (found.gone, found.is_clean) == ((f"o1: {tx.hex()}",), False)
        assert tx.hex() in str(found.row()["gone"])
    assert sorted(map(str, await till.alerts())) == ["credit-gone", "reconcile"]
    assert (await till.order()).state is OrderState.SETTLED
    assert (await till.order()).credits


async def test_a_counted_payment_that_feeds_leave_out_is_there_as_long_as_its_proof_is(till: Till):
    tx = await settled(till, Asset.USDT_TRON)
    till.faults(Provider.TRONSCAN).hidden.add(tx)
    till.faults(Provider.TRONGRID).lie = lambda path, honest: {**honest, "data": []} if "trc20" in path else honest
    found = await reconcile(Chain.TRON, till.clock.at - HOURS)
    assert found.gone == ()


async def test_a_counted_payment_nobody_could_be_asked_about_is_unread_and_not_gone(till: Till):
    tx = await settled(till, Asset.USDT_TRON)
    till.faults(Provider.TRONSCAN).hidden.add(tx)
    till.faults(Provider.TRONGRID).plan(says(502, {}))
    found = await reconcile(Chain.TRON, till.clock.at - HOURS)
    assert found.gone == ()
    assert any(tx.hex() in one for one in found.unread)


async def test_a_payment_to_a_chain_that_nobody_could_read_is_not_called_gone(till: Till):
    await settled(till, Asset.TON)
    for provider in (Provider.TONAPI, Provider.TONCENTER):
        till.faults(provider).plan(says(502, {}))
    found = await reconcile(Chain.TON, till.clock.at - HOURS)
    assert (found.gone, len(found.unread)) == ((), 3)
