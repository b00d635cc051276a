"""What reading made-up samples back from a real Prometheus costs a watcher, by the size of the mesh."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import httpx

from ebpf.exposition import CountersExposition
from ebpf.page import page
from ebpf.page_server import serve
from ebpf.sample_page import sample_families
from infra.telemetry_prometheus import PrometheusSamples
from models.errors import SourceUnavailable, ToolMissing
from models.telemetry import InterfaceReading, Sample
from tests.bench.scale_mesh import PERIOD_S, Reports, grid
from tests.bench.scale_watch import LOOKS, MEGABYTE, Figures

SCRAPED_EVERY = "500ms"  # as often as nodes sample
READY_S, STOP_S, ASK_S = 60.0, 10.0, 0.2
FIRST_LOOKS = 6  # a reader that begins catches up; these are not timed
NEVER = 1e9


@dataclass(slots=True)
class Page:
    """A node's page as its collector writes it, of the newest of its made-up samples."""

    sample: Sample

    def read(self) -> tuple[InterfaceReading, ...]:
        """Return its counters."""
        return self.sample.interfaces

    def missing(self) -> frozenset[str]:
        """Return what it could not measure."""
        return self.sample.missing

    def close(self) -> None:
        """Hold nothing open."""

    def write(self) -> bytes:
        """Return the text of the page."""
        # One sample a page, whatever comes while it is written.
        now = replace(self)
        shown = CountersExposition(now, now=lambda: now.sample.at)
        return page([*shown.families(), *sample_families(now.sample)])


@dataclass(slots=True)
class Weighing(httpx.AsyncBaseTransport):
    """Asks as httpx does, and keeps count of what was answered, unpacked."""

    bytes_read: int = 0
    _network: httpx.AsyncHTTPTransport = field(default_factory=httpx.AsyncHTTPTransport)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask, and weigh the answer."""
        # Unpacked by the one who asked, whose work it is; here it only passes.
        request.headers["accept-encoding"] = "identity"
        answer = await self._network.handle_async_request(request)
        content = await answer.aread()
        self.bytes_read += len(content)
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    async def aclose(self) -> None:
        """Close the network's end."""
        await self._network.aclose()


async def measured(size: int, *, seed: int) -> Figures:
    """Have a Prometheus scrape so many made-up nodes, and read from there twice a second.

    Raises:
        ToolMissing: there is no Prometheus here.
        SourceUnavailable: it did not start, or scraped nothing.
    """
    declared = grid(size, seed=seed)
    reports = Reports(declared, declared.links[0], NEVER, seed).until(NEVER)
    _, first = next(reports)
    pages = [Page(one) for one in first]
    with ExitStack() as stack:
        targets: list[dict[str, object]] = []
        for shown in pages:
            port = _free_port()
            stack.callback(serve(shown.write, address="127.0.0.1", port=port))
            labels = {"mesh": declared.name, "node": shown.sample.node}
            targets.append({"targets": [f"127.0.0.1:{port}"], "labels": labels})
        url = stack.enter_context(_prometheus(targets))
        weighing = Weighing()
        reader = PrometheusSamples(url, transport=weighing)
        try:
            return await _read(reader, weighing, declared.name, pages, reports)
        finally:
            await reader.close()


async def _read(
    reader: PrometheusSamples,
    weighing: Weighing,
    name: str,
    pages: list[Page],
    reports: Iterator[tuple[float, list[Sample]]],
) -> Figures:
    looks: list[tuple[float, float, int]] = []
    cursor = 0
    loop = asyncio.get_running_loop()
    due = begun = loop.time()
    for _, samples in reports:
        due = max(due + PERIOD_S, loop.time())
        await asyncio.sleep(due - loop.time())
        for shown, sample in zip(pages, samples, strict=True):
            shown.sample = sample
        # Pages are served by other threads: what this one uses is the reader's own.
        began, used, had = time.monotonic(), time.thread_time(), weighing.bytes_read
        found, cursor = await reader.stored_after(name, cursor)
        if not found and not looks:
            if loop.time() > begun + READY_S:
                raise SourceUnavailable("Prometheus", "it scraped nothing")
            continue
        looks.append((time.monotonic() - began, time.thread_time() - used, weighing.bytes_read - had))
        if len(looks) == FIRST_LOOKS + LOOKS:
            break
    wall, used_s, read = zip(*looks[FIRST_LOOKS:], strict=True)
    return {
        "look_ms": 1000 * median(used_s),
        "wall_ms": 1000 * median(wall),
        "answer": median(read) / MEGABYTE,
    }


@contextmanager
def _prometheus(targets: list[dict[str, object]]) -> Iterator[str]:
    program = shutil.which("prometheus")
    if program is None:
        raise ToolMissing("prometheus", "apt-get install prometheus")
    url = f"http://127.0.0.1:{_free_port()}"
    with tempfile.TemporaryDirectory(prefix="x0scale-prometheus-") as name:
        folder = Path(name)
        every = {"scrape_interval": SCRAPED_EVERY, "scrape_timeout": SCRAPED_EVERY}
        jobs = [{"job_name": "node", "static_configs": targets}]
        # JSON is YAML, too.
        (folder / "prometheus.yml").write_text(json.dumps({"global": every, "scrape_configs": jobs}))
        command = [
            *("setpriv", "--pdeathsig", "KILL", "--", program),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={url.removeprefix('http://')}",
        ]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                _wait_for(url, process, folder / "log")
                yield url
            finally:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if httpx.get(f"{url}/-/ready", trust_env=False).is_success:
                return
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SourceUnavailable("Prometheus", log.read_text()[-500:]) from error
        time.sleep(ASK_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
