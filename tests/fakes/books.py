"""What the fake ledger remembers, and the schema's laws over it, in plain dictionaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from models.errors import AmountTaken, RefusedError, TransferSpent
from models.ledger import (
    Admission,
    AuditEntry,
    Case,
    IssuedLicence,
    LedgerCounts,
    Message,
    Reach,
    Sale,
    SetAside,
)
from models.ledger_words import RESERVED_BEFORE, is_news, storable
from models.payment import CLOSED, Asset, Credit, Flag, Order, OrderId, OrderState, Provider, Transfer, TransferKey
from models.payment_address import Address, Chain
from models.payment_matching import Unmatched, codes_in
from models.payment_quorum import BLOCK_TIME_TOLERANCE, Sighting

LEAVES = {
    OrderState.SETTLED: {OrderState.REFUNDED},
    OrderState.CANCELLED: set(),
    OrderState.REFUNDED: set(),
    OrderState.HOLD: {OrderState.SETTLED, OrderState.CANCELLED, OrderState.REFUNDED},
    OrderState.REVIEW: {OrderState.SETTLED, OrderState.CANCELLED, OrderState.REFUNDED, OrderState.HOLD},
}
"""Where the states that advance() does not leave may go; the others may go anywhere but to what is checked below."""


class SchemaRefusal(RefusedError):
    """What a constraint says no to; after it the unit of work can only be left."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message with what became of it."""

    message: Message
    next_at: datetime
    delivered_at: datetime | None = None


@dataclass
class Books:
    """Every method is one statement: it succeeds whole or changes nothing."""

    sales: dict[OrderId, Sale] = field(default_factory=dict)
    transfers: dict[TransferKey, Transfer] = field(default_factory=dict)
    credits: dict[TransferKey, OrderId] = field(default_factory=dict)
    told: dict[tuple[Chain, bytes, Provider], Sighting] = field(default_factory=dict)
    cases: dict[tuple[Chain, bytes], Case] = field(default_factory=dict)
    set_asides: dict[TransferKey, SetAside] = field(default_factory=dict)
    reaches: dict[tuple[Provider, Address], Reach] = field(default_factory=dict)
    entries: dict[int, AuditEntry] = field(default_factory=dict)
    parcels: dict[str, Parcel] = field(default_factory=dict)
    licences: dict[str, IssuedLicence] = field(default_factory=dict)
    admissions: dict[int, Admission] = field(default_factory=dict)

    def copy(self) -> Books:
        """Copy the dictionaries; what they hold is frozen."""
        return Books(**{one.name: dict(getattr(self, one.name)) for one in fields(self)})

    # orders

    def open_order(self, sale: Sale) -> None:
        new = sale.order
        if new.id in self.sales:
            raise AmountTaken(new.id)
        if new.state is not OrderState.NEW or new.flags or new.credits or new.amount.units <= 0:
            raise SchemaRefusal("an order begins as NEW, unpaid, with an amount and without flags")
        if not new.created_at <= new.expires_at <= new.watched_until:
            raise SchemaRefusal("an order expires after it was made and is watched until after that")
        for other in (one.order for one in self.sales.values()):
            same = (other.amount, other.deposit) == (new.amount, new.deposit)
            if (new.code is not None and new.code == other.code) or (same and _overlap(other, new)):
                raise AmountTaken(new.id)
        self.sales[new.id] = sale

    def taken(self, asset: Asset, deposit: Address, lowest: int, highest: int, now: datetime) -> frozenset[int]:
        return frozenset(
            one.amount.units
            for one in self.orders()
            if (one.amount.asset, one.deposit) == (asset, deposit)
            and lowest <= one.amount.units <= highest
            and one.watched_until >= now - RESERVED_BEFORE
        )

    def orders(self) -> list[Order]:
        return [one.order for one in self.sales.values()]

    def candidates(self, transfers: Collection[Transfer]) -> list[OrderId]:
        codes = frozenset().union(*(codes_in(one.memo) for one in transfers))
        paid = {(one.asset, one.receiver, one.units) for one in transfers}
        return sorted(
            one.id
            for one in self.orders()
            if one.code in codes or (one.amount.asset, one.deposit, one.amount.units) in paid
        )

    def overdue(self, chain: Chain, scanned_until: datetime, limit: int) -> list[OrderId]:
        late = [one for one in self.orders() if one.amount.asset.chain is chain and _is_overdue(one, scanned_until)]
        return [one.id for one in sorted(late, key=lambda one: (one.expires_at, one.id))][:limit]

    def save(self, saved: Sequence[tuple[Order, Sequence[Transfer]]]) -> None:
        for order, transfers in saved:
            self._save(order, transfers)

    def _save(self, order: Order, transfers: Sequence[Transfer]) -> None:
        sale = self.sales.get(order.id)
        if sale is None:
            raise SchemaRefusal(f"order {order.id} is unknown; open it first")
        spent = [one for one in order.credits if self.credits.get(one.transfer, order.id) != order.id]
        if spent:
            raise TransferSpent(str(spent[0].transfer), order.id)
        known = {credit.transfer for credit in sale.order.credits}
        fresh = [credit for credit in order.credits if credit.transfer not in known]
        stored = {**{one.key: storable(one) for one in transfers if one.key}, **self.transfers}
        for credit in fresh:
            _check_credit(sale.order, credit, stored.get(credit.transfer))
        kept = tuple(sorted((*sale.order.credits, *fresh)))
        after = replace(sale.order, state=order.state, flags=order.flags, credits=kept)
        _check_change(sale.order, after)
        for credit in fresh:
            self.transfers[credit.transfer] = stored[credit.transfer]
            self.credits[credit.transfer] = order.id
            self.set_asides.pop(credit.transfer, None)
        self.sales[order.id] = replace(sale, order=after)

    # what providers said

    def sight(self, chain: Chain, address: Address, sightings: Iterable[Sighting], now: datetime) -> set[bytes]:
        news = set()
        for one in map(storable, sightings):
            key = (chain, one.tx, one.provider)
            if is_news(one, self.told.get(key)):
                self.told[key] = one
                news.add(one.tx)
                self.ask_for(chain, one.tx, address, now)
        return news

    def ask_for(self, chain: Chain, tx: bytes, address: Address, now: datetime) -> None:
        known = self.cases.get((chain, tx), Case(chain, tx, address, now, 0, now))
        self.cases[chain, tx] = replace(known, next_at=min(known.next_at, now))

    def due(self, chain: Chain, now: datetime, limit: int) -> list[Case]:
        found = [one for one in self.cases.values() if one.chain is chain and one.next_at <= now]
        return sorted(found, key=lambda one: (one.next_at, one.tx))[:limit]

    def postpone(self, case: Case, until: datetime) -> None:
        known = self.cases.get((case.chain, case.tx))
        if known is not None:
            self.cases[case.chain, case.tx] = replace(known, tries=known.tries + 1, next_at=until)

    def conclude(self, chain: Chain, txs: Collection[bytes]) -> None:
        for tx in txs:
            self.cases.pop((chain, tx), None)

    # what is nobody's

    def set_aside(self, transfers: Sequence[tuple[Transfer, Unmatched]], now: datetime) -> None:
        for transfer, why in transfers:
            key = transfer.key
            if key is None:
                raise SchemaRefusal("only a final transfer is set aside")
            if key in self.credits:
                continue
            known = self.set_asides.get(key)
            stored = self.transfers.setdefault(key, storable(transfer))
            self.set_asides[key] = SetAside(stored, why, known.at if known else now)

    # how far we have read

    def save_reach(self, reach: Reach) -> None:
        key = (reach.mark.provider, reach.mark.address)
        known = self.reaches.get(key)
        if known is not None:
            mark = max(known.mark, reach.mark, key=lambda one: one.until)
            scanned = max((one for one in (known.scanned_at, reach.scanned_at) if one is not None), default=None)
            reach = replace(reach, mark=mark, scanned_at=scanned)
        self.reaches[key] = reach

    # for people

    def record(self, entry: AuditEntry) -> None:
        if entry.order is not None and entry.order not in self.sales:
            raise SchemaRefusal(f"the schema refused the row: there is no order {entry.order}")
        self.entries[len(self.entries)] = entry

    def counts(self) -> LedgerCounts:
        return LedgerCounts(
            orders=_counted(one.state for one in self.orders()),
            unmatched=_counted(one.why for one in self.set_asides.values()),
            cases=_counted(one.chain for one in self.cases.values()),
            undelivered=_counted(one.message.kind for one in self.parcels.values() if one.delivered_at is None),
        )

    # the outbox

    def put(self, message: Message) -> None:
        self.parcels.setdefault(message.key, Parcel(message, message.written_at))

    def deliver(self, key: str, now: datetime) -> None:
        known = self.parcels.get(key)
        if known is not None and known.delivered_at is None:
            self.parcels[key] = replace(known, delivered_at=now)

    def retry(self, key: str, at: datetime) -> None:
        known = self.parcels.get(key)
        if known is not None and known.delivered_at is None:
            tried = replace(known.message, tries=known.message.tries + 1)
            self.parcels[key] = replace(known, message=tried, next_at=at)

    # licences

    def licence_of(self, order: OrderId) -> IssuedLicence | None:
        return next((one for one in self.licences.values() if one.order == order), None)

    def issue(self, licence: IssuedLicence) -> IssuedLicence:
        earned = self.licence_of(licence.order)
        if earned is not None:
            return earned
        sale = self.sales.get(licence.order)
        if sale is None or sale.order.state is not OrderState.SETTLED:
            raise SchemaRefusal("only a settled order earns a licence")
        if licence.id in self.licences or licence.devices < 1 or licence.expires_at <= licence.issued_at:
            raise SchemaRefusal(f"the schema refused the row: licence {licence.id}")
        self.licences[licence.id] = licence
        return licence

    def revoke(self, licence: str, now: datetime) -> bool:
        known = self.licences.get(licence)
        if known is None or known.revoked_at is not None:
            return False
        self.licences[licence] = replace(known, revoked_at=now)
        return True

    def admit(self, admission: Admission) -> None:
        licence = self.licences.get(admission.licence)
        if licence is None or licence.revoked_at is not None or admission.until > licence.expires_at:
            raise SchemaRefusal("an address is admitted by a licence that stands and only while it lasts")
        for number, known in self.admissions.items():
            if known.closed_at is None and _door(known) == _door(admission):
                self.admissions[number] = replace(known, until=admission.until)
                return
        self.admissions[len(self.admissions)] = replace(admission, closed_at=None)

    def close(self, admission: Admission, now: datetime) -> None:
        for number, known in self.admissions.items():
            if known.closed_at is None and _door(known) == _door(admission):
                self.admissions[number] = replace(known, closed_at=now)


def _overlap(one: Order, other: Order) -> bool:
    return (
        one.created_at - RESERVED_BEFORE <= other.watched_until
        and other.created_at - RESERVED_BEFORE <= one.watched_until
    )


def _is_overdue(order: Order, until: datetime) -> bool:
    if order.state in {OrderState.NEW, OrderState.PROCESSING}:
        return order.expires_at < until
    return order.state is OrderState.EXPIRED and Flag.PARTIAL in order.flags and order.watched_until < until


def _check_credit(order: Order, credit: Credit, transfer: Transfer | None) -> None:
    if transfer is None:
        raise SchemaRefusal("a credit needs its stored transfer")
    if (transfer.asset, transfer.receiver, transfer.units) != (order.amount.asset, order.deposit, credit.units):
        raise SchemaRefusal("a credit is its transfer's asset, receiver and units, and its order's asset and deposit")
    if not transfer.vouched_by:
        raise SchemaRefusal("a transfer is stored once a provider vouches for it")
    earliest, latest = order.created_at - RESERVED_BEFORE, order.watched_until + BLOCK_TIME_TOLERANCE
    if not earliest <= transfer.block_time <= latest:
        raise SchemaRefusal("a credit's block time lies in its order's watch")


def _check_change(before: Order, after: Order) -> None:
    state, manual = after.state, Flag.MANUAL in after.flags
    if before.state is not state and state not in LEAVES.get(before.state, {state}):
        raise SchemaRefusal(f"an order that is {before.state} never becomes {state}")
    if before.state is OrderState.NEW and state is OrderState.REFUNDED:
        raise SchemaRefusal("an order that is NEW has nothing to refund")
    if state is OrderState.CANCELLED and before.state not in {
        OrderState.NEW,
        OrderState.HOLD,
        OrderState.REVIEW,
        state,
    }:
        raise SchemaRefusal(f"an order that is {before.state} is not cancelled")
    if before.state in {OrderState.HOLD, OrderState.REVIEW} and state is OrderState.SETTLED and not manual:
        raise SchemaRefusal("only a person settles what was held")
    if before.state in CLOSED and (before.flags, before.credits) != (after.flags, after.credits):
        raise SchemaRefusal("a closed order's flags and credits stay")
    if before.flags - {Flag.PARTIAL} - after.flags:
        raise SchemaRefusal("flags stay, but for partial")
    _check_content(after)


def _check_content(order: Order) -> None:
    state, paid, due, manual = order.state, order.paid.units, order.amount.units, Flag.MANUAL in order.flags
    if manual and state not in {OrderState.SETTLED, OrderState.REFUNDED}:
        raise SchemaRefusal("manual is said of what a person settled")
    if state is OrderState.SETTLED and paid < due and not manual:
        raise SchemaRefusal("an order settles when its credits cover it, or by a person")
    if state in {OrderState.NEW, OrderState.CANCELLED} and paid:
        raise SchemaRefusal(f"an order that is {state} has no credits")
    if (Flag.PARTIAL in order.flags) != (0 < paid < due) or (Flag.OVER in order.flags) != (paid > due):
        raise SchemaRefusal("partial and over say how the credits compare with the amount")


def _door(admission: Admission) -> tuple[str, str, str, str]:
    return (admission.licence, admission.mesh, admission.node, admission.address)


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(str(one) for one in words))
