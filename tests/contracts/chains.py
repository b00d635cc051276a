"""What every chain provider promises. Subclass once per implementation; supply `side`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from infra.lab.chains.faults import LIMITED, says
from infra.lab.chains.made import made_hash
from models.errors import ChainBusy, ChainUnavailable, ProviderKeyRefused
from models.payment_ports import CompletePage, IncompletePage, Watermark
from models.payment_quorum import TxState, weigh
from tests.fakes.chains.sides import Side

HOUR = timedelta(hours=1)


async def discovered(side: Side, *, since=None):
    page = await side.asked.discover(side.ours, since=since or side.now() - HOUR)
    assert isinstance(page, CompletePage), page
    return page


def units(page):
    return [transfer.units for sighting in page.sightings for transfer in sighting.transfers]


class ChainProviderContract:
    """Real HTTP against a chain whose truth we know."""

    async def test_an_address_nobody_paid_has_an_empty_complete_page(self, side: Side):
        page = await discovered(side)
        assert (page.sightings, page.provider, page.address) == ((), side.provider, side.ours)

    async def test_a_final_payment_is_told_exactly(self, side: Side):
        tx = side.pay(29_000_123)
        at = side.now()
        side.settle_chain()
        (sighting,) = (await discovered(side)).sightings
        (transfer,) = sighting.transfers
        assert (sighting.state, sighting.tx) == (TxState.FINAL, tx)
        assert (transfer.asset, transfer.receiver, transfer.units) == (side.asset, side.ours, 29_000_123)
        assert transfer.block_time == at

    async def test_a_payment_that_may_vanish_is_never_final(self, side: Side):
        tx = side.pay(29_000_123)
        for sighting in (await discovered(side)).sightings:
            assert sighting.state is TxState.PENDING
        assert (await side.asked.prove(tx, address=side.ours)).state in {TxState.PENDING, TxState.UNKNOWN}

    async def test_a_payment_that_vanished_is_gone(self, side: Side):
        tx = side.pay(29_000_123)
        side.vanish(tx)
        side.settle_chain()
        assert (await discovered(side)).sightings == ()
        assert (await side.asked.prove(tx, address=side.ours)).state is TxState.UNKNOWN

    async def test_a_final_payment_is_proved_with_its_event_index(self, side: Side):
        tx = side.pay(29_000_123)
        side.settle_chain()
        proof = await side.asked.prove(tx, address=side.ours)
        assert (proof.state, proof.provider, proof.asked) == (TxState.FINAL, side.provider, tx)
        (transfer,) = proof.transfers
        assert (transfer.event_index, transfer.units, transfer.tx) == (0, 29_000_123, tx)

    async def test_feed_and_proof_weigh_to_one_final_transfer(self, side: Side):
        tx = side.pay(29_000_123)
        side.settle_chain()
        page, proof = await discovered(side), await side.asked.prove(tx, address=side.ours)
        (transfer,) = weigh([*page.sightings, *proof.sightings])
        assert (transfer.final, transfer.disputed, transfer.vouched_by) == (True, False, {side.provider})

    async def test_an_unknown_hash_is_an_answer(self, side: Side):
        proof = await side.asked.prove(made_hash("never"), address=side.ours)
        assert (proof.state, proof.transfers) == (TxState.UNKNOWN, ())

    async def test_an_attempt_that_brought_nothing_is_no_payment(self, side: Side):
        tx = side.pay_in_vain(50_000_000)
        side.settle_chain()
        assert (await discovered(side)).sightings == ()
        proof = await side.asked.prove(tx, address=side.ours)
        assert proof.state.is_conclusive
        assert proof.transfers == ()

    async def test_what_we_spend_is_no_payment(self, side: Side):
        tx = side.spend(7_000_000)
        side.settle_chain()
        assert (await discovered(side)).sightings == ()
        assert (await side.asked.prove(tx, address=side.ours)).transfers == ()

    async def test_what_is_older_than_asked_is_left_out(self, side: Side):
        side.pay(1_000_000)
        side.settle_chain()
        since = side.now()
        side.pay(2_000_000)
        side.settle_chain()
        assert units(await discovered(side, since=since)) == [2_000_000]

    async def test_more_payments_than_a_page_holds_are_all_found(self, side: Side):
        for number in range(130):
            side.pay(1_000_000 + number)
        side.settle_chain()
        page = await discovered(side)
        assert sorted(units(page)) == [1_000_000 + number for number in range(130)]
        times = [sighting.transfers[0].block_time for sighting in page.sightings]
        assert times == sorted(times)

    async def test_a_page_that_fails_half_way_is_incomplete_and_moves_no_mark(self, side: Side):
        for number in range(260):
            side.pay(1_000_000 + number)
        side.settle_chain()
        side.faults.plan(says(500, {}), after=1)
        page = await side.asked.discover(side.ours, since=side.now() - HOUR)
        assert isinstance(page, IncompletePage)
        assert page.sightings
        assert "page 2" in page.reason
        mark = Watermark(side.provider, side.ours, side.now() - HOUR)
        assert mark.after(page) == mark

    async def test_a_limit_is_a_wish_to_wait_and_is_honoured_without_asking(self, side: Side):
        side.faults.plan(LIMITED[side.provider])
        with pytest.raises(ChainBusy) as caught:
            await side.asked.discover(side.ours, since=side.now() - HOUR)
        assert caught.value.wait_s >= 1
        asked = len(side.faults.calls)
        with pytest.raises(ChainBusy):
            await side.asked.discover(side.ours, since=side.now() - HOUR)
        assert len(side.faults.calls) == asked

    async def test_a_refused_key_is_named_and_not_retried(self, side: Side):
        side.faults.key = "another key"
        with pytest.raises(ProviderKeyRefused, match="_API_KEY"):
            await side.asked.head()
        assert len(side.faults.calls) == 1

    async def test_one_bad_gateway_is_survived_and_a_lasting_one_is_not(self, side: Side):
        side.faults.plan(says(502, {}), times=1)
        await discovered(side)
        side.faults.plan(says(502, {}))
        with pytest.raises(ChainUnavailable):
            await side.asked.discover(side.ours, since=side.now() - HOUR)

    async def test_the_head_moves_with_the_chain_and_a_lagging_index_shows_its_age(self, side: Side):
        before = await side.asked.head()
        side.settle_chain()
        after = await side.asked.head()
        assert (after.at > before.at, after.height > before.height) == (True, True)
        side.faults.lag = 300
        assert (await side.asked.head()).at < after.at - timedelta(minutes=4)
