"""The mesh as it stands."""

from __future__ import annotations

from infra.api.gateway import digest_of
from models.ports import Scope, Token
from tests.fakes.store import FakeStore
from tests.infra.api.world import AS_READER, NOW, READ, tell_a_story


async def test_shows_nodes_with_the_age_of_their_newest_sample(reader):
    body = (await reader.get("/api/v1/mesh")).json()
    assert [one["sample_age_seconds"] for one in body["nodes"]] == [2.0, None, None]
    assert body["nodes"][0]["missing"] == ["probes"]


async def test_shows_configured_costs_while_nothing_stands(reader):
    body = (await reader.get("/api/v1/mesh")).json()
    first = body["links"][0]
    assert [one["cost"] for one in first["ends"]] == [96, 96]
    assert (first["is_costed_out"], body["standing"], body["open_incidents"]) == (False, [], [])


async def test_shows_a_standing_cost_out_at_its_end_and_the_open_incident(reader, store):
    await tell_a_story(store)
    body = (await reader.get("/api/v1/mesh")).json()
    first, second = body["links"]
    assert [one["cost"] for one in first["ends"]] == [5000, 96]
    assert (first["is_costed_out"], second["is_costed_out"]) == (True, False)
    assert body["standing"][0]["report"]["message"] == "cost read back"
    assert [one["id"] for one in body["open_incidents"]] == ["i-1"]


async def test_shows_the_pause_switch(operator):
    await operator.post("/api/v1/pause")
    assert (await operator.get("/api/v1/mesh")).json()["paused"] is True


async def test_an_undeclared_mesh_is_404_and_says_what_to_do(connect):
    empty = FakeStore()
    async with empty.unit() as unit:
        await unit.tokens.add(Token("alice", digest_of(READ), Scope.READ, NOW))
    answer = await connect(empty, **AS_READER).get("/api/v1/mesh")
    assert answer.status_code == 404
    assert "x0tta6bl4 up" in answer.json()["detail"]
