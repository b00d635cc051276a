from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.lab.chains.made import NOON, made_hash
from models.payment import Provider
from models.payment_quorum import Sighting, TxState, weigh
from tests.fakes.chains.examples import TRON_BOTH, paid

SCAN, GRID = Provider.TRONSCAN, Provider.TRONGRID
TOLD = paid(final=False)
UNNUMBERED = replace(TOLD, event_index=None)


def said(provider, state, *transfers, at=0):
    return Sighting(provider, made_hash("tx"), state, transfers, NOON + timedelta(seconds=at))


def test_a_feed_and_a_receipt_that_agree_make_a_numbered_final_transfer():
    (joined,) = weigh([said(SCAN, TxState.FINAL, UNNUMBERED), said(GRID, TxState.FINAL, TOLD)])
    assert (joined.final, joined.event_index, joined.vouched_by) == (True, 0, TRON_BOTH)


def test_a_feed_alone_is_never_final_because_it_has_no_event_index():
    (joined,) = weigh([said(SCAN, TxState.FINAL, UNNUMBERED)])
    assert not joined.final
    assert joined.event_index is None


def test_a_provider_that_does_not_know_it_yet_delays_and_does_not_contradict():
    for state in (TxState.UNKNOWN, TxState.PENDING):
        (joined,) = weigh([said(SCAN, TxState.FINAL, TOLD), said(GRID, state)])
        assert (joined.final, joined.disputed, joined.vouched_by) == (True, False, {SCAN})


def test_a_pending_transfer_is_shown_and_not_final():
    (joined,) = weigh([said(SCAN, TxState.PENDING, UNNUMBERED), said(GRID, TxState.UNKNOWN)])
    assert not joined.final


def test_nobody_knows_it_or_all_say_it_failed_means_there_is_nothing():
    assert weigh([]) == ()
    assert weigh([said(SCAN, TxState.UNKNOWN)]) == ()
    assert weigh([said(SCAN, TxState.FAILED), said(GRID, TxState.FAILED)]) == ()


def test_contradictions_are_disputes():
    other_amount = replace(TOLD, units=TOLD.units + 1)
    other_place = replace(TOLD, event_index=3)
    other_time = replace(TOLD, block_time=TOLD.block_time + timedelta(minutes=2))
    for contrary in (
        said(GRID, TxState.FAILED),
        said(GRID, TxState.FINAL),
        said(GRID, TxState.FINAL, other_amount),
        said(GRID, TxState.FINAL, other_place),
        said(GRID, TxState.FINAL, other_time),
        said(GRID, TxState.FINAL, TOLD, replace(TOLD, event_index=1)),
    ):
        joined = weigh([said(SCAN, TxState.FINAL, TOLD), contrary])
        assert joined
        assert all(one.disputed and not one.final for one in joined)


def test_a_block_mined_again_within_seconds_is_no_dispute_and_the_receipt_decides():
    moved = replace(TOLD, block_time=TOLD.block_time + timedelta(seconds=3))
    (joined,) = weigh([said(SCAN, TxState.FINAL, UNNUMBERED), said(GRID, TxState.FINAL, moved)])
    assert joined.block_time == moved.block_time


def test_an_absent_provider_is_noted_only_if_it_has_not_spoken():
    (joined,) = weigh([said(SCAN, TxState.FINAL, TOLD)], unreachable=frozenset({GRID}))
    assert joined.absent == {GRID}
    (both,) = weigh([said(SCAN, TxState.FINAL, TOLD), said(GRID, TxState.FINAL, TOLD)], unreachable=frozenset({GRID}))
    assert both.absent == frozenset()


sightings = st.builds(
    lambda provider, state, count, numbered, at: said(
        provider,
        state,
        *(replace(TOLD, event_index=place if numbered else None) for place in range(count)),
        at=at,
    ),
    st.sampled_from([SCAN, GRID]),
    st.sampled_from(TxState),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 5),
)


@settings(max_examples=100)
@given(heard=st.lists(sightings, max_size=5), data=st.data())
def test_the_order_and_the_number_of_tellings_do_not_matter(heard, data):
    assert weigh(data.draw(st.permutations(heard + heard))) == weigh(heard)


@settings(max_examples=100)
@given(heard=st.lists(sightings, max_size=5))
def test_nothing_is_final_without_somebody_who_said_so(heard):
    sure = {one.provider for one in heard if one.state is TxState.FINAL}
    for transfer in weigh(heard):
        assert not transfer.final or (transfer.vouched_by and transfer.vouched_by <= sure)
