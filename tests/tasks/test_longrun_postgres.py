"""Holding a post for real: the lock, the epoch and the beat are Postgres's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.settings import Settings
from models.errors import StaleEpoch
from models.remedy import Limits
from tasks import longrun
from tasks.wiring import Adapters, using

pytestmark = pytest.mark.postgres

ROLE = "watch-mesh:test"
EVERY = timedelta(seconds=0.05)
PATIENT_SECONDS = 30.0


@pytest.fixture
async def world(database: str, postgres_store: PostgresStore) -> Adapters:
    return Adapters(
        settings=Settings(),
        clock=SystemClock(),
        store=postgres_store,
        database=database,
        signer=None,
        limits=Limits(),
    )


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
