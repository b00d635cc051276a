"""The contract of joining, held by Postgres and by the fake that other tests believe in."""

from __future__ import annotations

import pytest

from infra.db.unit import PostgresStore
from models.joining import JoinRefused
from tests.conftest import execute
from tests.contracts.joins import JoinContract, joined
from tests.fakes.store import FakeStore


class TestFakeJoins(JoinContract):
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()


@pytest.mark.postgres
class TestPostgresJoins(JoinContract):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> PostgresStore:
        return postgres_store

    async def test_a_role_that_somebody_else_made_is_left_as_it_is(self, store: PostgresStore, database: str):
        await execute(database, f'CREATE ROLE "{joined("m5").role}"')
        try:
            with pytest.raises(JoinRefused, match="x0_node_lab_m5 that this installation did not make"):
                async with store.unit() as unit:
                    await unit.joins.admit(joined("m5"), password="first")  # noqa: S106 - it opens nothing
        finally:
            await execute(database, f'DROP ROLE "{joined("m5").role}"')
