"""Holding a post for real: the lock, the epoch and the beat are Postgres's."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from infra.clock import SystemClock
from infra.db.cluster import Cluster, find_programs
from infra.db.migrate import migrate
from infra.db.unit import PostgresStore
from infra.settings import Settings
from models.errors import StaleEpoch, ToolMissing
from models.remedy import Limits
from tasks import longrun
from tasks.wiring import Adapters, using

pytestmark = pytest.mark.postgres

ROLE = "watch-mesh:test"
EVERY = timedelta(seconds=0.05)
PATIENT_SECONDS = 30.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A migrated database on a cluster of its own."""
    try:
        find_programs()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    folder = Path(tempfile.mkdtemp(prefix="x0-longrun-"))
    folder.chmod(0o755)
    cluster = Cluster(folder / "postgres")
    try:
        cluster.create()
        cluster.start()
        asyncio.run(migrate(cluster.app_url))
        yield cluster.app_url
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def world(url: str) -> AsyncIterator[Adapters]:
    store = PostgresStore(url)
    yield Adapters(settings=Settings(), clock=SystemClock(), store=store, database=url, signer=None, limits=Limits())
    await store.close()


async def run_of(world: Adapters):
    async with world.store.unit() as uow:
        return next((one for one in await uow.long_runs.all() if one.role == ROLE), None)


async def test_it_tells_its_epoch_ticks_and_beats_and_stops_when_a_successor_claims_the_role(world: Adapters):
    ticked, epochs = asyncio.Event(), []

    async def tick() -> None:
        ticked.set()

    with using(world):
        holding = asyncio.create_task(longrun.hold(ROLE, tick, every=EVERY, taken=epochs.append))
    async with asyncio.timeout(PATIENT_SECONDS):
        await ticked.wait()
        held = await run_of(world)
        assert held is not None
        assert epochs == [held.epoch]
        async with world.store.unit() as uow:
            claimed = await uow.long_runs.claim(
                ROLE, flow_run_id="successor", pid=1, host="elsewhere", now=world.clock.now()
            )
        with pytest.raises(StaleEpoch):
            await holding
    assert await run_of(world) == replace(claimed)


async def test_a_successor_gets_the_next_epoch_once_the_first_has_ended(world: Adapters):
    epochs: list[int] = []

    async def tick() -> None:
        """Nothing to do."""

    for _ in range(2):
        with using(world):
            holding = asyncio.create_task(longrun.hold(ROLE, tick, every=EVERY, taken=epochs.append))
        before = len(epochs)
        async with asyncio.timeout(PATIENT_SECONDS):
            while len(epochs) == before:  # noqa: ASYNC110 - the role tells nobody else that it was taken
                await asyncio.sleep(0.05)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
    assert epochs[1] == epochs[0] + 1
