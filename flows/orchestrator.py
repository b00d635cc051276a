"""The three things the watchdog asks of Prefect, over its HTTP API.

The supervisor must stay small and start fast: Prefect's own client would cost it 80 MB and two seconds of import.
"""

from __future__ import annotations

from typing import Any, Protocol

import httpx

from models.errors import SourceUnavailable

ANSWER_SECONDS = 5.0  # a server on a busy machine; the watchdog asks again a second later
UNFINISHED = ("RUNNING", "PENDING", "SCHEDULED", "PAUSED", "CANCELLING")


class Orchestrator(Protocol):
    """Where long runs are started, and where they are declared dead."""

    async def abandon(self, deployment: str, *, why: str) -> tuple[str, ...]:
        """Force every unfinished run of a deployment to Crashed; return their ids.

        Raises:
            SourceUnavailable: the orchestrator does not answer.
        """

    async def start(self, deployment: str) -> str:
        """Start a run of a deployment with its own parameters; return its id.

        Raises:
            SourceUnavailable: as above.
        """


class PrefectOrchestrator:
    """Prefect's server."""

    def __init__(self, api: str, *, auth: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take the API's address, `http://127.0.0.1:4200/api`, and `user:password` if it asks for one.

        A transport is given by tests.
        """
        user, _, password = (auth or "").partition(":")
        self._client = httpx.AsyncClient(
            base_url=api,
            auth=httpx.BasicAuth(user, password) if auth else None,
            timeout=ANSWER_SECONDS,
            transport=transport,
            trust_env=False,
        )

    async def abandon(self, deployment: str, *, why: str) -> tuple[str, ...]:
        """See Orchestrator."""
        found = await self._post(
            "/flow_runs/filter",
            {
                "deployments": {"id": {"any_": [deployment]}},
                "flow_runs": {"state": {"type": {"any_": UNFINISHED}}},
            },
        )
        runs = tuple(str(one["id"]) for one in found)
        for run in runs:
            crashed = {"type": "CRASHED", "name": "Crashed", "message": why}
            await self._post(f"/flow_runs/{run}/set_state", {"state": crashed, "force": True})
        return runs

    async def start(self, deployment: str) -> str:
        """See Orchestrator."""
        made = await self._post(
            f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED", "name": "Scheduled"}}
        )
        return str(made["id"])

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def _post(self, path: str, body: dict[str, object]) -> Any:
        try:
            answer = await self._client.post(path, json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise SourceUnavailable("Prefect", str(error) or type(error).__name__) from error
        return answer.json()
