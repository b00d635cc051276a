"""The bot's memory on Postgres."""

from __future__ import annotations

import pytest

from infra.db.unit import PostgresStore
from models.ports import Store
from tests.contracts.chats import ChatContract

pytestmark = pytest.mark.postgres


class TestPostgresChats(ChatContract):
    @pytest.fixture
    def store(self, postgres_store: PostgresStore) -> Store:
        return postgres_store
