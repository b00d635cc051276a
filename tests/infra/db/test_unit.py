"""The store's contract, held by Postgres and by the fake that other tests believe in."""

from __future__ import annotations

import pytest

from infra.db.unit import PostgresStore
from tests.contracts.store import (
    HealRequestContract,
    HintContract,
    LongRunContract,
    MeshContract,
    SampleContract,
    TokenContract,
    UnitContract,
)
from tests.contracts.store_healing import (
    ActionContract,
    DecisionContract,
    GuardContract,
    IncidentContract,
    OutcomeContract,
    StandingContract,
)
from tests.fakes.store import FakeStore


class StoreContract(
    UnitContract,
    HintContract,
    MeshContract,
    SampleContract,
    HealRequestContract,
    TokenContract,
    LongRunContract,
    IncidentContract,
    OutcomeContract,
    ActionContract,
    StandingContract,
    GuardContract,
    DecisionContract,
):
    """All of it."""


class TestFakeStore(StoreContract):
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()


@pytest.mark.postgres
class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> PostgresStore:
        return postgres_store
