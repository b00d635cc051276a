"""The bot's memory, faked and on Postgres."""

from __future__ import annotations

import pytest

from models.ports import Store
from tests.contracts.chats import ChatContract
from tests.fakes.store import FakeStore


class TestFakeChats(ChatContract):
    @pytest.fixture
    def store(self) -> Store:
        return FakeStore()
