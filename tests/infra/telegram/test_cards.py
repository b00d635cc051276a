from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.telegram.cards import card, next_look, number, picture, state_of
from infra.telegram.screens import Copy, Press
from infra.telegram.speech import Speech
from models.chat import ButtonKind
from models.ledger import BuyerId, Language, Sale
from models.payment import Asset, Credit, Flag, Money, Order, OrderState, TransferKey
from models.payment_address import Chain
from tests.fakes.chains.examples import order, paid
from tests.infra.shop.counter import MONTH, NOON

ENGLISH = Speech(Language.ENGLISH)
TRON_ORDER = order(9_990_007, name="ord-abcdefg2")
TON_ORDER = order(3_500_001_000, name="ord-abcdefg3", asset=Asset.TON, code="ord-abcdefg3")


def sale(of: Order) -> Sale:
    return Sale(of, BuyerId("telegram:1"), MONTH)


def copied(of: Order) -> list[str]:
    shown = card(sale(of), ENGLISH, now=NOON)
    return [key.does.text for row in shown.keys for key in row if isinstance(key.does, Copy)]


def asked(of: Order) -> list[ButtonKind]:
    shown = card(sale(of), ENGLISH, now=NOON)
    return [key.does.kind for row in shown.keys for key in row if isinstance(key.does, Press)]


def test_a_card_on_tron_tells_exact_amount_address_network_and_time():
    text = card(sale(TRON_ORDER), ENGLISH, now=NOON).text
    assert "<code>9.990007</code> USDT (TRON, TRC-20)" in text
    assert f"<code>{TRON_ORDER.deposit}</code>" in text
    assert f"60 minutes left, until {ENGLISH.at(TRON_ORDER.expires_at)}" in text
    assert "comment" not in text


def test_a_card_on_ton_tells_the_comment_too():
    assert "<code>ord-abcdefg3</code>" in card(sale(TON_ORDER), ENGLISH, now=NOON).text.split("comment")[1]


def test_amount_address_and_comment_are_one_tap_away():
    assert copied(TRON_ORDER) == ["9.990007", str(TRON_ORDER.deposit)]
    assert copied(TON_ORDER) == ["3.500001", str(TON_ORDER.deposit), "ord-abcdefg3"]


def test_only_an_order_without_money_offers_to_cancel_and_a_closed_one_asks_for_nothing():
    assert asked(TRON_ORDER) == [ButtonKind.STATUS, ButtonKind.CANCEL]
    assert asked(replace(TRON_ORDER, state=OrderState.PROCESSING)) == [ButtonKind.STATUS]
    assert asked(replace(TRON_ORDER, state=OrderState.SETTLED)) == []


@pytest.mark.parametrize("state", [one for one in OrderState if one not in {OrderState.NEW, OrderState.PROCESSING}])
def test_an_order_that_is_not_to_be_paid_shows_no_address(state):
    closed = replace(TRON_ORDER, state=state)
    assert str(TRON_ORDER.deposit) not in card(sale(closed), ENGLISH, now=NOON).text
    assert copied(closed) == []


def test_an_order_past_its_time_shows_no_address_though_the_scan_has_not_expired_it_yet():
    late = card(sale(TRON_ORDER), ENGLISH, now=TRON_ORDER.expires_at)
    assert str(TRON_ORDER.deposit) not in late.text


def test_a_partial_payment_asks_for_the_rest():
    credit = Credit(TransferKey(Chain.TON, b"\1" * 32, 0), 1_500_001_000)
    partly = replace(TON_ORDER, state=OrderState.PROCESSING, credits=(credit,), flags=frozenset({Flag.PARTIAL}))
    shown = card(sale(partly), ENGLISH, now=NOON)
    assert "1.500001 TON came in, 2 TON to go" in shown.text
    assert copied(partly)[0] == "2"


def test_what_is_seen_and_does_not_count_yet_is_told():
    shown = card(sale(TRON_ORDER), ENGLISH, now=NOON, seen=[paid(9_990_007)])
    assert "Seen on chain: 9.990007 USDT" in shown.text


def test_too_much_money_is_told():
    over = replace(TRON_ORDER, state=OrderState.SETTLED, flags=frozenset({Flag.OVER}))
    assert "More than the price" in state_of(over, ENGLISH)


def test_a_picture_is_a_png_and_fits_a_phone():
    drawn = picture(TON_ORDER, ENGLISH)
    assert drawn.picture is not None
    assert drawn.picture.startswith(b"\x89PNG")
    width = int.from_bytes(drawn.picture[16:20], "big")
    assert 300 <= width <= 900


def test_an_amount_for_a_wallet_has_no_ticker():
    assert number(Money(Asset.TON, 3_500_000_001)) == "3.500000001"


def test_two_cards_that_read_the_same_are_the_same_and_others_are_not():
    first, second = (card(sale(TRON_ORDER), ENGLISH, now=NOON + timedelta(seconds=one)) for one in (0, 1))
    later = card(sale(TRON_ORDER), ENGLISH, now=NOON + timedelta(minutes=6))
    assert first.digest == second.digest != later.digest


@given(st.integers(min_value=0, max_value=3_599_999_999))
def test_a_card_is_looked_at_again_exactly_when_it_reads_differently(microseconds):
    """Until then it reads the same; then it does not. So no edit is wasted and none is late."""
    now = NOON + timedelta(microseconds=microseconds)
    look_at = next_look(TRON_ORDER, now)
    assert look_at is not None
    assert now < look_at <= TRON_ORDER.expires_at
    shown, before, then = (
        card(sale(TRON_ORDER), ENGLISH, now=at).text for at in (now, look_at - timedelta(microseconds=1), look_at)
    )
    assert shown == before != then


@pytest.mark.parametrize("state", [OrderState.SETTLED, OrderState.CANCELLED, OrderState.REFUNDED])
def test_a_closed_orders_card_is_never_looked_at_again(state):
    assert next_look(replace(TRON_ORDER, state=state), NOON) is None


def test_nothing_is_looked_at_after_the_watch():
    expired = replace(TRON_ORDER, state=OrderState.EXPIRED)
    assert next_look(expired, expired.watched_until) is None
    assert next_look(expired, expired.expires_at) is not None
