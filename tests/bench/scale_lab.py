"""A grid in namespaces with the whole controller: what it takes at rest, and a grey link seen.

The watch is in one process with the bench, every ten nodes' collectors in another: no process can sample fifty.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import psutil

from flows.controller import controlling
from flows.trial import LAB_LEASE_SECONDS, LEARNING_SECONDS, report
from infra.clock import SystemClock
from infra.db.cluster import Cluster, cluster_folder
from infra.db.unit import PostgresStore
from infra.lab import build
from infra.lab.build import Lab
from infra.lab.running import measure
from infra.lab.topology import Shape, mesh
from infra.lab.trial import FaultSpec, TrialSpec
from infra.lab.verdict import ControllerReport
from infra.node.signing import create_key
from infra.settings import Settings
from models.errors import SourceUnavailable
from models.incident import FaultKind
from models.mesh import Mesh
from models.telemetry import Sample
from tests.bench import house
from tests.bench.report import ROOT
from tests.bench.scale_watch import MEGABYTE, Figures, beside_made_up
from tests.bench.workers.collectors import Request

REST_S = 20.0  # in which the figures are taken
SETTLE_S = 240.0  # fifty daemons on two cores take their time
ON_THE_WAY_S = 3.0  # a batch a second, and a busy machine
CHUNK = timedelta(seconds=5)  # of stored samples: fifty nodes' are 500 documents
TOGETHER = 10  # nodes whose collectors share a process
READY_S = 240.0  # ten open their programs one after another, on two cores that have started fifty nodes
STOP_S = 30.0


class Watched:
    """The whole controller behind the lab's `Controller` protocol, measured while nothing happens."""

    def __init__(self, settings: Settings, database: str) -> None:
        self._settings = settings.model_copy(update={"lease_seconds": LAB_LEASE_SECONDS})
        self._database = database
        self._running = AsyncExitStack()
        self._processes = [psutil.Process()]
        self.figures: Figures = {}
        self.samples: list[Sample] = []

    async def start(self, lab: Lab) -> None:
        """Start, learn, and measure the controller at rest."""
        self._mesh = lab.name
        self._began = SystemClock().now()
        try:
            self._store = await self._running.enter_async_context(
                controlling(lab, self._settings, self._database, heal=True, elsewhere=self._collecting)
            )
            await asyncio.sleep(LEARNING_SECONDS)
            await self._rest(len(lab.mesh.nodes))
        except BaseException:
            # Nobody stops what did not start.
            await self._running.aclose()
            raise

    async def _rest(self, nodes: int) -> None:
        started, spent, stored = time.monotonic(), _spent_s(self._processes), _postgres_s(self._settings)
        began = SystemClock().now()
        await asyncio.sleep(REST_S)
        ended, seconds = SystemClock().now(), time.monotonic() - started
        cores = (_spent_s(self._processes) - spent) / seconds
        postgres = (_postgres_s(self._settings) - stored) / seconds
        memory = sum(one.memory_info().rss for one in self._processes) / MEGABYTE
        await asyncio.sleep(ON_THE_WAY_S)
        self._rested = began, ended
        arrived = len(await _between(self._store, self._mesh, began, ended))
        expected = nodes * seconds / self._settings.sample_seconds
        self.figures = {
            "cores": cores,
            "postgres_cores": postgres,
            "memory": memory,
            "samples": arrived / seconds,
            "samples_missed": max(0.0, 1 - arrived / expected),
        }

    @asynccontextmanager
    async def _collecting(self, lab: Lab) -> AsyncIterator[None]:
        """Have all nodes' collectors run in processes of their own until the body ends."""
        nodes = list(lab.places)
        async with AsyncExitStack() as stack:
            for first in range(0, len(nodes), TOGETHER):
                request = Request(
                    mesh=lab.name,
                    places={node: lab.places[node].folder / "node.json" for node in nodes[first : first + TOGETHER]},
                    database=self._database,
                    key=create_key(lab.folder),
                )
                pid = await stack.enter_async_context(_collectors(request, lab.folder / f"collectors-{first}"))
                self._processes.append(psutil.Process(pid))
            yield

    def looks(self, declared: Mesh) -> Figures:
        """Return what looks at what was reported cost again, at rest and at the end; to be asked once it stopped.

        In a fresh process: this one has other threads, whose time would be counted.
        """
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            return fresh.submit(beside_made_up, declared, self.samples, *self._rested).result()

    async def stop(self) -> ControllerReport:
        """Keep what the nodes reported, say what was seen, stop."""
        try:
            async with self._store.unit() as unit:
                found = [
                    await unit.incidents.story(one.id) for one in reversed(await unit.incidents.recent(self._mesh))
                ]
            self.samples = await _between(self._store, self._mesh, self._began, SystemClock().now())
            return report([one for one in found if one is not None])
        finally:
            await self._running.aclose()


@asynccontextmanager
async def _collectors(request: Request, path: Path) -> AsyncIterator[int]:
    """Run some nodes' collectors in a process until the body ends; give its pid once all of them sample.

    Raises:
        SourceUnavailable: they did not start; names their log.
    """
    asked, log = path.with_suffix(".json"), path.with_suffix(".log")
    asked.write_text(request.model_dump_json())
    # Tied to our life, as a trial's worker is to its benchmark's.
    tie = ("setpriv", "--pdeathsig", "TERM", "--")
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *tie,
            *(sys.executable, "-m", "tests.bench.workers.collectors", str(asked)),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        if process.stdout is None or await asyncio.wait_for(process.stdout.readline(), READY_S) != b"ready\n":
            raise SourceUnavailable(f"{len(request.places)} collectors", f"they did not start; see {log}")
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), STOP_S)


async def measured(size: int, *, seed: int) -> tuple[Figures, tuple[str, ...]]:
    """Build a grid of so many nodes, watch it at rest, turn a link grey; return figures and what to know of them.

    Raises:
        MeshError: as a lab's trial does; its database did not answer.
    """
    async with house.housed(None) as (settings, url):
        built = mesh(Shape.GRID, size, name=f"s{os.getpid()}", seed=seed)
        lab = await build.up(built, state=settings.state)
        spec = TrialSpec(
            name=f"scale {size}",
            topology=Shape.GRID,
            size=size,
            seed=seed,
            faults=(FaultSpec(kind=FaultKind.GREY),),
            settle_s=SETTLE_S,
            stop_after_clean_s=5,
        )
        watched = Watched(settings, url)
        try:
            folder = settings.state / "trial"
            result = await measure(spec, watched, lab=lab, folder=folder, clock=SystemClock())
        finally:
            await asyncio.shield(lab.down())
    figures = {**watched.figures, **watched.looks(built)}
    if result.void is not None:
        return figures, (f"the fault proves nothing: {result.void}",)
    wrong = () if result.right_element else (f"the diagnosis did not name {result.element}",)
    return {**figures, "time_to_detect": result.detect_s, "outage": result.outage_s}, wrong


async def _between(store: PostgresStore, name: str, start: datetime, end: datetime) -> list[Sample]:
    found: list[Sample] = []
    while start < end:
        until = min(start + CHUNK, end)
        async with store.unit() as unit:
            found += await unit.samples.between(name, start, until)
        start = until
    return found


def _spent_s(processes: Iterable[psutil.Process]) -> float:
    times = [one.cpu_times() for one in processes]
    return float(sum(one.user + one.system for one in times))


def _postgres_s(settings: Settings) -> float:
    """Return the processor time that the database's processes have used; they stay as long as their connections do."""
    file = Cluster(cluster_folder(settings)).data / "postmaster.pid"
    try:
        server = psutil.Process(int(Path(file).read_text().splitlines()[0]))
        times = [one.cpu_times() for one in (server, *server.children(recursive=True))]
    except (OSError, psutil.Error) as error:
        raise SourceUnavailable("the database's processes", str(error)) from error
    return float(sum(one.user + one.system for one in times))
