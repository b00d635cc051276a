"""Requests to heal, and the pause switch."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.ports import HealRequest
from models.remedy import GuardState
from tests.infra.api.world import NOW


async def test_a_heal_is_a_dry_run_unless_asked_otherwise(operator, store):
    answer = await operator.post("/api/v1/heal")
    assert answer.status_code == 202
    async with store.unit() as unit:
        stored = await unit.requests.get(answer.json()["id"])
    assert (stored.dry_run, stored.mesh, stored.asked_by, stored.asked_at) == (True, "lab", "api:bob", NOW)


async def test_the_status_url_shows_what_became_of_it(operator, store):
    accepted = await operator.post("/api/v1/heal", json={"dry_run": False})
    url = accepted.json()["status_url"]
    assert accepted.headers["location"] == url
    waiting = (await operator.get(url)).json()
    async with store.unit() as unit:
        await unit.requests.finish(waiting["id"], "i-1: fixed")
    done = (await operator.get(url)).json()
    assert (waiting["is_done"], waiting["outcome"], waiting["dry_run"]) == (False, None, False)
    assert (done["is_done"], done["outcome"]) == (True, "i-1: fixed")


async def test_asking_twice_with_one_id_asks_once(operator, store, clock):
    first = await operator.post("/api/v1/heal", json={"id": "monday-1", "dry_run": False})
    clock.at = NOW + timedelta(seconds=9)
    second = await operator.post("/api/v1/heal", json={"id": "monday-1", "dry_run": False})
    assert first.json() == second.json()
    async with store.unit() as unit:
        assert (await unit.requests.get("monday-1")).asked_at == NOW


async def test_one_id_for_two_different_wishes_is_409(operator):
    await operator.post("/api/v1/heal", json={"id": "monday-1", "dry_run": True})
    answer = await operator.post("/api/v1/heal", json={"id": "monday-1", "dry_run": False})
    assert answer.status_code == 409
    assert "monday-1" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"dry_run": 0}, "dry_run"),
        ({"dry_run": "off"}, "dry_run"),
        ({"dry_run": None}, "dry_run"),
        ({"dryrun": False}, "dryrun"),
        ({"id": ""}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": 7}, "id"),
        ([], "body"),
        ("text", "body"),
    ],
)
async def test_a_body_that_cannot_be_used_is_422_and_names_the_field(operator, body, field):
    answer = await operator.post("/api/v1/heal", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_an_unknown_request_is_404(reader):
    assert (await reader.get("/api/v1/heal/nobody-asked")).status_code == 404


async def test_another_meshs_request_is_404(reader, store):
    async with store.unit() as unit:
        await unit.requests.post(HealRequest("r-9", "elsewhere", dry_run=True, asked_by="cli:root", asked_at=NOW))
    assert (await reader.get("/api/v1/heal/r-9")).status_code == 404


async def test_pausing_keeps_the_rest_of_what_the_guards_remember(operator, store):
    remembered = GuardState(strikes={"link:n0--n1/grey": 1})
    async with store.unit() as unit:
        await unit.guards.save("lab", remembered)
    assert (await operator.post("/api/v1/pause")).json() == {"paused": True}
    async with store.unit() as unit:
        assert await unit.guards.load("lab") == GuardState(paused=True, strikes={"link:n0--n1/grey": 1})
    assert (await operator.post("/api/v1/resume")).json() == {"paused": False}
    async with store.unit() as unit:
        assert await unit.guards.load("lab") == remembered
