"""A bot over a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.store import FakeStore
from tests.infra.shop.counter import MovingClock
from tests.infra.telegram.stage import Stage, on_stage


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
async def stage(store: FakeStore, clock: MovingClock) -> AsyncIterator[Stage]:
    async with on_stage(store, clock, telegram_support="@help_x0") as opened:
        yield opened
