import pytest

from models.payment import Provider
from tests.contracts.chains import ChainProviderContract


class TestTronScan(ChainProviderContract):
    @pytest.fixture
    def side(self, chains):
        return chains.side(Provider.TRONSCAN)
