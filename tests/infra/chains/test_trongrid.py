import pytest

from models.payment import Provider
from tests.contracts.chains import ChainProviderContract


class TestTronGrid(ChainProviderContract):
    @pytest.fixture
    def side(self, chains):
        return chains.side(Provider.TRONGRID)
