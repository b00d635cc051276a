"""A new customer's way, from /start to a licence that opens: chains and Telegram over real HTTP, the real scan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from infra.lab.telegram.world import Said
from models.ledger import IssuedLicence
from models.payment import Asset, OrderState
from models.payment_address import Chain
from models.ports import Store
from models.shop import Catalogue
from tests.fakes.chains.examples import OURS, OURS_ON_TON
from tests.fakes.store import FakeStore
from tests.infra.telegram.stage import SIGNER, on_stage
from tests.tasks.till import MONTH, open_till

# What is said in each language where the journey has to hear it.
ENGLISH = {"hello": "sell access", "choose": "how will you pay", "card": "Send exactly", "licence": "Here is your"}
RUSSIAN = {"hello": "продаю доступ", "choose": "чем заплатите", "card": "Отправьте ровно", "licence": "Вот ваша"}
SOLID = 80
CATALOGUE = Catalogue((MONTH,), {Chain.TRON: OURS, Chain.TON: OURS_ON_TON})


def licence_in(said: Said) -> IssuedLicence:
    """Read the licence out of the message as a person copies it."""
    text = next(line for line in said.text.splitlines() if line.startswith("ey"))
    return SIGNER.verifier().read(text)


@pytest.mark.parametrize(("language", "words"), [("en", ENGLISH), ("ru-RU", RUSSIAN)])
@pytest.mark.parametrize(("asset", "label"), [(Asset.USDT_TRON, "USDT"), (Asset.TON, "TON")])
async def test_a_new_customer_comes_from_start_to_a_licence_that_opens(language, words, asset, label):
    await journey(FakeStore(), language, words, asset, label)


async def journey(store: Store, language: str, words: Mapping[str, str], asset: Asset, label: str) -> None:
    """Go all the way over a store."""
    async with open_till(store) as till, on_stage(store, till.clock, catalogue=CATALOGUE) as stage:
        anna = stage.person(language=language)
        await stage.say(anna, "/start", hears=words["hello"])
        price = "29 USDT" if asset is Asset.USDT_TRON else "5 TON"
        offer = await stage.say(anna, "/buy", hears=words["choose"])
        await stage.press(anna, offer, price)
        card = await stage.hears(anna, words["card"])
        sale = (await stage.sales(anna))[0]
        order = sale.order
        assert order.amount.asset is asset
        assert str(order.amount).removesuffix(f" {label}") in card.text
        assert str(order.deposit) in card.text
        await till.scan(order.deposit.chain)
        till.pay(order, comment=order.code)
        await till.scan_for(order.deposit.chain, SOLID, every=10)
        handed = await stage.hears(anna, words["licence"])
        licence = licence_in(handed)
        assert licence.order == order.id
        assert licence.expires_at - licence.issued_at == timedelta(days=30)
        assert (await stage.shop.sale(order.id)).order.state is OrderState.SETTLED
        status = await stage.say(anna, "/status", hears=order.id)
        assert status.buttons == []
    assert [one.text for one in anna.chat if words["licence"] in one.text] == [handed.text]
