"""The ledger, the outbox and licences over a fake store's memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from models.ledger import (
    CLAIM_ANSWERED,
    CLAIMED,
    Admission,
    AuditEntry,
    BuyerId,
    Case,
    IssuedLicence,
    LedgerCounts,
    Message,
    MessageKind,
    Reach,
    Sale,
    SetAside,
)
from models.payment import Asset, Order, OrderId, Provider, Transfer, TransferKey
from models.payment_address import Address, Chain
from models.payment_matching import Unmatched
from models.payment_quorum import Sighting
from tests.fakes.books import Books

Result = TypeVar("Result")
HASH_HEX = 64


class Desk(Protocol):
    """What `tests.fakes.store.Desk` gives to a repository."""

    @property
    def seen(self) -> Any: ...
    def write(self, write: Callable[[Any], Result], *channels: str) -> Result: ...
    async def lock(self, row: str) -> None: ...
    def is_free(self, row: str) -> bool: ...


class Shelf:
    """A desk, by its books."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def _books(self) -> Books:
        books: Books = self._desk.seen.books
        return books

    def _write(self, write: Callable[[Books], Result], *channels: str) -> Result:
        return self._desk.write(lambda memory: write(memory.books), *channels)


class FakeLedger(Shelf):
    async def open_order(self, sale: Sale) -> None:
        await self._desk.lock(f"amounts {sale.order.amount.asset}")
        self._write(lambda books: books.open_order(sale), "orders")

    async def taken(
        self, asset: Asset, deposit: Address, *, lowest: int, highest: int, now: datetime
    ) -> frozenset[int]:
        return self._books.taken(asset, deposit, lowest, highest, now)

    async def sale(self, order: OrderId, *, for_update: bool = False) -> Sale | None:
        if for_update:
            await self._desk.lock(f"order {order}")
        return self._books.sales.get(order)

    async def sales(self, orders: Collection[OrderId]) -> list[Sale]:
        return [self._books.sales[one] for one in sorted(set(orders)) if one in self._books.sales]

    async def sales_of(self, buyer: BuyerId, limit: int = 20) -> list[Sale]:
        of_buyer = [one for one in self._books.sales.values() if one.buyer == buyer]
        return sorted(of_buyer, key=lambda one: (one.order.created_at, one.order.id), reverse=True)[:limit]

    async def in_state(self, states: Collection[str], limit: int = 100) -> list[Sale]:
        found = [one for one in self._books.sales.values() if one.order.state in states]
        return sorted(found, key=lambda one: (one.order.created_at, one.order.id))[:limit]

    async def candidates(self, transfers: Collection[Transfer]) -> list[Order]:
        return await self._locked(self._books.candidates(transfers))

    async def overdue(self, chain: Chain, *, scanned_until: datetime, limit: int = 500) -> list[Order]:
        await self._locked(sorted(self._books.overdue(chain, scanned_until, limit)))
        # What waited for a lock is looked at again, as Postgres does.
        return [self._books.sales[one].order for one in self._books.overdue(chain, scanned_until, limit)]

    async def save(self, order: Order, transfers: Sequence[Transfer]) -> None:
        await self.save_many([(order, transfers)])

    async def save_many(self, settled: Sequence[tuple[Order, Sequence[Transfer]]]) -> None:
        for name in sorted(order.id for order, _ in settled):
            await self._desk.lock(f"order {name}")
        for key in sorted(credit.transfer for order, _ in settled for credit in order.credits):
            await self._desk.lock(f"transfer {key}")
        batch = [(order, tuple(transfers)) for order, transfers in settled]
        self._write(lambda books: books.save(batch), "orders")

    async def transfers_of(self, order: OrderId) -> list[Transfer]:
        sale = self._books.sales.get(order)
        return [] if sale is None else [self._books.transfers[one.transfer] for one in sale.order.credits]

    async def credited_to(self, keys: Collection[TransferKey]) -> Mapping[TransferKey, OrderId]:
        return {key: self._books.credits[key] for key in keys if key in self._books.credits}

    async def credited_beside(
        self, address: Address, txs: Collection[bytes], *, since: datetime, until: datetime, limit: int = 100
    ) -> list[tuple[OrderId, Transfer]]:
        found = [
            (order, self._books.transfers[key])
            for key, order in self._books.credits.items()
            if self._books.transfers[key].receiver == address
            and key.tx not in txs
            and since <= self._books.transfers[key].block_time < until
        ]
        return sorted(found, key=lambda one: (one[1].block_time, one[1].key))[:limit]

    async def sight(
        self, chain: Chain, address: Address, sightings: Sequence[Sighting], *, now: datetime
    ) -> set[bytes]:
        return self._write(lambda books: books.sight(chain, address, sightings, now))

    async def sightings(self, chain: Chain, txs: Collection[bytes]) -> Mapping[bytes, tuple[Sighting, ...]]:
        told = sorted(
            (one for key, one in self._books.told.items() if key[0] is chain), key=lambda one: (one.tx, one.provider)
        )
        found = {tx: tuple(one for one in told if one.tx == tx) for tx in txs}
        return {tx: said for tx, said in found.items() if said}

    async def ask_for(self, chain: Chain, tx: bytes, address: Address, *, now: datetime) -> None:
        self._write(lambda books: books.ask_for(chain, tx, address, now), "orders")

    async def cases(self, chain: Chain, *, now: datetime, limit: int = 100) -> list[Case]:
        return self._books.due(chain, now, limit)

    async def postpone(self, case: Case, *, until: datetime) -> None:
        self._write(lambda books: books.postpone(case, until))

    async def conclude(self, chain: Chain, txs: Collection[bytes]) -> None:
        closed = tuple(txs)
        self._write(lambda books: books.conclude(chain, closed))

    async def set_aside(self, transfers: Sequence[tuple[Transfer, Unmatched]], *, now: datetime) -> None:
        batch = tuple(transfers)
        self._write(lambda books: books.set_aside(batch, now))

    async def aside(self, limit: int = 100) -> list[SetAside]:
        found = [one for one in self._books.set_asides.values() if one.why.needs_person]
        return sorted(found, key=lambda one: (one.at, str(one.transfer.key)))[:limit]

    async def reach(self, provider: Provider, address: Address) -> Reach | None:
        return self._books.reaches.get((provider, address))

    async def save_reach(self, reach: Reach) -> None:
        self._write(lambda books: books.save_reach(reach), "orders")

    async def record(self, entry: AuditEntry) -> None:
        self._write(lambda books: books.record(entry))

    async def record_many(self, entries: Sequence[AuditEntry]) -> None:
        for one in entries:
            await self.record(one)

    async def audit(self, order: OrderId) -> list[AuditEntry]:
        return [one for one in self._books.entries.values() if one.order == order]

    async def open_claims(self, chain: Chain, *, since: datetime, limit: int = 200) -> list[AuditEntry]:
        entries = [one for one in self._books.entries.values() if one.order is not None]
        answered = {(one.order, one.detail[:HASH_HEX]) for one in entries if one.what == CLAIM_ANSWERED}
        return [
            one
            for one in entries
            if one.what == CLAIMED
            and one.at >= since
            and (one.order, one.detail[:HASH_HEX]) not in answered
            and self._books.sales[one.order].order.amount.asset.chain is chain
        ][:limit]

    async def counts(self) -> LedgerCounts:
        return self._books.counts()

    async def _locked(self, orders: Sequence[OrderId]) -> list[Order]:
        for one in orders:
            await self._desk.lock(f"order {one}")
        return [self._books.sales[one].order for one in orders]


class FakeOutbox(Shelf):
    async def put(self, message: Message) -> None:
        self._write(lambda books: books.put(message), "outbox")

    async def put_many(self, messages: Sequence[Message]) -> None:
        for one in messages:
            await self.put(one)

    async def waiting(
        self,
        *,
        now: datetime,
        limit: int = 50,
        kinds: Collection[MessageKind] | None = None,
        to: Collection[str] = (),
    ) -> list[Message]:
        due = [
            one.message
            for one in self._books.parcels.values()
            if one.delivered_at is None
            and one.next_at <= now
            and (kinds is None or one.message.kind in kinds)
            and (not to or one.message.to.startswith(tuple(to)))
            and self._desk.is_free(f"message {one.message.key}")
        ]
        chosen = sorted(due, key=lambda one: one.written_at)[:limit]
        for one in chosen:
            await self._desk.lock(f"message {one.key}")
        return chosen

    async def delivered(self, key: str, *, now: datetime) -> None:
        self._write(lambda books: books.deliver(key, now))

    async def retry(self, key: str, *, at: datetime, reason: str) -> None:
        self._write(lambda books: books.retry(key, at))


class FakeLicences(Shelf):
    async def issue(self, licence: IssuedLicence) -> IssuedLicence:
        await self._desk.lock(f"licence of {licence.order}")
        return self._write(lambda books: books.issue(licence))

    async def issue_many(self, licences: Sequence[IssuedLicence]) -> list[IssuedLicence]:
        return [await self.issue(one) for one in licences]

    async def get(self, licence: str, *, for_update: bool = False) -> IssuedLicence | None:
        if for_update:
            await self._desk.lock(f"licence {licence}")
        return self._books.licences.get(licence)

    async def of_order(self, order: OrderId) -> IssuedLicence | None:
        return self._books.licence_of(order)

    async def revoke(self, licence: str, *, now: datetime) -> bool:
        await self._desk.lock(f"licence {licence}")
        return self._write(lambda books: books.revoke(licence, now))

    async def admit(self, admission: Admission) -> None:
        self._write(lambda books: books.admit(admission))

    async def admissions(self, *, licence: str | None = None, node: str | None = None) -> list[Admission]:
        return [
            one
            for one in self._books.admissions.values()
            if one.closed_at is None and licence in {None, one.licence} and node in {None, one.node}
        ]

    async def close(self, admission: Admission, *, now: datetime) -> None:
        self._write(lambda books: books.close(admission, now))
