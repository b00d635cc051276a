"""People who buy and pay, over the API and in the bot, and ask again when nobody answers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import numpy as np

from flows.commands import access, lab_pay
from infra.db.unit import PostgresStore
from infra.lab.chains.living import Paid
from models.ledger import Sale
from models.payment import Asset, Money, OrderId
from models.payment_address import Chain
from models.ports import Scope
from tests.e2e.house import House
from tests.e2e.messenger import Messenger, Person
from tests.e2e.waiting import NotYet, until

# A database or a gateway that was killed is back within half a minute, later the more often it is killed.
ORDERED_WITHIN = 300.0
ANSWERED_WITHIN = 15.0
AGAIN_AFTER = timedelta(seconds=1)
PRICES = {("week", Asset.USDT_TRON): "5 USDT", ("week", Asset.TON): "2 TON", ("month", Asset.TON): "6 TON"}
# What people do instead of paying once and exactly, and how often.
IN_PARTS, TWICE, WITHOUT_ORDER = 0.10, 0.05, 0.05
# A buyer may leave twenty orders unpaid a day; on TRON a payment needs a minute to be final.
ORDERS_A_TOKEN = 10
FIRST_PERSON = 100_000


@dataclass(slots=True)
class Bought:
    """An order that was paid, by whom, and the transactions that paid it.

    Attributes:
        person: Whose chat gets the licence; None: bought over the API.
        sent: Transaction in hex, and its units.
    """

    order: str
    person: Person | None
    sent: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Street:
    """Everybody who buys.

    Attributes:
        bought: Every order that was paid.
        strays: Payments that belong to no order, transaction in hex to units.
    """

    house: House
    store: PostgresStore
    messenger: Messenger
    seed: int
    bought: list[Bought] = field(default_factory=list)
    strays: dict[str, int] = field(default_factory=dict)
    _tokens: dict[int, str] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Return what the shops present."""
        return tuple(self._tokens.values())

    async def make_tokens(self, customers: int) -> None:
        """Give every ten customers of the API a web shop of their own."""
        for shop in range(customers // ORDERS_A_TOKEN + 1):
            self._tokens[shop] = await access.make(f"shop-{shop}", Scope.PAY, store=self.store)

    async def serve(self, customer: int) -> None:
        """Let one customer buy, and pay in one of the ways people do."""
        # Their own numbers: who is served first depends on the machine, what they do must not.
        rng = np.random.default_rng([self.seed, customer])
        plan, asset = list(PRICES)[int(rng.integers(len(PRICES)))]
        mood, pause = float(rng.random()), float(rng.uniform(0, 2))
        if customer % 2:
            person = self.messenger.person(FIRST_PERSON + customer, language="en")
            mine = Bought(await self._ordered_in_chat(person, f"{plan} · {PRICES[plan, asset]}"), person)
        else:
            mine = Bought(await self._ordered_over_api(self._tokens[customer // ORDERS_A_TOKEN], plan, asset), None)
        sale = await until(f"{mine.order} in the ledger", lambda: self._sale(mine.order), within=ORDERED_WITHIN)
        amount = sale.order.amount
        if mood < IN_PARTS and asset is Asset.TON:
            half = amount.units // 2
            parts = [half, amount.units - half]
        elif mood < IN_PARTS + TWICE:
            parts = [amount.units] * 2
        else:
            parts = [amount.units]
        for number, units in enumerate(parts):
            if number:
                await asyncio.sleep(pause)
            paid = lab_pay.payment_of(sale.order, Money(asset, units), comment=None, payer=f"customer {customer}")
            mine.sent[await lab_pay.send(self.house.state, paid)] = units
        if mood > 1 - WITHOUT_ORDER:
            await self._pay_astray(sale, units=amount.units + 1 + customer)
        self.bought.append(mine)

    async def _pay_astray(self, sale: Sale, *, units: int) -> None:
        """Pay an amount that nobody owes: above every tail of its price."""
        units += 500_000_000 if sale.order.deposit.chain is Chain.TON else 500_000
        paid = Paid(chain=sale.order.deposit.chain, to=str(sale.order.deposit), units=units, payer="a stranger")
        self.strays[await lab_pay.send(self.house.state, paid)] = units

    async def _sale(self, order: str) -> Sale | NotYet:
        async with self.store.unit() as uow:
            found = await uow.ledger.sale(OrderId(order))
        return found or NotYet("no such order")

    async def _ordered_over_api(self, token: str, plan: str, asset: Asset) -> str:
        wish = {"plan": plan, "currency": asset.value}
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=self.house.gateway, headers=headers, trust_env=False) as api:

            async def ordered() -> str | NotYet:
                try:
                    answer = await api.post("/api/orders", json=wish)
                except httpx.TransportError as error:
                    return NotYet(repr(error))
                if answer.is_success:
                    return str(answer.json()["order_id"])
                # Neither a mistake of ours nor a refusal for good: the gateway or its database is away, or we are fast.
                assert answer.status_code in {401, 409, 429} or answer.is_server_error, answer.text
                await asyncio.sleep(AGAIN_AFTER.total_seconds())
                return NotYet(answer.text)

            return await until("an order over the API", ordered, within=ORDERED_WITHIN)

    async def _ordered_in_chat(self, person: Person, label: str) -> str:
        async def ordered() -> str | NotYet:
            try:
                await person.says("/buy")
                await person.hears("how will you pay", within=ANSWERED_WITHIN)
                await person.presses(label)
                card = await person.hears("Send exactly", within=ANSWERED_WITHIN)
            except AssertionError as error:
                # What a bot had taken and not answered when it was killed is lost, as it would be in Telegram.
                return NotYet(str(error))
            found = re.search(r"ord-\w+", card)
            return found[0] if found else NotYet(card)

        await person.says("/start")
        return await until(f"a card for {label}", ordered, within=ORDERED_WITHIN)
