"""Who reads, who proves, and when to look again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.lab.chains.made import NOON, made_hash
from models.ledger import Case, Reach
from models.payment import Provider, Transfer
from models.payment_address import Chain
from models.payment_looking import (
    CASE_PATIENCE,
    CLAIM_PATIENCE,
    DISPUTE_PAUSE,
    TAKE_OVER_AFTER,
    Told,
    first_mark,
    is_hopeless,
    look_again_at,
    readers,
    vanished,
    whom_to_ask,
)
from models.payment_policy import PaymentPolicy
from models.payment_ports import CompletePage, Watermark
from models.payment_quorum import Sighting, TxState
from tests.fakes.chains.examples import OURS, paid

SCAN, GRID = Provider.TRONSCAN, Provider.TRONGRID
OLD = NOON + timedelta(hours=2)
POLICY = PaymentPolicy()


def said(
    by: Provider,
    state: TxState = TxState.FINAL,
    *,
    index: int | None = None,
    transfers: tuple[Transfer, ...] | None = None,
) -> Sighting:
    told = (paid(index=index, final=False),) if transfers is None else transfers
    return Sighting(by, made_hash("tx"), state, told, NOON)


def told(*sightings: Sighting, tries: int = 0) -> Told:
    return Told(Case(Chain.TRON, made_hash("tx"), OURS, NOON, tries, NOON), sightings)


def reach(by: Provider, **facts) -> Reach:
    return Reach(Watermark(by, OURS, NOON), **facts)


# --- who is asked ---


@pytest.mark.parametrize(
    ("known", "away", "asked"),
    [
        ((), (), GRID),
        ((), (GRID,), SCAN),
        ((said(SCAN),), (), GRID),
        ((said(GRID),), (), SCAN),
        ((said(SCAN),), (GRID,), SCAN),  # it can number the events itself
        ((said(SCAN, index=0),), (GRID,), GRID),  # numbered: all that is missing is the other's word
        ((said(SCAN), said(GRID, index=0)), (), GRID),  # a dispute: the one that proves is asked again
    ],
)
def test_a_proof_is_asked_of_whom_it_helps_from(known, away, asked):
    assert whom_to_ask(told(*known), away, OLD) is asked


def test_a_young_block_is_not_asked_about():
    pending = told(said(SCAN, TxState.PENDING))
    block = NOON + timedelta(minutes=5)
    assert whom_to_ask(pending, (), block + timedelta(seconds=30)) is None
    assert whom_to_ask(pending, (), block + timedelta(seconds=64)) is GRID


def test_the_second_reads_beside_the_first_only_while_the_first_is_away():
    fine, failing = reach(SCAN), reach(SCAN, failing_since=NOON)
    assert readers(Chain.TRON, {}, NOON) == (SCAN,)
    assert readers(Chain.TRON, {SCAN: fine}, OLD) == (SCAN,)
    assert readers(Chain.TRON, {SCAN: failing}, NOON) == (SCAN,)
    assert readers(Chain.TRON, {SCAN: failing}, NOON + TAKE_OVER_AFTER) == (SCAN, GRID)


# --- from where on ---


def test_a_first_reading_begins_where_another_got_to_or_with_our_oldest_order():
    assert first_mark(NOON, [reach(SCAN)], OLD, POLICY) == NOON
    assert first_mark(NOON, [], OLD, POLICY) == NOON - POLICY.skew
    assert first_mark(None, [], OLD, POLICY) == OLD
    long_ago = OLD - timedelta(days=400)
    assert first_mark(long_ago, [], OLD, POLICY) == OLD - POLICY.window - POLICY.late_grace - POLICY.skew


# --- what it weighs ---


def test_in_a_dispute_everything_that_anybody_tells_is_disputed():
    lie, truth = paid(29, index=None, final=False), paid(1, index=0, final=False)
    weighed = told(said(SCAN, transfers=(lie,)), said(GRID, transfers=(truth,))).transfers()
    assert {one.units for one in weighed} == {29, 1}
    assert all(one.disputed and not one.final for one in weighed)


def test_something_beside_a_conclusive_nothing_is_a_dispute():
    weighed = told(said(SCAN), said(GRID, transfers=())).transfers()
    assert [one.disputed for one in weighed] == [True]


def test_a_failed_transaction_brought_nothing_and_is_done_with():
    failed = told(said(GRID, TxState.FAILED, transfers=()))
    assert failed.transfers() == ()
    assert failed.is_concluded_empty
    assert not told(said(SCAN)).is_concluded_empty
    assert not told().is_concluded_empty


def test_what_a_complete_page_tells_no_more_is_unknown_to_its_provider():
    pending = told(said(SCAN, TxState.PENDING))
    block = paid().block_time
    page = CompletePage(SCAN, OURS, block - timedelta(minutes=3), OLD, ())
    assert [(one.tx, one.state) for one in vanished(page, [pending])] == [(pending.tx, TxState.UNKNOWN)]
    assert vanished(CompletePage(SCAN, OURS, block + timedelta(seconds=1), OLD, ()), [pending]) == ()
    assert vanished(CompletePage(SCAN, OURS, page.since, OLD, pending.sightings), [pending]) == ()
    assert vanished(CompletePage(GRID, OURS, page.since, OLD, ()), [pending]) == ()
    assert vanished(page, [told(said(SCAN))]) == ()


# --- when again ---


@given(tries=st.integers(0, 10_000), known=st.booleans())
def test_a_look_is_never_at_once_and_its_pause_never_shrinks(tries, known):
    now = OLD
    pauses = [
        look_again_at(told(*((said(SCAN),) if known else ()), tries=count), now, is_disputed=False) - now
        for count in (tries, tries + 1)
    ]
    assert timedelta(seconds=3) <= pauses[0] <= pauses[1] <= timedelta(minutes=15)


def test_what_is_pending_is_looked_at_when_it_can_be_final_and_a_dispute_rests():
    block = paid().block_time
    assert look_again_at(told(said(SCAN, TxState.PENDING)), block, is_disputed=False) == block + timedelta(seconds=63)
    assert look_again_at(told(said(SCAN)), OLD, is_disputed=True) == OLD + DISPUTE_PAUSE


def test_a_claim_is_given_up_sooner_than_a_payment():
    assert is_hopeless(told(), NOON + CLAIM_PATIENCE)
    assert not is_hopeless(told(said(SCAN)), NOON + CLAIM_PATIENCE)
    assert is_hopeless(told(said(SCAN)), NOON + CASE_PATIENCE)
