"""A till: made-up chains over real HTTP, the real scan, and a ledger; time is the chains' own."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infra.chains.providers import ChainProviders, open_providers
from infra.lab.chains.faults import Faults
from infra.lab.chains.made import NOON
from infra.lab.chains.server import StandIn, serving
from infra.settings import Settings
from models.ledger import CLAIMED, AuditEntry, BuyerId, Language, Message, MessageKind, Plan, Sale, SetAside
from models.payment import Asset, Order, OrderId, Provider
from models.payment_address import Chain
from models.payment_policy import PaymentPolicy
from models.ports import Store
from models.remedy import Limits
from tasks import payments
from tasks.payments import ScanReport
from tasks.wiring import Adapters, using
from tests.fakes.chains.examples import OURS, OURS_ON_TON
from tests.fakes.chains.examples import order as drawn

MONTH = Plan("month", days=30, devices=2, prices={Asset.USDT_TRON: 29_000_000, Asset.TON: 5_000_000_000})
BUYER = BuyerId("telegram:4711")
BEGIN = NOON + timedelta(hours=1)


@dataclass
class TillClock:
    """Stands still until it is told to go on."""

    at: datetime = BEGIN

    def now(self) -> datetime:
        return self.at


@dataclass
class Till:
    """Everything a payment passes, with hands on the chains and eyes on the ledger."""

    stand_in: StandIn
    store: Store
    clock: TillClock
    world: Adapters

    def faults(self, provider: Provider) -> Faults:
        return self.stand_in.faults[provider]

    def wait(self, seconds: float) -> None:
        """Let time pass on both chains and on our clock."""
        self.clock.at += timedelta(seconds=seconds)
        tron, ton = self.stand_in.tron, self.stand_in.ton
        tron.mine(max(0, int((self.clock.at - tron.now()) / timedelta(seconds=3))))
        ton.mine(max(0, int((self.clock.at - ton.now()).total_seconds())))

    async def sell(
        self, name: str = "o1", *, asset: Asset = Asset.USDT_TRON, units: int = 29_000_123, code: str = "ord-abcdefg2"
    ) -> Order:
        known_by = code if asset is Asset.TON else None
        order = drawn(units, name=name, asset=asset, created_at=self.clock.at, code=known_by)
        async with self.store.unit() as uow:
            await uow.ledger.open_order(Sale(order, BUYER, MONTH, Language.ENGLISH))
        return order

    def pay(self, order: Order, units: int | None = None, *, comment: str | None = None) -> bytes:
        """Pay an order's asset into its deposit address, mined now."""
        self.wait(3)
        amount = order.amount.units if units is None else units
        if order.amount.asset is Asset.TON:
            return self.stand_in.ton.pay(order.deposit, amount, comment=comment)
        return self.stand_in.tron.pay(order.deposit, amount)

    async def claim(self, order: Order, tx: bytes) -> None:
        """Claim a hash, as the shop writes it down."""
        chain = order.amount.asset.chain
        async with self.store.unit() as uow:
            if not await uow.ledger.sightings(chain, [tx]):
                await uow.ledger.ask_for(chain, tx, order.deposit, now=self.clock.at)
            await uow.ledger.record(AuditEntry(self.clock.at, order.id, str(BUYER), CLAIMED, f"{tx.hex()} pending"))

    async def scan(self, chain: Chain, *, after: float = 0) -> ScanReport:
        self.wait(after)
        return await payments.scan(chain)

    async def scan_for(self, chain: Chain, seconds: float, *, every: float | None = None) -> list[ScanReport]:
        """Tick for so long; on TRON, where finality takes a minute, only now and then."""
        every = every or (15 if chain is Chain.TRON else 3)
        return [await self.scan(chain, after=every) for _ in range(math.ceil(seconds / every))]

    async def order(self, name: str = "o1") -> Order:
        async with self.store.unit() as uow:
            sale = await uow.ledger.sale(OrderId(name))
        assert sale is not None
        return sale.order

    async def aside(self) -> list[SetAside]:
        async with self.store.unit() as uow:
            return await uow.ledger.aside()

    async def open_cases(self, chain: Chain) -> int:
        async with self.store.unit() as uow:
            return len(await uow.ledger.cases(chain, now=self.clock.at + timedelta(days=365)))

    async def messages(self, kind: MessageKind) -> list[Message]:
        async with self.store.unit() as uow:
            return [one for one in await uow.outbox.waiting(now=self.clock.at + timedelta(days=1)) if one.kind is kind]

    async def alerts(self) -> list[object]:
        return [one.facts["what"] for one in await self.messages(MessageKind.ALERT)]

    @asynccontextmanager
    async def restarted(self) -> AsyncIterator[None]:
        """Be a new process over the same ledger for the body's time: breakers and heads are forgotten."""
        async with open_providers(self.stand_in.settings(), self.clock) as chains:
            with using(replace(self.world, chains=chains, _observers={})):
                yield


@asynccontextmanager
async def open_till(store: Store, *, policy: PaymentPolicy | None = None) -> AsyncIterator[Till]:
    """Open a till over a store."""
    clock = TillClock()
    async with serving(StandIn()) as stand_in, open_providers(stand_in.settings(), clock) as chains:
        world = world_of(store, clock, chains, policy or PaymentPolicy())
        till = Till(stand_in, store, clock, world)
        till.wait(0)
        with using(world):
            yield till


def world_of(store: Store, clock: TillClock, chains: ChainProviders, policy: PaymentPolicy) -> Adapters:
    return Adapters(
        settings=Settings(),
        clock=clock,
        store=store,
        database="",
        signer=None,
        limits=Limits(),
        chains=chains,
        deposits={Chain.TRON: (OURS,), Chain.TON: (OURS_ON_TON,)},
        policy=policy,
    )
