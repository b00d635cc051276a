"""A lab's collectors start one after another, and one that does not start says why."""

import asyncio
import os
from datetime import UTC, datetime

import pytest

from flows.controller import at_post
from models.errors import SourceUnavailable
from tests.fakes.store import FakeStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ROLE = "collect-node:lab:n0"


async def claims(store: FakeStore, role: str, pid: int) -> None:
    async with store.unit() as unit:
        await unit.long_runs.claim(role, flow_run_id="", pid=pid, host="here", now=NOW)


async def test_a_collector_is_waited_for_until_this_process_holds_its_post():
    store, goes_on = FakeStore(), asyncio.Event()

    async def collector() -> None:
        await goes_on.wait()
        await claims(store, ROLE, os.getpid())
        await asyncio.Event().wait()

    await claims(store, ROLE, os.getpid() + 1)
    await claims(store, f"{ROLE}1", os.getpid())
    job = asyncio.create_task(collector())
    waiting = asyncio.create_task(at_post(store, ROLE, job))
    await asyncio.sleep(0)
    assert not waiting.done()
    goes_on.set()
    await waiting
    job.cancel()


async def test_a_collector_that_ended_before_it_held_its_post_says_why():
    async def collector() -> None:
        raise SourceUnavailable("the database")

    with pytest.raises(SourceUnavailable, match="the database"):
        await at_post(FakeStore(), ROLE, asyncio.create_task(collector()))


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_database_that_is_busy_for_a_moment_is_asked_again():
    store = FakeStore(is_down=True)
    job = asyncio.create_task(forever())
    waiting = asyncio.create_task(at_post(store, ROLE, job))
    await asyncio.sleep(0)
    store.is_down = False
    await claims(store, ROLE, os.getpid())
    await waiting
    job.cancel()
