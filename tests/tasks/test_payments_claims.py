"""A claim gets its answer from the ledger, whatever becomes of the payment."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from infra.lab.chains.made import made_hash
from models.errors import PaymentMismatch, PaymentPending
from models.payment import Asset
from models.payment_address import Chain
from tasks import payments_claims
from tasks.payments_claims import Answer, answer, look
from tests.fakes.store import FakeStore
from tests.tasks.till import Till, open_till


@pytest.fixture
async def till() -> AsyncIterator[Till]:
    async with open_till(FakeStore()) as opened:
        yield opened


async def test_a_claim_waits_until_its_order_is_settled_and_is_answered_once(till: Till, monkeypatch):
    order = await till.sell()
    await till.scan(Chain.TRON)
    tx = till.pay(order)
    await till.claim(order, tx)
    assert await payments_claims.waiting(Chain.TRON) == [(order.id, tx.hex())]
    assert await payments_claims.waiting(Chain.TON) == []
    with pytest.raises(PaymentPending):
        await look(order.id, tx.hex())
    await till.scan_for(Chain.TRON, 90, every=15)
    assert await answer(order.id, tx.hex()) is Answer.SETTLED
    assert await payments_claims.waiting(Chain.TRON) == []


async def test_a_hash_that_nobody_knows_is_answered_as_unknown_and_told_to_a_person(till: Till, monkeypatch):
    order = await till.sell()
    monkeypatch.setattr(payments_claims, "DELAYS_SECONDS", [])
    await till.claim(order, made_hash("never sent"))
    assert await answer(order.id, made_hash("never sent").hex()) is Answer.UNKNOWN
    assert await till.alerts() == ["claim-unknown"]


async def test_a_payment_that_fits_no_order_is_with_a_person(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    tx = till.pay(order, 4_000_000_000)
    await till.scan_for(Chain.TON, 6)
    await till.claim(order, tx)
    assert await look(order.id, tx.hex()) is Answer.WITH_A_PERSON


async def test_an_expired_order_that_nothing_is_coming_for_is_answered_as_expired(till: Till):
    order = await till.sell()
    await till.scan(Chain.TRON)
    await till.scan(Chain.TRON, after=3700)
    assert await look(order.id, made_hash("never sent").hex()) is Answer.EXPIRED


async def test_an_order_that_does_not_exist_is_refused(till: Till):
    with pytest.raises(PaymentMismatch, match="no such order"):
        await look("ord-nothing", made_hash("x").hex())


async def test_a_claim_by_the_hash_of_a_message_settles_by_the_transaction_it_led_to(till: Till):
    order = await till.sell(asset=Asset.TON, units=50_000_001_000)
    await till.scan(Chain.TON)
    till.pay(order)
    message = next(iter(till.stand_in.ton.accounts[order.deposit])).message
    await till.claim(order, message)
    await till.scan_for(Chain.TON, 12, every=2)
    assert await answer(order.id, message.hex()) is Answer.SETTLED
    assert await till.open_cases(Chain.TON) == 0
