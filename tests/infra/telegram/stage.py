"""A bot on a stage: a made-up Telegram over real HTTP, a store, a shop, and people who write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from infra.access import earn
from infra.lab.chains.server import serving
from infra.lab.telegram.api import BotApi
from infra.lab.telegram.world import Person, Said
from infra.licences import LicenceSigner
from infra.shop.shop import Shop
from infra.shop.verifier import PaymentVerifier
from infra.telegram.bot import Premises, TelegramBot
from infra.telegram.metrics import TelegramMetrics
from infra.telegram.settings import TelegramSettings
from models.ledger import Sale
from models.payment import Order, OrderId, Provider
from models.payment_policy import PaymentPolicy
from models.payment_state import advance
from models.ports import Clock, Store
from models.shop import Catalogue, changed
from tests.infra.shop.counter import CATALOGUE, Draws, payment_of, scanned

ANNA, BORIS, ADMIN = 4711, 4712, 6_000_000_001
SIGNER = LicenceSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
PATIENCE_SECONDS = 15.0  # two shared cores; nothing here takes a second when they are free


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something to become true; the deadline only bounds a failure."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - the stand-in is another task of this loop and rings no bell
            await asyncio.sleep(0.005)


@dataclass
class Stage:
    """Everything about one running bot."""

    api: BotApi
    store: Store
    clock: Clock
    shop: Shop
    bot: TelegramBot
    registry: CollectorRegistry

    def person(self, number: int = ANNA, *, language: str = "en") -> Person:
        return self.api.world.person(number, f"person {number}", language)

    async def say(self, person: Person, text: str, *, hears: str) -> Said:
        """Write, and wait for an answer with these words in it."""
        before = len(person.chat)
        self.api.world.say(person, text)
        return await self.hears(person, hears, after=before + 1)

    async def press(self, person: Person, said: Said, label: str) -> None:
        """Press a button and wait until its clock stops."""
        before = len(person.answers)
        self.api.world.press(person, said, label)
        await until(lambda: len(person.answers) > before)

    async def hears(self, person: Person, words: str, *, after: int = 0) -> Said:
        """Wait until the bot said something with these words."""

        def found() -> list[Said]:
            return [one for one in person.chat[after:] if one.by_bot and words in one.text]

        try:
            await until(lambda: bool(found()))
        except TimeoutError:
            said = "\n---\n".join(one.text for one in person.chat[after:])
            raise AssertionError(f"nobody said {words!r}, but:\n{said}") from None
        return found()[-1]

    async def sales(self, person: Person) -> list[Sale]:
        return await self.shop.sales_of(f"telegram:{person.number}")

    async def pay(self, order: OrderId, *, units: int | None = None) -> Order:
        """Let a payment arrive and be counted, as the scan would: in one transaction with what follows from it."""
        now = self.clock.now()
        async with self.store.unit() as unit:
            sale = await unit.ledger.sale(order, for_update=True)
            transfer = payment_of(sale.order, at=now, name=f"pays {order} {units}", units=units)
            after = advance(sale.order, [transfer], now, policy=PaymentPolicy(), scanned_until=now)
            moved = Sale(after, sale.buyer, sale.plan, sale.language)
            await unit.ledger.save(after, [transfer])
            await unit.outbox.put(changed(moved, now=now))
            if after.state.value == "SETTLED":
                await earn(unit, moved, now=now)
        return after

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def on_stage(
    store: Store,
    clock: Clock,
    *,
    catalogue: Catalogue = CATALOGUE,
    policy: PaymentPolicy | None = None,
    api: BotApi | None = None,
    is_ready: Callable[[Stage], bool] | None = None,
    token: str | None = None,
    shop_class: type[Shop] = Shop,
    **turned: Any,
) -> AsyncIterator[Stage]:
    """Run a bot until the block ends."""
    async with serving(api or BotApi()) as served:
        registry = CollectorRegistry()
        shop = shop_class(store, clock, policy or PaymentPolicy(), catalogue, draw=Draws())
        verifier = PaymentVerifier(store, clock, policy or PaymentPolicy(), shop)
        settings = TelegramSettings(**{"telegram_url": served.url, "telegram_admins": (ADMIN,), **turned})
        premises = Premises(store, clock, shop, verifier, SIGNER.text_of, "lab", TelegramMetrics(registry))
        bot = TelegramBot(premises, settings, token=token or served.token)
        stage = Stage(served, store, clock, shop, bot, registry)
        for provider in (Provider.TRONSCAN, Provider.TONAPI):
            await scanned(store, at=clock.now(), provider=provider)
        running = asyncio.create_task(bot.run())
        try:
            if is_ready is None:
                await until(lambda: "getUpdates" in served.calls)
            else:
                await until(lambda: is_ready(stage))
            yield stage
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
