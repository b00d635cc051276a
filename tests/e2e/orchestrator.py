"""What a person would look up, or start, in Prefect's UI."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.house import House
from tests.e2e.waiting import NotYet, until

# A worker-started run needs up to 14 s on an idle machine until it runs, and two cores may have other work.
RUN_WITHIN = 120.0


def prefect_of(house: House) -> httpx.AsyncClient:
    """Return a client of an installation's Prefect."""
    return httpx.AsyncClient(base_url=f"{house.prefect}/api", trust_env=False, timeout=10)


async def run_deployment(house: House, name: str) -> dict[str, Any]:
    """Start a run of a deployment as the UI does, with its own parameters; return it once it is over."""
    async with prefect_of(house) as prefect:
        deployment = (await prefect.get(f"/deployments/name/{name}")).raise_for_status().json()
        created = await prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run", json={"state": {"type": "SCHEDULED"}}
        )
        run = created.raise_for_status().json()["id"]

        async def is_over() -> dict[str, Any] | NotYet:
            found: dict[str, Any] = (await prefect.get(f"/flow_runs/{run}")).raise_for_status().json()
            over = found["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
            return found if over else NotYet(str(found["state_name"]))

        return await until(f"a run of {name}", is_over, within=RUN_WITHIN)


async def run_named(house: House, flow: str, name: str, state: str) -> dict[str, Any]:
    """Wait for the run of a flow with this name in this state, and return it."""
    asked = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"name": {"any_": [name]}}}
    async with prefect_of(house) as prefect:

        async def is_there() -> dict[str, Any] | NotYet:
            found = (await prefect.post("/flow_runs/filter", json=asked)).raise_for_status().json()
            right = [one for one in found if one["state_type"] == state]
            return right[0] if right else NotYet(f"{[one['state_name'] for one in found]}")

        return await until(f"run {name!r} of {flow} to be {state}", is_there, within=RUN_WITHIN)
