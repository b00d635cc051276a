import pytest

from models.payment import Provider
from tests.contracts.chains import ChainProviderContract


class TestTonCenter(ChainProviderContract):
    @pytest.fixture
    def side(self, chains):
        return chains.side(Provider.TONCENTER)
