"""What the watchdog says to Prefect's HTTP API."""

from __future__ import annotations

import json

import httpx
import pytest

from flows.orchestrator import PrefectOrchestrator
from models.errors import SourceUnavailable

API = "http://prefect.test/api"


class FakeServer:
    """As much of Prefect's server as the watchdog talks to."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, str]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        parts = request.url.path.removeprefix("/api/").split("/")
        match parts:
            case ["flow_runs", "filter"]:
                wanted = body["deployments"]["id"]["any_"]
                states = body["flow_runs"]["state"]["type"]["any_"]
                found = [
                    {"id": run}
                    for run, one in self.runs.items()
                    if one["deployment"] in wanted and one["state"] in states
                ]
                return httpx.Response(200, json=found)
            case ["flow_runs", run, "set_state"]:
                assert body["force"] is True
                self.runs[run]["state"] = body["state"]["type"]
                return httpx.Response(201, json={"status": "ACCEPT"})
            case ["deployments", deployment, "create_flow_run"]:
                run = f"run-{len(self.runs)}"
                self.runs[run] = {"deployment": deployment, "state": body["state"]["type"]}
                return httpx.Response(201, json={"id": run})
        return httpx.Response(404)


async def test_abandons_only_the_unfinished_runs_of_the_deployment() -> None:
    server = FakeServer()
    server.runs = {
        "a": {"deployment": "d1", "state": "RUNNING"},
        "b": {"deployment": "d1", "state": "COMPLETED"},
        "c": {"deployment": "d2", "state": "RUNNING"},
    }
    orchestrator = PrefectOrchestrator(API, transport=httpx.MockTransport(server))
    assert await orchestrator.abandon("d1", why="silent") == ("a",)
    assert [one["state"] for one in server.runs.values()] == ["CRASHED", "COMPLETED", "RUNNING"]
    await orchestrator.close()


async def test_starts_a_run_of_the_deployment() -> None:
    server = FakeServer()
    orchestrator = PrefectOrchestrator(API, transport=httpx.MockTransport(server))
    run = await orchestrator.start("d1")
    assert server.runs[run] == {"deployment": "d1", "state": "SCHEDULED"}
    await orchestrator.close()


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(404)])
async def test_an_error_of_the_server_is_an_unavailable_source(answer: httpx.Response) -> None:
    orchestrator = PrefectOrchestrator(API, transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(SourceUnavailable, match="Prefect does not answer"):
        await orchestrator.start("d1")
    await orchestrator.close()


async def test_an_orchestrator_behind_a_password_is_told_it() -> None:
    heard = []

    def server(request: httpx.Request) -> httpx.Response:
        heard.append(request.headers.get("Authorization"))
        return httpx.Response(200, json=[])

    for auth in ("x0:open sesame", None):
        orchestrator = PrefectOrchestrator(API, auth=auth, transport=httpx.MockTransport(server))
        await orchestrator.abandon("d1", why="test")
        await orchestrator.close()
    assert heard == [httpx.BasicAuth("x0", "open sesame")._auth_header, None]
