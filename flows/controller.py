"""The whole controller in one process, unreported: what a lab trial runs, with real parts but for Prefect.

Collectors, couriers and the watch run as tasks of this process; actuators are processes of their own, as everywhere.
Whoever has more nodes than one process can sample collects elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from flows.collection import CollectParameters, collect, role
from flows.declaration import declare
from flows.healing import WatchParameters, watch
from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.lab.build import Lab
from infra.node.senses import configuration_of
from infra.node.signing import Ed25519Signer, create_key, load_private_key
from infra.settings import Settings
from models.errors import NodeUnavailable, SourceUnavailable
from models.mesh import NodeId
from models.ports import Store
from tasks.diary import unreported
from tasks.wiring import Adapters, limits_of, using

ACTUATOR_READY_SECONDS = 15.0
ACTUATOR_STOP_SECONDS = 15.0
LOOK_SECONDS = 0.1

Collecting = Callable[[Lab], AbstractAsyncContextManager[object]]


@asynccontextmanager
async def controlling(
    lab: Lab, settings: Settings, database: str, *, heal: bool, elsewhere: Collecting | None = None
) -> AsyncIterator[PostgresStore]:
    """Run the controller over a lab until the body ends; every change it did not verify is undone by then.

    Args:
        lab: Up already.
        settings: As read.
        database: Where everything is stored.
        heal: Off: watch and record only, without actuators.
        elsewhere: Has the nodes' collectors run, in other processes; None: they are tasks of this one.

    Raises:
        NodeUnavailable: an actuator did not start.
        MeshError: what a collector raised that did not start.
    """
    key = create_key(lab.folder)
    store = PostgresStore(database)
    world = world_of(settings, store, database, key=key)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        baselines = [configuration_of(place) for place in lab.places.values()]
        await declare(store, lab.mesh, baselines=baselines, now=world.clock.now())
        if heal:
            for place in lab.places.values():
                await stack.enter_async_context(_actuator(place.folder / "node.json", key.with_suffix(".pub")))
        with using(world), unreported():
            places = {node: place.folder / "node.json" for node, place in lab.places.items()}
            await stack.enter_async_context(elsewhere(lab) if elsewhere else collecting(lab.name, places, store))
            watching = asyncio.create_task(watch(WatchParameters(mesh=lab.name, heal=heal)))
            stack.push_async_callback(_stopped, [watching])
        yield store
        if watching.done():
            watching.result()


def world_of(settings: Settings, store: PostgresStore, database: str, *, key: Path) -> Adapters:
    """Return what collectors and the watch of a lab need of the world."""
    signer = Ed25519Signer(load_private_key(key))
    return Adapters(
        settings=settings,
        clock=SystemClock(),
        store=store,
        database=database,
        signer=signer,
        limits=limits_of(settings),
    )


@asynccontextmanager
async def collecting(
    mesh: str, places: Mapping[NodeId, Path], store: Store
) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """Run a collector a node as tasks of this process until the body ends; give the tasks.

    They start one after another: opening a node's programs holds the event loop, and a connection that another
    collector was making meanwhile would run out of time.

    Raises:
        MeshError: what a collector raised that ended.
    """
    jobs: list[asyncio.Task[None]] = []
    try:
        for node, place in places.items():
            asked = CollectParameters(mesh=mesh, node=node, place=place)
            jobs.append(asyncio.create_task(collect(asked)))
            await at_post(store, role(asked), jobs[-1])
        yield jobs
        for job in jobs:
            if job.done():
                job.result()
    finally:
        await _stopped(jobs)


async def at_post(store: Store, role: str, job: asyncio.Task[None]) -> None:
    """Wait until a job of this process holds its role; raise what it raised if it ended before."""
    while not job.done():
        # Busy for a moment: the next look may find it.
        with suppress(SourceUnavailable):
            async with store.unit() as unit:
                if any(one.role == role and one.pid == os.getpid() for one in await unit.long_runs.all()):
                    return
        await asyncio.sleep(LOOK_SECONDS)
    job.result()


async def _stopped(jobs: Sequence[asyncio.Task[None]]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


@asynccontextmanager
async def _actuator(place: Path, public_key: Path) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "infra.node.actuator", "--place", str(place), "--key", str(public_key)]
    with await asyncio.to_thread((place.parent / "actuator.log").open, "wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        await _listening(place.parent / "actuator.sock", process, place.parent.name)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), ACTUATOR_STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listening(socket: Path, process: asyncio.subprocess.Process, node: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ACTUATOR_READY_SECONDS
    while not await asyncio.to_thread(socket.exists):
        if process.returncode is not None or loop.time() > deadline:
            raise NodeUnavailable(node, f"its actuator did not start; see {socket.parent / 'actuator.log'}")
        await asyncio.sleep(LOOK_SECONDS)
