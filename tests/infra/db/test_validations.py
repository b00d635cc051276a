"""The validations' contract, held by Postgres and by the fake that other tests believe in."""

from __future__ import annotations

import pytest

from infra.db.unit import PostgresStore
from tests.contracts.validations import ValidationContract
from tests.fakes.store import FakeStore


class TestFakeValidations(ValidationContract):
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()


@pytest.mark.postgres
class TestPostgresValidations(ValidationContract):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> PostgresStore:
        return postgres_store
