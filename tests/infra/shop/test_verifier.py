"""Is it paid: told from the ledger, after the scan under way, in time, and never by asking a provider."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter

import pytest

from infra.lab.chains.made import NOON, made_hash
from infra.shop.verifier import BLIND_AFTER, FRESH, PaymentVerifier
from models.errors import OrderUnknown, PaymentMismatch, SourceUnavailable
from models.payment import Asset, OrderState, Provider
from models.payment_quorum import TxState
from models.payment_state import Decision
from tests.infra.shop.counter import ANN, BEN, POLICY, payment_of, scanned, see, settle, tell

HASH = made_hash("tx").hex()
# Short, so that a test that waits in vain does not take four seconds; long enough for a scan that comes.
PATIENCE = timedelta(seconds=0.3)


@pytest.fixture
def verifier(store, clock, shop) -> PaymentVerifier:
    return PaymentVerifier(store, clock, POLICY, shop, patience=PATIENCE)


@pytest.fixture
async def sale(shop):
    return await shop.place_order(ANN, "week", Asset.USDT_TRON)


async def test_a_settled_order_is_told_with_its_licence_and_nothing_is_waited_for(verifier, shop, sale):
    await shop.decide(sale.order.id, Decision.CONFIRM, actor="cli:root", reason="seen")
    view = await verifier.confirm_payment(sale.order.id)
    assert view.is_settled
    assert (view.licence.order, view.next_check_s, view.scanned_at) == (sale.order.id, 0, None)


async def test_a_fresh_ledger_is_answered_from_at_once(verifier, store, clock, sale):
    await scanned(store, at=clock.now())
    clock.pass_by(seconds=FRESH.total_seconds())
    began = perf_counter()
    view = await verifier.confirm_payment(sale.order.id)
    assert perf_counter() - began < PATIENCE.total_seconds()
    assert (view.is_settled, view.scanned_at, view.away, view.next_check_s) == (False, NOON, "", 3)


async def test_a_stale_ledger_is_answered_from_after_the_scan_that_is_under_way(store, clock, shop, sale):
    verifier = PaymentVerifier(store, clock, POLICY, shop)
    await scanned(store, at=NOON)
    clock.pass_by(seconds=6)

    async def scan():
        await asyncio.sleep(0.05)
        await settle(store, sale, payment_of(sale.order, at=NOON), at=clock.now())
        await scanned(store, at=clock.pass_by(seconds=1))

    view, _ = await asyncio.gather(verifier.confirm_payment(sale.order.id), scan())
    assert view.is_settled


async def test_a_scan_that_does_not_come_is_waited_for_no_longer_than_the_patience(verifier, store, clock, sale):
    await scanned(store, at=NOON)
    clock.pass_by(seconds=6)
    view = await verifier.confirm_payment(sale.order.id)
    assert (view.is_settled, view.scanned_at, view.away) == (False, NOON, "")


class CountingStore:
    """Counts units of work."""

    def __init__(self, store) -> None:
        self._store = store
        self.units = 0

    def unit(self):
        self.units += 1
        return self._store.unit()

    async def wait(self, channel, *, at_most):
        return await self._store.wait(channel, at_most=at_most)


async def test_a_thousand_who_wait_look_at_the_scan_together(store, clock, shop, sale):
    counting = CountingStore(store)
    verifier = PaymentVerifier(counting, clock, POLICY, shop, patience=PATIENCE)
    await scanned(store, at=NOON)
    clock.pass_by(seconds=6)
    views = await asyncio.gather(*(verifier.confirm_payment(sale.order.id) for _ in range(1000)))
    # Two looks each, and a few at the scan for all of them.
    assert len(views) == 1000
    assert counting.units < 2000 + 20


async def test_a_caller_that_leaves_takes_nobody_elses_wait_with_it(verifier, store, clock, sale):
    await scanned(store, at=NOON)
    clock.pass_by(seconds=6)
    leaving, staying = (asyncio.create_task(verifier.confirm_payment(sale.order.id)) for _ in range(2))
    await asyncio.sleep(0.05)
    leaving.cancel()
    assert (await staying).sale == sale
    assert leaving.cancelled()


async def test_a_payment_that_is_seen_and_not_final_is_told_and_anothers_is_not(verifier, store, shop, clock, sale):
    other = await shop.place_order(BEN, "week", Asset.USDT_TRON)
    await scanned(store, at=NOON)
    await see(store, sale, payment_of(sale.order, at=NOON), at=NOON)
    await see(store, other, payment_of(other.order, at=NOON, name="another"), at=NOON)
    view = await verifier.confirm_payment(sale.order.id)
    assert [(one.tx.hex(), one.units, one.final) for one in view.seen] == [(HASH, sale.order.amount.units, False)]


async def test_a_payment_that_was_counted_is_no_longer_on_its_way(verifier, store, clock, shop):
    sale = await shop.place_order(ANN, "month", Asset.TON)
    await scanned(store, at=NOON, provider=Provider.TONAPI)
    half = payment_of(sale.order, at=NOON, units=2_000_000_000)
    await tell(store, half, state=TxState.FINAL, at=NOON)
    assert (await settle(store, sale, half, at=NOON)).state is OrderState.PROCESSING
    view = await verifier.check_ton_payment(sale.order.id)
    assert (view.seen, view.sale.order.paid.units, view.next_check_s) == ((), 2_000_000_000, 2)


async def test_a_hash_is_claimed_before_the_answer(verifier, store, clock, shop, sale):
    await scanned(store, at=NOON)
    await verifier.check_usdt_payment(sale.order.id, tx=HASH, buyer=ANN)
    assert (await shop.history(sale.order.id))[-1].what == "claimed"


async def test_an_order_in_another_asset_is_no_usdt_payment(verifier, store, shop):
    sale = await shop.place_order(ANN, "month", Asset.TON)
    with pytest.raises(PaymentMismatch, match="in TON, not in USDT_TRON"):
        await verifier.check_usdt_payment(sale.order.id)


async def test_anothers_order_is_not_told(verifier, sale):
    with pytest.raises(OrderUnknown):
        await verifier.confirm_payment(sale.order.id, buyer=BEN)


async def test_an_order_with_a_person_is_told_at_once_and_need_not_be_asked_for_often(verifier, shop, sale):
    await shop.decide(sale.order.id, Decision.HOLD, actor="cli:root", reason="odd")
    view = await verifier.confirm_payment(sale.order.id)
    assert view.next_check_s == 60


async def test_a_chain_that_nobody_can_read_is_said_at_once(verifier, store, clock, sale):
    await scanned(store, at=NOON)
    await scanned(store, at=NOON, failing="tronscan does not answer")
    clock.pass_by(seconds=BLIND_AFTER.total_seconds() + 1)
    began = perf_counter()
    assert (await verifier.confirm_payment(sale.order.id)).away == "tronscan does not answer"
    assert perf_counter() - began < PATIENCE.total_seconds()


async def test_one_of_two_providers_away_is_no_blindness(verifier, store, clock, sale):
    clock.pass_by(seconds=BLIND_AFTER.total_seconds() + 1)
    await scanned(store, at=NOON, failing="tronscan does not answer")
    await scanned(store, at=clock.now(), provider=Provider.TRONGRID)
    assert (await verifier.confirm_payment(sale.order.id)).away == ""


async def test_a_chain_that_nobody_reads_is_said_after_a_wait_for_the_scan(verifier, store, clock, sale):
    assert (await verifier.confirm_payment(sale.order.id)).away == "it was not read yet"
    await scanned(store, at=NOON)
    clock.pass_by(seconds=BLIND_AFTER.total_seconds() + 1)
    assert (await verifier.confirm_payment(sale.order.id)).away == "it was last read at 2026-11-22 12:00:00 UTC"


class HangingStore:
    """A database that takes the connection and says nothing."""

    def unit(self):
        return self

    async def __aenter__(self):
        await asyncio.Event().wait()

    async def __aexit__(self, *_):
        return None


async def test_a_database_that_hangs_is_given_up_within_the_answers_budget(store, clock, shop, sale):
    verifier = PaymentVerifier(HangingStore(), clock, POLICY, shop)
    began = perf_counter()
    with pytest.raises(SourceUnavailable, match="database"):
        await verifier.confirm_payment(sale.order.id)
    assert perf_counter() - began < 4.5


async def test_a_database_that_goes_while_a_scan_is_awaited_is_said(verifier, store, clock, sale):
    await scanned(store, at=NOON)
    clock.pass_by(seconds=6)
    waiting = asyncio.create_task(verifier.confirm_payment(sale.order.id))
    await asyncio.sleep(0.02)
    store.is_down = True
    await store.ring("orders")
    with pytest.raises(SourceUnavailable):
        await waiting
