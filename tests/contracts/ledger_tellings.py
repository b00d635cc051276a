"""What every `LedgerRepository` promises of what providers said, what is nobody's, and how far the chains were read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.lab.chains.made import made_hash
from models.errors import RefusedError
from models.ledger import Case, Reach, SetAside
from models.payment import OrderId, Provider
from models.payment_address import Chain
from models.payment_matching import Unmatched
from models.payment_ports import Watermark
from models.payment_quorum import Sighting, TxState
from models.ports import Store
from tests.contracts.ledger_examples import HASH, after, heard, later, opened, part, ton_order
from tests.fakes.chains.examples import OURS, OURS_ON_TON, paid

UNNUMBERED = replace(paid(), event_index=None)


class SightingContract:
    """Each provider's newest word."""

    async def sight(self, store: Store, *sightings: Sighting, at: float = 10) -> set[bytes]:
        async with store.unit() as unit:
            return await unit.ledger.sight(Chain.TRON, OURS, sightings, now=later(at))

    async def said(self, store: Store) -> tuple[Sighting, ...]:
        async with store.unit() as unit:
            return (await unit.ledger.sightings(Chain.TRON, [HASH])).get(HASH, ())

    async def test_what_is_new_is_news_and_told_again_is_not(self, store: Store):
        assert await self.sight(store) == set()
        assert await self.sight(store, heard(paid()), heard(paid(name="other"))) == {HASH, made_hash("other")}
        assert await self.sight(store, heard(paid(), at=11)) == set()
        assert await self.said(store) == (heard(paid()),)

    async def test_each_provider_has_its_own_word(self, store: Store):
        both = (heard(paid(), by=Provider.TRONGRID), heard(paid(), by=Provider.TRONSCAN))
        assert await self.sight(store, both[0]) == {HASH}
        assert await self.sight(store, both[1]) == {HASH}
        assert await self.said(store) == both

    async def test_a_changed_word_is_news_and_replaces(self, store: Store):
        await self.sight(store, heard(UNNUMBERED, state=TxState.PENDING))
        assert await self.sight(store, heard(UNNUMBERED, at=11)) == {HASH}
        assert await self.sight(store, heard(paid(), at=12)) == {HASH}
        assert await self.said(store) == (heard(paid(), at=12),)
        assert await self.sight(store, replace(heard(paid(), at=13), state=TxState.FAILED, transfers=())) == {HASH}

    async def test_a_feed_does_not_replace_the_proof_of_the_same_provider(self, store: Store):
        await self.sight(store, heard(paid()))
        assert await self.sight(store, heard(UNNUMBERED, at=11)) == set()
        assert await self.sight(store, heard(paid(), state=TxState.PENDING, at=12)) == set()
        assert await self.sight(store, heard(replace(UNNUMBERED, units=5), at=13)) == {HASH}

    async def test_an_older_word_changes_nothing(self, store: Store):
        await self.sight(store, heard(paid(), state=TxState.PENDING, at=11))
        assert await self.sight(store, heard(paid(), at=10)) == set()

    async def test_of_two_words_in_one_reading_the_better_is_kept(self, store: Store):
        assert await self.sight(store, heard(UNNUMBERED), heard(paid(), at=11), heard(UNNUMBERED, at=12)) == {HASH}
        assert await self.said(store) == (heard(paid(), at=11),)

    async def test_a_memo_that_no_database_holds_is_no_news_twice(self, store: Store):
        odd = heard(paid(memo="a\0b\ud83d"))
        assert await self.sight(store, odd) == {HASH}
        assert await self.sight(store, replace(odd, seen_at=later(11))) == set()

    async def test_nothing_is_said_of_what_nobody_saw(self, store: Store):
        async with store.unit() as unit:
            assert await unit.ledger.sightings(Chain.TRON, []) == {}
            assert await unit.ledger.sightings(Chain.TRON, [HASH]) == {}
        await self.sight(store, heard(paid()))
        async with store.unit() as unit:
            assert await unit.ledger.sightings(Chain.TON, [HASH]) == {}


class CaseContract:
    """Transactions that are not done with."""

    async def due(self, store: Store, at: float, limit: int = 100) -> list[Case]:
        async with store.unit() as unit:
            return await unit.ledger.cases(Chain.TRON, now=later(at), limit=limit)

    async def test_news_opens_a_case_that_waits_until_it_is_concluded(self, store: Store):
        async with store.unit() as unit:
            await unit.ledger.sight(Chain.TRON, OURS, [heard(paid())], now=later(10))
        (case,) = await self.due(store, 10)
        assert case == Case(Chain.TRON, HASH, OURS, later(10), 0, later(10))
        async with store.unit() as unit:
            assert await unit.ledger.cases(Chain.TON, now=later(10)) == []
            assert (await unit.ledger.counts()).cases == {"tron": 1}
            await unit.ledger.postpone(case, until=later(12))
        assert await self.due(store, 11.9) == []
        assert await self.due(store, 12) == [replace(case, tries=1, next_at=later(12))]
        async with store.unit() as unit:
            await unit.ledger.conclude(Chain.TRON, [HASH])
            await unit.ledger.conclude(Chain.TRON, [])
            await unit.ledger.postpone(case, until=later(20))
        assert await self.due(store, 99) == []

    async def test_news_makes_a_postponed_case_due_and_keeps_its_age(self, store: Store):
        async with store.unit() as unit:
            await unit.ledger.sight(Chain.TRON, OURS, [heard(paid(), state=TxState.PENDING)], now=later(10))
        (case,) = await self.due(store, 10)
        async with store.unit() as unit:
            await unit.ledger.postpone(case, until=later(60))
            await unit.ledger.sight(Chain.TRON, OURS, [heard(paid(), at=11)], now=later(11))
        assert await self.due(store, 11) == [replace(case, tries=1, next_at=later(11))]

    async def test_told_the_same_after_its_end_opens_nothing(self, store: Store):
        async with store.unit() as unit:
            await unit.ledger.sight(Chain.TRON, OURS, [heard(paid())], now=later(10))
            await unit.ledger.conclude(Chain.TRON, [HASH])
            await unit.ledger.sight(Chain.TRON, OURS, [heard(paid(), at=11)], now=later(11))
        assert await self.due(store, 99) == []

    async def test_a_claimed_hash_is_asked_for_once(self, store: Store):
        async with store.unit() as unit:
            await unit.ledger.ask_for(Chain.TRON, HASH, OURS, now=later(10))
            await unit.ledger.ask_for(Chain.TRON, HASH, OURS, now=later(11))
        assert await self.due(store, 11) == [Case(Chain.TRON, HASH, OURS, later(10), 0, later(10))]

    async def test_the_longest_due_comes_first(self, store: Store):
        async with store.unit() as unit:
            for number in (3, 1, 2):
                await unit.ledger.ask_for(Chain.TRON, made_hash(number), OURS, now=later(number))
        assert [one.tx for one in await self.due(store, 10, limit=2)] == [made_hash(1), made_hash(2)]


class AsideContract:
    """Final transfers that are no order's."""

    async def test_they_wait_for_a_person_oldest_first(self, store: Store):
        first, second, dust = paid(name="a"), paid(name="b"), paid(1, name="c")
        async with store.unit() as unit:
            await unit.ledger.set_aside([(first, Unmatched.NO_ORDER)], now=later(1))
            await unit.ledger.set_aside([(second, Unmatched.AMBIGUOUS), (dust, Unmatched.DUST)], now=later(2))
            await unit.ledger.set_aside([(first, Unmatched.OUTSIDE_WINDOW)], now=later(3))
            await unit.ledger.set_aside([], now=later(3))
        async with store.unit() as unit:
            assert await unit.ledger.aside() == [
                SetAside(first, Unmatched.OUTSIDE_WINDOW, later(1)),
                SetAside(second, Unmatched.AMBIGUOUS, later(2)),
            ]
            assert len(await unit.ledger.aside(limit=1)) == 1
            assert (await unit.ledger.counts()).unmatched == {"outside_window": 1, "ambiguous": 1, "dust": 1}

    async def test_what_is_credited_is_no_longer_aside_and_never_again(self, store: Store):
        one = part(4_000_000_000)
        await opened(store, ton_order())
        async with store.unit() as unit:
            await unit.ledger.set_aside([(one, Unmatched.NO_ORDER)], now=later())
            await unit.ledger.save(after(ton_order(), one), [one])
        async with store.unit() as unit:
            await unit.ledger.set_aside([(one, Unmatched.ORDER_CLOSED)], now=later(11))
            assert await unit.ledger.aside() == []
            assert (await unit.ledger.counts()).unmatched == {}
            assert await unit.ledger.transfers_of(OrderId("o1")) == [one]

    async def test_what_is_not_final_cannot_be_set_aside(self, store: Store):
        with pytest.raises(RefusedError, match="final"):
            async with store.unit() as unit:
                await unit.ledger.set_aside([(UNNUMBERED, Unmatched.NO_ORDER)], now=later())


class ReachContract:
    """How far a provider was read."""

    async def reach(self, store: Store) -> Reach | None:
        async with store.unit() as unit:
            return await unit.ledger.reach(Provider.TRONSCAN, OURS)

    async def save(self, store: Store, reach: Reach) -> None:
        async with store.unit() as unit:
            await unit.ledger.save_reach(reach)

    def mark(self, at: float) -> Watermark:
        return Watermark(Provider.TRONSCAN, OURS, later(at))

    async def test_a_mark_is_kept_for_each_provider_and_address(self, store: Store):
        assert await self.reach(store) is None
        told = Reach(self.mark(10), later(11), later(9), "it answers nonsense")
        await self.save(store, told)
        assert await self.reach(store) == told
        async with store.unit() as unit:
            assert await unit.ledger.reach(Provider.TRONGRID, OURS) is None
            assert await unit.ledger.reach(Provider.TRONSCAN, OURS_ON_TON) is None

    async def test_a_mark_never_moves_back_whoever_writes(self, store: Store):
        await self.save(store, Reach(self.mark(10), later(11)))
        await self.save(store, Reach(self.mark(5), None, later(12), "away"))
        assert await self.reach(store) == Reach(self.mark(10), later(11), later(12), "away")
        await self.save(store, Reach(self.mark(20), later(21)))
        assert await self.reach(store) == Reach(self.mark(20), later(21))

    async def test_a_finished_reading_wakes_who_waits_for_orders(self, store: Store):
        await store.wait("orders", at_most=timedelta(milliseconds=500))
        waiting = asyncio.create_task(store.wait("orders", at_most=timedelta(seconds=5)))
        await asyncio.sleep(0)
        await self.save(store, Reach(self.mark(10)))
        assert await waiting


class TellingsContract(SightingContract, CaseContract, AsideContract, ReachContract):
    """All of it."""
