"""The whole way of a payment: chains over real HTTP, the real scan, a ledger that keeps the schema's laws."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from infra.lab.chains.faults import says
from infra.lab.chains.ton_world import Receipt
from models.errors import RefusedError, SourceUnavailable
from models.ledger import MessageKind
from models.payment import Asset, Flag, OrderState, Provider
from models.payment_address import Chain
from models.payment_matching import Unmatched
from tasks import payments
from tasks.wiring import using
from tests.fakes.chains.examples import OURS, OURS_ON_TON
from tests.fakes.store import FakeStore
from tests.tasks.till import Till, open_till

SOLID = 75
"""TRON is solid after 57 s; the feed says so a little later."""


@pytest.fixture
async def till() -> AsyncIterator[Till]:
    async with open_till(FakeStore()) as opened:
        yield opened


# --- the good way ---


async def test_a_payment_on_tron_is_credited_with_one_proof_and_earns_a_licence(till: Till):
    order = await till.sell()
    await till.scan(Chain.TRON)
    till.pay(order)
    first = await till.scan(Chain.TRON)
    assert (await till.order()).state is OrderState.PROCESSING
    reports = [first, *await till.scan_for(Chain.TRON, SOLID, every=3)]
    settled = await till.order()
    assert (settled.state, settled.paid, settled.flags) == (OrderState.SETTLED, order.amount, frozenset())
    assert sum(one.asked for one in reports) == 1
    assert [one.order for one in await till.messages(MessageKind.LICENCE)] == [order.id]
    assert await till.open_cases(Chain.TRON) == 0


async def test_a_small_payment_on_ton_is_credited_at_once_by_one_provider(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    await till.scan(Chain.TON)
    till.pay(order)
    report = await till.scan(Chain.TON, after=2)
    assert (report.settled, report.asked) == (1, 0)
    assert (await till.order()).state is OrderState.SETTLED


async def test_a_large_payment_on_ton_waits_for_the_second_provider(till: Till):
    order = await till.sell(asset=Asset.TON, units=50_000_001_000)
    await till.scan(Chain.TON)
    till.faults(Provider.TONCENTER).lag = 1_000
    till.pay(order)
    await till.scan(Chain.TON, after=2)
    assert (await till.order()).state is OrderState.PROCESSING
    till.faults(Provider.TONCENTER).lag = 0
    await till.scan_for(Chain.TON, 20, every=2)
    assert (await till.order()).state is OrderState.SETTLED
    assert (await till.order()).flags == frozenset()


async def test_a_tick_costs_one_discovery_call_whatever_the_number_of_orders(till: Till):
    for number in range(50):
        await till.sell(f"o{number}", units=29_000_001 + number)
    await till.scan(Chain.TRON)
    before = till.stand_in.calls
    await till.scan(Chain.TRON, after=3)
    heads = 2  # a tick without a memory reads them anew
    assert till.stand_in.calls - before == 1 + heads


async def test_a_burst_is_proved_in_turn_and_nobody_waits_longer_for_it(till: Till):
    orders = [await till.sell(f"o{number}", units=29_000_001 + number) for number in range(30)]
    await till.scan(Chain.TRON)
    for order in orders:
        till.stand_in.tron.pay(order.deposit, order.amount.units)
    till.wait(150)
    reports = [await till.scan(Chain.TRON, after=3) for _ in range(3)]
    assert [one.asked for one in reports] == [12, 12, 6]
    assert sum(one.settled for one in reports) == 30


async def test_where_no_address_is_set_nobody_is_asked(till: Till):
    with using(replace(till.world, deposits={}, _observers={})):
        report = await till.scan(Chain.TRON)
        assert await payments.expire(Chain.TRON) == 0
    assert (report.read, till.stand_in.calls) == (0, 0)


# --- unusual payments ---


async def test_a_late_payment_settles_usdt_with_a_flag_and_leaves_ton_to_a_person(till: Till):
    tron = await till.sell("late-usdt")
    ton = await till.sell("late-ton", asset=Asset.TON, units=5_000_001_000)
    till.wait(3700)
    for chain in Chain:
        await till.scan(chain)
    assert (await till.order("late-usdt")).state is OrderState.EXPIRED
    assert (await till.order("late-ton")).state is OrderState.EXPIRED
    till.pay(tron)
    till.pay(ton)
    await till.scan_for(Chain.TON, 6)
    await till.scan_for(Chain.TRON, SOLID)
    assert (await till.order("late-usdt")).state is OrderState.SETTLED
    assert (await till.order("late-usdt")).flags == {Flag.LATE}
    assert (await till.order("late-ton")).state is OrderState.REVIEW
    assert await till.alerts() == ["review"]


async def test_two_partial_payments_with_the_comment_add_up(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    till.pay(order, 2_000_000_000, comment=f"for {order.code}")
    await till.scan(Chain.TON, after=2)
    partly = await till.order()
    assert (partly.state, partly.flags) == (OrderState.PROCESSING, {Flag.PARTIAL})
    till.pay(order, 3_000_001_000, comment=order.code)
    await till.scan(Chain.TON, after=2)
    assert (await till.order()).state is OrderState.SETTLED
    assert len((await till.order()).credits) == 2


async def test_two_transfers_in_one_transaction_pay_two_orders(till: Till):
    one, two = await till.sell("one", units=29_000_001), await till.sell("two", units=29_000_002)
    till.wait(3)
    tron = till.stand_in.tron
    tron.call([tron.move(OURS, one.amount.units), tron.move(OURS, two.amount.units)])
    await till.scan_for(Chain.TRON, SOLID)
    assert {(await till.order(name)).state for name in ("one", "two")} == {OrderState.SETTLED}


async def test_what_is_paid_twice_is_counted_once_and_set_aside_once(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    till.pay(order)
    till.pay(order)
    await till.scan_for(Chain.TON, 6)
    assert (await till.order()).paid == order.amount
    assert [one.why for one in await till.aside()] == [Unmatched.ORDER_CLOSED]
    assert await till.alerts() == ["unmatched"]


async def test_a_failed_call_and_a_bounce_pay_nothing(till: Till):
    usdt, ton = await till.sell("usdt"), await till.sell("ton", asset=Asset.TON, units=5_000_001_000)
    till.wait(3)
    till.stand_in.tron.pay(OURS, usdt.amount.units, result="OUT_OF_ENERGY")
    bounce = Receipt(exit_code=131, bounce_phase=True, sends_back=True)
    till.stand_in.ton.pay(OURS_ON_TON, ton.amount.units, bounce)
    await till.scan_for(Chain.TRON, SOLID)
    await till.scan_for(Chain.TON, 10)
    assert {(await till.order(name)).state for name in ("usdt", "ton")} == {OrderState.NEW}
    assert await till.aside() == []


async def test_dust_costs_no_proof_and_usdt_on_ton_waits_for_a_person(till: Till):
    await till.scan(Chain.TRON)
    await till.scan(Chain.TON)
    till.wait(3)
    till.stand_in.tron.pay(OURS, 1)
    till.stand_in.ton.pay_jettons(OURS_ON_TON, 7_000_000)
    reports = await till.scan_for(Chain.TRON, SOLID)
    assert sum(one.asked for one in reports) == 0
    assert await till.open_cases(Chain.TRON) == 0
    await till.scan(Chain.TON, after=2)
    assert [one.why for one in await till.aside()] == [Unmatched.ASSET_FOR_REVIEW]


async def test_a_payment_that_vanishes_in_a_fork_leaves_its_order_as_it_was(till: Till):
    order = await till.sell()
    tx = till.pay(order)
    await till.scan(Chain.TRON)
    assert (await till.order()).state is OrderState.PROCESSING
    till.stand_in.tron.vanish(tx)
    await till.scan(Chain.TRON, after=3)
    assert (await till.order()).state is OrderState.NEW
    assert await till.open_cases(Chain.TRON) == 0


# --- providers that fail or lie ---


async def test_while_the_first_provider_is_away_the_second_reads_and_the_order_settles_degraded(till: Till):
    order = await till.sell(units=60_000_001)  # above the threshold of two
    await till.scan(Chain.TRON)
    till.faults(Provider.TRONSCAN).plan(says(502, {}))
    till.pay(order)
    async with till.restarted():
        await till.scan_for(Chain.TRON, 120, every=20)
        assert (await till.order()).state is OrderState.PROCESSING
        await till.scan_for(Chain.TRON, 720, every=60)
    settled = await till.order()
    assert (settled.state, settled.flags) == (OrderState.SETTLED, {Flag.DEGRADED})
    assert "degraded" in await till.alerts()


async def test_while_the_second_is_away_the_first_numbers_the_transfer_itself(till: Till):
    order = await till.sell()
    till.faults(Provider.TRONGRID).plan(says(502, {}))
    till.pay(order)
    await till.scan_for(Chain.TRON, 180, every=15)
    assert (await till.order()).state is OrderState.SETTLED


async def test_providers_that_contradict_each_other_hold_the_order_and_alert(till: Till):
    order = await till.sell()

    def lie(path: str, told: dict) -> dict:
        if "token_trc20/transfers" in path:
            for row in told["token_transfers"]:
                row["quant"] = str(order.amount.units)
        return told

    till.faults(Provider.TRONSCAN).lie = lie
    till.pay(order, 1_000_000)
    await till.scan_for(Chain.TRON, SOLID)
    assert (await till.order()).state is OrderState.HOLD
    assert (await till.order()).credits == ()
    assert "disputed" in await till.alerts()


# --- time and accidents ---


async def test_nothing_expires_while_blind(till: Till):
    await till.sell()
    await till.scan(Chain.TRON)
    for provider in (Provider.TRONSCAN, Provider.TRONGRID):
        till.faults(provider).plan(says(502, {}))
    reports = await till.scan_for(Chain.TRON, 7200, every=1800)
    assert {one.expired for one in reports} == {0}
    assert (await till.order()).state is OrderState.NEW
    for provider in (Provider.TRONSCAN, Provider.TRONGRID):
        till.faults(provider).mend()
    async with till.restarted():
        assert (await till.scan(Chain.TRON, after=3)).expired == 1
    assert (await till.order()).state is OrderState.EXPIRED


async def test_a_payment_made_while_blind_is_found_after_hours(till: Till):
    order = await till.sell()
    await till.scan(Chain.TRON)
    till.pay(order)
    for provider in (Provider.TRONSCAN, Provider.TRONGRID):
        till.faults(provider).plan(says(502, {}))
    await till.scan_for(Chain.TRON, 3 * 3600, every=3600)
    for provider in (Provider.TRONSCAN, Provider.TRONGRID):
        till.faults(provider).mend()
    async with till.restarted():
        await till.scan_for(Chain.TRON, 6)
    assert (await till.order()).state is OrderState.SETTLED
    assert Flag.LATE not in (await till.order()).flags


async def test_a_run_killed_after_hearing_and_before_booking_loses_nothing(till: Till):
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    await till.scan(Chain.TON)
    till.pay(order)
    store = till.store
    assert isinstance(store, FakeStore)
    commits = store.commits
    real = store.unit

    def dying():
        if store.commits > commits:  # what was heard is written
            raise SourceUnavailable("the database", "it was killed")
        return real()

    store.unit = dying  # type: ignore[method-assign] - the accident itself
    with pytest.raises(SourceUnavailable):
        await till.scan(Chain.TON, after=2)
    store.unit = real  # type: ignore[method-assign]
    assert (await till.order()).state is OrderState.NEW
    await till.scan(Chain.TON, after=2)
    await till.scan(Chain.TON, after=2)
    assert (await till.order()).state is OrderState.SETTLED
    assert len(await till.messages(MessageKind.LICENCE)) == 1


async def test_a_claimed_hash_is_asked_for_and_given_up_when_nobody_knows_it(till: Till):
    await till.sell()
    async with till.store.unit() as uow:
        await uow.ledger.ask_for(Chain.TRON, bytes(32), OURS, now=till.clock.at)
    reports = await till.scan_for(Chain.TRON, 3 * 3600, every=600)
    assert 3 <= sum(one.asked for one in reports) <= 15
    assert await till.open_cases(Chain.TRON) == 0


class RefusingLedger:
    """A ledger in which the schema says no to whatever touches one order."""

    def __init__(self, inner: object, order: str) -> None:
        self._inner, self._order = inner, order

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    async def save_many(self, settled):
        if any(order.id == self._order for order, _ in settled):
            raise RefusedError("the schema refused the row")
        await self._inner.save_many(settled)


class RefusingStore(FakeStore):
    def unit(self):
        unit = super().unit()
        unit.ledger = RefusingLedger(unit.ledger, "bad")  # type: ignore[assignment]
        return unit


async def test_one_payment_that_the_schema_refuses_stops_no_other():
    async with open_till(RefusingStore()) as till:
        bad = await till.sell("bad", asset=Asset.TON, units=5_000_001_000)
        good = await till.sell("good", asset=Asset.TON, units=5_000_002_000, code="ord-abcdefg3")
        till.pay(bad)
        till.pay(good)
        await till.scan_for(Chain.TON, 6)
        assert (await till.order("good")).state is OrderState.SETTLED
        assert (await till.order("bad")).state is OrderState.NEW
        assert await till.alerts() == ["refused"]
        assert await till.open_cases(Chain.TON) == 1
