"""Idempotency-Key over HTTP: asked again is answered again, and nothing is bought twice."""

from __future__ import annotations

import asyncio

import pytest

from infra.api.gateway import digest_of
from infra.lab.chains.made import made_hash
from models.ports import Scope, Token
from models.wishes import KEY_LENGTH
from tests.infra.api.world import NOW
from tests.infra.shop.counter import scanned

MONTH = {"plan": "month", "currency": "USDT"}
KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}
AT_ONCE = 20


async def test_the_same_key_and_body_is_201_with_the_same_order(buyer):
    first = await buyer.post("/api/orders", json=MONTH, headers=KEY)
    # Another spelling of the same wish.
    again = await buyer.post("/api/orders", content=b'{"currency":"usdt-trc20", "plan":"month"}', headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert (await buyer.post("/api/orders", json=MONTH)).json()["order_id"] != first.json()["order_id"]


async def test_the_same_key_with_another_body_is_422_and_names_the_header(buyer):
    await buyer.post("/api/orders", json=MONTH, headers=KEY)
    answer = await buyer.post("/api/orders", json={"plan": "week", "currency": "USDT"}, headers=KEY)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, ["Idempotency-Key"])
    assert "choose a new one" in answer.json()["errors"][0]["message"]


async def test_twenty_at_once_are_one_order_and_whoever_came_too_early_is_told_409(buyer, store):
    answers = await asyncio.gather(*(buyer.post("/api/orders", json=MONTH, headers=KEY) for _ in range(AT_ONCE)))
    assert {one.status_code for one in answers} <= {201, 409}
    assert len({one.json()["order_id"] for one in answers if one.status_code == 201}) == 1
    assert len(store.memory.books.sales) == 1


async def test_each_tokens_keys_are_its_own(buyer, connect, store):
    async with store.unit() as uow:
        await uow.tokens.add(Token("dave", digest_of("secret-of-dave"), Scope.PAY, NOW))
    dave = connect(store, Authorization="Bearer secret-of-dave")
    ours, theirs = [await one.post("/api/orders", json=MONTH, headers=KEY) for one in (buyer, dave)]
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["order_id"] != theirs.json()["order_id"]


@pytest.mark.parametrize("key", ["", "x" * (KEY_LENGTH + 1), "\xe9"])
async def test_a_key_that_is_none_is_422(buyer, key):
    answer = await buyer.post("/api/orders", json=MONTH, headers={"Idempotency-Key": key.encode("latin-1")})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


async def test_an_orders_key_is_no_claims_key(buyer, store):
    await scanned(store, at=NOW)
    order = (await buyer.post("/api/orders", json=MONTH, headers=KEY)).json()
    claim = {"order_id": order["order_id"], "amount": order["amount"], "currency": "USDT"}
    claim |= {"tx_hash": made_hash("tx").hex()}
    refused = await buyer.post("/api/payment/verify", json=claim, headers=KEY)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    for _ in range(2):
        answer = await buyer.post("/api/payment/verify", json=claim, headers={"Idempotency-Key": "claim-1"})
        assert answer.status_code == 202


async def test_the_document_says_what_a_key_does(anyone):
    paths = (await anyone.get("/openapi.json")).json()["paths"]
    for path in ("/api/orders", "/api/payment/verify"):
        header = next(one for one in paths[path]["post"]["parameters"] if one["name"] == "Idempotency-Key")
        assert not header["required"]
        assert "24 h" in header["description"]
