"""A person's answer: bound to the plan, used once, in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from models.incident import IncidentState
from models.remedy import DecisionKind
from tests.infra.api.world import NOW, incident, remedy, tell_a_story


def wish(plan, decision="approve"):
    return {"plan_hash": plan.plan_hash, "decision": decision}


@pytest.mark.parametrize("kind", list(DecisionKind))
async def test_a_decision_is_stored_with_its_author_and_its_expiry(operator, store, clock, kind):
    plan = await tell_a_story(store)
    clock.at = NOW + timedelta(minutes=9)
    answer = await operator.post("/api/v1/decisions", json=wish(plan, kind.value))
    assert answer.status_code == 201
    async with store.unit() as unit:
        (stored,) = (await unit.incidents.story("i-1")).decisions
    assert (stored.plan_hash, stored.kind, stored.decided_by) == (plan.plan_hash, kind, "api:bob")
    assert (stored.decided_at, stored.expires_at) == (clock.at, clock.at + timedelta(minutes=10))
    assert answer.json()["plan_hash"] == plan.plan_hash


async def test_a_plan_is_decided_once(operator, store):
    plan = await tell_a_story(store)
    await operator.post("/api/v1/decisions", json=wish(plan))
    again = await operator.post("/api/v1/decisions", json=wish(plan, "deny"))
    assert again.status_code == 409
    assert "decided already" in again.json()["detail"]


@pytest.mark.parametrize("state", [one for one in IncidentState if one is not IncidentState.AWAITING_APPROVAL])
async def test_an_incident_that_waits_for_nobody_is_409(operator, store, state):
    plan = await tell_a_story(store, state=state)
    answer = await operator.post("/api/v1/decisions", json=wish(plan))
    assert answer.status_code == 409
    assert state.value in answer.json()["detail"]


async def test_a_plan_that_was_replaced_cannot_be_decided(operator, store):
    old = await tell_a_story(store)
    newer = remedy(cost=6000)
    async with store.unit() as unit:
        await unit.incidents.record_remedy(newer)
    answer = await operator.post("/api/v1/decisions", json=wish(old))
    assert answer.status_code == 409
    assert newer.plan_hash in answer.json()["detail"]


async def test_an_answer_after_ten_minutes_is_409(operator, store, clock):
    plan = await tell_a_story(store)
    clock.at = NOW + timedelta(minutes=10)
    answer = await operator.post("/api/v1/decisions", json=wish(plan))
    assert answer.status_code == 409
    assert "expired at 12:10:00" in answer.json()["detail"]


async def test_an_unknown_plan_is_404(operator):
    answer = await operator.post("/api/v1/decisions", json={"plan_hash": "0" * 64, "decision": "approve"})
    assert answer.status_code == 404


async def test_another_meshs_plan_is_404(operator, store):
    plan = remedy("i-9")
    async with store.unit() as unit:
        await unit.incidents.save(replace(incident("i-9"), mesh="elsewhere"))
        await unit.incidents.record_remedy(plan)
    assert (await operator.post("/api/v1/decisions", json=wish(plan))).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [({"plan_hash": "short"}, "plan_hash"), ({"decision": "maybe"}, "decision"), ({"by": "me"}, "by")],
)
async def test_a_field_that_cannot_be_used_is_422(operator, change, field):
    body = {"plan_hash": "0" * 64, "decision": "approve"} | change
    answer = await operator.post("/api/v1/decisions", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_an_empty_body_is_422(operator):
    answer = await operator.post("/api/v1/decisions")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")
