"""What the shop sells and what the ledger keeps, and the doors to both. Adapters: `infra/db/repositories_money.py`.

Exactly-once lives in the schema behind these doors: one credit per transfer, one transfer per (chain, tx, event index),
one exact amount per watched order, one delivery per outbox row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, Protocol

from models.payment import Asset, Order, OrderId, Provider, Transfer, TransferKey
from models.payment_address import Address, Chain
from models.payment_matching import Unmatched
from models.payment_ports import Watermark
from models.payment_quorum import Sighting

BuyerId = NewType("BuyerId", str)
"""Who buys: `telegram:4711`, or `api:NAME` by the name of an API token."""


class Language(StrEnum):
    """What a buyer is spoken to in."""

    ENGLISH = "en"
    RUSSIAN = "ru"


@dataclass(frozen=True, slots=True)
class Plan:
    """Something to buy: access for some days.

    Attributes:
        name: Unique, short, `[a-z0-9-]+`.
        days: How long a licence of it is good for.
        devices: How many addresses it admits at once.
        prices: Base units per asset; an asset that is missing is not taken for it.
    """

    name: str
    days: int
    devices: int
    prices: Mapping[Asset, int]


@dataclass(frozen=True, slots=True)
class Sale:
    """An order with who bought what.

    Attributes:
        order: What is owed and what came in.
        buyer: Who.
        plan: The plan as it was when it was bought.
        language: For messages about it.
    """

    order: Order
    buyer: BuyerId
    plan: Plan
    language: Language = Language.ENGLISH


@dataclass(frozen=True, slots=True)
class Case:
    """A transaction that pays us and is not done with: somebody saw it, and a proof or finality is lacking.

    Attributes:
        chain: Which ledger.
        tx: Its hash, 32 bytes.
        address: Our address that it pays (or, for a claim by hash that nobody knows yet, the order's deposit).
        first_seen: When we first heard of it.
        tries: How often a proof was asked for.
        next_at: When to ask again.
    """

    chain: Chain
    tx: bytes
    address: Address
    first_seen: datetime
    tries: int
    next_at: datetime


@dataclass(frozen=True, slots=True)
class SetAside:
    """A final transfer that is no order's."""

    transfer: Transfer
    why: Unmatched
    at: datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What a person or the system did with an order, for ever.

    Attributes:
        at: When.
        order: Which; None for what concerns a transfer alone.
        actor: `telegram:4711`, `cli:root`, `api:NAME`, or the flow's name.
        what: A word: a `models.payment_state.Decision`, `created`, `settled`, `claimed`, `refund-note`, `placed` ...
        detail: One sentence; no secret and no personal data beyond the actor.
    """

    at: datetime
    order: OrderId | None
    actor: str
    what: str
    detail: str = ""


CLAIMED = "claimed"
"""The audit's word for a hash that a buyer claims; the detail begins with it in hex."""

CLAIM_ANSWERED = "claim-answered"
"""The audit's word for what became of a claim; the detail begins with the same hash."""


class MessageKind(StrEnum):
    """What the outbox carries."""

    LICENCE = "licence"
    ORDER_CHANGED = "order_changed"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell, written in the transaction that made it true; delivered at least once, marked once.

    Attributes:
        key: Unique for what is told (`licence:ORDER`), so that writing it twice tells it once.
        kind: What it is.
        to: The buyer, or `admins`.
        order: Concerning which.
        facts: JSON-able; what a template needs.
        written_at: When it became true.
        tries: Deliveries tried.
    """

    key: str
    kind: MessageKind
    to: str
    order: OrderId | None
    facts: Mapping[str, str | int | bool]
    written_at: datetime
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one provider was read for one address.

    Attributes:
        mark: Up to where nothing is missing.
        scanned_at: When a complete page was last read.
        failing_since: Since when it could not be read; None while it can.
        reason: Why not, one sentence; empty while it can.
    """

    mark: Watermark
    scanned_at: datetime | None = None
    failing_since: datetime | None = None
    reason: str = ""

    def is_away(self, now: datetime, *, after: timedelta) -> bool:
        """Tell whether it has failed for so long that it counts as unreachable."""
        return self.failing_since is not None and now - self.failing_since >= after


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """Figures for metrics and /stats.

    Attributes:
        orders: By state.
        unmatched: By reason.
        cases: Transactions that are not done with, by chain.
        undelivered: Messages that wait, by kind.
    """

    orders: Mapping[str, int] = field(default_factory=dict)
    unmatched: Mapping[str, int] = field(default_factory=dict)
    cases: Mapping[str, int] = field(default_factory=dict)
    undelivered: Mapping[str, int] = field(default_factory=dict)


class LedgerRepository(Protocol):
    """Orders, transfers, credits, and what providers said. Inside one unit of work."""

    # --- orders ---

    async def open_order(self, sale: Sale) -> None:
        """Insert a NEW order. Notifies `orders`.

        Raises:
            AmountTaken: an order of this asset and address has this very amount reserved, or any order has its code or
                its id; the unit of work may go on with another.
            RefusedError: it is not NEW; the schema's word.
        """

    async def taken(
        self, asset: Asset, deposit: Address, *, lowest: int, highest: int, now: datetime
    ) -> frozenset[int]:
        """Return the units, within the bounds (inclusive), of every order that keeps a new one from having them."""

    async def sale(self, order: OrderId, *, for_update: bool = False) -> Sale | None:
        """Return one; with `for_update` its row is locked until the unit of work ends."""

    async def sales(self, orders: Collection[OrderId]) -> list[Sale]:
        """Return these, in id order; those that are unknown are left out."""

    async def sales_of(self, buyer: BuyerId, limit: int = 20) -> list[Sale]:
        """Return a buyer's, newest first."""

    async def in_state(self, states: Collection[str], limit: int = 100) -> list[Sale]:
        """Return orders in these states, oldest first: the queues that people look at."""

    async def candidates(self, transfers: Collection[Transfer]) -> list[Order]:
        """Return and lock, in id order, each order that a code in a comment or an exact amount may mean.

        A pre-filter of `payment_matching.match`: it may return more than fit, never fewer. Closed orders are included.
        """

    async def overdue(self, chain: Chain, *, scanned_until: datetime, limit: int = 500) -> list[Order]:
        """Return and lock orders that NEW, PROCESSING or EXPIRED no longer describes once the chain was read so far."""

    async def save(self, order: Order, transfers: Sequence[Transfer]) -> None:
        """Write state, flags and new credits; the transfers behind them are inserted if they are new.

        A transfer that was set aside and is now credited is no longer set aside. Saving twice is saving once. The
        order's row is locked until the unit of work ends. Notifies `orders`.

        Raises:
            TransferSpent: one of the transfers was credited to another order; leave the unit of work and read again.
            RefusedError: the change would be a wrong history, or there is no such order; the schema's word.
        """

    async def save_many(self, settled: Sequence[tuple[Order, Sequence[Transfer]]]) -> None:
        """As `save`, for many orders in a handful of statements."""

    async def transfers_of(self, order: OrderId) -> list[Transfer]:
        """Return the transfers credited to an order, in key order."""

    async def credited_to(self, keys: Collection[TransferKey]) -> Mapping[TransferKey, OrderId]:
        """Return for which order each of these was counted; those that were not are left out."""

    async def credited_beside(
        self, address: Address, txs: Collection[bytes], *, since: datetime, until: datetime, limit: int = 100
    ) -> list[tuple[OrderId, Transfer]]:
        """Return what was counted of payments to an address in [since, until), other than by these transactions.

        Oldest first, each with its order.
        """

    # --- what providers said ---

    async def sight(
        self, chain: Chain, address: Address, sightings: Sequence[Sighting], *, now: datetime
    ) -> set[bytes]:
        """Keep each provider's newest word on each transaction, and open a case for what is news.

        What counts as news is `models.ledger_words.is_news`: a feed's plain telling never replaces a numbered proof.

        Returns:
            The hashes whose telling is new or changed; each has a case that is due now.
        """

    async def sightings(self, chain: Chain, txs: Collection[bytes]) -> Mapping[bytes, tuple[Sighting, ...]]:
        """Return all that was said of these transactions."""

    async def ask_for(self, chain: Chain, tx: bytes, address: Address, *, now: datetime) -> None:
        """Open a case, due now, for a hash that a buyer claims and nobody has told us of. Notifies `orders`."""

    async def cases(self, chain: Chain, *, now: datetime, limit: int = 100) -> list[Case]:
        """Return cases that are due, longest due first."""

    async def postpone(self, case: Case, *, until: datetime) -> None:
        """Count a try, and look again then."""

    async def conclude(self, chain: Chain, txs: Collection[bytes]) -> None:
        """Close the cases of these transactions."""

    # --- what is nobody's ---

    async def set_aside(self, transfers: Sequence[tuple[Transfer, Unmatched]], *, now: datetime) -> None:
        """Record final transfers that are no order's; once each, the newest reason wins, credited ones are skipped.

        Raises:
            RefusedError: one is not final.
        """

    async def aside(self, limit: int = 100) -> list[SetAside]:
        """Return those that need a person, oldest first."""

    # --- how far we have read ---

    async def reach(self, provider: Provider, address: Address) -> Reach | None:
        """Return how far a provider was read; None when never."""

    async def save_reach(self, reach: Reach) -> None:
        """Write it; a mark never moves back, whoever writes. Notifies `orders`: whoever waits for a scan looks then."""

    # --- for people ---

    async def record(self, entry: AuditEntry) -> None:
        """Append; the table refuses UPDATE and DELETE."""

    async def record_many(self, entries: Sequence[AuditEntry]) -> None:
        """As `record`, for many in one statement; an order's history keeps their order."""

    async def audit(self, order: OrderId) -> list[AuditEntry]:
        """Return an order's history, oldest first."""

    async def open_claims(self, chain: Chain, *, since: datetime, limit: int = 200) -> list[AuditEntry]:
        """Return claims made from then on, for orders on this chain, that were not answered yet; oldest first."""

    async def counts(self) -> LedgerCounts:
        """Count."""


class OutboxRepository(Protocol):
    """What must be told."""

    async def put(self, message: Message) -> None:
        """Write, unless one with this key was written before. Notifies `outbox`."""

    async def put_many(self, messages: Sequence[Message]) -> None:
        """As `put`, for many in one statement; what is due at one instant is told in this order."""

    async def waiting(
        self,
        *,
        now: datetime,
        limit: int = 50,
        kinds: Collection[MessageKind] | None = None,
        to: Collection[str] = (),
    ) -> list[Message]:
        """Return and lock (skipping those that others hold) messages due for delivery, oldest first.

        Args:
            now: The present.
            limit: At most so many.
            kinds: Only these; None for all.
            to: Only those whose recipient begins with one of these (`telegram:`); empty for all.
        """

    async def delivered(self, key: str, *, now: datetime) -> None:
        """Mark as told."""

    async def retry(self, key: str, *, at: datetime, reason: str) -> None:
        """Count a failed delivery and try again then."""


@dataclass(frozen=True, slots=True)
class IssuedLicence:
    """A licence as the ledger keeps it: the signed text is made again from this, byte for byte.

    Attributes:
        id: Unique; also the order's, so that an order earns one.
        order: Which settled order earned it.
        plan: Name.
        devices: Addresses it admits at once.
        issued_at: From when.
        expires_at: Until when.
        revoked_at: Set when a person took it back.
    """

    id: str
    order: OrderId
    plan: str
    devices: int
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """A client's address that a licence lets through a gateway node.

    Attributes:
        licence: Which.
        mesh: Whose gateway.
        node: The gateway node.
        address: IPv4 or IPv6, canonical text.
        until: When the kernel itself forgets it.
        closed_at: When it was taken back; None while it stands.
    """

    licence: str
    mesh: str
    node: str
    address: str
    until: datetime
    closed_at: datetime | None = None


class LicenceRepository(Protocol):
    """Licences and whom they let in."""

    async def issue(self, licence: IssuedLicence) -> IssuedLicence:
        """Insert, or return the one that this order earned before.

        Raises:
            RefusedError: the order is not SETTLED; the schema's word.
        """

    async def issue_many(self, licences: Sequence[IssuedLicence]) -> list[IssuedLicence]:
        """As `issue`, for many orders in a handful of statements; returned in the order asked."""

    async def get(self, licence: str, *, for_update: bool = False) -> IssuedLicence | None:
        """Return one."""

    async def of_order(self, order: OrderId) -> IssuedLicence | None:
        """Return an order's."""

    async def revoke(self, licence: str, *, now: datetime) -> bool:
        """Take it back; False when there is none or it was taken back before."""

    async def admit(self, admission: Admission) -> None:
        """Insert, or prolong the same address.

        Raises:
            RefusedError: there is no such licence, it was revoked, or it ends before `until`; the schema's word.
        """

    async def admissions(self, *, licence: str | None = None, node: str | None = None) -> list[Admission]:
        """Return those that stand, oldest first."""

    async def close(self, admission: Admission, *, now: datetime) -> None:
        """Mark one as over."""
