"""A real worker of a real Prefect, through the gateway's door: it collects for its node, and reaches nothing else's."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from infra.clock import SystemClock
from infra.db.cluster import Cluster
from infra.db.unit import PostgresStore
from models.mesh import Mesh, Node, NodeId
from tests.conftest import execute
from tests.owned import owned_database

pytestmark = [pytest.mark.flow, pytest.mark.postgres, pytest.mark.e2e, pytest.mark.timeout(900)]

CODE = Path(__file__).parents[2]
MESH, NODE = "joined", "n7"
ADMIN = ("admin", "of-this-test")
# Prefect migrates a database and a worker imports it, on a machine that has other things to do.
PATIENCE_SECONDS = 300
STOP_SECONDS = 30


@dataclass(frozen=True)
class House:
    """An installation whose parts live apart, with one node that joined it."""

    prefect: httpx.AsyncClient
    door: httpx.AsyncClient
    store: PostgresStore
    environment: Mapping[str, str]
    command: Callable[..., str]


def a_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def running(log: Path, *words: str, env: Mapping[str, str]) -> Iterator[None]:
    """Keep a part of ours running, in a group of its own that is ended whole."""
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=CODE,
            env={**os.environ, **env},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def until(what: Callable[[], Awaitable[Any]], why: str) -> Any:
    """Wait for something true."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    if found := await what():
                        return found
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.5)
    except TimeoutError:
        pytest.fail(f"{why} in {PATIENCE_SECONDS} s")


@asynccontextmanager
async def a_house(cluster: Cluster, folder: Path) -> AsyncIterator[House]:
    prefect_port, gateway_port = a_port(), a_port()
    api, gateway = f"http://127.0.0.1:{prefect_port}/api", f"http://127.0.0.1:{gateway_port}"
    await execute(cluster.prefect_url, "CREATE DATABASE prefect_joined")
    await execute(cluster.url("prefect_joined"), "CREATE EXTENSION pg_trgm")
    async with owned_database(cluster, MESH) as here:
        control = {
            "X0_STATE": str(folder / "control"),
            "X0_MESH": MESH,
            "X0_API_PORT": str(gateway_port),
            "X0_PREFECT_PORT": str(prefect_port),
            "X0_NODE_DATABASE": f"/{MESH}?host={cluster.sockets}&port=5432",
            "X0_PLACES": str(folder / "places"),
            "DATABASE_URL": here.render_as_string(),
            "PREFECT_API_URL": api,
            "PREFECT_API_AUTH_STRING": ":".join(ADMIN),
            "PREFECT_SERVER_API_AUTH_STRING": ":".join(ADMIN),
            "PREFECT_API_DATABASE_CONNECTION_URL": cluster.url("prefect_joined"),
        }

        def command(*words: str) -> str:
            program = Path(sys.executable).parent / "x0tta6bl4"
            done = subprocess.run(
                [program, *words], env={**os.environ, **control}, cwd=CODE, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        store = PostgresStore(control["DATABASE_URL"])
        async with store.unit() as unit:
            await unit.meshes.save(Mesh(MESH, (Node(NodeId("n1"), "10.42.0.2"),), ()))
        with (
            running(folder / "prefect.log", "-m", "flows.agent", "prefect", env=control),
            running(folder / "gateway.log", "-m", "infra.api", env=control),
        ):
            async with (
                httpx.AsyncClient(base_url=api, auth=ADMIN, timeout=30) as prefect,
                httpx.AsyncClient(base_url=f"{gateway}/api/prefect", timeout=30) as stranger,
            ):

                async def is_well() -> bool:
                    return (await stranger.get("/health")).status_code == httpx.codes.OK

                await until(is_well, "Prefect is not well behind the gateway")
                deploy = [sys.executable, "-m", "flows.deploy", "--no-heal"]
                await asyncio.to_thread(subprocess.run, deploy, env={**os.environ, **control}, cwd=CODE, check=True)
                (folder / "token").write_text(await asyncio.to_thread(command, "join-token", "create", "--node", NODE))
                await asyncio.to_thread(
                    command,
                    *("node", "join", "--url", gateway, "--token-file", str(folder / "token"), "--name", NODE),
                    *("--mesh", MESH, "--dir", str(folder / "etc")),
                )
                told = dict(line.split("=", 1) for line in (folder / "etc/node.env").read_text().splitlines())
                async with httpx.AsyncClient(
                    base_url=told["PREFECT_API_URL"],
                    auth=tuple(told["PREFECT_API_AUTH_STRING"].split(":", 1)),
                    timeout=30,
                ) as door:
                    yield House(prefect, door, store, told, command)
        await store.close()
    await execute(cluster.prefect_url, "DROP DATABASE prefect_joined WITH (FORCE)")


async def its_runs(house: House) -> list[dict[str, Any]]:
    asked = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    found: list[dict[str, Any]] = (await house.prefect.post("/flow_runs/filter", json=asked)).json()
    return found


async def another_run(house: House) -> tuple[str, str]:
    """Make what a compromised node would like to reach: a run of control's."""
    deployment = (await house.prefect.get("/deployments/name/heal-mesh/manual")).json()["id"]
    run = await house.prefect.post(f"/deployments/{deployment}/create_flow_run", json={})
    return deployment, run.json()["id"]


async def test_a_joined_node_collects_through_the_door_and_reaches_nothing_of_others(cluster: Cluster, tmp_path: Path):
    async with a_house(cluster, tmp_path) as house:
        node = {
            **house.environment,
            "X0_STATE": str(tmp_path / "node"),
            "X0_NODE_METRICS_PORT": str(a_port()),
            # What an operator's shell says of another Prefect is nothing to a node.
            "PREFECT_SERVER_API_AUTH_STRING": "",
        }
        (tmp_path / "node").mkdir()
        with running(tmp_path / "node.log", "-m", "flows.agent", "node", "--name", NODE, env=node):

            async def has_samples() -> bool:
                async with house.store.unit() as unit:
                    return NODE in await unit.samples.latest(MESH)

            await until(has_samples, f"no sample came; see {tmp_path}")
            runs = await until(lambda: its_runs(house), "Prefect shows no running run")
            assert [run["work_queue_name"] for run in runs] == [f"node-{NODE}"]
            await refuses_what_is_not_its_own(house, runs[0]["id"])
        await asyncio.to_thread(house.command, "node", "expel", NODE)
        assert (await house.door.get("/work_pools/mesh")).status_code == httpx.codes.UNAUTHORIZED


async def refuses_what_is_not_its_own(house: House, own: str) -> None:
    deployment, run = await another_run(house)
    crash = {"state": {"type": "CRASHED"}, "force": True}
    line = {"name": "n", "level": 20, "message": "m", "timestamp": SystemClock().now().isoformat()}
    tried: list[tuple[str, str, Any]] = [
        ("POST", "/work_pools/mesh/get_scheduled_flow_runs", {"work_queue_names": ["control"]}),
        ("POST", "/work_pools/mesh/get_scheduled_flow_runs", {}),
        ("POST", f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED", "name": "Scheduled"}}),
        ("GET", f"/deployments/{deployment}", None),
        ("GET", f"/flow_runs/{run}", None),
        ("POST", f"/flow_runs/{run}/set_state", crash),
        ("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": "1"}),
        ("POST", "/logs/", [{**line, "flow_run_id": run}]),
        ("POST", "/flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}}),
        ("POST", "/flow_runs/filter", {}),
        ("PATCH", "/work_pools/mesh", {"base_job_template": {}}),
        ("DELETE", "/work_pools/mesh", None),
        ("GET", "/work_pools/mesh/../../admin/settings", None),
        ("POST", "/variables/", {"name": "one", "value": "two"}),
    ]
    for method, path, body in tried:
        answer = await house.door.request(method, path, json=body)
        assert answer.status_code in {httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND}, (method, path, answer.text)
        assert "x-prefect" not in answer.headers
    assert (await house.prefect.get(f"/flow_runs/{run}")).json()["state_type"] == "SCHEDULED"
    # An empty list of ids finds nothing; if it found everything, the rule that lets it pass would be wrong.
    assert (await house.door.post("/flow_runs/filter", json={"flow_runs": {"id": {"any_": []}}})).json() == []
    assert (await house.door.get(f"/flow_runs/{own}")).json()["id"] == own
    with pytest.raises(InvalidStatus):
        async with connect(f"{house.environment['PREFECT_API_URL'].replace('http', 'ws', 1)}/events/in"):
            pass
