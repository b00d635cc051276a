"""Licences over HTTP: used, looked at, taken back; the gate itself is the watch run's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from infra.access import earn
from infra.api.app import create_app
from infra.settings import Settings
from models.gate import Duty, admission
from models.ledger import BuyerId
from models.mesh import NodeId
from models.payment_state import advance
from models.ports import Signed, Store
from models.remedy import ActionReport, ActionState, OperationId
from tests.infra.api.world import AS_BUYER, NOW, SIGNER, StandingClock
from tests.infra.shop.counter import POLICY, WEEK, a_sale, payment_of

ANNA, BORIS = "10.45.0.2", "fd45::2"


async def sold(store: Store, *, buyer: str = "api:carol", number: int = 5) -> str:
    """Settle an order of carol's; return the licence's text."""
    sale = a_sale(number, buyer=BuyerId(buyer), at=NOW, plan=WEEK)
    payment = payment_of(sale.order, at=NOW, name=number)
    async with store.unit() as unit:
        await unit.ledger.open_order(sale)
        settled = advance(sale.order, [payment], NOW, policy=POLICY, scanned_until=NOW)
        await unit.ledger.save(settled, [payment])
        return SIGNER.text_of(await earn(unit, replace(sale, order=settled), now=NOW))


def identity(text: str) -> str:
    return SIGNER.verifier().read(text).id


@pytest.fixture
async def text(store) -> str:
    return await sold(store)


async def test_an_activated_address_is_told_with_its_node_and_its_end(buyer, text):
    answer = await buyer.post("/api/v1/licences/activate", json={"licence": text, "address": "FD45:0::2"})
    assert answer.status_code == 200
    until = (NOW + timedelta(days=WEEK.days)).isoformat().replace("+00:00", "Z")
    assert answer.json() == {"licence": identity(text), "node": "n0", "address": BORIS, "until": until}


async def test_a_licence_tells_whom_it_lets_in_and_whether_the_gate_has_followed(buyer, store, text):
    await buyer.post("/api/v1/licences/activate", json={"licence": text, "address": ANNA})
    seen = (await buyer.get(f"/api/v1/licences/{identity(text)}")).json()
    assert [(one["address"], one["passes"]) for one in seen["admissions"]] == [(ANNA, False)]
    action = admission(NodeId("n0"), ANNA, NOW + timedelta(days=WEEK.days))
    async with store.unit() as unit:
        duty = Duty(OperationId("d1"), action, 1, ActionState.REQUESTED, NOW)
        await unit.duties.request("lab", duty, Signed(b"{}", b""))
        done = ActionReport(OperationId("d1"), ActionState.COMMITTED, "absent", "", "done", NOW)
        await unit.duties.report("lab", NodeId("n0"), done)
    seen = (await buyer.get(f"/api/v1/licences/{identity(text)}")).json()
    assert [(one["address"], one["passes"]) for one in seen["admissions"]] == [(ANNA, True)]
    assert (seen["plan"], seen["devices"], seen["revoked_at"]) == (WEEK.name, WEEK.devices, None)


async def test_a_released_address_is_out(buyer, text):
    await buyer.post("/api/v1/licences/activate", json={"licence": text, "address": ANNA})
    wish = {"licence": text, "address": ANNA}
    assert (await buyer.post("/api/v1/licences/release", json=wish)).json() == {"was_in": True}
    assert (await buyer.post("/api/v1/licences/release", json=wish)).json() == {"was_in": False}
    assert (await buyer.get(f"/api/v1/licences/{identity(text)}")).json()["admissions"] == []


async def test_an_operator_takes_a_licence_back_and_says_why(operator, buyer, store, text):
    name = identity(text)
    await buyer.post("/api/v1/licences/activate", json={"licence": text, "address": ANNA})
    answer = await operator.post(f"/api/v1/licences/{name}/revoke", json={"reason": "charged back"})
    assert answer.json()["revoked_at"] is not None
    assert answer.json()["admissions"] == []
    refused = await buyer.post("/api/v1/licences/activate", json={"licence": text, "address": ANNA})
    assert (refused.status_code, "taken back" in refused.json()["detail"]) == (409, True)
    async with store.unit() as unit:
        licence = await unit.licences.get(name)
        entries = await unit.ledger.audit(licence.order)
    assert [(one.actor, one.detail) for one in entries if one.what == "licence-revoked"] == [
        ("api:bob", f"{name}: charged back")
    ]


async def test_a_buyer_takes_no_licence_back_and_a_reader_uses_none(buyer, reader, text):
    name = identity(text)
    assert (await buyer.post(f"/api/v1/licences/{name}/revoke", json={"reason": "x"})).status_code == 403
    assert (await reader.get(f"/api/v1/licences/{name}")).status_code == 403


async def test_another_buyers_licence_is_told_to_nobody_else_but_an_operator(buyer, operator, store):
    theirs = identity(await sold(store, buyer="telegram:4711", number=6))
    answers = [await buyer.get(f"/api/v1/licences/{one}") for one in (theirs, "lic-nobody")]
    assert [one.status_code for one in answers] == [404, 404]
    assert answers[0].json()["detail"] == f"there is no licence {theirs}"
    assert (await operator.get(f"/api/v1/licences/{theirs}")).status_code == 200


@pytest.mark.parametrize(
    ("wish", "status", "said"),
    [
        ({"address": "10.45.0.0/24"}, 409, "one IPv4 or IPv6 address"),
        ({"licence": "eyJ.x.y"}, 409, "no licence of ours"),
        ({"licence": "x" * 5000}, 422, "cannot use"),
        ({"licence": 1}, 422, "cannot use"),
        ({"more": 1}, 422, "cannot use"),
    ],
)
async def test_what_cannot_be_used_is_refused_in_a_sentence(buyer, text, wish, status, said):
    answer = await buyer.post("/api/v1/licences/activate", json={"licence": text, "address": ANNA} | wish)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.json()
    assert text not in answer.text


async def test_a_gateway_without_a_licence_key_says_so(store, connect):

    app = create_app(store, Settings(mesh="lab"), StandingClock())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway", headers=AS_BUYER
    ) as client:
        answer = await client.post("/api/v1/licences/activate", json={"licence": "x", "address": ANNA})
    assert (answer.status_code, "no licence key" in answer.json()["detail"]) == (409, True)
