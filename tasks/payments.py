"""Scanning a chain: read what came to our addresses, have it proved, book it, expire what was not paid.

One tick costs one discovery call per deposit address whatever the number of orders, and at most one proof per
transaction and look. What must not be lost is in the ledger before the next step begins: a run that is killed anywhere
goes on from its cases.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from infra.chains.providers import ChainProviders, open_providers
from infra.chains.settings import ChainSettings
from infra.metrics_payments import ScanMetrics
from models.errors import RefusedError
from models.payment import OrderId, OrderState, Provider, Transfer
from models.payment_address import Address, Chain
from models.payment_looking import AWAY_AFTER, READERS, TAKE_OVER_AFTER, Told, is_hopeless, look_again_at, whom_to_ask
from models.payment_matching import Unmatched, match
from models.payment_ports import Proof
from models.payment_state import advance
from models.ports import UnitOfWork
from tasks.payments_booking import Booked, Telling, alert, book, commit
from tasks.payments_reading import NEVER, Asked, Failed, Reader, after_asking, open_cases, told_of
from tasks.wiring import adapters, payment_policy

log = structlog.get_logger()

MOST_ASKS = 12
"""Proofs a tick: more than any free key allows in that time, few enough that a burst does not stop the reading."""

MOST_AT_ONCE = 500
"""Booked in one transaction of some sixteen statements: half a second, in which its orders stay locked."""

REFUSED_PAUSE = timedelta(minutes=5)
"""For a transaction that the schema refuses to book: a person was alerted, and nothing else need wait for it."""


@dataclass(slots=True)
class ScanReport:
    """What one tick did.

    Attributes:
        chain: Which.
        read: Complete pages.
        failed: Providers that could not be read or asked.
        changed: Transactions told anew or otherwise.
        asked: Proofs asked for.
        credited: Transfers newly counted.
        settled: Orders that became SETTLED.
        aside: Final transfers that are nobody's.
        disputed: Transactions over which providers contradict each other.
        expired: Orders that moved because their time is over.
        scanned_until: Up to which block time nothing is missing.
    """

    chain: Chain
    read: int = 0
    failed: tuple[Provider, ...] = ()
    changed: int = 0
    asked: int = 0
    credited: int = 0
    settled: int = 0
    aside: int = 0
    disputed: int = 0
    expired: int = 0
    scanned_until: datetime = NEVER


@asynccontextmanager
async def opened_chains() -> AsyncIterator[ChainProviders]:
    """Yield the providers given, or the installation's own, open for as long as the block runs."""
    world = adapters()
    if world.chains is not None:
        yield world.chains
        return
    async with open_providers(ChainSettings(), world.clock) as chains:
        yield chains


async def scan(chain: Chain) -> ScanReport:
    """Make one tick with nothing remembered from before; heads are read too.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    async with opened_chains() as chains:
        return await Scanner.of(chain, chains).tick()


async def expire(chain: Chain) -> int:
    """Move the orders whose time is over as far as the chain was read; return how many moved. Never while blind.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    async with opened_chains() as chains:
        scanner = Scanner.of(chain, chains)
        now = adapters().clock.now()
        return await scanner.expire(now, await scanner.reader.covered(now))


@asynccontextmanager
async def scanner(chain: Chain) -> AsyncIterator[Scanner]:
    """Open what scans a chain for as long as the block runs, with its metrics served beside it."""
    metrics = ScanMetrics()
    async with opened_chains() as chains:
        stop = await _served(chain, metrics)
        try:
            yield Scanner.of(chain, chains, metrics)
        finally:
            await asyncio.to_thread(stop)


async def _served(chain: Chain, metrics: ScanMetrics) -> Callable[[], None]:
    """Serve the metrics; a port that is taken costs the figures and never the payments."""
    settings = adapters().settings
    port = settings.tron_metrics_port if chain is Chain.TRON else settings.ton_metrics_port
    try:
        return await asyncio.to_thread(metrics.serve, port=port)
    except OSError as error:
        log.warning("the scan's metrics are not served", chain=chain, port=port, reason=str(error))
        return _nothing_to_stop


def _nothing_to_stop() -> None:
    """Nothing was served."""


@dataclass(slots=True)
class Scanner:
    """Scans one chain, tick by tick.

    Attributes:
        reader: Asks its providers.
        metrics: Counts what happens.
    """

    reader: Reader
    metrics: ScanMetrics
    _covered: datetime = field(default=NEVER)

    @classmethod
    def of(cls, chain: Chain, chains: ChainProviders, metrics: ScanMetrics | None = None) -> Scanner:
        """Return a scanner of a chain."""
        counted = metrics or ScanMetrics()
        return cls(Reader(chain, chains, counted), counted)

    @property
    def chain(self) -> Chain:
        """Return which chain it scans."""
        return self.reader.chain

    async def tick(self) -> ScanReport:
        """Read, prove, book, expire; safe to repeat from any point.

        Raises:
            SourceUnavailable: the database does not answer.
        """
        now = adapters().clock.now()
        report = ScanReport(self.chain)
        reading = await self.reader.read(now)
        self._covered = await self.reader.covered(now)
        report.read, report.changed = reading.complete, len(reading.changed)
        silent = {one.provider for one in reading.failed}
        silent |= await self._look(reading.gone, now, report)
        report.failed = tuple(sorted(silent))
        report.expired = await self.expire(now, self._covered)
        report.scanned_until = self._covered
        return report

    async def _look(
        self, gone: Mapping[bytes, tuple[Transfer, ...]], now: datetime, report: ScanReport
    ) -> set[Provider]:
        """Look at every case that is due: book what is known, ask for what is not, book again, or look later."""
        due = await self._due(now)
        left = []
        for start in range(0, len(due), MOST_AT_ONCE):
            left += await self._book(due[start : start + MOST_AT_ONCE], gone, {}, now, report)
        asked, unasked = await self._ask(left, now)
        report.asked = len(asked)
        # Whoever found no room this time stays due, and comes first at the next tick.
        left = [one for one in left if one.tx not in unasked]
        if asked:
            mute = await self._hear(asked, now)
            heard = {one.case.tx for one in asked}
            again = [told for told in await self._told(now) if told.tx in heard]
            # A proof may tell of other transactions than the one asked for: on TON a wallet shows a message's hash.
            left = [one for one in left if one.tx not in heard] + await self._book(again, {}, mute, now, report)
        await self._postpone(left, now)
        return {one.answer.provider for one in asked if isinstance(one.answer, Failed)}

    async def _due(self, now: datetime) -> list[Told]:
        async with adapters().store.unit() as uow:
            return await told_of(uow, self.chain, await uow.ledger.cases(self.chain, now=now, limit=500))

    async def _told(self, now: datetime) -> list[Told]:
        async with adapters().store.unit() as uow:
            return await told_of(uow, self.chain, await open_cases(uow, self.chain, now=now))

    # --- booking

    async def _book(
        self,
        cases: Sequence[Told],
        gone: Mapping[bytes, tuple[Transfer, ...]],
        mute: Mapping[bytes, frozenset[Provider]],
        now: datetime,
        report: ScanReport,
    ) -> list[Told]:
        """Book cases together, or one by one where the schema refuses one of them; return those not done with."""
        tellings = {
            one.tx: Telling(one.tx, one.transfers(unreachable=mute.get(one.tx, frozenset())), gone.get(one.tx, ()))
            for one in cases
        }
        worth = [one for one in tellings.values() if one.transfers or one.before]
        empty = {one.tx for one in cases if one.is_concluded_empty or (one.tx in gone and not one.transfers())}
        try:
            booked = await self._commit(worth, empty, now)
        except RefusedError as error:
            log.warning("a batch of payments was refused, booking one by one", chain=self.chain, reason=str(error))
            return await self._book_singly(cases, tellings, empty, now, report)
        self._count(booked, now, report)
        return [one for one in cases if one.tx not in booked.done | empty]

    async def _book_singly(
        self,
        cases: Sequence[Told],
        tellings: Mapping[bytes, Telling],
        empty: set[bytes],
        now: datetime,
        report: ScanReport,
    ) -> list[Told]:
        left = []
        for one in cases:
            telling = tellings[one.tx]
            try:
                booked = await self._commit(
                    [telling] if telling.transfers or telling.before else [], empty & {one.tx}, now
                )
            except RefusedError as error:
                log.exception("a payment was refused", chain=self.chain, tx=one.tx.hex())
                async with adapters().store.unit() as uow:
                    await uow.ledger.postpone(one.case, until=now + REFUSED_PAUSE)
                    tx = one.tx.hex()
                    await alert(uow, f"refused:{tx}", "refused", now=now, transfer=tx, reason=str(error))
                continue
            self._count(booked, now, report)
            if one.tx not in booked.done | empty:
                left.append(one)
        return left

    async def _commit(self, tellings: Sequence[Telling], empty: set[bytes], now: datetime) -> Booked:
        if not tellings and not empty:
            return Booked()
        async with adapters().store.unit() as uow:
            booked = await book(uow, tellings, now=now, policy=payment_policy(), scanned_until=self._covered)
            await uow.ledger.conclude(self.chain, booked.done | empty)
        return booked

    def _count(self, booked: Booked, now: datetime, report: ScanReport) -> None:
        for transfer in booked.credited:
            self.metrics.credited(transfer.asset, now - transfer.block_time)
        self.metrics.disputed(len(booked.disputed))
        for order in booked.changed:
            log.info("order moved", order=order.id, state=order.state, paid=str(order.paid), flags=sorted(order.flags))
        report.credited += len(booked.credited)
        report.aside += len(booked.aside)
        report.disputed += len(booked.disputed)
        report.settled += sum(order.state is OrderState.SETTLED for order in booked.changed)

    # --- proving

    async def _ask(self, cases: Sequence[Told], now: datetime) -> tuple[list[Asked], set[bytes]]:
        """Ask for a proof of each case that one would help, of whom it would help from.

        Returns:
            What was asked, and the transactions for which there was no room in this tick.
        """
        if not cases:
            return [], set()
        async with adapters().store.unit() as uow:
            away = {
                address: {
                    provider
                    for provider in READERS[self.chain]
                    if (reach := await uow.ledger.reach(provider, address))
                    and reach.is_away(now, after=TAKE_OVER_AFTER)
                }
                for address in {one.case.address for one in cases}
            }
        helpful = [
            (one.case, provider)
            for one in cases
            if (provider := whom_to_ask(one, away[one.case.address], now)) is not None
        ]
        asked = await asyncio.gather(*(self.reader.prove(case, provider) for case, provider in helpful[:MOST_ASKS]))
        return list(asked), {case.tx for case, _ in helpful[MOST_ASKS:]}

    async def _hear(self, asked: Sequence[Asked], now: datetime) -> dict[bytes, frozenset[Provider]]:
        """Write down proofs and silences.

        Returns:
            For each transaction whose proof did not come: who was asked and has been away for long.
        """
        groups: dict[tuple[Provider, Address], list[Asked]] = {}
        for one in asked:
            groups.setdefault((one.answer.provider, one.case.address), []).append(one)
        mute: dict[bytes, frozenset[Provider]] = {}
        for (provider, address), answers in groups.items():
            reach = after_asking(await self.reader.reach_of(provider, address, now), answers, now)
            async with adapters().store.unit() as uow:
                await uow.ledger.save_reach(reach)
                said = [it for one in answers if isinstance(one.answer, Proof) for it in one.answer.sightings]
                await uow.ledger.sight(self.chain, address, said, now=now)
                # A buyer named a message or a trace; the transaction it led to has a case of its own now.
                led = [
                    one.case.tx
                    for one in answers
                    if isinstance(one.answer, Proof)
                    and one.answer.state.is_conclusive
                    and one.case.tx not in {it.tx for it in one.answer.sightings}
                ]
                await uow.ledger.conclude(self.chain, led)
            if reach.is_away(now, after=AWAY_AFTER):
                mute |= {one.case.tx: frozenset({provider}) for one in answers if isinstance(one.answer, Failed)}
        return mute

    async def _postpone(self, cases: Sequence[Told], now: datetime) -> None:
        if not cases:
            return
        async with adapters().store.unit() as uow:
            for one in cases:
                if is_hopeless(one, now):
                    await uow.ledger.conclude(self.chain, {one.tx})
                    log.warning("a case is given up", chain=self.chain, tx=one.tx.hex(), tries=one.case.tries)
                    continue
                is_disputed = any(transfer.disputed for transfer in one.transfers())
                await uow.ledger.postpone(one.case, until=look_again_at(one, now, is_disputed=is_disputed))

    # --- expiring

    async def expire(self, now: datetime, scanned_until: datetime) -> int:
        """Move the orders whose time is over, each with what is on its way to it; return how many moved.

        Raises:
            SourceUnavailable: the database does not answer.
        """
        if scanned_until == NEVER:
            return 0
        policy, booked = payment_policy(), Booked()
        async with adapters().store.unit() as uow:
            overdue = await uow.ledger.overdue(self.chain, scanned_until=scanned_until)
            if not overdue:
                return 0
            coming = await self._coming(uow, now)
            meant: dict[OrderId | Unmatched, list[Transfer]] = {}
            for one in coming:
                meant.setdefault(match(one, overdue, policy=policy), []).append(one)
            changes = []
            for order in overdue:
                theirs = meant.get(order.id, [])
                moved = advance(order, theirs, now, policy=policy, scanned_until=scanned_until)
                if moved != order:
                    changes.append((order, moved, theirs))
            await commit(uow, changes, booked, now=now)
        self._count(booked, now, ScanReport(self.chain))
        return len(booked.changed)

    async def _coming(self, uow: UnitOfWork, now: datetime) -> list[Transfer]:
        cases = await told_of(uow, self.chain, await open_cases(uow, self.chain, now=now))
        return [transfer for one in cases for transfer in one.transfers()]
