"""The bot's memory on Postgres, and a customer's whole way over it."""

from __future__ import annotations

import pytest

from infra.db.unit import PostgresStore
from models.payment import Asset
from models.ports import Store
from tests.contracts.chats import ChatContract
from tests.infra.telegram.test_journey import RUSSIAN, journey

pytestmark = pytest.mark.postgres


class TestPostgresChats(ChatContract):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> Store:
        return postgres_store


async def test_a_new_customer_comes_from_start_to_a_licence_that_opens(postgres_store: PostgresStore):
    await journey(postgres_store, "ru", RUSSIAN, Asset.TON, "TON")
