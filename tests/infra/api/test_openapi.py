"""The OpenAPI document is complete, and no request that anyone can make finds an answer it does not name."""

from __future__ import annotations

import asyncio
import json
import re
from string import printable
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.api.app import create_app
from infra.api.gateway import digest_of
from infra.api.problems import PROBLEM_JSON
from infra.settings import Settings
from models.ledger import BuyerId, Reach
from models.payment import Provider
from models.payment_ports import Watermark
from models.ports import Scope, Token
from tests.fakes.store import FakeStore
from tests.infra.api.world import (
    AS_BUYER,
    AS_OPERATOR,
    AS_READER,
    MESH,
    NOW,
    OPERATE,
    PAY,
    READ,
    StandingClock,
    over,
    remedy,
    tell_a_story,
)
from tests.infra.shop.counter import WEEK, a_sale

APP = create_app(FakeStore(), Settings(mesh="lab"), StandingClock())
DOCUMENT = APP.openapi()
OPERATIONS = sorted((method, path) for path, methods in DOCUMENT["paths"].items() for method in methods)
ORDER = a_sale(5, buyer=BuyerId("api:carol"), at=NOW, plan=WEEK)
OPEN = {"/health", "/ready", "/metrics"}


def operation(method: str, path: str):
    return DOCUMENT["paths"][path][method]


def test_names_every_route():
    assert {path for _, path in OPERATIONS} == {
        "/health",
        "/ready",
        "/metrics",
        "/api/v1/mesh",
        "/api/v1/model",
        "/api/v1/incidents",
        "/api/v1/incidents/{incident}",
        "/api/v1/incidents/{incident}/causes",
        "/api/v1/incidents/{incident}/causes.svg",
        "/api/v1/causal/analyze",
        "/api/v1/heal",
        "/api/v1/join",
        "/api/v1/heal/{request}",
        "/api/v1/alerts",
        "/api/v1/decisions",
        "/api/v1/pause",
        "/api/v1/resume",
        "/api/plans",
        "/api/orders",
        "/api/orders/{order}",
        "/api/orders/{order}/cancel",
        "/api/payment/verify",
        "/api/payment/refund-note",
        "/api/v1/licences/activate",
        "/api/v1/licences/release",
        "/api/v1/licences/{licence}",
        "/api/v1/licences/{licence}/revoke",
    }


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_says_what_it_is_for(method, path):
    assert operation(method, path)["summary"]
    assert operation(method, path)["description"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_but_the_open_ones_names_the_security_scheme_and_its_refusals(method, path):
    found = operation(method, path)
    if path in OPEN:
        assert "security" not in found
        return
    assert found["security"] == [{"token": []}]
    assert {"401", "403", "500", "503"} <= set(found["responses"])
    assert DOCUMENT["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_error_is_documented_as_a_problem(method, path):
    for status, response in operation(method, path)["responses"].items():
        if int(status) >= 400:
            assert response["content"] == {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_every_reference_leads_somewhere():
    text = json.dumps(DOCUMENT)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(DOCUMENT["components"]["schemas"])


# --- a fuzz over the document ----------------------------------------------------------------------------------------

ids = st.one_of(
    st.sampled_from(["i-1", "r-1", remedy().plan_hash, "0" * 64, ORDER.order.id]),
    st.text(printable, max_size=70),
    st.text(),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ids,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
words = [
    "dry_run",
    "id",
    "plan_hash",
    "decision",
    "plan",
    "currency",
    "order_id",
    "amount",
    "tx_hash",
    "note",
    "licence",
    "address",
    "reason",
    "\ud800",
]
fields = st.sampled_from(words)
meant = st.fixed_dictionaries(
    {},
    optional={
        "dry_run": st.booleans(),
        "id": ids,
        "plan_hash": st.just(remedy().plan_hash) | ids,
        "decision": st.sampled_from(["approve", "deny"]),
    },
)
bought = st.fixed_dictionaries(
    {"currency": st.sampled_from(["usdt", "TON", "BTC"])},
    optional={
        "plan": st.sampled_from(["week", "month", "year"]),
        "order_id": st.just(ORDER.order.id) | ids,
        "amount": st.just(ORDER.order.amount.units) | st.integers() | st.text(max_size=30),
        "tx_hash": st.just("ab" * 32) | st.text(),
        "note": st.text(),
    },
)
bodies = st.one_of(
    st.binary(max_size=50),
    st.one_of(values, meant, bought, st.dictionaries(fields, values)).map(lambda one: json.dumps(one).encode()),
)


async def ask(method: str, path: str, *, part: str, limit: object, body: bytes, headers: dict[str, str]):
    store = FakeStore()
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.tokens.add(Token("alice", digest_of(READ), Scope.READ, NOW))
        await unit.tokens.add(Token("bob", digest_of(OPERATE), Scope.OPERATE, NOW))
        await unit.tokens.add(Token("carol", digest_of(PAY), Scope.PAY, NOW))
        await unit.ledger.open_order(ORDER)
        await unit.ledger.save_reach(Reach(Watermark(Provider.TRONSCAN, ORDER.order.deposit, NOW), NOW))
    await tell_a_story(store)
    # One app and a fresh store for each example: making an app takes longer than asking it.
    APP.state.gateway = over(store)
    address = re.sub(r"\{\w+\}", lambda _: quote(part, safe=""), path)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(APP), base_url="http://gateway", headers=headers
    ) as client:
        return await client.request(method.upper(), address, params={"limit": limit} if limit else {}, content=body)


@settings(max_examples=200, deadline=None)
@given(
    where=st.sampled_from(OPERATIONS),
    part=ids.filter(lambda one: one and "/" not in one and one not in {".", ".."}),
    limit=st.none() | st.integers() | st.text(max_size=5),
    body=bodies,
    who=st.sampled_from([{}, AS_READER, AS_BUYER, AS_OPERATOR, AS_OPERATOR, {"Authorization": "Bearer x"}]),
)
def test_no_request_finds_a_defect_or_an_answer_the_document_does_not_name(where, part, limit, body, who):
    method, path = where
    answer = asyncio.run(ask(method, path, part=part, limit=limit, body=body, headers=who))
    # /ready says 503 here by right: no watch run lives in this store.
    assert answer.status_code < 500 or path == "/ready"
    assert str(answer.status_code) in operation(method, path)["responses"]
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == PROBLEM_JSON
        assert answer.json()["status"] == answer.status_code
