"""The wishes' contract, held by Postgres and by the fake that other tests believe in."""

from __future__ import annotations

import pytest

from infra.db.unit import PostgresStore
from tests.contracts.wishes import WishContract
from tests.fakes.store import FakeStore


class TestFakeWishes(WishContract):
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()


@pytest.mark.postgres
class TestPostgresWishes(WishContract):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> PostgresStore:
        return postgres_store
