"""Collecting: one long run per node, pinned to that node's queue."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from tasks import collection, longrun
from tasks.wiring import adapters


class CollectParameters(BaseModel):
    """Which node to collect from."""

    model_config = ConfigDict(frozen=True)

    mesh: str = Field(default="lab", description="Name of the mesh.")
    node: str = Field(description="Name of the node; the run must be on its queue.")
    place: Path = Field(description="The node's node.json.")


@flow(name="collect-node", persist_result=False)
async def collect_node(asked: CollectParameters) -> None:
    """Sample one node twice a second and carry its orders, for as long as we hold its post."""
    await collect(asked)


async def collect(asked: CollectParameters) -> None:
    """Do what `collect_node` does, outside Prefect too (the lab's trials run it so)."""
    period = timedelta(seconds=adapters().settings.sample_seconds)
    async with collection.opened(asked.place) as station:
        courier = asyncio.create_task(station.run_courier())
        try:
            await longrun.hold(role(asked), station.tick, every=period)
        finally:
            courier.cancel()


def role(asked: CollectParameters) -> str:
    """Name the post that a node's collector holds."""
    return f"collect-node:{asked.mesh}:{asked.node}"
