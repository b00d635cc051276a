"""Some nodes' collectors in a process of their own: `python -m tests.bench.workers.collectors REQUEST.json`.

Says `ready` on standard output once all of them sample; TERM ends it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows.controller import collecting, world_of
from infra.db.unit import PostgresStore
from infra.log import configure
from infra.settings import Settings
from models.mesh import NodeId
from tasks.diary import unreported
from tasks.wiring import using


class Request(BaseModel):
    """Which nodes of which mesh, and where they store."""

    model_config = ConfigDict(frozen=True)

    mesh: str
    places: dict[NodeId, Path]
    database: str
    key: Path


async def _collect(request: Request) -> None:
    store = PostgresStore(request.database)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        with using(world_of(Settings(), store, request.database, key=request.key)), unreported():
            async with collecting(request.mesh, request.places, store) as jobs:
                sys.stdout.write("ready\n")
                sys.stdout.flush()
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait([stopping, *jobs], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await store.close()


if __name__ == "__main__":
    configure(least=logging.WARNING)
    asyncio.run(_collect(Request.model_validate_json(Path(sys.argv[1]).read_bytes())))
