from dataclasses import replace
from datetime import timedelta

from infra.lab.chains.made import NOON, account, made_hash
from models.payment import Provider
from models.payment_ports import CompletePage, Head, IncompletePage, Watermark, newest_covered
from models.payment_quorum import Sighting, TxState
from tests.fakes.chains.examples import OURS, paid

MARK = Watermark(Provider.TRONSCAN, OURS, NOON)
MINUTE = timedelta(minutes=1)
PAGE = CompletePage(Provider.TRONSCAN, OURS, NOON - 3 * MINUTE, NOON + MINUTE, ())


def test_a_complete_page_moves_the_mark_to_where_reading_began():
    assert MARK.after(PAGE).until == NOON + MINUTE


def test_an_incomplete_page_never_moves_the_mark():
    assert MARK.after(IncompletePage(Provider.TRONSCAN, OURS, NOON - MINUTE, (), "page 2 failed")) == MARK


def test_a_page_that_leaves_a_gap_a_stale_one_and_a_foreign_one_never_move_the_mark():
    assert MARK.after(replace(PAGE, since=NOON + timedelta(seconds=1))) == MARK
    assert MARK.after(replace(PAGE, until=NOON - MINUTE)) == MARK
    assert MARK.after(replace(PAGE, provider=Provider.TRONGRID)) == MARK
    assert MARK.after(replace(PAGE, address=account(OURS.chain, "other"))) == MARK


def test_the_mark_waits_at_what_is_still_pending():
    waiting = paid(at=timedelta(seconds=20), final=False)
    seen = Sighting(Provider.TRONSCAN, made_hash("tx"), TxState.PENDING, (waiting,), NOON)
    assert MARK.after(replace(PAGE, sightings=(seen,))).until == NOON + timedelta(seconds=20)
    older = replace(seen, transfers=(paid(at=-MINUTE),))
    assert MARK.after(replace(PAGE, sightings=(older,))) == MARK


def test_a_lagging_index_covers_no_more_than_it_knows():
    assert newest_covered(MARK, Head(Provider.TRONSCAN, 1, NOON - 10 * MINUTE)) == NOON - 10 * MINUTE
    assert newest_covered(MARK, Head(Provider.TRONSCAN, 1, NOON + 10 * MINUTE)) == NOON
