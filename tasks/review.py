"""Review: some nodes over a stretch of time. The task may run in any process, so it reads what it needs itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.db.unit import PostgresStore
from models.errors import ConfigurationInvalid
from models.mesh import Mesh, NodeId
from models.ports import SampleReader
from models.telemetry import Sample
from tasks.retry import RETRY_DELAYS_SECONDS, is_transient
from tasks.wiring import adapters, samples_of

T = TypeVar("T")


async def declared(mesh: str) -> Mesh:
    """Return a mesh as declared.

    Raises:
        ConfigurationInvalid: no such mesh was declared.
    """
    async with adapters().store.unit() as uow:
        found = await uow.meshes.load(mesh)
    if found is None:
        raise ConfigurationInvalid(f"no mesh named {mesh} was declared", "bring one up with `x0tta6bl4 up`")
    return found


@task(
    name="look-again",
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def look_again(
    mesh: str, nodes: Sequence[NodeId], start: datetime, end: datetime, think: Callable[[Sequence[Sample]], T]
) -> T:
    """Return what some thinking makes of the samples of some nodes, start <= at < end.

    Args:
        mesh: Its name.
        nodes: Whose samples.
        start: Aware UTC.
        end: Aware UTC.
        think: Pure, and a partial of a function of a module: other processes must be able to read it, and Prefect
            would search anything else for results of other tasks, every number of it.
    """

    async def read() -> Sequence[Sample]:
        async with _own_reader() as reader:
            return await reader.between(mesh, start, end, nodes=nodes)

    return think(asyncio.run(read()))


@asynccontextmanager
async def _own_reader() -> AsyncIterator[SampleReader]:
    """Open samples for this event loop only: connections of another loop cannot be used in it."""
    world = adapters()
    scraped = samples_of(world.settings)
    if scraped is not None:
        try:
            yield scraped
        finally:
            await scraped.close()
        return
    store = PostgresStore(world.database)
    try:
        async with store.unit() as uow:
            yield uow.samples
    finally:
        await store.close()
