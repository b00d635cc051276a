"""What every `LedgerRepository` promises of orders, transfers and credits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.lab.chains.made import NOON, account
from models.errors import AmountTaken, BrokenError, RefusedError, TransferSpent
from models.ledger import AuditEntry, BuyerId, LedgerCounts
from models.payment import Asset, Credit, Flag, OrderId, OrderState
from models.payment_address import Chain
from models.payment_state import Decision, decide
from models.ports import Store
from tests.contracts.ledger_examples import (
    ALICE,
    CODE,
    after,
    later,
    opened,
    part,
    sale,
    settled,
    ton_order,
)
from tests.fakes.chains.examples import OURS, order, paid

DAY_AFTER = NOON + timedelta(hours=25)
FREE_AGAIN = DAY_AFTER + timedelta(minutes=10, seconds=1)


class OrderContract:
    """Orders, and the amounts they reserve."""

    async def test_a_sale_comes_back_as_it_was_made(self, store: Store):
        await opened(store, ton_order())
        async with store.unit() as unit:
            assert await unit.ledger.sale(OrderId("o1")) == sale(ton_order())
            assert await unit.ledger.sale(OrderId("o1"), for_update=True) == sale(ton_order())
            assert await unit.ledger.sale(OrderId("nobody's")) is None

    async def test_an_amount_is_one_orders_until_it_is_no_longer_watched(self, store: Store):
        await opened(store, order())
        for at in (NOON, NOON + timedelta(hours=1, seconds=1), DAY_AFTER, DAY_AFTER + timedelta(minutes=2)):
            async with store.unit() as unit:
                with pytest.raises(AmountTaken):
                    await unit.ledger.open_order(sale(order(name="o2", created_at=at)))
        await opened(store, order(name="o2", created_at=FREE_AGAIN))

    async def test_an_amount_stays_reserved_when_its_order_is_closed(self, store: Store):
        await settled(store)
        await opened(store, order(29_000_200, name="o9"))
        async with store.unit() as unit:
            await unit.ledger.save(decide(order(29_000_200, name="o9"), Decision.CANCEL), [])
        for units in (29_000_123, 29_000_200):
            async with store.unit() as unit:
                with pytest.raises(AmountTaken):
                    await unit.ledger.open_order(sale(order(units, name="o2")))

    async def test_another_address_or_asset_may_have_the_amount(self, store: Store):
        elsewhere = replace(order(name="o2"), deposit=account(Chain.TRON, "our second"))
        await opened(store, order(), elsewhere, order(name="o3", asset=Asset.TON))
        async with store.unit() as unit:
            assert len(await unit.ledger.in_state([OrderState.NEW])) == 3

    async def test_a_code_means_one_order_for_ever(self, store: Store):
        await opened(store, ton_order())
        async with store.unit() as unit:
            with pytest.raises(AmountTaken):
                await unit.ledger.open_order(sale(ton_order(1_000_000_000, name="o2")))

    async def test_after_a_taken_amount_the_unit_may_go_on_with_another(self, store: Store):
        await opened(store, order())
        async with store.unit() as unit:
            with pytest.raises(AmountTaken):
                await unit.ledger.open_order(sale(order(name="o2")))
            await unit.ledger.open_order(sale(order(29_000_124, name="o2")))
        async with store.unit() as unit:
            assert await unit.ledger.sale(OrderId("o2")) is not None

    async def test_taken_tells_what_a_new_order_cannot_have(self, store: Store):
        await opened(store, *(order(29_000_000 + tail, name=f"o{tail}") for tail in (1, 5, 9)))

        async def taken(lowest: int, highest: int, now=NOON, deposit=OURS) -> frozenset[int]:
            async with store.unit() as unit:
                return await unit.ledger.taken(
                    Asset.USDT_TRON, deposit, lowest=29_000_000 + lowest, highest=29_000_000 + highest, now=now
                )

        assert await taken(1, 9) == {29_000_001, 29_000_005, 29_000_009}
        assert await taken(2, 8) == {29_000_005}
        assert await taken(1, 9, now=DAY_AFTER + timedelta(minutes=10)) == {29_000_001, 29_000_005, 29_000_009}
        assert await taken(1, 9, now=FREE_AGAIN) == frozenset()
        assert await taken(1, 9, deposit=account(Chain.TRON, "our second")) == frozenset()

    async def test_of_two_who_want_one_amount_at_once_one_gets_it(self, store: Store):
        async def open_one(name: str) -> bool:
            async with store.unit() as unit:
                try:
                    await unit.ledger.open_order(sale(order(name=name)))
                except AmountTaken:
                    return False
                await asyncio.sleep(0.02)
                return True

        assert sum(await asyncio.gather(*(open_one(f"o{number}") for number in range(4)))) == 1

    async def test_an_order_begins_new_and_once(self, store: Store):
        with pytest.raises(RefusedError):
            await opened(store, order(state=OrderState.SETTLED))
        await opened(store, order())
        with pytest.raises(AmountTaken, match="o1"):
            await opened(store, order(31_000_000))

    async def test_a_buyers_orders_are_newest_first(self, store: Store):
        first, second = order(name="o1"), order(29_000_124, name="o2", created_at=later(1))
        await opened(store, first, second)
        async with store.unit() as unit:
            await unit.ledger.open_order(sale(order(29_000_125, name="o3"), buyer=BuyerId("api:bob")))
            assert [one.order.id for one in await unit.ledger.sales_of(ALICE)] == ["o2", "o1"]
            assert [one.order.id for one in await unit.ledger.sales_of(ALICE, limit=1)] == ["o2"]
            assert await unit.ledger.sales_of(BuyerId("nobody")) == []
            assert [one.order.id for one in await unit.ledger.sales(["o2", "nobody's", "o1", "o2"])] == ["o1", "o2"]
            assert await unit.ledger.sales([]) == []

    async def test_the_queues_are_oldest_first(self, store: Store):
        orders = [order(29_000_000 + number, name=f"o{number}", created_at=later(-number)) for number in (1, 2, 3)]
        await opened(store, *orders)
        async with store.unit() as unit:
            await unit.ledger.save(replace(orders[0], state=OrderState.REVIEW), [])
            await unit.ledger.save(replace(orders[1], state=OrderState.HOLD), [])
            queue = await unit.ledger.in_state([OrderState.HOLD, OrderState.REVIEW])
            assert [one.order.id for one in queue] == ["o2", "o1"]
            assert len(await unit.ledger.in_state(list(OrderState), limit=2)) == 2


class CandidateContract:
    """Which orders a transfer may mean, and which ones time has overtaken."""

    async def test_an_amount_finds_its_orders_closed_ones_too(self, store: Store):
        done = await settled(store)
        await opened(store, order(29_000_124, name="o2"), order(name="o3", created_at=FREE_AGAIN))
        async with store.unit() as unit:
            assert [one.id for one in await unit.ledger.candidates([paid()])] == ["o1", "o3"]
            assert (await unit.ledger.candidates([paid()]))[0] == done
            assert await unit.ledger.candidates([paid(1_000_000)]) == []
            assert await unit.ledger.candidates([]) == []

    async def test_a_code_finds_its_order_whatever_the_amount(self, store: Store):
        await opened(store, ton_order())
        strange = replace(part(5_000_000_000), memo="за ОRD-7К2М9QАВ спасибо")  # noqa: RUF001 - a Russian keyboard's letters
        async with store.unit() as unit:
            assert [one.id for one in await unit.ledger.candidates([strange])] == ["o1"]

    async def test_a_candidate_is_locked_until_the_unit_ends(self, store: Store):
        await opened(store, ton_order())

        async def pay(number: int) -> None:
            transfer = part(4_000_000_000, name=number)
            async with store.unit() as unit:
                (found,) = await unit.ledger.candidates([transfer])
                await asyncio.sleep(0.02)
                await unit.ledger.save(after(found, transfer), [transfer])

        await asyncio.gather(*(pay(number) for number in range(4)))
        async with store.unit() as unit:
            known = await unit.ledger.sale(OrderId("o1"))
            assert known is not None
            assert known.order.paid.units == 16_000_000_000

    async def test_overdue_is_what_time_has_overtaken_on_that_chain(self, store: Store):
        first = order(29_000_001, name="o1")
        partly = ton_order(name="o2")
        await opened(store, first, partly, order(29_000_003, name="o3", created_at=later(30)))
        one = part(4_000_000_000)
        async with store.unit() as unit:
            await unit.ledger.save(after(partly, one, minutes=70), [one])

        async def overdue(chain: Chain, until) -> list[str]:
            async with store.unit() as unit:
                return [one.id for one in await unit.ledger.overdue(chain, scanned_until=until)]

        assert await overdue(Chain.TRON, first.expires_at) == []
        assert await overdue(Chain.TRON, later(61)) == ["o1"]
        assert await overdue(Chain.TRON, later(91)) == ["o1", "o3"]
        assert await overdue(Chain.TON, later(91)) == []
        assert await overdue(Chain.TON, DAY_AFTER + timedelta(seconds=1)) == ["o2"]
        async with store.unit() as unit:
            assert len(await unit.ledger.overdue(Chain.TRON, scanned_until=later(91), limit=1)) == 1
            await unit.ledger.save(replace(first, state=OrderState.EXPIRED), [])
        assert await overdue(Chain.TRON, DAY_AFTER + timedelta(days=9)) == ["o3"]


class CreditContract:
    """A transfer is counted once, and never uncounted."""

    async def test_what_was_credited_is_read_back_with_its_transfer(self, store: Store):
        done = await settled(store)
        transfer = paid(name="o1")
        async with store.unit() as unit:
            known = await unit.ledger.sale(OrderId("o1"))
            assert known is not None
            assert known.order == done
            assert await unit.ledger.transfers_of(OrderId("o1")) == [transfer]
            assert await unit.ledger.credited_to([transfer.key, paid(name="other").key]) == {transfer.key: "o1"}
            assert await unit.ledger.credited_to([]) == {}

    async def test_saving_twice_is_saving_once(self, store: Store):
        done = await settled(store)
        async with store.unit() as unit:
            await unit.ledger.save(done, [paid(name="o1")])
            await unit.ledger.save(done, [])
        async with store.unit() as unit:
            known = await unit.ledger.sale(OrderId("o1"))
            assert known is not None
            assert known.order == done

    async def test_a_transfer_of_another_order_is_spent_and_nothing_of_that_unit_stays(self, store: Store):
        await settled(store, ton_order())
        taker = ton_order(name="o2", code="ord-22222222")
        await opened(store, replace(taker, amount=replace(taker.amount, units=taker.amount.units + 1_000)))
        stolen = paid(29_000_000_000, name="o1", asset=Asset.TON)
        with pytest.raises(TransferSpent):  # noqa: PT012 - it must leave the unit
            async with store.unit() as unit:
                await unit.ledger.record(AuditEntry(later(), OrderId("o2"), "cli:root", "placed"))
                await unit.ledger.save(after(taker, stolen), [stolen])
        async with store.unit() as unit:
            assert await unit.ledger.audit(OrderId("o2")) == []
            assert await unit.ledger.credited_to([stolen.key]) == {stolen.key: "o1"}

    async def test_a_unit_whose_transfer_was_spent_can_only_be_left(self, store: Store):
        await settled(store, ton_order())
        taker = ton_order(29_000_001_000, name="o2", code="ord-22222222")
        await opened(store, taker)
        stolen = paid(29_000_000_000, name="o1", asset=Asset.TON)
        with pytest.raises(BrokenError, match="leave the unit"):  # noqa: PT012 - the exit is what raises
            async with store.unit() as unit:
                with pytest.raises(TransferSpent):
                    await unit.ledger.save(after(taker, stolen), [stolen])

    async def test_of_two_orders_that_race_for_one_transfer_one_gets_it(self, store: Store):
        first = ton_order(20_000_000_000, name="o1")
        second = ton_order(21_000_000_000, name="o2", code="ord-22222222")
        await opened(store, first, second)
        contested = part(9_000_000_000)

        async def take(one) -> bool:
            try:
                async with store.unit() as unit:
                    await unit.ledger.save(after(one, contested), [contested])
                    await asyncio.sleep(0.02)
            except TransferSpent:
                return False
            return True

        assert sorted(await asyncio.gather(take(first), take(second))) == [False, True]
        async with store.unit() as unit:
            assert (
                len(await unit.ledger.transfers_of(OrderId("o1")) + await unit.ledger.transfers_of(OrderId("o2"))) == 1
            )

    async def test_what_was_counted_beside_known_transactions_is_told_oldest_first(self, store: Store):
        done = [await settled(store, order(29_000_000 + number, name=f"o{number}")) for number in range(3)]
        (known, first, second) = [one.credits[0].transfer.tx for one in done]
        async with store.unit() as unit:
            at = (await unit.ledger.transfers_of(done[0].id))[0].block_time

            async def beside(*txs: bytes, since=at, until=at + timedelta(seconds=1), limit=100, address=OURS):
                told = await unit.ledger.credited_beside(address, txs, since=since, until=until, limit=limit)
                return {(name, one.tx) for name, one in told}

            assert await beside(known) == {("o1", first), ("o2", second)}
            assert len(await beside()) == 3
            assert len(await beside(limit=2)) == 2
            assert not await beside(address=account(Chain.TRON, "another"))
            assert not await beside(until=at)
            assert not await beside(since=at + timedelta(microseconds=1))

    async def test_two_transfers_of_one_transaction_are_two(self, store: Store):
        new = ton_order()
        halves = [part(14_500_000_000, index=index) for index in (0, 1)]
        await opened(store, new)
        async with store.unit() as unit:
            await unit.ledger.save(after(new, *halves), halves)
            assert await unit.ledger.transfers_of(OrderId("o1")) == halves

    async def test_many_orders_are_saved_at_once(self, store: Store):
        orders = [order(29_000_000 + number, name=f"o{number}") for number in range(7)]
        await opened(store, *orders)
        paying = [paid(one.amount.units, name=one.id) for one in orders]
        async with store.unit() as unit:
            await unit.ledger.save_many(
                [(after(one, transfer), [transfer]) for one, transfer in zip(orders, paying, strict=True)]
            )
            await unit.ledger.save_many([])
        async with store.unit() as unit:
            assert (await unit.ledger.counts()).orders == {"SETTLED": 7}

    async def test_a_memo_that_no_database_holds_stops_nothing(self, store: Store):
        new = ton_order()
        odd = replace(part(29_000_000_000), memo=f"\0{CODE}\0 \ud83d")
        await opened(store, new)
        async with store.unit() as unit:
            assert [one.id for one in await unit.ledger.candidates([odd])] == ["o1"]
            await unit.ledger.save(after(new, odd), [odd])
            (kept,) = await unit.ledger.transfers_of(OrderId("o1"))
        assert kept.memo == f"{CODE} ?"


class HistoryContract:
    """What the schema refuses of an order, whoever asks."""

    @pytest.fixture
    def wrong(self, store: Store):
        async def save(one, *transfers, match: str | None = None) -> None:
            with pytest.raises(RefusedError, match=match):
                async with store.unit() as unit:
                    await unit.ledger.save(one, transfers)

        return save

    async def test_settled_is_left_only_to_refunded(self, store: Store, wrong):
        done = await settled(store)
        for state in set(OrderState) - {OrderState.SETTLED, OrderState.REFUNDED}:
            await wrong(replace(done, state=state, credits=done.credits))
        async with store.unit() as unit:
            await unit.ledger.save(decide(done, Decision.REFUND), [])
        for state in set(OrderState) - {OrderState.REFUNDED}:
            await wrong(replace(done, state=state))

    async def test_nothing_settles_without_money_or_a_person(self, store: Store, wrong):
        await opened(store, order())
        await wrong(replace(order(), state=OrderState.SETTLED))
        async with store.unit() as unit:
            await unit.ledger.save(decide(order(), Decision.CONFIRM), [])
            known = await unit.ledger.sale(OrderId("o1"))
        assert known is not None
        assert known.order.flags == {Flag.MANUAL}

    async def test_what_is_held_is_settled_by_a_person(self, store: Store, wrong):
        await opened(store, order())
        held = decide(order(), Decision.HOLD)
        async with store.unit() as unit:
            await unit.ledger.save(held, [])
        done = after(order(), paid())
        await wrong(done, paid())
        await wrong(replace(held, state=OrderState.NEW))
        async with store.unit() as unit:
            await unit.ledger.save(after(held, paid()), [paid()])
            await unit.ledger.save(decide(after(held, paid()), Decision.CONFIRM), [])

    async def test_new_has_no_money_and_cancelled_none_either(self, store: Store, wrong):
        await opened(store, ton_order())
        one = part(4_000_000_000)
        await wrong(replace(after(ton_order(), one), state=OrderState.NEW), one)
        await wrong(replace(after(ton_order(), one), state=OrderState.CANCELLED), one)

    async def test_a_closed_order_takes_no_more(self, store: Store, wrong):
        done = await settled(store, ton_order())
        more = part(4_000_000_000, name="more")
        credited = (*done.credits, Credit(more.key, more.units))
        await wrong(replace(done, credits=tuple(sorted(credited)), flags=done.flags | {Flag.OVER}), more)
        await wrong(replace(done, flags=done.flags | {Flag.LATE}))

    async def test_a_credit_is_its_transfer_to_the_unit(self, store: Store, wrong):
        await opened(store, ton_order())
        one = part(4_000_000_000)
        more = replace(after(ton_order(), one), credits=(Credit(one.key, one.units + 1),))
        await wrong(more, one)
        await wrong(after(ton_order(), one))

    async def test_a_credit_is_of_the_orders_asset_and_address(self, store: Store, wrong):
        await opened(store, order(name="o1"))
        elsewhere = replace(paid(), receiver=account(Chain.TRON, "our second"))
        await wrong(after(order(), paid()), elsewhere)

    async def test_a_payment_from_before_the_order_or_after_its_watch_never_counts(self, store: Store, wrong):
        await opened(store, order())
        for at in (timedelta(minutes=-11), timedelta(hours=25, minutes=2)):
            await wrong(after(order(), paid()), paid(at=at))

    async def test_flags_say_how_the_money_compares(self, store: Store, wrong):
        await opened(store, ton_order())
        one = part(4_000_000_000)
        await wrong(replace(after(ton_order(), one), flags=frozenset()), one)
        await wrong(replace(ton_order(), flags=frozenset({Flag.OVER})))
        await wrong(replace(ton_order(), flags=frozenset({Flag.MANUAL})))

    async def test_flags_stay(self, store: Store, wrong):
        await opened(store, order())
        late = after(order(), paid(at=timedelta(hours=2)), minutes=130)
        async with store.unit() as unit:
            await unit.ledger.save(late, [paid(at=timedelta(hours=2))])
        await wrong(replace(late, state=OrderState.REFUNDED, flags=frozenset()))

    async def test_an_order_nobody_opened_is_not_saved(self, wrong):
        await wrong(order(name="nobody's"), match="nobody's")


class PeopleContract:
    """History and figures."""

    async def test_history_is_in_the_order_it_happened(self, store: Store):
        await opened(store, order(), order(1_000_000, name="o2"))
        entries = [
            AuditEntry(later(2), OrderId("o1"), "telegram:4711", "claimed", "by hash"),
            AuditEntry(later(1), OrderId("o1"), "cli:root", "hold", "it looks odd"),
        ]
        async with store.unit() as unit:
            for one in entries:
                await unit.ledger.record(one)
            await unit.ledger.record_many([])
            await unit.ledger.record(AuditEntry(later(3), None, "cli:root", "placed"))
        async with store.unit() as unit:
            assert await unit.ledger.audit(OrderId("o1")) == entries
            assert await unit.ledger.audit(OrderId("o2")) == []

    async def test_a_history_of_nobodys_order_is_refused(self, store: Store):
        with pytest.raises(RefusedError):
            async with store.unit() as unit:
                await unit.ledger.record(AuditEntry(later(), OrderId("nobody's"), "cli:root", "hold"))

    async def test_counts_of_nothing_are_empty(self, store: Store):
        async with store.unit() as unit:
            assert await unit.ledger.counts() == LedgerCounts()

    async def test_a_commit_wakes_who_waits_for_orders(self, store: Store):
        await store.wait("orders", at_most=timedelta(milliseconds=500))
        waiting = asyncio.create_task(store.wait("orders", at_most=timedelta(seconds=5)))
        await asyncio.sleep(0)
        await opened(store, order())
        assert await waiting


class LedgerContract(OrderContract, CandidateContract, CreditContract, HistoryContract, PeopleContract):
    """All of it."""
