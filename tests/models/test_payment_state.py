from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.lab.chains.made import NOON
from models.errors import PaymentMismatch
from models.payment import Asset, Flag, OrderState, Provider
from models.payment_policy import PaymentPolicy
from models.payment_state import Decision, advance, decide, due, surplus
from tests.fakes.chains.examples import order, paid

POLICY = PaymentPolicy()
SOON = NOON + timedelta(minutes=10)
ONE = frozenset({Provider.TRONSCAN})
OTHER = frozenset({Provider.TRONGRID})
CODE = "ord-7k2m9qab"


def moved(one, transfers, *, now=SOON, scanned_until=None):
    return advance(one, transfers, now, policy=POLICY, scanned_until=scanned_until or now)


def ton_order(units=29_000_000):
    return order(units * 1_000, asset=Asset.TON, code=CODE)


def part(units, **facts):
    return paid(units * 1_000, asset=Asset.TON, memo=CODE, **facts)


def test_an_exact_final_payment_settles():
    done = moved(order(), [paid()])
    assert (done.state, done.flags) == (OrderState.SETTLED, frozenset())
    assert [credit.transfer for credit in done.credits] == [paid().key]


def test_nothing_seen_changes_nothing():
    assert moved(order(), []) == order()


def test_a_payment_that_is_not_final_is_processing_and_may_vanish_again():
    seen = moved(order(), [paid(final=False)])
    assert seen.state is OrderState.PROCESSING
    assert seen.credits == ()
    assert moved(seen, []).state is OrderState.NEW


def test_a_transfer_without_an_event_index_is_never_credited():
    assert moved(order(), [replace(paid(), event_index=None)]).state is OrderState.PROCESSING


def test_a_large_order_waits_for_the_second_provider_and_a_small_one_does_not():
    large = order(60_000_000)
    assert moved(large, [paid(60_000_000, vouched_by=ONE)]).state is OrderState.PROCESSING
    assert moved(large, [paid(60_000_000)]).state is OrderState.SETTLED
    small = moved(order(), [paid(vouched_by=ONE)])
    assert (small.state, small.flags) == (OrderState.SETTLED, frozenset())


def test_one_provider_may_do_when_the_other_is_away_the_block_old_and_the_amount_bounded():
    alone = paid(60_000_000, vouched_by=ONE, absent=OTHER)
    later = NOON + timedelta(minutes=16)
    assert moved(order(60_000_000), [alone]).state is OrderState.PROCESSING
    done = moved(order(60_000_000), [alone], now=later)
    assert (done.state, done.flags) == (OrderState.SETTLED, {Flag.DEGRADED})
    huge = paid(600_000_000, vouched_by=ONE, absent=OTHER)
    assert moved(order(600_000_000), [huge], now=later).state is OrderState.PROCESSING


def test_a_dispute_holds_the_order_until_a_person_decides():
    held = moved(order(), [paid(disputed=True)])
    assert (held.state, held.credits) == (OrderState.HOLD, ())
    assert moved(held, [paid()]).state is OrderState.HOLD
    assert decide(held, Decision.CONFIRM).flags == {Flag.MANUAL}


def test_parts_add_up_and_the_part_flag_goes_when_they_do():
    first = moved(ton_order(), [part(10_000_000)])
    assert (first.state, first.flags, first.remainder.units) == (OrderState.PROCESSING, {Flag.PARTIAL}, 19_000_000_000)
    assert due(first) == first.remainder
    whole = moved(first, [part(10_000_000), part(19_000_000, name="second")])
    assert (whole.state, whole.flags, len(whole.credits)) == (OrderState.SETTLED, frozenset(), 2)
    assert due(whole).units == 0


def test_too_much_settles_and_says_so():
    done = moved(ton_order(), [part(30_000_000)])
    assert (done.state, done.flags) == (OrderState.SETTLED, {Flag.OVER})


def test_late_and_over_are_both_visible():
    first = part(10_000_000)
    late = part(25_000_000, name="late", at=timedelta(hours=2))
    done = moved(ton_order(), [first, late], now=NOON + timedelta(hours=3))
    assert done.flags == {Flag.LATE, Flag.OVER}
    assert done.state is OrderState.REVIEW


def test_paid_before_the_end_but_seen_after_it_is_on_time():
    expired = moved(order(), [], now=NOON + timedelta(hours=2))
    assert expired.state is OrderState.EXPIRED
    done = moved(expired, [paid(at=timedelta(minutes=59, seconds=59))], now=NOON + timedelta(hours=2))
    assert (done.state, done.flags) == (OrderState.SETTLED, frozenset())


def test_late_dollars_settle_with_a_flag_and_a_late_coin_goes_to_a_person():
    late = timedelta(hours=1, seconds=1)
    now = NOON + timedelta(hours=2)
    dollars = moved(order(), [paid(at=late)], now=now)
    assert (dollars.state, dollars.flags) == (OrderState.SETTLED, {Flag.LATE})
    coins = moved(ton_order(), [part(29_000_000, at=late)], now=now)
    assert (coins.state, coins.flags) == (OrderState.REVIEW, {Flag.LATE})


def test_nothing_expires_while_we_are_blind():
    much_later = NOON + timedelta(hours=5)
    blind = moved(order(), [], now=much_later, scanned_until=NOON + timedelta(minutes=59))
    assert blind.state is OrderState.NEW
    assert moved(order(), [], now=much_later).state is OrderState.EXPIRED


def test_an_order_with_part_of_the_money_ends_with_a_person():
    half = moved(ton_order(), [part(10_000_000)], now=NOON + timedelta(hours=2))
    assert (half.state, half.flags) == (OrderState.EXPIRED, {Flag.PARTIAL})
    assert moved(half, [part(10_000_000)], now=NOON + timedelta(hours=26)).state is OrderState.REVIEW


def test_what_does_not_fit_is_passed_over():
    foreign = replace(paid(), receiver=replace(paid().receiver, raw=b"\x41" + bytes(20)))
    assert moved(order(), [foreign, paid(asset=Asset.TON), paid(at=timedelta(hours=-1))]) == order()


def test_two_identical_transfers_in_one_transaction_are_two():
    twins = [part(29_000_000), replace(part(29_000_000), event_index=1)]
    done = moved(ton_order(58_000_000), twins)
    assert (done.state, len(done.credits)) == (OrderState.SETTLED, 2)


def test_a_payment_after_a_manual_confirmation_is_not_counted_and_goes_to_a_person():
    by_hand = decide(order(), Decision.CONFIRM)
    assert moved(by_hand, [paid()]) == by_hand
    assert surplus(by_hand, [paid(), paid(final=False, name="x")]) == (paid(),)
    assert surplus(moved(order(), [paid()]), [paid()]) == ()
    assert surplus(order(), [paid()]) == ()


def test_decisions_are_idempotent_and_bounded():
    by_hand = decide(order(), Decision.CONFIRM)
    assert decide(by_hand, Decision.CONFIRM) == by_hand
    assert decide(by_hand, Decision.REFUND).state is OrderState.REFUNDED
    assert decide(order(), Decision.CANCEL).state is OrderState.CANCELLED
    for state, decision in (
        (OrderState.SETTLED, Decision.CANCEL),
        (OrderState.SETTLED, Decision.HOLD),
        (OrderState.CANCELLED, Decision.CONFIRM),
        (OrderState.REFUNDED, Decision.CONFIRM),
        (OrderState.NEW, Decision.REFUND),
    ):
        with pytest.raises(PaymentMismatch, match=str(state)):
            decide(order(state=state), decision)
    with pytest.raises(PaymentMismatch, match="refund"):
        decide(replace(moved(ton_order(), [part(10_000_000)]), state=OrderState.REVIEW), Decision.CANCEL)


transfers = st.builds(
    lambda units, name, index, minutes, final, voices, disputed: replace(
        part(units, name=name, at=timedelta(minutes=minutes), final=final, disputed=disputed),
        event_index=index,
        vouched_by=frozenset(voices) if final else frozenset(),
    ),
    st.integers(1, 40).map(lambda millions: millions * 1_000_000),
    st.integers(0, 3),
    st.sampled_from([None, 0, 1]),
    st.integers(-10, 1_600),
    st.booleans(),
    st.sets(st.sampled_from([Provider.TONAPI, Provider.TONCENTER])),
    st.booleans().flatmap(lambda chance: st.just(False) if chance else st.booleans()),  # disputes are rare
)
bundles = st.lists(transfers, max_size=5)
hours = st.integers(0, 30).map(lambda count: NOON + timedelta(hours=count))


@settings(max_examples=150)
@given(told=bundles, now=hours, data=st.data())
def test_seen_twice_is_seen_once_and_order_does_not_matter(told, now, data):
    once = moved(ton_order(), told, now=now)
    assert moved(once, told, now=now) == once
    shuffled = data.draw(st.permutations(told + told))
    assert moved(ton_order(), shuffled, now=now) == once


@settings(max_examples=150)
@given(steps=st.lists(st.tuples(bundles, hours), max_size=4))
def test_settled_never_goes_back_and_credits_only_grow_by_final_transfers(steps):
    one = ton_order()
    for told, now in steps:
        after = moved(one, told, now=now)
        assert set(one.credits) <= set(after.credits)
        if one.state is OrderState.SETTLED:
            assert after == one
        known_final = {(each.key, each.units) for each in told if each.final and not each.disputed}
        assert {(credit.transfer, credit.units) for credit in set(after.credits) - set(one.credits)} <= known_final
        assert len({credit.transfer for credit in after.credits}) == len(after.credits)
        one = after
