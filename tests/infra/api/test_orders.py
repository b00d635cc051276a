"""Buying over HTTP: exact amounts, one's own orders only, and refusals that say what to do."""

from __future__ import annotations

import pytest

from infra.api.gateway import digest_of
from infra.licences import LicenceSigner
from models.ledger import BuyerId
from models.payment import OrderId, OrderState
from models.payment_state import Decision
from models.ports import Scope, Token
from models.shop import Catalogue
from tests.fakes.chains.examples import OURS
from tests.infra.api.world import NOW, TRADE, StandingClock
from tests.infra.shop.counter import POLICY, a_sale, a_shop

BOUGHT = {"plan": "month", "currency": "USDT"}
DAVE = "pay-secret-of-dave"


@pytest.fixture
async def order(buyer) -> dict:
    """An order of carol's."""
    return (await buyer.post("/api/orders", json=BOUGHT)).json()


async def test_plans_are_told_with_exact_prices(buyer):
    plans = (await buyer.get("/api/plans")).json()["plans"]
    assert [one["name"] for one in plans] == ["month", "week"]
    assert plans[0]["prices"][0] == {"currency": "USDT_TRON", "units": 9_990_000, "text": "9.99 USDT"}


async def test_an_order_says_what_to_pay_where_and_until_when(buyer):
    answer = await buyer.post("/api/orders", json=BOUGHT)
    told = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/orders/{told['order_id']}")
    assert 0 < told["amount"] - 9_990_000 <= POLICY.tails
    assert told["amount_text"].endswith(" USDT")
    assert (told["state"], told["address"], told["comment"], told["link"]) == ("NEW", str(OURS), None, str(OURS))
    assert (await buyer.get(answer.headers["location"])).json() == {"order": told, "licence": None}


async def test_an_order_in_ton_has_a_comment_and_a_link_that_carries_it(buyer):
    told = (await buyer.post("/api/orders", json={"plan": "month", "currency": "ton"})).json()
    assert told["comment"] == told["order_id"]
    assert told["link"] == f"ton://transfer/{told['address']}?amount={told['amount']}&text={told['comment']}"


async def test_the_body_is_read_whatever_content_type_curl_sent(buyer):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await buyer.post("/api/orders", content=b'{"plan": "week", "currency": "usdt-trc20"}', headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"plan": "month", "currency": "BTC"}, "currency"),
        ({"plan": "month", "currency": 1}, "currency"),
        ({"currency": "USDT"}, "plan"),
        ({"plan": "month", "currency": "TON", "language": "xx"}, "language"),
        ({"plan": "month", "currency": "TON", "price": 1}, "price"),
    ],
)
async def test_a_wish_that_cannot_be_read_is_422_and_names_the_field(buyer, wish, field):
    answer = await buyer.post("/api/orders", json=wish)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])


@pytest.mark.parametrize(
    ("wish", "said"),
    [({"plan": "year", "currency": "USDT"}, "month, week"), ({"plan": "week", "currency": "TON"}, "USDT_TRON")],
)
async def test_a_wish_for_what_is_not_sold_is_409_and_says_what_is(buyer, wish, said):
    answer = await buyer.post("/api/orders", json=wish)
    assert answer.status_code == 409
    assert said in answer.json()["detail"]


async def test_orders_of_others_and_orders_that_are_not_get_the_same_404(connect, store, buyer, order):
    async with store.unit() as uow:
        await uow.tokens.add(Token("dave", digest_of(DAVE), Scope.PAY, NOW))
    dave = connect(store, Authorization=f"Bearer {DAVE}")
    answers = [await dave.get(f"/api/orders/{one}") for one in (order["order_id"], "ord-22222222")]
    answers += [await dave.post(f"/api/orders/{one}/cancel") for one in (order["order_id"], "ord-22222222")]
    assert {one.status_code for one in answers} == {404}
    assert len({one.text.replace(order["order_id"], "ord-22222222") for one in answers}) == 1


async def test_an_operator_sees_every_order_and_cancels_none_of_anothers(operator, order):
    assert (await operator.get(f"/api/orders/{order['order_id']}")).status_code == 200
    assert (await operator.post(f"/api/orders/{order['order_id']}/cancel")).status_code == 404


@pytest.mark.parametrize("name", ["a b", "%27;--", "..%5C", "%F0%9F%92%B8", "x" * 65])
async def test_an_id_that_never_was_one_is_422(buyer, name):
    assert (await buyer.get(f"/api/orders/{name}")).status_code == 422


async def test_an_order_is_given_up_once_and_twice_is_once(buyer, order):
    for _ in range(2):
        answer = await buyer.post(f"/api/orders/{order['order_id']}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED")


async def test_a_settled_order_shows_its_licence_and_a_refunded_one_shows_it_without_the_text(buyer, store, order):
    shop = a_shop(store, StandingClock())
    name = OrderId(order["order_id"])
    await shop.decide(name, Decision.CONFIRM, actor="cli:root", reason="seen")
    told = (await buyer.get(f"/api/orders/{name}")).json()
    assert isinstance(TRADE.signer, LicenceSigner)
    assert TRADE.signer.verifier().read(told["licence"]["text"]).order == name
    await shop.refund_note(name, actor="cli:root", note="sent back")
    told = (await buyer.get(f"/api/orders/{name}")).json()
    assert (told["order"]["state"], told["licence"]["text"]) == (OrderState.REFUNDED, None)
    assert told["licence"]["revoked_at"] is not None


# --- who may ---------------------------------------------------------------------------------------------------------

SHOP = [("GET", "/api/plans"), ("POST", "/api/orders"), ("GET", "/api/orders/x"), ("POST", "/api/orders/x/cancel")]
PAYMENT = [("POST", "/api/payment/verify"), ("POST", "/api/payment/refund-note")]


@pytest.mark.parametrize(("method", "path"), SHOP + PAYMENT)
async def test_nobody_buys_without_a_token_or_with_one_that_only_reads(anyone, reader, method, path):
    assert (await anyone.request(method, path, json=BOUGHT)).status_code == 401
    assert (await reader.request(method, path, json=BOUGHT)).status_code == 403


@pytest.mark.parametrize("path", ["/api/v1/mesh", "/api/v1/incidents", "/api/v1/incidents/i-1", "/api/v1/heal/r-1"])
async def test_a_customers_token_reads_nothing_of_the_mesh(buyer, path):
    answer = await buyer.get(path)
    assert (answer.status_code, 'scope="read"' in answer.headers["www-authenticate"]) == (403, True)


@pytest.mark.parametrize("path", ["/api/v1/heal", "/api/v1/pause", "/api/v1/resume"])
async def test_a_customers_token_operates_nothing(buyer, path):
    assert (await buyer.post(path)).status_code == 403


async def test_a_token_that_asks_too_often_is_told_when_to_come_back_and_others_are_not(connect_paced, store):
    carol, bob = connect_paced(store, 5)
    answers = [await carol.get("/api/plans") for _ in range(6)]
    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "12"
    assert answers[-1].json()["type"] == "urn:x0tta6bl4:problem:too-many-requests"
    assert (await bob.get("/api/plans")).status_code == 200


async def test_a_shop_that_was_not_set_up_sells_nothing(connect_paced, store):
    _, bob = connect_paced(store, 100, catalogue=Catalogue())
    assert (await bob.get("/api/plans")).json() == {"plans": []}
    answer = await bob.post("/api/orders", json=BOUGHT)
    assert (answer.status_code, "nothing is sold here yet" in answer.json()["detail"]) == (409, True)


async def test_another_buyers_order_in_the_same_ledger_is_not_a_tokens(buyer, store):
    sale = a_sale(9, buyer=BuyerId("telegram:1"))
    async with store.unit() as uow:
        await uow.ledger.open_order(sale)
    assert (await buyer.get(f"/api/orders/{sale.order.id}")).status_code == 404
