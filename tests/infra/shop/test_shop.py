"""The counter: what is reserved, who may see and change what, and what people's decisions make true."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from infra.lab.chains.made import NOON, made_hash
from infra.shop.shop import Shop
from models.errors import AmountTaken, KeyReused, OrderUnknown, PaymentInvalid, PaymentMismatch
from models.ledger import Admission, BuyerId, MessageKind
from models.payment import Asset, Flag, OrderId, OrderState
from models.payment_address import Chain
from models.payment_matching import ClaimAnswer, Unmatched
from models.payment_quorum import TxState
from models.payment_state import Decision
from models.shop import CLAIMS_AN_HOUR, NOTHING_SOLD, UNPAID_A_DAY
from models.wishes import KeyedWish
from tests.infra.shop.counter import ANN, BEN, MONTH, POLICY, WEEK, a_sale, a_shop, payment_of, settle, tell

HASH = made_hash("tx").hex()


async def messages(store, kind):
    async with store.unit() as uow:
        return [one for one in await uow.outbox.waiting(now=NOON.replace(year=2027)) if one.kind is kind]


async def cases(store, chain=Chain.TRON):
    async with store.unit() as uow:
        return await uow.ledger.cases(chain, now=NOON.replace(year=2027))


def test_sells_what_its_catalogue_holds(shop):
    assert shop.plans() == (MONTH, WEEK)


async def test_an_order_reserves_a_small_tail_above_the_price_for_an_hour(shop, clock):
    sale = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    assert 0 < sale.order.amount.units - 9_990_000 <= POLICY.tails
    assert (sale.buyer, sale.plan, sale.order.created_at) == (ANN, MONTH, clock.now())
    assert sale.order.expires_at - clock.now() == POLICY.window
    assert await shop.sale(sale.order.id, buyer=ANN) == sale
    assert [one.what for one in await shop.history(sale.order.id)] == ["created"]


async def test_an_order_in_ton_carries_its_name_as_the_comment_and_one_on_tron_none(shop):
    on_ton = await shop.place_order(ANN, "month", Asset.TON)
    on_tron = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    assert (on_ton.order.code, on_tron.order.code) == (on_ton.order.id, None)


async def test_many_orders_at_one_price_never_share_an_amount(shop):
    sales = await asyncio.gather(*(shop.place_order(BEN, "week", Asset.USDT_TRON) for _ in range(60)))
    assert len({one.order.amount.units for one in sales}) == len({one.order.id for one in sales}) == 60


class RivalStore:
    """A store in which somebody reserves the very amount that was about to be taken, a number of times."""

    def __init__(self, store, *, times: int) -> None:
        self._store = store
        self.times = times

    def unit(self):
        unit, rival = self._store.unit(), self
        keep = unit.ledger.open_order

        async def open_order(sale):
            if rival.times:
                rival.times -= 1
                raise AmountTaken(sale.order.id)
            await keep(sale)

        unit.ledger.open_order = open_order
        return unit


async def test_an_amount_that_was_taken_meanwhile_is_drawn_again(store, clock):
    sale = await a_shop(RivalStore(store, times=4), clock).place_order(ANN, "week", Asset.USDT_TRON)
    async with store.unit() as uow:
        assert await uow.ledger.sale(sale.order.id) == sale


async def test_a_name_that_another_order_has_is_drawn_again(store, clock):
    first = await a_shop(store, clock).place_order(ANN, "week", Asset.USDT_TRON)
    # The same numbers again: the same name, and on TRON no code that would tell.
    second = await a_shop(store, clock).place_order(BEN, "month", Asset.USDT_TRON)
    assert second.order.id != first.order.id
    async with store.unit() as uow:
        assert await uow.ledger.sale(first.order.id) == first


async def test_an_amount_that_is_taken_five_times_in_a_row_is_refused_and_nothing_is_kept(store, clock):
    with pytest.raises(AmountTaken):
        await a_shop(RivalStore(store, times=5), clock).place_order(ANN, "week", Asset.USDT_TRON)
    assert store.commits == 0


@pytest.mark.parametrize(
    ("plan", "asset", "said"),
    [("year", Asset.TON, "month, week"), ("week", Asset.TON, "USDT_TRON"), ("month", Asset.USDT_TON, "USDT_TRON, TON")],
)
async def test_a_plan_or_a_currency_that_is_not_sold_is_refused_with_those_that_are(shop, plan, asset, said):
    with pytest.raises(PaymentInvalid, match=said):
        await shop.place_order(ANN, plan, asset)


async def test_a_shop_that_was_not_set_up_takes_no_order(store, clock):
    with pytest.raises(PaymentInvalid, match="nothing is sold here yet"):
        await a_shop(store, clock, catalogue=NOTHING_SOLD).place_order(ANN, "month", Asset.USDT_TRON)


async def test_a_person_cannot_reserve_all_amounts_and_may_order_again_tomorrow(shop, clock):
    for _ in range(UNPAID_A_DAY):
        await shop.place_order(ANN, "week", Asset.USDT_TRON)
    with pytest.raises(PaymentMismatch, match="unpaid"):
        await shop.place_order(ANN, "week", Asset.USDT_TRON)
    clock.pass_by(days=1)
    await shop.place_order(ANN, "week", Asset.USDT_TRON)


async def test_a_token_that_stands_for_many_customers_may(shop):
    for _ in range(UNPAID_A_DAY + 1):
        await shop.place_order(BEN, "week", Asset.USDT_TRON)


async def test_orders_of_others_and_orders_that_are_not_look_the_same(shop):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    for order in (sale.order.id, OrderId("ord-22222222")):
        with pytest.raises(OrderUnknown) as caught:
            await shop.sale(order, buyer=BEN)
        assert str(caught.value) == f"order {order}: you have no such order"


async def test_a_buyer_sees_their_own_orders_newest_first(shop, clock):
    first = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    clock.pass_by(minutes=1)
    second = await shop.place_order(ANN, "month", Asset.TON)
    await shop.place_order(BEN, "week", Asset.USDT_TRON)
    assert await shop.sales_of(ANN) == [second, first]


# --- cancelling ------------------------------------------------------------------------------------------------------


async def test_a_buyer_cancels_what_nothing_came_in_for_and_twice_is_once(shop, store):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    for _ in range(2):
        assert (await shop.cancel(sale.order.id, buyer=ANN)).order.state is OrderState.CANCELLED
    assert [one.what for one in await shop.history(sale.order.id)] == ["created", "cancel"]
    assert [one.facts["state"] for one in await messages(store, MessageKind.ORDER_CHANGED)] == ["CANCELLED"]


async def test_nobody_cancels_anothers_order(shop):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    with pytest.raises(OrderUnknown):
        await shop.cancel(sale.order.id, buyer=BEN)


async def test_an_order_that_is_with_a_person_is_not_the_buyers_to_cancel(shop):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    await shop.decide(sale.order.id, Decision.HOLD, actor="cli:root", reason="odd")
    with pytest.raises(PaymentMismatch, match="HOLD"):
        await shop.cancel(sale.order.id, buyer=ANN)


# --- claiming --------------------------------------------------------------------------------------------------------


async def test_a_claim_of_a_hash_nobody_told_us_of_is_looked_up_once_and_credits_nothing(shop, store, clock):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    assert (
        await shop.claim(sale.order.id, f" https://tronscan.org/#/transaction/{HASH} ", buyer=ANN)
        is ClaimAnswer.PENDING
    )
    [case] = await cases(store)
    assert (case.tx.hex(), case.address) == (HASH, sale.order.deposit)
    async with store.unit() as uow:
        await uow.ledger.postpone(case, until=clock.pass_by(minutes=5))
    assert await shop.claim(sale.order.id, HASH.upper(), buyer=ANN) is ClaimAnswer.PENDING
    assert (await cases(store))[0].next_at == clock.now()
    assert (await shop.sale(sale.order.id)).order == sale.order
    assert [one.what for one in await shop.history(sale.order.id)] == ["created", "claimed"]


async def test_a_claim_of_the_payment_that_has_the_orders_own_amount_is_accepted(shop, store, clock):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    at = clock.pass_by(minutes=3)
    await tell(store, payment_of(sale.order, at=at), state=TxState.PENDING, at=at)
    assert await shop.claim(sale.order.id, HASH, buyer=ANN) is ClaimAnswer.ACCEPTED


async def test_a_claim_of_a_payment_with_another_amount_goes_to_a_person_once(shop, store, clock):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    at = clock.pass_by(minutes=3)
    await tell(store, payment_of(sale.order, at=at, units=1_000_000), state=TxState.FINAL, at=at)
    for _ in range(2):
        assert await shop.claim(sale.order.id, HASH, buyer=ANN) is ClaimAnswer.REVIEW
    [alert] = await messages(store, MessageKind.ALERT)
    assert (alert.to, alert.order, alert.facts["transaction"]) == ("admins", sale.order.id, HASH)


async def test_a_claim_of_anothers_counted_payment_is_refused_and_leaves_no_trace(shop, store, clock):
    anns = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    bens = await shop.place_order(BEN, "week", Asset.USDT_TRON)
    at = clock.pass_by(minutes=3)
    payment = payment_of(anns.order, at=at)
    await tell(store, payment, state=TxState.FINAL, at=at)
    await settle(store, anns, payment, at=at)
    with pytest.raises(PaymentMismatch, match="already been used"):
        await shop.claim(bens.order.id, HASH, buyer=BEN)
    assert [one.what for one in await shop.history(bens.order.id)] == ["created"]
    assert await shop.claim(anns.order.id, HASH, buyer=ANN) is ClaimAnswer.ACCEPTED


async def test_a_claim_of_a_payment_older_than_the_order_is_refused(shop, store, clock):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    before = clock.now() - POLICY.skew * 2
    await tell(store, payment_of(sale.order, at=before, units=5_000_000), state=TxState.FINAL, at=clock.now())
    with pytest.raises(PaymentMismatch, match="older"):
        await shop.claim(sale.order.id, HASH, buyer=ANN)


async def test_a_settled_order_needs_no_claim_and_a_cancelled_one_takes_none(shop, store, clock):
    paid, given_up = [await shop.place_order(ANN, "week", Asset.USDT_TRON) for _ in range(2)]
    await settle(store, paid, payment_of(paid.order, at=clock.now()), at=clock.now())
    await shop.cancel(given_up.order.id, buyer=ANN)
    assert await shop.claim(paid.order.id, made_hash("some message").hex(), buyer=ANN) is ClaimAnswer.ACCEPTED
    with pytest.raises(PaymentMismatch, match="CANCELLED"):
        await shop.claim(given_up.order.id, HASH, buyer=ANN)
    assert await cases(store) == []


async def test_an_order_claims_ten_hashes_an_hour_and_no_more(shop, clock):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    for number in range(CLAIMS_AN_HOUR):
        await shop.claim(sale.order.id, made_hash(number).hex(), buyer=ANN)
    with pytest.raises(PaymentMismatch, match="within the hour"):
        await shop.claim(sale.order.id, HASH, buyer=ANN)
    await shop.claim(sale.order.id, made_hash(0).hex(), buyer=ANN)
    clock.pass_by(hours=1)
    await shop.claim(sale.order.id, HASH, buyer=ANN)


async def test_an_operator_claims_for_a_buyer_and_is_named(shop):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    await shop.claim(sale.order.id, HASH, buyer=None, actor="cli:root")
    assert (await shop.history(sale.order.id))[-1].actor == "cli:root"
    with pytest.raises(OrderUnknown):
        await shop.claim(sale.order.id, HASH, buyer=BEN)


async def test_a_text_without_a_hash_is_no_claim(shop):
    sale = await shop.place_order(ANN, "week", Asset.USDT_TRON)
    with pytest.raises(PaymentInvalid, match="transaction hash"):
        await shop.claim(sale.order.id, "I paid!", buyer=ANN)


# --- deciding --------------------------------------------------------------------------------------------------------


async def test_a_person_confirms_once_with_a_reason_and_the_licence_is_on_its_way(shop, store):
    sale = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    for _ in range(2):
        moved = await shop.decide(sale.order.id, Decision.CONFIRM, actor="telegram:1", reason="paid\nin  cash")
    assert (moved.order.state, moved.order.flags) == (OrderState.SETTLED, {Flag.MANUAL})
    entry = (await shop.history(sale.order.id))[-1]
    assert (entry.actor, entry.what, entry.detail) == ("telegram:1", "confirm", "paid in cash")
    assert len(await shop.history(sale.order.id)) == 2
    async with store.unit() as uow:
        assert (await uow.licences.of_order(sale.order.id)).devices == MONTH.devices
    assert [one.to for one in await messages(store, MessageKind.LICENCE)] == [ANN]
    assert [one.facts["state"] for one in await messages(store, MessageKind.ORDER_CHANGED)] == ["SETTLED"]


async def test_two_who_confirm_at_once_confirm_once(shop, store):
    sale = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    both = (shop.decide(sale.order.id, Decision.CONFIRM, actor=f"telegram:{one}", reason="seen") for one in range(2))
    await asyncio.gather(*both)
    assert [one.what for one in await shop.history(sale.order.id)] == ["created", "confirm"]


@pytest.mark.parametrize("reason", ["", " \n "])
async def test_a_decision_without_a_reason_is_none(shop, reason):
    sale = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    with pytest.raises(PaymentInvalid, match="reason"):
        await shop.decide(sale.order.id, Decision.HOLD, actor="cli:root", reason=reason)


async def test_a_decision_that_the_state_does_not_allow_changes_nothing(shop, store):
    sale = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    with pytest.raises(PaymentMismatch):
        await shop.decide(sale.order.id, Decision.REFUND, actor="cli:root", reason="asked")
    assert await messages(store, MessageKind.ORDER_CHANGED) == []


async def test_a_refund_is_noted_and_takes_the_licence_and_its_admissions_back(shop, store, clock):
    sale = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    await shop.decide(sale.order.id, Decision.CONFIRM, actor="cli:root", reason="seen")
    async with store.unit() as uow:
        licence = await uow.licences.of_order(sale.order.id)
        await uow.licences.admit(Admission(licence.id, "lab", "n0", "10.45.0.2", licence.expires_at))
    clock.pass_by(hours=1)
    refunded = await shop.refund_note(sale.order.id, actor="api:bob", note="sent back")
    again = await shop.refund_note(sale.order.id, actor="api:bob", note="and the fee")
    assert refunded.order.state is again.order.state is OrderState.REFUNDED
    notes = [one.detail for one in await shop.history(sale.order.id) if one.what == "refund-note"]
    assert notes == ["sent back", "and the fee"]
    async with store.unit() as uow:
        assert (await uow.licences.of_order(sale.order.id)).revoked_at == clock.now()
        assert await uow.licences.admissions(licence=licence.id) == []


async def test_nothing_is_refunded_that_nothing_came_in_for(shop):
    sale = await shop.place_order(ANN, "month", Asset.USDT_TRON)
    with pytest.raises(PaymentMismatch):
        await shop.refund_note(sale.order.id, actor="api:bob", note="sent back")


# --- what people look at ---------------------------------------------------------------------------------------------


async def test_the_queue_holds_what_waits_for_a_person(shop, store, clock):
    held, other = [await shop.place_order(ANN, "week", Asset.USDT_TRON) for _ in range(2)]
    held = await shop.decide(held.order.id, Decision.HOLD, actor="cli:root", reason="odd")
    stray = payment_of(other.order, at=clock.now(), units=77_000_000)
    async with store.unit() as uow:
        await uow.ledger.set_aside([(stray, Unmatched.NO_ORDER)], now=clock.now())
    queue = await shop.queue()
    assert (queue.held, queue.in_review) == ((held,), ())
    assert [(one.transfer.tx, one.why) for one in queue.aside] == [(stray.tx, Unmatched.NO_ORDER)]
    counted = await shop.stats()
    assert (dict(counted.orders), dict(counted.unmatched)) == ({"HOLD": 1, "NEW": 1}, {"no_order": 1})


async def test_the_history_of_no_order_is_said_to_be_none(shop):
    with pytest.raises(OrderUnknown):
        await shop.history(OrderId("ord-22222222"))


async def test_names_are_drawn_from_all_there_are_by_default(store, clock):
    shops = Shop(store, clock, POLICY, a_shop(store, clock).catalogue)
    names = {(await shops.place_order(BuyerId("api:x"), "week", Asset.USDT_TRON)).order.id for _ in range(5)}
    assert len(names) == 5
    assert all(a_sale(0).order.id != one for one in names)


# --- asked again -----------------------------------------------------------------------------------------------------


def by_key(key: str = "k-1", asked: bytes = b"a week", *, buyer: BuyerId = BEN) -> KeyedWish:
    return KeyedWish(buyer, key, hashlib.sha256(asked).digest())


async def test_a_wish_that_is_sent_again_gets_the_same_order_as_it_is_then(shop, store):
    first = await shop.place_order(BEN, "week", Asset.USDT_TRON, wish=by_key())
    await shop.cancel(first.order.id, buyer=BEN)
    again = await shop.place_order(BEN, "week", Asset.USDT_TRON, wish=by_key())
    assert (again.order.id, again.order.state) == (first.order.id, OrderState.CANCELLED)
    assert len(await shop.sales_of(BEN)) == 1


async def test_a_wish_that_was_refused_leaves_its_key_for_the_next_try(shop, store):
    with pytest.raises(PaymentInvalid):
        await shop.place_order(BEN, "year", Asset.USDT_TRON, wish=by_key())
    await shop.place_order(BEN, "week", Asset.USDT_TRON, wish=by_key(asked=b"another"))


async def test_a_claims_key_with_another_claim_is_refused_and_nothing_is_claimed(shop, store):
    sale = await shop.place_order(BEN, "week", Asset.USDT_TRON)
    for _ in range(2):
        await shop.claim(sale.order.id, HASH, buyer=BEN, wish=by_key())
    with pytest.raises(KeyReused):
        await shop.claim(sale.order.id, made_hash("other").hex(), buyer=BEN, wish=by_key(asked=b"other"))
    assert [one.what for one in await shop.history(sale.order.id)] == ["created", "claimed"]
