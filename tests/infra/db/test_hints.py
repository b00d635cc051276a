"""Waiters that are cancelled, all at once and again: each ends, and whoever comes after waits as if none had been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from infra.db.hints import CHANNELS, Hints

NOBODY = "postgresql+asyncpg://nobody@127.0.0.1:1/nowhere"  # no server: hints never come, and waiting goes on
AT_ONCE = 60


@pytest.fixture
async def hints() -> AsyncIterator[Hints]:
    made = Hints(NOBODY)
    yield made
    await made.close()


async def test_cancelled_waiters_end_and_leave_the_door_open(hints):
    for _ in range(3):
        waiting = [
            asyncio.create_task(hints.wait(CHANNELS[one % len(CHANNELS)], at_most=timedelta(milliseconds=one)))
            for one in range(AT_ONCE)
        ]
        await asyncio.sleep(0.02)
        for one in waiting:
            one.cancel()
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert all(one is False or isinstance(one, asyncio.CancelledError) for one in ended)
    assert await asyncio.wait_for(hints.wait("samples", at_most=timedelta(milliseconds=10)), 5) is False
