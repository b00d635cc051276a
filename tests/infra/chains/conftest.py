from dataclasses import dataclass

import pytest

from infra.chains.providers import open_providers
from infra.lab.chains.server import StandIn, serving
from models.payment import Provider
from models.payment_ports import ChainProvider, JettonFeed
from tests.fakes.chains.sides import Side

KEY = "k-3f9ab7c2-never-print-me"


class WorldClock:
    """The clock of a stand-in: the later of its two chains."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    def now(self):
        return max(self.stand_in.tron.now(), self.stand_in.ton.now())


@dataclass(frozen=True)
class Chains:
    stand_in: StandIn
    jettons: JettonFeed
    providers: dict[Provider, ChainProvider]

    def side(self, provider: Provider) -> Side:
        return Side(self.providers[provider], self.stand_in)


@pytest.fixture
async def chains():
    async with serving(StandIn()) as stand_in:
        settings = stand_in.settings(deadline_s=2.0, key=KEY)
        async with open_providers(settings, WorldClock(stand_in)) as opened:
            yield Chains(stand_in, opened.jettons, dict(opened.all))
