"""Incidents and their stories."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from datetime import timedelta

import pytest

from infra.api import schemas
from models import incident as incidents
from models import mesh, ports, remedy
from tests.infra.api.world import NOW, incident, tell_a_story


async def test_lists_the_newest_first_and_not_more_than_asked(reader, store):
    async with store.unit() as unit:
        for age in (3, 1, 2):
            await unit.incidents.save(incident(f"i-{age}", opened_at=NOW - timedelta(minutes=age)))
    body = (await reader.get("/api/v1/incidents", params={"limit": 2})).json()
    assert [one["id"] for one in body["incidents"]] == ["i-1", "i-2"]


@pytest.mark.parametrize("limit", ["0", "501", "many", "-1", "1e9", ""])
async def test_a_limit_out_of_bounds_is_422_and_names_the_field(reader, limit):
    answer = await reader.get("/api/v1/incidents", params={"limit": limit})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "limit"


async def test_a_misspelt_limit_is_422_and_names_it(reader):
    answer = await reader.get("/api/v1/incidents", params={"limt": 2})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limt")


async def test_tells_the_whole_story(reader, store):
    plan = await tell_a_story(store)
    answer = await reader.get("/api/v1/incidents/i-1")
    story = answer.json()
    assert answer.status_code == 200
    assert story["incident"]["symptoms"][0]["facts"] == {"loss": 0.4, "direction": "n0>n1"}
    assert [one["fault"] for one in story["diagnoses"][0]["causes"]] == ["grey", "unknown"]
    assert story["remedies"][0]["plan_hash"] == plan.plan_hash
    assert story["remedies"][0]["refused"] == [{"name": "restart-daemon", "limit": "the daemon runs"}]
    assert story["remedies"][0]["actions"][0]["arguments"] == {"interface": "to-n1", "cost": 5000}
    assert story["operations"][0]["report"]["after"] == "5000"
    assert story["verifications"][0]["verdict"] == "healed"
    assert story["outcomes"][0]["kind"] == "awaiting-approval"
    assert story["decisions"] == []


async def test_an_infinite_strength_is_spelled_out(reader, store):
    await tell_a_story(store)
    story = (await reader.get("/api/v1/incidents/i-1")).json()
    assert story["incident"]["symptoms"][0]["strength"] == "inf"
    assert story["diagnoses"][0]["causes"][0]["evidence"][0]["strength"] == "inf"


async def test_an_unknown_incident_is_404(reader):
    answer = await reader.get("/api/v1/incidents/i-404")
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no incident i-404")


async def test_another_meshs_incident_is_404(reader, store):
    async with store.unit() as unit:
        await unit.incidents.save(replace(incident("i-9"), mesh="elsewhere"))
    assert (await reader.get("/api/v1/incidents/i-9")).status_code == 404


@pytest.mark.parametrize("name", ["%00", "a%20b", "x" * 129, "%F0%9F%92%A5"])
async def test_an_id_that_cannot_be_one_is_422(reader, name):
    answer = await reader.get(f"/api/v1/incidents/{name}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "incident")


# A view leaves out the incident that its story is told under; everything else must be shown.
SHOWN_ELSEWHERE = {"incident"}
PAIRS = [
    (schemas.ElementView, mesh.Element),
    (schemas.SymptomView, incidents.Symptom),
    (schemas.IncidentView, incidents.Incident),
    (schemas.EvidenceView, incidents.Evidence),
    (schemas.CauseView, incidents.Cause),
    (schemas.DiagnosisView, incidents.Diagnosis),
    (schemas.ActionView, remedy.Action),
    (schemas.RemedyView, remedy.Remedy),
    (schemas.VerificationView, incidents.Verification),
    (schemas.DecisionView, remedy.Decision),
    (schemas.OutcomeView, incidents.Outcome),
    (schemas.OperationView, remedy.OperationRecord),
    (schemas.StoryView, ports.IncidentStory),
]


@pytest.mark.parametrize(("view", "domain"), PAIRS, ids=lambda one: one.__name__)
def test_a_view_shows_every_field_of_its_domain_type(view, domain):
    assert is_dataclass(domain)
    assert {one.name for one in fields(domain)} - SHOWN_ELSEWHERE <= set(view.model_fields)
