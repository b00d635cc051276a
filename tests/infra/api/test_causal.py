"""Causes over HTTP: a node against its own past, a snapshot, an incident, a picture; what cannot be used is named."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from pydantic import TypeAdapter

from models.incident import Incident, IncidentId, IncidentState, Symptom, SymptomKind
from models.mesh import Element, LinkId, NodeId
from models.telemetry import DaemonState, HostReading, Sample
from models.validation import ValidationRecord
from tests.contracts.validations import record
from tests.infra.api.world import MESH, NOW, tell_a_story
from tests.models.samples import DATA, START, Flow, World, lossy

URL = "/api/v1/causal/analyze"
CALM = [0.1 + 0.01 * (one % 3) for one in range(30)]


def chain(rows: int = 30, split: int = 24) -> dict:
    """Frontend calls checkout calls store; the store gets slow, and so do they, a little less."""
    slow = {"frontend": 6.0, "checkout": 7.0, "store": 40.0, "cart": 0.0}
    rng = np.random.default_rng(1)
    values = [
        [[round(10 + float(rng.normal()) + (extra if row >= split else 0), 3)] for extra in slow.values()]
        for row in range(rows)
    ]
    return {
        "elements": [{"id": one} for one in slow],
        "dependencies": [
            {"element": "frontend", "depends_on": "checkout"},
            {"element": "checkout", "depends_on": "store"},
            {"element": "frontend", "depends_on": "cart"},
        ],
        "signals": [{"name": "latency", "unit": "ms", "kind": "latency"}],
        "times": list(range(rows)),
        "values": values,
        "split": split,
        "target": "frontend",
    }


async def test_a_node_is_judged_against_the_past_that_was_sent_along(reader):
    wish = {"node_id": "n1", "metrics": {"cpu": 0.95}, "history": {"cpu": CALM}}
    found = (await reader.post(URL, json=wish)).json()
    (suspect,) = found["suspects"]
    assert suspect["element"] == "node:n1"
    assert suspect["because"]
    assert suspect["confidence"] + found["no_visible_root"] == pytest.approx(1.0)
    assert found["not_judged"] == {}
    calm = (await reader.post(URL, json=wish | {"metrics": {"cpu": 0.11}})).json()
    assert calm["no_visible_root"] > found["no_visible_root"]


async def test_what_the_mesh_measures_itself_needs_no_history(reader, store):
    def sample(number: int) -> Sample:
        host = HostReading(0.05, 0, 0, 0, DaemonState.RUNNING)
        return Sample(NodeId("n1"), 1, number, NOW - timedelta(seconds=40) + timedelta(seconds=number / 2), host=host)

    async with store.unit() as unit:
        await unit.samples.add("lab", [sample(one) for one in range(79)])
    found = (await reader.post(URL, json={"node_id": "n1", "metrics": {"cpu pressure": 0.9}})).json()
    assert [one["element"] for one in found["suspects"]] == ["node:n1"]
    assert found["suspects"][0]["confidence"] > found["no_visible_root"]


@pytest.mark.parametrize("node", ["n1", "nobody's"])
async def test_says_not_enough_history_instead_of_guessing(reader, node):
    answer = await reader.post(URL, json={"node_id": node, "metrics": {"cpu": 0.99}, "history": {"cpu": [0.1] * 3}})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["suspects"], found["no_visible_root"]) == ([], 1.0)
    assert "3 rows before the incident, 12 are needed" in found["not_judged"]["cpu"]


async def test_the_root_of_a_snapshot_is_the_callee_that_made_its_callers_slow(reader):
    found = (await reader.post(URL, json={"snapshot": chain()})).json()
    assert found["suspects"][0]["element"] == "store"
    assert sum(one["confidence"] for one in found["suspects"]) + found["no_visible_root"] <= 1.0001


async def test_json_is_read_whatever_the_content_type(reader):
    body = b'{"node_id": "n1", "metrics": {"cpu": 0.9}}'
    for kind in ("application/x-www-form-urlencoded", "text/plain", "nonsense"):
        assert (await reader.post(URL, content=body, headers={"Content-Type": kind})).status_code == 200


BAD = {
    "node_id": b"{}",
    "metrics": b'{"node_id": "n1"}',
    "metrics.cpu": b'{"node_id": "n1", "metrics": {"cpu": NaN}}',
    "metrics.load": b'{"node_id": "n1", "metrics": {"load": Infinity}}',
    "metrics.io": b'{"node_id": "n1", "metrics": {"io": 1e999}}',
    "metrics.ram": b'{"node_id": "n1", "metrics": {"ram": "much"}}',
    "history.cpu": b'{"node_id": "n1", "metrics": {"x": 1}, "history": {"cpu": [1]}}',
    "surprise": b'{"node_id": "n1", "metrics": {"cpu": 1}, "surprise": 1}',
}


@pytest.mark.parametrize("field", BAD)
async def test_what_cannot_be_used_is_422_with_the_fields_name(reader, field):
    answer = await reader.post(URL, content=BAD[field])
    assert answer.status_code == 422
    assert field in {one["field"] for one in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("field", "bent"),
    [
        ("snapshot.values", {"values": [[[1.0]]]}),
        ("snapshot.times", {"times": [0] * 30}),
        ("snapshot.split", {"split": 30}),
        ("snapshot.target", {"target": "nobody"}),
        ("snapshot.dependencies", {"dependencies": [{"element": "store", "depends_on": "nobody"}]}),
        ("snapshot.elements", {"elements": [{"id": "store"}] * 4}),
        ("snapshot.signals.worse", {"signals": [{"name": "latency", "worse": 2}]}),
    ],
)
async def test_a_snapshot_that_does_not_fit_is_422_with_the_fields_name(reader, field, bent):
    answer = await reader.post(URL, json={"snapshot": chain() | bent})
    assert answer.status_code == 422
    assert {one["field"] for one in answer.json()["errors"]} == {field}


async def test_a_snapshot_with_too_short_a_past_is_refused_with_the_reason(reader):
    answer = await reader.post(URL, json={"snapshot": chain(rows=6, split=3)})
    assert answer.status_code == 409
    assert "not enough history" in answer.json()["detail"]


async def test_a_snapshot_and_a_node_at_once_is_one_too_many(reader):
    answer = await reader.post(URL, json={"snapshot": chain(), "node_id": "n1"})
    assert answer.json()["errors"][0]["field"] == "node_id"


async def test_nobody_without_a_token_asks(anyone, buyer):
    assert (await anyone.post(URL, json={})).status_code == 401
    assert (await buyer.post(URL, json={})).status_code == 403
    assert (await anyone.get("/api/v1/incidents/i-1/causes.svg")).status_code == 401


async def test_an_incidents_causes_are_its_diagnosis_and_why_there_is_no_more(reader, store):
    await tell_a_story(store)
    found = (await reader.get("/api/v1/incidents/i-1/causes")).json()
    assert found["diagnosis"]["causes"][0]["fault"] == "grey"
    assert found["analysis"] is None
    assert "not enough history" in found["why_not"]
    assert found["validation"] is None


async def test_a_validation_is_shown_whole_once_it_was_made(reader, store):
    await tell_a_story(store)
    made = replace(record(), incident=IncidentId("i-1"))
    async with store.unit() as unit:
        await unit.validations.keep(made)
    shown = (await reader.get("/api/v1/incidents/i-1/causes")).json()["validation"]
    whole = json.loads(TypeAdapter(ValidationRecord).dump_json(made))
    assert shown == {name: value for name, value in whole.items() if name != "incident"}


async def test_while_its_samples_are_kept_an_incident_is_analysed_too(reader, store):
    simulated = World(MESH, np.random.default_rng(2), flows=[Flow("n0", "n2", 50)])
    simulated.harm = lossy("n0--n1", 1.0, start=25, classes=[DATA])
    samples = [one for _, batch in simulated.run(29) for one in batch]
    since = START + timedelta(seconds=25)
    symptom = Symptom(Element.of_link(LinkId("n0--n1")), SymptomKind.LOSS, since, since + timedelta(seconds=3), 9.0, {})
    async with store.unit() as unit:
        await unit.samples.add("lab", samples)
        await unit.incidents.save(Incident(IncidentId("i-2"), "lab", IncidentState.OPEN, since, (symptom,)))
    found = (await reader.get("/api/v1/incidents/i-2/causes")).json()
    assert (found["diagnosis"], found["why_not"]) == (None, "")
    assert found["analysis"]["suspects"][0]["element"] == "link:n0--n1"


async def test_an_incident_has_a_picture_in_which_nothing_runs(reader, store):
    await tell_a_story(store)
    answer = await reader.get("/api/v1/incidents/i-1/causes.svg")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "link n0--n1: grey" in answer.text


@pytest.mark.parametrize("which", ["causes", "causes.svg"])
async def test_there_are_no_causes_of_an_unknown_incident(reader, which):
    assert (await reader.get(f"/api/v1/incidents/i-9/{which}")).status_code == 404
