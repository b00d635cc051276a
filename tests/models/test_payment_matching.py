from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.lab.chains.made import account
from models.errors import PaymentInvalid, PaymentMismatch
from models.payment import Asset, Caution, Credit, Money, OrderId, OrderState
from models.payment_address import Chain
from models.payment_matching import ClaimAnswer, Unmatched, code_from, codes_in, judge_claim, match, unique_amount
from models.payment_policy import PaymentPolicy
from tests.fakes.chains.examples import order, paid

POLICY = PaymentPolicy()
CODE = "ord-7k2m9qab"


@pytest.mark.parametrize(
    "memo",
    [
        " ord-7k2m9qab\n",
        "ORD-7K2M9QAB",
        "\u00a0ord-7k\u200b2m9qab",
        "\uff4frd-7k2m9qab",
        "\u041eRD-7K2M9Q\u0410B",
        "for ord\u20137k2m9qab, thanks",
    ],
)
def test_a_code_is_read_however_it_was_typed(memo):
    assert codes_in(memo) == {CODE}


@pytest.mark.parametrize(
    "memo", [None, "", "ord-7k2m9qa", "ord-7k2m9qabc", "word-7k2m9qab", "<b>'; drop table", "😀" * 300]
)
def test_what_is_no_code_names_nobody(memo):
    assert codes_in(memo) == frozenset()


@given(number=st.integers(min_value=0, max_value=31**8 - 1))
def test_every_code_made_is_read_back(number):
    assert codes_in(f"x {code_from(number).upper()}.") == {code_from(number)}


def test_the_exact_amount_finds_its_order_among_neighbours():
    near = [order(29_000_100, name="a"), order(29_000_105, name="b"), order(29_000_110, name="c")]
    assert match(paid(29_000_105), near, policy=POLICY) == OrderId("b")
    assert match(paid(29_000_101), near, policy=POLICY) is Unmatched.NO_ORDER


def test_two_candidates_are_never_chosen_between():
    twins = [order(name="a"), order(name="b")]
    assert match(paid(), twins, policy=POLICY) is Unmatched.AMBIGUOUS


def test_a_late_payment_finds_its_own_order_after_the_amount_was_given_out_again():
    first = order(name="first", state=OrderState.EXPIRED)
    again = order(name="again", created_at=first.watched_until + 2 * POLICY.skew)
    assert match(paid(at=timedelta(hours=24)), [first, again], policy=POLICY) == OrderId("first")
    assert match(paid(at=timedelta(hours=26)), [first, again], policy=POLICY) == OrderId("again")
    assert match(paid(at=timedelta(hours=25, seconds=60)), [first, again], policy=POLICY) is Unmatched.OUTSIDE_WINDOW


def test_a_comment_finds_its_order_whatever_was_paid():
    mine = order(5_000_000_000, asset=Asset.TON, code=CODE)
    part = paid(2_000_000_000, asset=Asset.TON, memo=CODE)
    assert match(part, [mine, order(2_000_000_000, name="b", asset=Asset.TON)], policy=POLICY) == mine.id


def test_two_codes_in_one_comment_go_to_a_person():
    mine = order(5_000_000_000, asset=Asset.TON, code=CODE)
    both = paid(5_000_000_000, asset=Asset.TON, memo=f"{CODE} ord-22222222")
    assert match(both, [mine], policy=POLICY) is Unmatched.AMBIGUOUS


def test_a_code_of_a_closed_order_is_not_credited_again():
    settled = replace(
        order(5_000_000_000, asset=Asset.TON, code=CODE, state=OrderState.SETTLED),
        credits=(Credit(paid(asset=Asset.TON).key, 5_000_000_000),),
    )
    again = paid(5_000_000_000, asset=Asset.TON, memo=CODE, name="another")
    assert match(again, [settled], policy=POLICY) is Unmatched.ORDER_CLOSED
    the_same = paid(5_000_000_000, asset=Asset.TON, memo=CODE)
    assert match(the_same, [settled], policy=POLICY) == settled.id
    assert match(replace(the_same, event_index=None), [settled], policy=POLICY) == settled.id


def test_asset_address_and_window_must_fit_even_with_the_right_code():
    mine = order(5_000_000_000, asset=Asset.TON, code=CODE)
    other_address = replace(paid(asset=Asset.TON, memo=CODE), receiver=account(Chain.TON, "our other"), units=10**9)
    assert match(other_address, [mine], policy=POLICY) is Unmatched.WRONG_ADDRESS
    old = paid(5_000_000_000, asset=Asset.TON, memo=CODE, at=timedelta(minutes=-10))
    assert match(old, [mine], policy=POLICY) is Unmatched.OUTSIDE_WINDOW
    jetton_order = order(29_000_000, asset=Asset.USDT_TON, code=CODE)
    assert match(paid(10**9, asset=Asset.TON, memo=CODE), [jetton_order], policy=POLICY) is Unmatched.WRONG_ASSET


def test_clocks_may_differ_by_two_minutes():
    assert match(paid(at=timedelta(seconds=-120)), [order()], policy=POLICY) == OrderId("o1")
    assert match(paid(at=timedelta(seconds=-121)), [order()], policy=POLICY) is Unmatched.OUTSIDE_WINDOW


def test_dust_is_set_aside_without_a_person():
    verdict = match(paid(1), [order(1)], policy=POLICY)
    assert verdict is Unmatched.DUST
    assert not verdict.needs_person
    assert Unmatched.NO_ORDER.needs_person


def test_usdt_on_ton_and_opaque_bodies_go_to_a_person():
    jettons = paid(29_000_000, asset=Asset.USDT_TON)
    assert match(jettons, [order(29_000_000, asset=Asset.USDT_TON)], policy=POLICY) is Unmatched.ASSET_FOR_REVIEW
    ton = order(5 * 10**9, asset=Asset.TON)
    opaque = replace(paid(5 * 10**9, asset=Asset.TON), caution=Caution.OPAQUE_BODY)
    assert match(opaque, [ton], policy=POLICY) is Unmatched.CAUTION


def test_a_failed_action_phase_needs_a_person_only_for_large_amounts():
    for units, verdict in ((5 * 10**9, OrderId("o1")), (30 * 10**9, Unmatched.CAUTION)):
        odd = replace(paid(units, asset=Asset.TON), caution=Caution.ACTION_FAILED)
        assert match(odd, [order(units, asset=Asset.TON)], policy=POLICY) == verdict


def test_a_new_order_never_takes_a_reserved_amount():
    price = Money(Asset.USDT_TRON, 29_000_000)
    small = PaymentPolicy(tails=3)
    taken: set[int] = set()
    for start in (1, 1, 1):
        taken.add(unique_amount(price, taken, start=start, policy=small).units)
    assert taken == {29_000_001, 29_000_002, 29_000_003}
    with pytest.raises(PaymentInvalid, match="reserved"):
        unique_amount(price, taken, start=0, policy=small)


def claim(mine, transfers, *, credited_to=None, orders=()):
    return judge_claim(mine, transfers, orders=[mine, *orders], credited_to=credited_to or {}, policy=POLICY)


def test_a_claim_counts_only_for_the_exact_amount_or_the_comment():
    assert claim(order(), [paid()]) is ClaimAnswer.ACCEPTED
    assert claim(order(), [paid(29_000_000)]) is ClaimAnswer.REVIEW
    assert claim(order(), []) is ClaimAnswer.PENDING


def test_a_claim_on_a_payment_for_anothers_order_earns_nothing():
    theirs = order(31_000_999, name="theirs")
    assert claim(order(), [paid(31_000_999)], orders=[theirs]) is ClaimAnswer.REVIEW


def test_a_claim_on_a_used_transfer_is_refused_and_by_its_own_order_repeated():
    spent = paid()
    with pytest.raises(PaymentMismatch, match="already been used"):
        claim(order(29_000_555), [spent], credited_to={spent.key: OrderId("theirs")})
    assert claim(order(29_000_555), [spent], credited_to={spent.key: OrderId("o1")}) is ClaimAnswer.ACCEPTED


def test_a_claim_on_a_payment_older_than_the_order_is_refused():
    with pytest.raises(PaymentMismatch, match="older"):
        claim(order(), [paid(at=timedelta(minutes=-30))])
