"""Drawing up orders, and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import PaymentInvalid
from models.ledger import AuditEntry, BuyerId, Language, MessageKind, Plan, Sale
from models.payment import Asset, Credit, Money, Order, OrderState
from models.payment_address import Chain
from models.payment_matching import codes_in
from models.payment_policy import PaymentPolicy
from models.shop import (
    CLAIMS_AN_HOUR,
    NAMES,
    NOTHING_SOLD,
    UNPAID_A_DAY,
    Catalogue,
    changed,
    check_claims,
    draw_up,
    language_of,
    may_order,
    payment_link,
    tails_of,
)
from tests.fakes.chains.examples import NOON, OURS, OURS_ON_TON, order, paid

POLICY = PaymentPolicy()
PRICE = Money(Asset.USDT_TRON, 9_990_000)
PLAN = Plan("month", 30, 2, {Asset.USDT_TRON: 9_990_000})
ANN = BuyerId("telegram:4711")


def drawn(price: Money = PRICE, *, taken=(), name: int = 0, tail: int = 0) -> Order:
    deposit = OURS if price.asset.chain is Chain.TRON else OURS_ON_TON
    return draw_up(price, deposit, taken, name=name, tail=tail, now=NOON, policy=POLICY)


@given(st.integers(0, NAMES - 1), st.integers(0, 10**9), st.sampled_from([Asset.USDT_TRON, Asset.TON]))
def test_an_order_lies_within_the_tails_and_its_name_is_readable_in_a_comment(name, tail, asset):
    price = Money(asset, 5 * 10**asset.decimals)
    made, (lowest, highest) = drawn(price, name=name, tail=tail), tails_of(price, POLICY)
    assert lowest <= made.amount.units <= highest
    assert codes_in(f"for {made.id.upper()}, thanks") == {made.id}
    assert made.code == (made.id if asset is Asset.TON else None)


@given(st.sets(st.integers(1, POLICY.tails), max_size=50), st.integers(0, POLICY.tails))
def test_an_order_never_takes_what_is_taken(tails, tail):
    taken = {PRICE.units + one for one in tails}
    assert drawn(taken=taken, tail=tail).amount.units not in taken


def test_names_are_as_many_as_numbers():
    assert len({drawn(name=one).id for one in (0, 1, 30, 31, NAMES - 1)}) == 5
    assert NAMES == 31**8


def test_an_order_is_on_time_for_the_window_and_watched_for_the_grace():
    made = drawn()
    assert made.expires_at - made.created_at == POLICY.window
    assert made.watched_until - made.expires_at == POLICY.late_grace


def test_when_all_amounts_are_reserved_it_says_what_to_do():
    lowest, highest = tails_of(PRICE, POLICY)
    with pytest.raises(PaymentInvalid, match="add a deposit address"):
        drawn(taken=range(lowest, highest + 1))


def test_a_catalogue_without_a_deposit_address_takes_nothing_for_the_price():
    with pytest.raises(PaymentInvalid, match="nothing yet"):
        Catalogue((PLAN,), {}).price(PLAN, Asset.USDT_TRON)
    with pytest.raises(PaymentInvalid, match="nothing is sold"):
        NOTHING_SOLD.plan("month")


# --- limits ----------------------------------------------------------------------------------------------------------


def sales(count: int, **changes) -> list[Sale]:
    return [Sale(replace(drawn(name=one), **changes), ANN, PLAN) for one in range(count)]


def test_unpaid_orders_count_and_paid_or_old_ones_do_not():
    key = paid().key
    assert key is not None
    assert not may_order(ANN, sales(UNPAID_A_DAY), NOON)
    assert not may_order(ANN, sales(UNPAID_A_DAY, state=OrderState.CANCELLED), NOON)
    assert may_order(ANN, sales(UNPAID_A_DAY - 1), NOON)
    assert may_order(ANN, sales(UNPAID_A_DAY, credits=(Credit(key, 1),)), NOON)
    assert may_order(ANN, sales(UNPAID_A_DAY, state=OrderState.SETTLED), NOON)
    assert may_order(ANN, sales(UNPAID_A_DAY), NOON + timedelta(days=1))
    assert may_order(BuyerId("api:shop"), sales(UNPAID_A_DAY), NOON)


def test_other_entries_of_the_history_are_no_claims():
    history = [AuditEntry(NOON, order().id, ANN, "created")] * (CLAIMS_AN_HOUR + 1)
    assert check_claims(order(), history, b"\1" * 32, NOON)


# --- words -----------------------------------------------------------------------------------------------------------


def test_a_change_is_told_once_for_a_state_and_a_paid_amount():
    key = paid().key
    assert key is not None
    sale = Sale(drawn(), ANN, PLAN, Language.RUSSIAN)
    part = replace(sale, order=replace(sale.order, state=OrderState.PROCESSING, credits=(Credit(key, 4_000_000),)))
    told = [changed(one, now=NOON) for one in (sale, part, part)]
    assert [one.kind for one in told] == [MessageKind.ORDER_CHANGED] * 3
    assert len({one.key for one in told}) == 2
    assert (told[1].to, told[1].facts["paid"], told[1].facts["language"]) == (ANN, 4_000_000, "ru")
    assert told[1].facts["due"] == sale.order.amount.units - 4_000_000


def test_a_link_asks_for_what_is_still_due():
    made = drawn(Money(Asset.TON, 3_500_000_000))
    key = paid(asset=Asset.TON).key
    assert key is not None
    part = replace(made, credits=(Credit(key, 1_000_000_000),))
    due = made.amount.units - 1_000_000_000
    assert payment_link(part) == f"ton://transfer/{OURS_ON_TON}?amount={due}&text={made.code}"
    assert payment_link(drawn()) == str(OURS)
    assert payment_link(replace(made, state=OrderState.SETTLED)) == str(OURS_ON_TON)


@pytest.mark.parametrize(
    ("tag", "language"),
    [("ru", "ru"), ("ru-RU", "ru"), ("RU", "ru"), ("en", "en"), ("uk", "en"), ("", "en"), (None, "en")],
)
def test_a_buyer_is_spoken_to_in_russian_or_english(tag, language):
    assert language_of(tag).value == language
