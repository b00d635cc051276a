"""The duties' contract, held by the fake that other tests believe in."""

from __future__ import annotations

import pytest

from tests.contracts.duties import DutyContract
from tests.fakes.store import FakeStore


class TestFakeDuties(DutyContract):
    @pytest.fixture
    def store(self) -> FakeStore:
        return FakeStore()
