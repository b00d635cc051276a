"""Done when 6: turns of the cycle that nobody's fault asked for, by schedule, by hand, and over the API."""

from __future__ import annotations

import httpx

from models.ports import Scope
from tests.e2e.orchestrator import prefect_of, run_deployment
from tests.e2e.waiting import NotYet, until
from tests.e2e.world import World

ANSWER_WITHIN = 60.0


async def test_the_audit_runs_on_a_schedule_completes_and_stays_quiet(world: World):
    known = await world.known()
    async with prefect_of(world.house) as prefect:
        audit = (await prefect.get("/deployments/name/heal-mesh/audit")).raise_for_status().json()
    assert [one["schedule"]["interval"] for one in audit["schedules"] if one["active"]] == [300]
    assert audit["parameters"]["asked"]["dry_run"] is False

    run = await run_deployment(world.house, "heal-mesh/audit")

    assert run["state_type"] == "COMPLETED", run["state"]
    assert await world.operations(known) == []


async def test_a_turn_by_hand_is_a_dry_run_that_changes_nothing(world: World):
    known = await world.known()
    costs = {link.id: world.costs_of(link.id) for link in world.lab.mesh.links}

    run = await run_deployment(world.house, "heal-mesh/manual")

    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["parameters"]["asked"]["dry_run"] is True
    assert await world.operations(known) == []
    assert {link.id: world.costs_of(link.id) for link in world.lab.mesh.links} == costs


async def test_a_heal_asked_for_over_the_api_ends_with_an_outcome(world: World):
    made = world.house.run("token", "create", "e2e", "--scope", Scope.OPERATE)
    assert made.returncode == 0, made.stderr
    bearer = {"Authorization": f"Bearer {made.stdout.strip()}"}
    async with httpx.AsyncClient(base_url=world.house.gateway, trust_env=False, timeout=10) as api:
        refused = await api.post("/api/v1/heal", json={"dry_run": False})
        assert refused.status_code == httpx.codes.UNAUTHORIZED
        accepted = await api.post("/api/v1/heal", json={"dry_run": False}, headers=bearer)
        assert accepted.status_code == httpx.codes.ACCEPTED, accepted.text
        where = accepted.headers["Location"]

        async def is_answered() -> str | NotYet:
            found = (await api.get(where, headers=bearer)).raise_for_status().json()
            return str(found["outcome"]) if found["is_done"] else NotYet(str(found))

        outcome = await until("the request's outcome", is_answered, within=ANSWER_WITHIN)
    assert outcome == "no incident waits"
