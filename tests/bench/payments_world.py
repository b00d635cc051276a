"""Made-up orders and payments by the thousand, and the real scan over them at the chains' own pace."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import asyncpg
import httpx

from flows.payments import PACE
from infra.chains.providers import ChainProviders, open_providers
from infra.db.connections import listener_arguments
from infra.db.documents import encode
from infra.lab.chains.made import account, made_hash
from infra.lab.chains.server import StandIn, serving
from infra.lab.chains.ton_world import TonWorld
from infra.lab.chains.tron_world import BLOCK, TronWorld
from infra.metrics_payments import ScanMetrics
from infra.settings import Settings
from models.errors import BrokenError
from models.ledger import Plan
from models.ledger_words import RESERVED_BEFORE
from models.payment import Asset, OrderState, Provider, Transfer
from models.payment_address import Address, Chain
from models.payment_policy import PaymentPolicy
from models.payment_quorum import PROVIDERS_OF, Sighting, TxState
from models.ports import Store
from models.remedy import Limits
from tasks.payments import MOST_AT_ONCE, Scanner
from tasks.payments_booking import Telling, book
from tasks.wiring import Adapters, using

BUYER = "api:bench"
PRICE = {Asset.USDT_TRON: 29_000_000, Asset.TON: 5_000_000_000}
STEP = {Asset.USDT_TRON: 1, Asset.TON: 1_000}
PLAN = Plan("month", days=30, devices=2, prices=PRICE)
MAIN = {Chain.TRON: Asset.USDT_TRON, Chain.TON: Asset.TON}
# TRON: 19 blocks of three seconds on top. TON: the masterchain block after it.
FLOOR_S = {Chain.TRON: 57.0, Chain.TON: 1.0}
# Until the last payment of the run has its proof.
TAIL_S = {Chain.TRON: 75, Chain.TON: 20}
# Of the time in which is paid, the last third: before, the overlap and the cases still fill.
STEADY = 1 / 3
NAIVE_EVERY_S = 30.0
NAIVE_AT_ONCE = 8

# As the shop would, but together: what is measured comes after. The amounts differ, so each means one order.
OPEN = """
INSERT INTO orders (id, asset, deposit, units, created_at, payable_from, expires_at, watched_until, state, flags,
                    buyer, plan, language)
SELECT $1 || number, $2, $3, $4 + number * $5::bigint, $6, $7, $8, $9, 'NEW', '{}', $10, $11::jsonb, 'en'
FROM generate_series(0, $12 - 1) AS number
"""


@dataclass(slots=True)
class StandingClock:
    """Time that goes on when it is told to."""

    at: datetime

    def now(self) -> datetime:
        """Return the present."""
        return self.at


@dataclass(frozen=True, slots=True)
class Batch:
    """Orders of one deposit address, told apart by their amounts.

    Attributes:
        name: Beginning of their ids.
        asset: What they cost.
        deposit: Where they are paid.
        count: How many; the number of an order is also its tail.
        made_at: When.
    """

    name: str
    asset: Asset
    deposit: Address
    count: int
    made_at: datetime

    def id_of(self, number: int) -> str:
        """Return an order's id."""
        return f"{self.name}{number}"

    def units_of(self, number: int) -> int:
        """Return what it costs."""
        return PRICE[self.asset] + number * STEP[self.asset]


async def open_orders(url: str, batch: Batch) -> None:
    """Insert the orders of a batch, and let the planner know, as autovacuum does within a minute."""
    policy = PaymentPolicy()
    expires_at = batch.made_at + policy.window
    connection = await asyncpg.connect(**{**listener_arguments(url), "server_settings": {}})
    try:
        await connection.execute(
            OPEN,
            batch.name,
            batch.asset.value,
            batch.deposit.raw,
            PRICE[batch.asset],
            STEP[batch.asset],
            batch.made_at,
            batch.made_at - RESERVED_BEFORE,
            expires_at,
            expires_at + policy.late_grace,
            BUYER,
            encode(Plan, PLAN),
            batch.count,
        )
        await connection.execute("ANALYZE orders")
    finally:
        await connection.close()


class Credited(ScanMetrics):
    """Notes when each payment counts: ticks stand still in made-up time, their own duration is added."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.began = 0.0
        self.waits_s: list[float] = []

    def credited(self, asset: Asset, after: timedelta) -> None:
        """Note one credit, and how long it took from its block."""
        super().credited(asset, after)
        self.waits_s.append(after.total_seconds() + time.perf_counter() - self.began)


@dataclass(slots=True)
class Scanned:
    """What a run of the scan cost.

    Attributes:
        seconds: Of the chain's time, in which calls were counted: once as much is known as there ever will be.
        payments: Made in all.
        calls: HTTP calls in those seconds by kind: discovery, proof, head.
        proofs: HTTP calls for proofs, from the first payment to the last one's credit.
        waits_s: From each payment's block to its credit.
        ticks_s: How long each tick took by the clock on the wall.
        naive_calls: What a naive poller's one round over all orders took; 0 where it was not tried.
    """

    seconds: float
    payments: int
    calls: Counter[str] = field(default_factory=Counter)
    proofs: int = 0
    waits_s: list[float] = field(default_factory=list)
    ticks_s: list[float] = field(default_factory=list)
    naive_calls: int = 0


DISCOVERY = ("/token_trc20/", "/v1/accounts/", "/v2/blockchain/accounts/", "/v2/jettons/", "/v3/transactions?")
HEAD = ("/api/block", "/getnowblock", "/masterchain")


def kind_of(path: str) -> str:
    """Tell what a call to the stand-in was for."""
    if any(part in path for part in DISCOVERY):
        return "discovery"
    return "head" if any(part in path for part in HEAD) else "proof"


@asynccontextmanager
async def world_of(store: Store, batch: Batch) -> AsyncIterator[tuple[StandIn, StandingClock, ChainProviders]]:
    """Serve made-up chains that begin with a batch, with the real adapters and the scan wired to them."""
    clock = StandingClock(batch.made_at)
    name = f"bench {batch.name} "
    stand_in = StandIn(tron=TronWorld(origin=clock.at, name=name), ton=TonWorld(origin=clock.at, name=name))
    async with serving(stand_in) as served, open_providers(served.settings(), clock) as providers:
        world = Adapters(
            settings=Settings(),
            clock=clock,
            store=store,
            database="",
            signer=None,
            limits=Limits(),
            chains=providers,
            deposits={batch.asset.chain: (batch.deposit,)},
            policy=PaymentPolicy(),
        )
        with using(world):
            yield served, clock, providers


async def scan_for(batch: Batch, store: Store, seconds: int) -> Scanned:
    """Scan while one order a second is paid, a tick at the chain's own pace, and until the last one counts."""
    chain = batch.asset.chain
    metrics = Credited()
    scanned = Scanned(seconds * STEADY, seconds)
    async with world_of(store, batch) as (stand_in, clock, providers):
        scanner = Scanner.of(chain, providers, metrics)
        paid, steady = 0, seconds * STEADY
        before: Counter[str] = Counter()
        for tick in range(int((seconds + TAIL_S[chain]) / PACE[chain].total_seconds())):
            clock.at = batch.made_at + tick * PACE[chain]
            while paid < min(seconds, (clock.at - batch.made_at).total_seconds()):
                _pay(stand_in, batch, paid, at=batch.made_at + timedelta(seconds=paid))
                paid += 1
            _catch_up(stand_in, clock.at)
            metrics.began = time.perf_counter()
            await scanner.tick()
            scanned.ticks_s.append(time.perf_counter() - metrics.began)
            made = _calls(stand_in)
            scanned.proofs = made["proof"]
            if seconds - steady < (clock.at - batch.made_at).total_seconds() <= seconds:
                scanned.calls += made - before
            before = made
        if chain is Chain.TRON:
            scanned.naive_calls = await _poll_naively(stand_in, batch)
    scanned.waits_s = metrics.waits_s
    return scanned


def _calls(stand_in: StandIn) -> Counter[str]:
    return Counter(kind_of(path) for faults in stand_in.faults.values() for path in faults.calls)


def _catch_up(stand_in: StandIn, at: datetime) -> None:
    """Make the whole blocks that are due."""
    tron, ton = stand_in.tron, stand_in.ton
    tron.mine(max(0, int((at - tron.now()) / BLOCK)))
    ton.mine(max(0, int((at - ton.now()).total_seconds())))


def _pay(stand_in: StandIn, batch: Batch, number: int, *, at: datetime) -> None:
    """Put a payment into the block of its second."""
    _catch_up(stand_in, at)
    if batch.asset.chain is Chain.TRON:
        stand_in.tron.call([stand_in.tron.move(batch.deposit, batch.units_of(number))], same_block=True)
    else:
        stand_in.ton.pay(batch.deposit, batch.units_of(number), second=stand_in.ton.second)


async def _poll_naively(stand_in: StandIn, batch: Batch) -> int:
    """Look at every order once, as a poller does that knows no other way: the newest page of the feed, for each.

    Returns:
        How many calls it made.
    """
    faults = stand_in.faults[Provider.TRONSCAN]
    faults.calls.clear()
    url = f"{stand_in.url}/{Provider.TRONSCAN}/api/token_trc20/transfers"
    asked = {"relatedAddress": str(batch.deposit), "limit": "50"}
    orders = iter(range(batch.count))

    async def poll(client: httpx.AsyncClient) -> int:
        found = 0
        for number in orders:
            rows = (await client.get(url, params=asked)).raise_for_status().json()["token_transfers"]
            found += any(row["confirmed"] and row["quant"] == str(batch.units_of(number)) for row in rows)
        return found

    async with httpx.AsyncClient(trust_env=False) as client:
        found = sum(await asyncio.gather(*(poll(client) for _ in range(NAIVE_AT_ONCE))))
    if not found:
        raise BrokenError("the naive poller found no payment: it is no peer")
    return len(faults.calls)


def _told(batch: Batch, number: int, *, at: datetime) -> Transfer:
    chain = batch.asset.chain
    return Transfer(
        chain=chain,
        tx=made_hash(f"{batch.name} paid {number}"),
        event_index=0,
        asset=batch.asset,
        sender=account(chain, "payer"),
        receiver=batch.deposit,
        units=batch.units_of(number),
        position=1,
        block_time=at,
        final=True,
        vouched_by=frozenset(PROVIDERS_OF[chain]),
    )


async def book_all(batch: Batch, store: Store) -> float:
    """Book a payment of every order through the real booking, as many at once as a tick does.

    Returns:
        Seconds, commits included.
    """
    now = batch.made_at + timedelta(minutes=10)
    paid = [_told(batch, number, at=now - timedelta(minutes=5)) for number in range(batch.count)]
    began = time.perf_counter()
    for start in range(0, batch.count, MOST_AT_ONCE):
        tellings = [Telling(one.tx, (one,)) for one in paid[start : start + MOST_AT_ONCE]]
        async with store.unit() as uow:
            booked = await book(uow, tellings, now=now, policy=PaymentPolicy(), scanned_until=now)
            await uow.ledger.conclude(batch.asset.chain, booked.done)
        settled = sum(one.state is OrderState.SETTLED for one in booked.changed)
        if settled != len(tellings) or len(booked.credited) != settled:
            raise BrokenError(f"{settled} of {len(tellings)} orders settled: this measures something else")
    return time.perf_counter() - began


async def work_off(batch: Batch, store: Store) -> float:
    """Let whole ticks take up what both providers have told of every order while nobody scanned.

    Returns:
        Seconds until the last one counts.
    """
    chain, now = batch.asset.chain, batch.made_at + timedelta(minutes=10)
    for provider in PROVIDERS_OF[chain]:
        said = [
            Sighting(
                provider,
                one.tx,
                TxState.FINAL,
                (replace(one, final=False, vouched_by=frozenset()),),
                now,
            )
            for one in (_told(batch, number, at=now - timedelta(minutes=5)) for number in range(batch.count))
        ]
        async with store.unit() as uow:
            await uow.ledger.sight(chain, batch.deposit, said, now=now)
    async with world_of(store, batch) as (stand_in, clock, providers):
        clock.at = now
        _catch_up(stand_in, now)
        scanner = Scanner.of(chain, providers)
        credited, began = 0, time.perf_counter()
        while credited < batch.count:
            fresh = (await scanner.tick()).credited
            if not fresh:
                raise BrokenError(f"a tick credited nothing with {batch.count - credited} left")
            credited += fresh
        return time.perf_counter() - began
