"""What is asked beside the gateway: the processes of this machine, Prefect, the nodes' own pages, Prometheus."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx

from infra.clock import SystemClock
from infra.node.netns import entered
from infra.node.place import NodePlace
from infra.process import is_alive
from infra.runfiles import Phase, recorded
from infra.smoke.walk import Skipped, StepError
from models.errors import ConfigurationInvalid

PAGE_SECONDS = 5.0
COUNTED = re.compile(r"^ebpf_packets_total(?:\{[^}]*\})? (\S+)", re.MULTILINE)
# Prefect's worker says every 30 s that it is there; three of them and it counts as gone.
WORKER_MAX_AGE_SECONDS = 90.0
PREFECT_MEND = "see log/prefect.log in the state folder; healing goes on without it and is recorded afterwards"


def processes(run: Path) -> str:
    """See that every process which this machine's installation recorded is alive.

    Raises:
        StepError: names each that is not, with its log.
    """
    records = recorded(run)
    dead = [
        one
        for one in records
        if one.phase is not Phase.DONE and (one.phase is Phase.DOWN or not is_alive(one.identity))
    ]
    if dead:
        logs = ", ".join(one.log for one in dead)
        names = ", ".join(one.name for one in dead)
        raise StepError(f"not running: {names}", f"read {logs}; `x0tta6bl4 down`, then `up` starts all of them")
    return f"{len(records)} recorded, all alive or done"


class PrefectSteps:
    """Asks Prefect's API.

    Args:
        client: Its base URL is the API's, with authentication if it needs any.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def well(self) -> str:
        """See that the server answers."""
        await self._ask("GET", "/health")
        return f"{self._client.base_url} is well"

    async def workers(self, pool: str) -> str:
        """See that somebody takes up runs."""
        workers: list[dict[str, Any]] = await self._ask("POST", f"/work_pools/{pool}/workers/filter")
        now = SystemClock().now()
        ages = {one["name"]: _age(one["last_heartbeat_time"], now) for one in workers if one["last_heartbeat_time"]}
        young = {name: age for name, age in ages.items() if age <= WORKER_MAX_AGE_SECONDS}
        if not young:
            told = ", ".join(f"{name} {age:.0f} s ago" for name, age in ages.items()) or "nobody ever"
            raise StepError(
                f"no worker of the pool {pool} was heard lately: {told}",
                "see log/worker-control.log in the state folder",
            )
        return ", ".join(f"{name} heard {age:.0f} s ago" for name, age in young.items())

    async def _ask(self, method: str, path: str) -> Any:
        try:
            answer = await self._client.request(method, path.lstrip("/"), json={} if method == "POST" else None)
            answer.raise_for_status()
            return answer.json()
        except httpx.HTTPStatusError as error:
            raise StepError(f"Prefect answered {error.response.status_code} to {path}", PREFECT_MEND) from error
        except (httpx.HTTPError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise StepError(f"Prefect at {self._client.base_url} does not answer: {why}", PREFECT_MEND) from error


def _age(at: str, now: datetime) -> float:
    when = datetime.fromisoformat(at)
    return (now - (when if when.tzinfo else when.replace(tzinfo=UTC))).total_seconds()


async def node_pages(places: Sequence[NodePlace], *, port: int) -> str | Skipped:
    """See that every node of this machine shows packets that its eBPF programs counted.

    Raises:
        StepError: names the nodes whose page is away, or shows none in a mesh, where there are probes all the time.
    """
    told = await asyncio.gather(*(asyncio.to_thread(_counted, place, port) for place in places))
    silent, packets = [], 0.0
    for place, one in zip(places, told, strict=True):
        if isinstance(one, str):
            silent.append(f"{place.node}: {one}")
        elif not one and place.links:
            silent.append(f"{place.node}: its page counts no packet")
        else:
            packets += one
    if silent:
        mend = "see log/worker-nodes.log; `x0tta6bl4 doctor --ebpf` says what counting lacks"
        raise StepError("; ".join(silent), mend)
    if not packets:
        return Skipped("its page answers, but no packet has passed this machine's interfaces yet")
    return f"ebpf_packets_total on {len(places)} pages, {packets:.0f} packets"


def _counted(place: NodePlace, port: int) -> float | str:
    """Return the packets on a node's page, or why it cannot be read."""
    url = f"http://{place.management or '127.0.0.1'}:{port}/metrics"
    try:
        with entered(place.netns):
            return _on_page(_fetched(url))
    except (OSError, HTTPException, ConfigurationInvalid) as error:
        # urllib wraps what the system said.
        return f"{url} does not answer: {getattr(error, 'reason', error)}"


def _fetched(url: str) -> str:
    # A page of this machine: no proxy of the environment knows it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PAGE_SECONDS) as answer:
        return str(answer.read().decode())


def _on_page(page: str) -> float:
    return sum(float(value) for value in COUNTED.findall(page))


async def in_prometheus(client: httpx.AsyncClient, mesh: str) -> str:
    """See that Prometheus has what the nodes counted.

    Raises:
        StepError: it does not answer, or has nothing of this mesh.
    """
    mend = (
        "see its page /targets; `up` writes prometheus/targets in the state folder, docs/alerts.md says how to use it"
    )
    query = f'sum by (node) (ebpf_packets_total{{mesh="{mesh}"}})'
    try:
        answer = await client.get("/api/v1/query", params={"query": query})
        answer.raise_for_status()
        found = answer.json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise StepError(
            f"Prometheus at {client.base_url} does not answer: {error or type(error).__name__}", mend
        ) from error
    if not found:
        raise StepError(f"Prometheus has no ebpf_packets_total of the mesh {mesh}", mend)
    return f"{len(found)} nodes, {sum(float(one['value'][1]) for one in found):.0f} packets"
