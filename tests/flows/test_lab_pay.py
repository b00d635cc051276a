"""Buying in a lab: from an order at the example price to a licence, paid by hand on chains that go on by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.commands.lab_pay import payment_of, send
from infra.chains.providers import open_providers
from infra.chains.settings import ChainSettings
from infra.lab.chains.living import LivingChains, prepare, read_facts
from infra.lab.chains.server import serving
from infra.settings import Settings
from infra.shop.settings import ShopSettings, catalogue_of, policy_of
from infra.shop.shop import Shop
from models.errors import PaymentInvalid
from models.ledger import BuyerId
from models.payment import Asset, Money, OrderState
from models.remedy import Limits
from tasks.payments import Scanner
from tasks.wiring import Adapters, using
from tests.fakes.store import FakeStore


class MovableClock:
    def __init__(self):
        self.at = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)

    def now(self):
        return self.at


@pytest.mark.parametrize("asset", [Asset.USDT_TRON, Asset.TON])
async def test_an_order_paid_in_the_lab_earns_its_licence(tmp_path, monkeypatch, asset):
    clock, store = MovableClock(), FakeStore()
    for name, value in prepare(tmp_path, clock).items():
        monkeypatch.setenv(name, value)
    catalogue, policy = catalogue_of(ShopSettings()), policy_of(ShopSettings())
    shop = Shop(store, clock, policy, catalogue)
    chains = LivingChains.of(tmp_path, clock)
    async with (
        serving(chains, port=read_facts(tmp_path).port),
        open_providers(ChainSettings(), clock) as providers,
    ):
        adapters = Adapters(
            settings=Settings(state=tmp_path), clock=clock, store=store, database="", signer=None, limits=Limits(),
            chains=providers, deposits={one: (address,) for one, address in catalogue.deposits.items()}, policy=policy,
        )  # fmt: skip
        sale = await shop.place_order(BuyerId("api:anna"), "week", asset)
        scanner = Scanner.of(asset.chain, providers)
        with using(adapters):
            await scanner.tick()
            await send(tmp_path, payment_of(sale.order, sale.order.remainder, comment=None, payer="anna"))
            for _ in range(4):
                clock.at += timedelta(seconds=30)
                chains.catch_up()
                await scanner.tick()
    async with store.unit() as uow:
        assert await uow.licences.of_order(sale.order.id) is not None
    assert (await shop.sale(sale.order.id)).order.state is OrderState.SETTLED


@pytest.mark.parametrize(
    ("units", "comment", "said"), [(0, None, "paid in full; --amount"), (1, "x" * 1001, "comment")]
)
async def test_a_payment_that_no_wallet_could_make_is_refused(tmp_path, monkeypatch, units, comment, said):
    clock = MovableClock()
    for name, value in prepare(tmp_path, clock).items():
        monkeypatch.setenv(name, value)
    shop = Shop(FakeStore(), clock, policy_of(ShopSettings()), catalogue_of(ShopSettings()))
    sale = await shop.place_order(BuyerId("api:anna"), "week", Asset.TON)
    with pytest.raises(PaymentInvalid, match=said):
        payment_of(sale.order, Money(Asset.TON, units), comment=comment, payer="anna")
