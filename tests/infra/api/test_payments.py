"""Is it paid, over HTTP: 200 when settled, 202 until then, and a refusal for everything that does not fit."""

from __future__ import annotations

import asyncio
from time import perf_counter

import pytest

from infra.lab.chains.made import made_hash
from infra.shop.shop import find
from models.payment import Asset, OrderId, Provider
from models.payment_matching import Unmatched
from models.payment_quorum import TxState
from models.payment_state import Decision
from tests.infra.api.world import AS_BUYER, NOW, StandingClock
from tests.infra.shop.counter import a_shop, payment_of, scanned, see, settle, tell

HASH = made_hash("tx").hex()


@pytest.fixture
async def order(buyer, store) -> dict:
    """An order of carol's on a chain that was just read."""
    await scanned(store, at=NOW)
    return (await buyer.post("/api/orders", json={"plan": "month", "currency": "USDT"})).json()


@pytest.fixture
async def sale(order, store):
    async with store.unit() as uow:
        return await find(uow, OrderId(order["order_id"]))


def ask(order: dict, **changes) -> dict:
    """What the first system's clients send."""
    return {"order_id": order["order_id"], "amount": order["amount"], "currency": "USDT"} | changes


async def test_an_order_nobody_paid_is_202_and_says_when_to_ask_again(buyer, order):
    answer = await buyer.post("/api/payment/verify", json=ask(order))
    told = answer.json()
    assert (answer.status_code, told["verified"], told["order"], told["licence"]) == (202, False, order, None)
    assert (told["seen"], told["next_check_seconds"]) == ([], 3)


async def test_a_payment_that_is_seen_and_not_final_is_told(buyer, store, order, sale):
    await see(store, sale, payment_of(sale.order, at=NOW), at=NOW)
    told = (await buyer.post("/api/payment/verify", json=ask(order))).json()
    assert [(one["transaction"], one["units"], one["is_final"], one["vouched_by"]) for one in told["seen"]] == [
        (HASH, order["amount"], False, 0)
    ]


async def test_a_settled_order_is_200_and_the_same_answer_twice(buyer, store, order, sale):
    await settle(store, sale, payment_of(sale.order, at=NOW), at=NOW)
    answers = [await buyer.post("/api/payment/verify", json=ask(order, tx_hash=HASH)) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert (answers[0].json()["verified"], answers[0].json()["order"]["paid"]) == (True, order["amount"])


async def test_the_licence_comes_with_the_answer(buyer, store, order):
    await a_shop(store, StandingClock()).decide(
        OrderId(order["order_id"]), Decision.CONFIRM, actor="cli:root", reason="seen"
    )
    told = (await buyer.post("/api/payment/verify", json=ask(order))).json()
    assert told["licence"]["plan"] == "month"
    assert told["licence"]["text"].count(".") == 2


@pytest.mark.parametrize("currency", ["usdt", "USDT-TRC20", "USDT_TRON", " Usdt "])
async def test_a_currency_is_read_as_callers_write_it(buyer, order, currency):
    assert (await buyer.post("/api/payment/verify", json=ask(order, currency=currency))).status_code == 202


async def test_an_amount_may_be_digits_in_a_string(buyer, order):
    assert (await buyer.post("/api/payment/verify", json=ask(order, amount=str(order["amount"])))).status_code == 202


@pytest.mark.parametrize(
    "amount", [True, 1.5, 1e3, "1e3", "NaN", "-5", -5, 0, 10**40, "٣", "9.99", None, [], "9" * 5000]
)
async def test_an_amount_that_is_no_whole_positive_number_is_422(buyer, order, amount):
    answer = await buyer.post("/api/payment/verify", json=ask(order, amount=amount))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "amount")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": "BTC"}, "currency"),
        ({"order_id": "'; DROP TABLE orders; --"}, "order_id"),
        ({"order_id": "../../etc/passwd"}, "order_id"),
        ({"order_id": "💸"}, "order_id"),
        ({"order_id": "x" * 65_000}, "order_id"),
        ({"tx_hash": "I paid"}, "tx_hash"),
        ({"tx_hash": "ab" * 32 + " " + "cd" * 32}, "tx_hash"),
        ({"tx_hash": "A" * 43}, "tx_hash"),
    ],
)
async def test_what_cannot_be_read_is_422_and_names_the_field(buyer, order, changes, field):
    answer = await buyer.post("/api/payment/verify", json=ask(order, **changes))
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])


@pytest.mark.parametrize("changes", [{"amount": 5_000_000}, {"currency": "TON"}])
async def test_another_amount_or_currency_than_the_orders_is_409(buyer, order, changes):
    answer = await buyer.post("/api/payment/verify", json=ask(order, **changes))
    assert answer.status_code == 409
    assert order["amount_text"] in answer.json()["detail"]


async def test_an_order_that_is_not_the_callers_is_404(buyer, store):
    sale = await a_shop(store, StandingClock()).place_order("api:erin", "week", Asset.USDT_TRON)
    wish = {"order_id": sale.order.id, "amount": sale.order.amount.units, "currency": "USDT"}
    assert (await buyer.post("/api/payment/verify", json=wish)).status_code == 404
    assert (await buyer.post("/api/payment/verify", json=wish | {"order_id": "nobody"})).status_code == 404


async def test_a_claim_of_what_was_counted_for_another_order_is_409(buyer, store, order, sale):
    await tell(store, payment_of(sale.order, at=NOW), state=TxState.FINAL, at=NOW)
    await settle(store, sale, payment_of(sale.order, at=NOW), at=NOW)
    second = (await buyer.post("/api/orders", json={"plan": "month", "currency": "USDT"})).json()
    answer = await buyer.post("/api/payment/verify", json=ask(second, tx_hash=HASH))
    assert answer.status_code == 409
    assert "already been used" in answer.json()["detail"]


async def test_a_claim_is_looked_up_and_named_after_its_token(buyer, store, order):
    link = f"https://tronscan.org/#/transaction/{HASH}"
    assert (await buyer.post("/api/payment/verify", json=ask(order, tx_hash=link))).status_code == 202
    shop = a_shop(store, StandingClock())
    [_, claim] = await shop.history(OrderId(order["order_id"]))
    assert (claim.actor, claim.detail) == ("api:carol", f"{HASH} pending")


async def test_a_cancelled_order_is_409(buyer, order):
    await buyer.post(f"/api/orders/{order['order_id']}/cancel")
    answer = await buyer.post("/api/payment/verify", json=ask(order))
    assert (answer.status_code, "CANCELLED" in answer.json()["detail"]) == (409, True)


async def test_a_chain_that_cannot_be_read_is_503_with_the_reason_and_the_order_stays(buyer, store, order, clock):
    for provider in (Provider.TRONSCAN, Provider.TRONGRID):
        await scanned(store, at=NOW, failing="no route to host", provider=provider)
    clock.at = NOW.replace(hour=13)
    answer = await buyer.post("/api/payment/verify", json=ask(order))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "no route to host" in answer.json()["detail"]
    assert (await buyer.get(f"/api/orders/{order['order_id']}")).json()["order"] == order


class HangingStore:
    """A database whose connections are all taken."""

    def unit(self):
        return self

    async def __aenter__(self):
        await asyncio.Event().wait()

    async def __aexit__(self, *_):
        return None


async def test_an_answer_comes_within_four_and_a_half_seconds_even_when_the_database_hangs(connect):
    began = perf_counter()
    answer = await connect(HangingStore(), **AS_BUYER).post("/api/payment/verify", json={})
    assert perf_counter() - began < 4.5
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["status"]) == (503, "2", 503)


# --- refunds ---------------------------------------------------------------------------------------------------------


async def test_a_refund_is_noted_by_an_operator_and_by_nobody_else(buyer, operator, store, order):
    shop = a_shop(store, StandingClock())
    name = OrderId(order["order_id"])
    await shop.decide(name, Decision.CONFIRM, actor="cli:root", reason="seen")
    wish = {"order_id": name, "note": "sent back"}
    assert (await buyer.post("/api/payment/refund-note", json=wish)).status_code == 403
    answer = await operator.post("/api/payment/refund-note", json=wish)
    assert (answer.status_code, answer.json()["state"]) == (200, "REFUNDED")
    assert [(one.actor, one.detail) for one in (await shop.history(name))[-1:]] == [("api:bob", "sent back")]


@pytest.mark.parametrize(("note", "status"), [("", 422), ("  ", 422), ("\x1c", 422), ("x" * 501, 422), ("ok", 409)])
async def test_a_note_that_says_nothing_is_422_and_one_on_an_unpaid_order_409(operator, order, note, status):
    wish = {"order_id": order["order_id"], "note": note}
    assert (await operator.post("/api/payment/refund-note", json=wish)).status_code == status


async def test_what_was_set_aside_is_found_by_its_claim(buyer, store, order, sale):
    stray = payment_of(sale.order, at=NOW, units=7_000_000)
    await tell(store, stray, state=TxState.FINAL, at=NOW)
    async with store.unit() as uow:
        await uow.ledger.set_aside([(stray, Unmatched.NO_ORDER)], now=NOW)
    assert (await buyer.post("/api/payment/verify", json=ask(order, tx_hash=HASH))).status_code == 202
    assert (await a_shop(store, StandingClock()).history(sale.order.id))[-1].detail == f"{HASH} review"
