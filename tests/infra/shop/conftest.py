"""A shop to stand at."""

from __future__ import annotations

import pytest

from infra.shop.shop import Shop
from tests.fakes.store import FakeStore
from tests.infra.shop.counter import MovingClock, a_shop


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
def shop(store: FakeStore, clock: MovingClock) -> Shop:
    return a_shop(store, clock)
