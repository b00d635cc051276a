"""The models' contract, held by Postgres and by the fake that other tests believe in."""

from __future__ import annotations

import asyncpg
import pytest

from infra.db.connections import listener_arguments
from infra.db.unit import PostgresStore
from tests.contracts.models import ModelContract
from tests.fakes.store import FakeStore


class TestFakeModels(ModelContract):
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()


@pytest.mark.postgres
class TestPostgresModels(ModelContract):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> PostgresStore:
        return postgres_store

    async def test_the_database_itself_refuses_weights_of_another_digest(self, database: str):
        connection = await asyncpg.connect(**listener_arguments(database))
        with pytest.raises(asyncpg.CheckViolationError, match="weights_are_the_digests"):
            await connection.execute(
                "INSERT INTO models VALUES ('abc', 'weights', '{}', '{}', 'data', now(), 'why', NULL)"
            )
        await connection.close()
