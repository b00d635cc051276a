"""A grid in namespaces with the whole controller in one process: what it takes at rest, and a grey link seen."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

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
from infra.settings import Settings
from models.errors import SourceUnavailable
from models.incident import FaultKind
from models.mesh import Mesh
from models.telemetry import Sample
from tests.bench import house
from tests.bench.scale_watch import LOOKS, MEGABYTE, Figures, replayed

REST_S = 20.0  # in which the figures are taken
SETTLE_S = 240.0  # fifty daemons on two cores take their time
ON_THE_WAY_S = 3.0  # a batch a second, and a busy machine
CHUNK = timedelta(seconds=5)  # of stored samples: fifty nodes' are 500 documents


class Watched:
    """The whole controller behind the lab's `Controller` protocol, measured while nothing happens."""

    def __init__(self, settings: Settings, database: str) -> None:
        self._settings = settings.model_copy(update={"lease_seconds": LAB_LEASE_SECONDS})
        self._database = database
        self._running = AsyncExitStack()
        self.figures: Figures = {}
        self.samples: list[Sample] = []

    async def start(self, lab: Lab) -> None:
        """Start, learn, and measure the controller at rest."""
        self._mesh = lab.name
        self._began = SystemClock().now()
        try:
            self._store = await self._running.enter_async_context(
                controlling(lab, self._settings, self._database, heal=True)
            )
            await asyncio.sleep(LEARNING_SECONDS)
            await self._rest(len(lab.mesh.nodes))
        except BaseException:
            # Nobody stops what did not start.
            await self._running.aclose()
            raise

    async def _rest(self, nodes: int) -> None:
        started, spent, stored = time.monotonic(), _spent_s(), _postgres_s(self._settings)
        began = SystemClock().now()
        await asyncio.sleep(REST_S)
        ended, seconds = SystemClock().now(), time.monotonic() - started
        cores, postgres = (_spent_s() - spent) / seconds, (_postgres_s(self._settings) - stored) / seconds
        memory = psutil.Process().memory_info().rss / MEGABYTE
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

    def looks(self, declared: Mesh) -> Figures:
        """Return what looks at what was reported cost again, at rest and at the end; to be asked once it stopped."""
        looks = replayed(declared, self.samples)
        began, ended = self._rested
        return {
            "look_ms": median(spent for at, spent in looks if began <= at < ended),
            "look_fault_ms": median(spent for _, spent in looks[-LOOKS:]),
        }

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


def _spent_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _postgres_s(settings: Settings) -> float:
    """Return the processor time that the database's processes have used; they stay as long as their connections do."""
    file = Cluster(cluster_folder(settings)).data / "postmaster.pid"
    try:
        server = psutil.Process(int(Path(file).read_text().splitlines()[0]))
        times = [one.cpu_times() for one in (server, *server.children(recursive=True))]
    except (OSError, psutil.Error) as error:
        raise SourceUnavailable("the database's processes", str(error)) from error
    return float(sum(one.user + one.system for one in times))
