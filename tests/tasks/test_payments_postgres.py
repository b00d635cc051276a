"""The scan over the real ledger: locks, laws and hints are Postgres's; and the long run that holds its post there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from flows.payments import ScanParameters, scanning
from infra.db.unit import PostgresStore
from infra.settings import Settings
from models.ledger import MessageKind
from models.payment import Asset, Flag, OrderState
from models.payment_address import Chain
from models.payment_matching import Unmatched
from tasks import payments_claims
from tasks.diary import unreported
from tasks.payments_claims import Answer, look
from tasks.payments_reconcile import reconcile
from tasks.wiring import using
from tests.fakes.chains.examples import OURS
from tests.tasks.till import Till, open_till

pytestmark = pytest.mark.postgres

PATIENT_SECONDS = 60.0


@pytest.fixture
async def till(database: str, postgres_store: PostgresStore) -> AsyncIterator[Till]:
    """A till over a fresh ledger."""
    async with open_till(postgres_store) as opened:
        opened.world.database = database
        yield opened


async def test_both_chains_settle_and_each_order_earns_one_licence(till: Till):
    usdt = await till.sell("usdt")
    ton = await till.sell("ton", asset=Asset.TON, units=50_000_001_000)
    till.pay(usdt)
    till.pay(ton)
    for _ in range(2):  # seen twice is seen once
        await till.scan_for(Chain.TRON, 90, every=30)
        await till.scan_for(Chain.TON, 12, every=6)
    for name in ("usdt", "ton"):
        assert (await till.order(name)).state is OrderState.SETTLED
        assert len((await till.order(name)).credits) == 1
    licences = await till.messages(MessageKind.LICENCE)
    assert sorted(str(one.order) for one in licences) == ["ton", "usdt"]
    assert await till.alerts() == []


async def test_partial_over_double_and_nobodys_money(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    till.pay(order, 2_000_000_000, comment=order.code)
    await till.scan(Chain.TON, after=2)
    assert (await till.order()).flags == {Flag.PARTIAL}
    till.pay(order, 4_000_000_000, comment=order.code)
    till.pay(order)
    till.pay(order, 777_000_000)
    await till.scan_for(Chain.TON, 12, every=6)
    assert (await till.order()).flags == {Flag.OVER}
    assert (await till.order()).state is OrderState.SETTLED
    assert sorted(one.why for one in await till.aside()) == [Unmatched.NO_ORDER, Unmatched.ORDER_CLOSED]
    assert (await reconcile(Chain.TON, till.clock.at - timedelta(hours=2))).is_clean


async def test_orders_expire_once_the_chain_was_read_so_far_and_a_late_payment_still_settles(till: Till):
    order = await till.sell()
    await till.scan(Chain.TRON)
    await till.scan(Chain.TRON, after=3700)
    assert (await till.order()).state is OrderState.EXPIRED
    till.pay(order)
    await till.scan_for(Chain.TRON, 90, every=30)
    assert ((await till.order()).state, (await till.order()).flags) == (OrderState.SETTLED, {Flag.LATE})


async def test_two_transfers_in_one_transaction_are_two_credits(till: Till):
    one, two = await till.sell("one", units=29_000_001), await till.sell("two", units=29_000_002)
    till.wait(3)
    tron = till.stand_in.tron
    tron.call([tron.move(OURS, one.amount.units), tron.move(OURS, two.amount.units)])
    await till.scan_for(Chain.TRON, 90, every=30)
    assert {(await till.order(name)).state for name in ("one", "two")} == {OrderState.SETTLED}


async def test_two_scans_at_once_credit_once(till: Till):
    """No two runs hold the post; if they did all the same, the schema decides."""
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    await till.scan(Chain.TON)
    till.pay(order)
    till.wait(2)
    await asyncio.gather(*(till.scan(Chain.TON) for _ in range(4)), return_exceptions=True)
    await till.scan(Chain.TON, after=30)
    assert (await till.order()).paid == order.amount
    assert len(await till.messages(MessageKind.LICENCE)) == 1


async def test_the_long_run_settles_answers_claims_and_gives_its_post_back(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    await till.scan(Chain.TON)
    tx = till.pay(order)
    await till.claim(order, tx)
    assert await payments_claims.waiting(Chain.TON) == [(order.id, tx.hex())]
    settings = Settings(ton_metrics_port=await free_port())
    with using(replace(till.world, settings=settings, _observers={})), unreported():
        running = asyncio.create_task(scanning(ScanParameters(chain=Chain.TON)))
    try:
        async with asyncio.timeout(PATIENT_SECONDS):
            while await payments_claims.waiting(Chain.TON):  # noqa: ASYNC110 - the run tells nobody else
                await asyncio.sleep(0.1)
        async with till.store.unit() as uow:
            holders = [one.role for one in await uow.long_runs.all()]
        assert holders == ["scan-chain:ton"]
        assert "x0tta6bl4_transfers_credited_total" in await scraped(settings.ton_metrics_port)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert await look(order.id, tx.hex()) is Answer.SETTLED
    async with till.store.unit() as uow:
        words = [one.what for one in await uow.ledger.audit(order.id)]
    assert words.count("claim-answered") == 1


async def free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def scraped(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    body = await reader.read()
    writer.close()
    await writer.wait_closed()
    return body.decode()
