"""The ledger's contract, held by Postgres and by the fake that other tests believe in."""

from __future__ import annotations

import pytest

from infra.db.unit import PostgresStore
from tests.contracts.ledger import LedgerContract
from tests.contracts.ledger_licences import LicenceContract, OutboxContract
from tests.contracts.ledger_tellings import TellingsContract
from tests.fakes.store import FakeStore


class OnFake:
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()


class OnPostgres:
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> PostgresStore:
        return postgres_store


class TestFakeLedger(OnFake, LedgerContract, TellingsContract):
    """Orders, credits, and what providers said."""


class TestFakeOutbox(OnFake, OutboxContract):
    """What must be told."""


class TestFakeLicences(OnFake, LicenceContract):
    """What a settled order earned."""


@pytest.mark.postgres
class TestPostgresLedger(OnPostgres, LedgerContract, TellingsContract):
    """As the fake's."""


@pytest.mark.postgres
class TestPostgresOutbox(OnPostgres, OutboxContract):
    """As the fake's."""


@pytest.mark.postgres
class TestPostgresLicences(OnPostgres, LicenceContract):
    """As the fake's."""
