"""A run that does not end forgets what ended inside it, and nothing else is forgotten with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter, TaskRunFilterFlowRunId
from prefect.context import FlowRunContext

from flows.healing import watch_mesh
from flows.housekeeping import keep_house
from infra.clock import SystemClock
from infra.settings import Settings
from models.remedy import Limits
from tasks.forgetting import forget_inside
from tasks.wiring import Adapters, using
from tests.fakes.node import FakeClock
from tests.fakes.store import FakeStore

pytestmark = [
    pytest.mark.flow,
    pytest.mark.usefixtures("prefect_server"),
    # Prefect's events client leaves its web sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

# Prefect writes task runs down from events, a moment after they happened.
SHOWN_WITHIN_SECONDS = 90


@task(name="stage")
async def a_stage() -> None:
    """Do nothing."""


def own_id() -> UUID:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.id


@flow(name="turn-inside", persist_result=False)
async def turn_inside() -> UUID:
    await a_stage()
    return own_id()


async def tasks_of(run: UUID, *, count: int) -> int:
    """Return how many ended tasks a run has, once there are so many."""
    of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run]))
    async with get_client() as client, asyncio.timeout(SHOWN_WITHIN_SECONDS):
        while True:
            ended = [one for one in await client.read_task_runs(task_run_filter=of_run) if one.end_time]
            if len(ended) >= count:
                return len(ended)
            await asyncio.sleep(0.2)


async def is_known(run: UUID) -> bool:
    async with get_client() as client:
        return bool(await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run]))))


async def test_what_ended_inside_a_lasting_run_is_forgotten_and_the_run_goes_on():
    outside = await turn_inside()

    @flow(name="lasts", persist_result=False)
    async def lasts() -> None:
        mine, inside = own_id(), await turn_inside()
        await a_stage()
        assert await tasks_of(mine, count=2) == 2
        now = SystemClock().now()
        assert await forget_inside(["lasts"], now - timedelta(hours=1)) == 0
        assert await is_known(inside)
        assert await forget_inside(["lasts"], now + timedelta(minutes=1)) == 2
        assert await tasks_of(mine, count=0) == 0
        assert (await is_known(inside), await is_known(mine), await is_known(outside)) == (False, True, True)
        assert await forget_inside(["lasts"], now + timedelta(minutes=1)) == 0

    await lasts()


async def test_the_housekeeping_forgets_heals_inside_the_watch_when_they_are_older_than_the_retention_of_runs():
    @flow(name=watch_mesh.name, persist_result=False)
    async def watches() -> UUID:
        inside = await turn_inside()
        await tasks_of(own_id(), count=1)
        return inside

    inside = await watches()
    clock = FakeClock(SystemClock().now())
    settings = Settings(prefect_run_retention_seconds=7200)
    world = Adapters(settings=settings, clock=clock, store=FakeStore(), database="", signer=None, limits=Limits())
    with using(world):
        clock.advance(timedelta(seconds=7200 - 60))
        assert await keep_house() == 0
        assert await is_known(inside)
        clock.advance(timedelta(seconds=120))
        assert await keep_house() == 1
    assert not await is_known(inside)
