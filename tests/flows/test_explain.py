"""`explain` says the cause first, how sure that is, and why; and draws it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.commands.explain import explained, told, validated
from models.errors import RefusedError
from models.incident import IncidentId
from models.validation import told as told_of_validation
from tests.contracts.validations import record
from tests.fakes.store import FakeStore
from tests.infra.api.world import MESH, incident, tell_a_story


@pytest.fixture
async def store() -> FakeStore:
    made = FakeStore()
    async with made.unit() as unit:
        await unit.meshes.save(MESH)
    return made


async def test_the_best_cause_comes_first_with_its_confidence_and_reason(store):
    await tell_a_story(store)
    story, drawn = await explained("i-1", store=store)
    head, best, unknown, why, method = told(story)
    assert head == "incident i-1 on lab: awaiting-approval"
    assert best == "   90% ##################.. grey of link:n0--n1"
    assert unknown.endswith("unknown of no element in view")
    assert "40 of 100 packets did not arrive" in why
    assert method == "  diagnosed by rules"
    assert "link n0--n1: grey" in drawn


async def test_an_incident_nobody_diagnosed_is_told_as_such(store):
    async with store.unit() as unit:
        await unit.incidents.save(incident())
    story, drawn = await explained("i-1", store=store)
    assert told(story)[-1] == "  not diagnosed yet"
    assert "no diagnosis yet" in drawn


async def test_an_unknown_incident_is_refused_with_what_to_do(store):
    with pytest.raises(RefusedError, match="x0tta6bl4 incidents"):
        await explained("i-9", store=store)


async def test_a_validation_that_was_made_is_shown_with_what_is_doubtful_and_who_did_it(store):
    await tell_a_story(store)
    async with store.unit() as unit:
        await unit.validations.keep(replace(record(), incident=IncidentId("i-1")))
    lines = told_of_validation(await validated("i-1", store=store))
    assert lines == [
        "  dependencies around it doubtful: 1 could not be told, 1 doubtful; as a graph kept, only 0% fit as well",
        "  doubtful: a depends on b; they did not move together in 200 rows",
        "    4.50 nats (4.00 to 5.00) of a's change by b",
        "   -0.50 nats (-1.00 to 0.25) of a's change by a",
        "  a deviation of b was worth 0.50 of a in the past; stood 0 of 1 refutations",
        "  validated in 12 s on 200 rows, seed 1, dowhy 0.14",
    ]
