"""Reading the chains: who is asked, from where on, and what becomes known by it. Money is not judged here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from infra.chains.providers import ChainProviders
from infra.metrics_payments import ScanMetrics
from models.errors import ChainUnavailable, ProviderKeyRefused
from models.ledger import Case, Reach
from models.payment import CLOSED, OrderState, Provider, Transfer
from models.payment_address import Address, Chain
from models.payment_looking import OVERLAP, READERS, Told, first_mark, readers, vanished
from models.payment_ports import CompletePage, Head, IncompletePage, Page, Proof, Watermark, newest_covered
from models.ports import UnitOfWork
from tasks.wiring import adapters, deposits, payment_policy

log = structlog.get_logger()

HEADS_EVERY = timedelta(seconds=60)
"""A head only decides when an order expires; a minute late hurts nobody, since late payments find their order."""

JETTONS_EVERY = timedelta(seconds=30)
"""USDT on TON waits for a person anyway."""

MANY = 40
"""Payments in the overlap that need more than one call: TronScan's page holds 50."""

BRIEFLY_FOR = timedelta(seconds=12)
"""How long only the newest is read after that: at a payment a second the overlap takes six calls, and two a second are
more than a free key likes. What a late index adds, and what became final, is heard so much later."""

BRIEF = timedelta(seconds=6)
"""Two ticks of TRON: fewer rows than make TronScan's adapter ask for a second page."""

MOST_CASES = 5_000
"""Open at once; what is above them waits for its turn."""

NEVER = datetime.min.replace(tzinfo=UTC)
"""How far a chain was read before any head was."""

OPEN_STATES = tuple(one for one in OrderState if one not in CLOSED)
BEYOND_ANY_PAUSE = timedelta(days=1)

_Key = tuple[Provider, Address]
_Reaches = Mapping[_Key, Reach]
_Trouble = ChainUnavailable | ProviderKeyRefused


@dataclass(frozen=True, slots=True)
class Failed:
    """A provider that gave no page or no proof."""

    provider: Provider
    address: Address
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A transaction whose proof was asked for, and what came of it."""

    case: Case
    answer: Proof | Failed


async def open_cases(uow: UnitOfWork, chain: Chain, *, now: datetime) -> list[Case]:
    """Return every open case, due or not."""
    return await uow.ledger.cases(chain, now=now + BEYOND_ANY_PAUSE, limit=MOST_CASES)


async def told_of(uow: UnitOfWork, chain: Chain, cases: Sequence[Case]) -> list[Told]:
    """Return all that was said of these cases."""
    said = await uow.ledger.sightings(chain, [case.tx for case in cases]) if cases else {}
    return [Told(case, said.get(case.tx, ())) for case in cases]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a tick's reading brought.

    Attributes:
        complete: How many pages had no gap.
        failed: Who could not be read.
        changed: Transactions that are told anew or otherwise.
        gone: What transactions that are told no more were believed to bring.
    """

    complete: int
    failed: tuple[Failed, ...]
    changed: frozenset[bytes]
    gone: Mapping[bytes, tuple[Transfer, ...]]


@dataclass(slots=True)
class Reader:
    """Asks the providers of one chain, within the ticks of one scanner.

    Attributes:
        chain: Which.
        chains: The providers, opened.
        metrics: Counts and times the calls.
    """

    chain: Chain
    chains: ChainProviders
    metrics: ScanMetrics
    _heads: dict[Provider, Head] = field(default_factory=dict)
    _heads_at: datetime = NEVER
    _jettons_at: datetime = NEVER
    _jettons_since: dict[Address, datetime] = field(default_factory=dict)
    _silent: set[Provider] = field(default_factory=set)
    _busy: dict[_Key, datetime] = field(default_factory=dict)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Return our addresses on this chain."""
        return deposits(self.chain)

    async def read(self, now: datetime) -> Reading:
        """Read what is new at every address and write down what was said.

        Raises:
            SourceUnavailable: the database does not answer.
        """
        reaches = await self._reaches(now)
        turns = [
            self._discover(reaches[provider, address], now)
            for address in self.addresses
            for provider in readers(self.chain, _of(address, reaches), now)
        ]
        pages: list[Page | Failed] = await asyncio.gather(*turns)
        jettons = await self._jettons(reaches, now)
        changed: set[bytes] = set()
        gone: dict[bytes, tuple[Transfer, ...]] = {}
        async with adapters().store.unit() as uow:
            open_now = await told_of(uow, self.chain, await open_cases(uow, self.chain, now=now))
            for page in pages:
                if isinstance(page, CompletePage):
                    lost = vanished(page, open_now)
                    changed |= await uow.ledger.sight(self.chain, page.address, lost, now=now)
                    gone |= {told.tx: told.transfers() for told in open_now if told.tx in {one.tx for one in lost}}
            for page in (*pages, *jettons):
                if not isinstance(page, Failed):
                    changed |= await uow.ledger.sight(self.chain, page.address, page.sightings, now=now)
            after = {**reaches}
            for page in pages:
                key = (page.provider, page.address)
                after[key] = _after(reaches[key], page, now)
                await uow.ledger.save_reach(after[key])
        self._tell_lag(after, now)
        return Reading(
            complete=sum(isinstance(page, CompletePage) for page in pages),
            failed=tuple(page for page in pages if isinstance(page, Failed)),
            changed=frozenset(changed),
            gone=gone,
        )

    def _tell_lag(self, reaches: _Reaches, now: datetime) -> None:
        marks = [max(one.mark.until for one in _of(address, reaches).values()) for address in self.addresses]
        if marks:
            self.metrics.lagging(self.chain, now - min(marks))

    async def _reaches(self, now: datetime) -> _Reaches:
        """Return how far each provider was read for each address; one that never was begins where it must."""
        found: dict[_Key, Reach] = {}
        async with adapters().store.unit() as uow:
            for address in self.addresses:
                known = {one: await uow.ledger.reach(one, address) for one in READERS[self.chain]}
                others = [one for one in known.values() if one is not None]
                oldest = [] if others else await uow.ledger.in_state(OPEN_STATES, limit=1)
                begins = oldest[0].order.created_at if oldest else None
                start = first_mark(begins, others, now, payment_policy())
                for provider, reach in known.items():
                    found[provider, address] = reach or Reach(Watermark(provider, address, start))
        return found

    async def _discover(self, reach: Reach, now: datetime) -> Page | Failed:
        """Read with the whole overlap; where that takes many calls, only now and then, and the newest in between."""
        provider, address = reach.mark.provider, reach.mark.address
        since, busy = reach.mark.until - OVERLAP[self.chain], self._busy.get((provider, address), NEVER)
        is_brief = now - busy < BRIEFLY_FOR
        if is_brief:
            since = max(since, now - BRIEF)
        page = await self._page(provider, address, "discover", self.chains.all[provider].discover(address, since=since))
        if not is_brief and not isinstance(page, Failed) and len(page.sightings) >= MANY:
            self._busy[provider, address] = now
        return page

    async def _jettons(self, reaches: _Reaches, now: datetime) -> list[Page]:
        """Read USDT on TON; it has a way of its own, and moves no mark of the main feed."""
        if self.chain is not Chain.TON or now - self._jettons_at < JETTONS_EVERY:
            return []
        self._jettons_at = now
        pages: list[Page] = []
        for address in self.addresses:
            since = self._jettons_since.get(address, reaches[Provider.TONAPI, address].mark.until)
            asking = self.chains.jettons.discover_jettons(address, since=since - OVERLAP[self.chain])
            page = await self._page(Provider.TONAPI, address, "jettons", asking)
            if isinstance(page, CompletePage):
                self._jettons_since[address] = page.until
            if not isinstance(page, Failed):
                pages.append(page)
        return pages

    async def _page(self, provider: Provider, address: Address, call: str, asking: Awaitable[Page]) -> Page | Failed:
        try:
            with self.metrics.asking(provider, call):
                page = await asking
        except (ChainUnavailable, ProviderKeyRefused) as error:
            return self._failed(provider, address, error)
        self.metrics.remarked(provider, page.remarks)
        self._note(provider, page.reason if isinstance(page, IncompletePage) else "")
        return page

    async def reach_of(self, provider: Provider, address: Address, now: datetime) -> Reach:
        """Return how far a provider was read for an address."""
        return (await self._reaches(now))[provider, address]

    async def prove(self, case: Case, provider: Provider) -> Asked:
        """Ask one provider for one transaction."""
        try:
            with self.metrics.asking(provider, "prove"):
                proof = await self.chains.all[provider].prove(case.tx, address=case.address)
        except (ChainUnavailable, ProviderKeyRefused) as error:
            return Asked(case, self._failed(provider, case.address, error))
        self.metrics.remarked(provider, proof.remarks)
        return Asked(case, proof)

    async def covered(self, now: datetime) -> datetime:
        """Return up to which block time nothing is missing at any of our addresses; NEVER while blind.

        Raises:
            SourceUnavailable: the database does not answer.
        """
        if not self.addresses:
            return NEVER
        if now - self._heads_at >= HEADS_EVERY:
            self._heads_at = now
            await asyncio.gather(*(self._head(one) for one in READERS[self.chain]))
        reaches = await self._reaches(now)
        reached = [
            max(
                (
                    newest_covered(reach.mark, self._heads[provider])
                    for provider, reach in _of(address, reaches).items()
                    if provider in self._heads and reach.scanned_at is not None
                ),
                default=NEVER,
            )
            for address in self.addresses
        ]
        return min(reached, default=NEVER)

    async def _head(self, provider: Provider) -> None:
        try:
            with self.metrics.asking(provider, "head"):
                self._heads[provider] = await self.chains.all[provider].head()
        except (ChainUnavailable, ProviderKeyRefused) as error:
            # The head known before stays true: it only understates how far we see.
            self._note(provider, str(error))

    def _failed(self, provider: Provider, address: Address, error: _Trouble) -> Failed:
        self._note(provider, str(error))
        return Failed(provider, address, str(error))

    def _note(self, provider: Provider, trouble: str) -> None:
        """Log a provider's silence when it begins and when it ends."""
        if trouble and provider not in self._silent:
            log.warning("provider brings nothing", provider=provider, reason=trouble)
            self._silent.add(provider)
        elif not trouble and provider in self._silent:
            log.info("provider is back", provider=provider)
            self._silent.discard(provider)


def _of(address: Address, reaches: _Reaches) -> dict[Provider, Reach]:
    return {provider: reach for (provider, whose), reach in reaches.items() if whose == address}


def _after(reach: Reach, page: Page | Failed, now: datetime) -> Reach:
    """Return how far a provider is read after a page, or since when it cannot be."""
    if isinstance(page, CompletePage):
        return Reach(reach.mark.after(page), scanned_at=now)
    return replace(reach, failing_since=reach.failing_since or now, reason=page.reason)


def after_asking(reach: Reach, asked: Sequence[Asked], now: datetime) -> Reach:
    """Return a provider's reach after proofs were asked of it: one answer shows that it is there."""
    if any(isinstance(one.answer, Proof) for one in asked):
        return replace(reach, failing_since=None, reason="")
    reason = next((one.answer.reason for one in asked if isinstance(one.answer, Failed)), "")
    return replace(reach, failing_since=reach.failing_since or now, reason=reason)
