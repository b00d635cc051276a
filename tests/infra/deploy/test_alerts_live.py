"""A link of a lab goes down; a real Prometheus sees it, a real Alertmanager tells, the watch looks; then it clears."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn

from flows.controller import controlling
from infra.api.app import create_app
from infra.api.gateway import digest_of
from infra.clock import SystemClock
from infra.deploy.prometheus.__main__ import main as write_targets
from infra.lab import build, faults
from infra.lab.build import Lab
from infra.lab.faults import Harm
from infra.lab.names import management_namespace
from infra.lab.topology import Shape, mesh
from infra.node.netns import entered
from infra.settings import Settings
from models.incident import FaultKind
from models.mesh import Element
from models.ports import HealRequest, Scope, Store, Token
from tests.infra.deploy.tools import DEPLOY, fetch, running, tool

pytestmark = [pytest.mark.kernel, pytest.mark.postgres]

GATEWAY, PROMETHEUS, ALERTMANAGER = 8080, 9090, 9093
# Idle, the alert fires 17 s after the fault: 15 s of `for`, a scrape, an evaluation. The machine may have other work.
PATIENT_SECONDS = 120.0
LOOK_SECONDS = 0.3
# The rules are those that are shipped; only how often one looks is made quicker here.
QUICKER = {
    "scrape_interval: 15s": "scrape_interval: 1s",
    "scrape_timeout: 10s": "scrape_timeout: 1s",
    "evaluation_interval: 15s": "evaluation_interval: 1s",
}


@pytest.fixture
def state() -> Iterator[Path]:
    """A short path: a unix socket's address holds a hundred bytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = Path(tempfile.mkdtemp(prefix="x0-alerts-"))
    yield folder
    asyncio.run(build.clean(None, state=folder))
    shutil.rmtree(folder)


@asynccontextmanager
async def served(store: Store, settings: Settings, namespace: str) -> AsyncIterator[None]:
    """Serve the gateway inside the management network, where the lab's nodes can be scraped."""
    with entered(namespace):
        listening = socket.create_server(("127.0.0.1", GATEWAY))
    app = create_app(store, settings, SystemClock())
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listening.close()


@contextmanager
def watched(lab: Lab, settings: Settings, folder: Path, *, token: str) -> Iterator[None]:
    """Run Prometheus and Alertmanager as shipped inside the management network."""
    rules = folder / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", rules)
    text = (rules / "prometheus.yml").read_text()
    for shipped, quicker in QUICKER.items():
        assert shipped in text
        text = text.replace(shipped, quicker)
    (rules / "prometheus.yml").write_text(text)
    write_targets([str(rules / "targets" / "nodes.yml")], settings)
    (folder / "token").write_text(token)
    text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    text = text.replace("/etc/x0tta6bl4/alertmanager.token", str(folder / "token"))
    (folder / "alertmanager.yml").write_text(text.replace("group_interval: 1m", "group_interval: 1s"))
    there = [tool("ip"), "netns", "exec", management_namespace(lab.name)]
    alertmanager = [
        tool("prometheus-alertmanager"),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alerts",
        f"--web.listen-address=127.0.0.1:{ALERTMANAGER}",
        "--cluster.listen-address=",
    ]
    prometheus = [
        tool("prometheus"),
        f"--config.file={rules}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{PROMETHEUS}",
    ]
    with ExitStack() as stack:
        stack.enter_context(running([*there, *alertmanager], log=folder / "alertmanager.log"))
        stack.enter_context(running([*there, *prometheus], log=folder / "prometheus.log"))
        yield


async def waiting(store: Store, mesh_name: str) -> list[HealRequest]:
    """Return the requests that the watch has not answered yet."""
    async with store.unit() as unit:
        return await unit.requests.waiting(mesh_name)


async def until(look: Callable[[], Any]) -> None:
    """Wait until `look`, which runs in a thread, finds something; a server that does not answer yet has not."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while not await asyncio.to_thread(_found, look):  # noqa: ASYNC110 - it is another process that changes
            await asyncio.sleep(LOOK_SECONDS)


def _found(look: Callable[[], Any]) -> bool:
    try:
        return bool(look())
    except OSError:
        return False


async def test_a_link_that_goes_down_fires_an_alert_the_watch_looks_and_the_alert_clears(state, database):
    lab = await build.up(mesh(Shape.LINE, 3, name=f"al{os.getpid() % 10**8}"), state=state)
    settings = Settings(state=state, mesh=lab.name)
    hub = management_namespace(lab.name)
    # Nothing of a lab listens there on the loopback, so the lab leaves it down.
    await asyncio.to_thread(subprocess.run, [tool("ip"), "-n", hub, "link", "set", "lo", "up"], check=True)
    token = secrets.token_urlsafe()

    def ask(port: int, path: str) -> Any:
        with entered(hub):
            return json.loads(fetch(f"http://127.0.0.1:{port}{path}"))

    def firing() -> list[str]:
        told = ask(ALERTMANAGER, "/api/v2/alerts?active=true")
        return sorted(one["labels"]["node"] for one in told if one["labels"]["alertname"] == "CarrierDown")

    def scraped() -> bool:
        targets = ask(PROMETHEUS, "/api/v1/targets")["data"]["activeTargets"]
        ours = [one["health"] for one in targets if one["labels"]["job"] in {"gateway", "node"}]
        return ours == ["up"] * 4

    def taken() -> bool:
        query = quote('http_requests_total{route="/api/v1/alerts",status="202"}')
        return bool(ask(PROMETHEUS, f"/api/v1/query?query={query}")["data"]["result"])

    async with controlling(lab, settings, database, heal=False) as store:
        async with store.unit() as unit:
            await unit.tokens.add(Token("alertmanager", digest_of(token), Scope.OPERATE, SystemClock().now()))
        async with served(store, settings, hub):
            with watched(lab, settings, state, token=token):
                await until(scraped)
                assert await asyncio.to_thread(firing) == []

                link = lab.mesh.links[0]
                fault = faults.fault(lab, Harm(FaultKind.LINK_DOWN, Element.of_link(link.id)))
                await asyncio.to_thread(fault.inject)
                await until(firing)

                await until(taken)
                async with asyncio.timeout(PATIENT_SECONDS):
                    while await waiting(store, lab.name):  # noqa: ASYNC110 - another process could answer it too
                        await asyncio.sleep(LOOK_SECONDS)

                await asyncio.to_thread(fault.heal)
                await until(lambda: firing() == [])
    await lab.down()
