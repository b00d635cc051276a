"""The tables of money. One transfer is counted once, one amount means one order, and history only grows.

What a row alone must satisfy stands here as constraints and keys; what needs the row's past or another table (an order
leaves SETTLED only to REFUNDED, `paid` is the sum of the credits, nothing is ever unsaid) are triggers of migration
0002. Together they refuse a wrong history also to a person with SQL.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from infra.db.documents import Document
from infra.db.tables import Base
from models.ledger import Plan
from models.payment import Transfer

KNOWN_ASSET = "asset IN ('USDT_TRON', 'TON', 'USDT_TON')"
KNOWN_CHAIN = "chain IN ('tron', 'ton')"
ASSET_OF_CHAIN = "(chain = 'tron') = (asset = 'USDT_TRON')"
HASH = "octet_length(tx) = 32"
FACTS = dict[str, str | int | bool]


class OrderRow(Base):
    """What a customer owes, with who bought what. `paid` is the sum of its credits."""

    __tablename__ = "orders"
    __table_args__ = (
        # For one amount and one block time there is at most one order, however late its payment is told.
        ExcludeConstraint(
            # What differs most comes first: it halves the price of an insert.
            ("units", "="),
            ("deposit", "="),
            ("asset", "="),
            (text("tstzrange(payable_from, watched_until, '[]')"), "&&"),
            name="ex_orders_one_amount",
            using="gist",
        ),
        UniqueConstraint("code"),
        # What a credit points at, so that it can only count for an order of its own asset and address.
        UniqueConstraint("id", "asset", "deposit"),
        CheckConstraint(KNOWN_ASSET, name="known_asset"),
        CheckConstraint("octet_length(deposit) = CASE asset WHEN 'USDT_TRON' THEN 21 ELSE 33 END", name="own_chain"),
        CheckConstraint("units > 0", name="owes_something"),
        CheckConstraint("created_at <= expires_at AND expires_at <= watched_until", name="instants_in_order"),
        CheckConstraint("created_at - payable_from >= interval '10 minutes'", name="reserved_before"),
        CheckConstraint(
            "state IN ('NEW', 'PROCESSING', 'SETTLED', 'EXPIRED', 'REVIEW', 'HOLD', 'CANCELLED', 'REFUNDED')",
            name="known_state",
        ),
        CheckConstraint(
            "flags <@ ARRAY['partial', 'over', 'late', 'manual', 'degraded'] AND array_position(flags, NULL) IS NULL",
            name="known_flags",
        ),
        CheckConstraint("state <> 'SETTLED' OR paid >= units OR 'manual' = ANY (flags)", name="settled_is_paid"),
        CheckConstraint("state NOT IN ('NEW', 'CANCELLED') OR paid = 0", name="new_is_unpaid"),
        CheckConstraint("'manual' <> ALL (flags) OR state IN ('SETTLED', 'REFUNDED')", name="manual_is_settled"),
        CheckConstraint("('partial' = ANY (flags)) = (paid > 0 AND paid < units)", name="partial_is_partial"),
        CheckConstraint("('over' = ANY (flags)) = (paid > units)", name="over_is_over"),
        CheckConstraint("language IN ('en', 'ru')", name="known_language"),
        Index("ix_orders_amount", "units", "deposit"),
        Index(None, "buyer", "created_at"),
        Index(None, "state", "created_at"),
        Index("ix_orders_waiting", "expires_at", postgresql_where=text("state IN ('NEW', 'PROCESSING')")),
        Index(
            "ix_orders_expired_partial",
            "watched_until",
            postgresql_where=text("state = 'EXPIRED' AND 'partial' = ANY (flags)"),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    asset: Mapped[str]
    deposit: Mapped[bytes]
    units: Mapped[int]
    code: Mapped[str | None]
    created_at: Mapped[datetime]
    payable_from: Mapped[datetime]
    expires_at: Mapped[datetime]
    watched_until: Mapped[datetime]
    state: Mapped[str]
    flags: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    paid: Mapped[int] = mapped_column(server_default=text("0"))
    buyer: Mapped[str]
    plan: Mapped[Any] = mapped_column(Document(Plan))
    language: Mapped[str]


class TransferRow(Base):
    """A final on-chain event that paid us, as it was first told; it never changes."""

    __tablename__ = "transfers"
    __table_args__ = (
        # What a credit points at, so that it cannot say another asset, address or amount than the chain.
        UniqueConstraint("chain", "tx", "event_index", "asset", "receiver", "units", name="uq_transfers_essence"),
        CheckConstraint(KNOWN_CHAIN, name="known_chain"),
        CheckConstraint(KNOWN_ASSET, name="known_asset"),
        CheckConstraint(ASSET_OF_CHAIN, name="asset_of_chain"),
        CheckConstraint(HASH, name="hash_length"),
        CheckConstraint("event_index >= 0", name="numbered"),
        CheckConstraint("units > 0", name="moves_something"),
        CheckConstraint("cardinality(vouched_by) > 0", name="vouched"),
    )
    chain: Mapped[str] = mapped_column(primary_key=True)
    tx: Mapped[bytes] = mapped_column(primary_key=True)
    event_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    asset: Mapped[str]
    sender: Mapped[bytes | None]
    receiver: Mapped[bytes]
    units: Mapped[int]
    position: Mapped[int]
    block_time: Mapped[datetime]
    memo: Mapped[str | None]
    caution: Mapped[str | None]
    vouched_by: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    absent: Mapped[list[str]] = mapped_column(ARRAY(Text()))


class CreditRow(Base):
    """A transfer counted once: its key is the transfer's. Never changed, moved or deleted."""

    __tablename__ = "credits"
    __table_args__ = (
        ForeignKeyConstraint(
            ["chain", "tx", "event_index", "asset", "deposit", "units"],
            [
                "transfers.chain",
                "transfers.tx",
                "transfers.event_index",
                "transfers.asset",
                "transfers.receiver",
                "transfers.units",
            ],
            name="fk_credits_transfer",
        ),
        ForeignKeyConstraint(
            ["order_id", "asset", "deposit"], ["orders.id", "orders.asset", "orders.deposit"], name="fk_credits_order"
        ),
        Index(None, "order_id"),
    )
    chain: Mapped[str] = mapped_column(primary_key=True)
    tx: Mapped[bytes] = mapped_column(primary_key=True)
    event_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    order_id: Mapped[str]
    asset: Mapped[str]
    deposit: Mapped[bytes]
    units: Mapped[int]


class SightingRow(Base):
    """One provider's word on one transaction."""

    __tablename__ = "sightings"
    __table_args__ = (CheckConstraint(HASH, name="hash_length"),)
    chain: Mapped[str] = mapped_column(primary_key=True)
    tx: Mapped[bytes] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    seen_at: Mapped[datetime]
    transfers: Mapped[Any] = mapped_column(Document(tuple[Transfer, ...]))


class CaseRow(Base):
    """A transaction that is not done with."""

    __tablename__ = "cases"
    __table_args__ = (CheckConstraint(HASH, name="hash_length"), Index(None, "chain", "next_at"))
    chain: Mapped[str] = mapped_column(primary_key=True)
    tx: Mapped[bytes] = mapped_column(primary_key=True)
    address: Mapped[bytes]
    first_seen: Mapped[datetime]
    tries: Mapped[int]
    next_at: Mapped[datetime]


class SetAsideRow(Base):
    """A final transfer that is no order's, unless it was credited since."""

    __tablename__ = "set_asides"
    __table_args__ = (
        ForeignKeyConstraint(
            ["chain", "tx", "event_index"],
            ["transfers.chain", "transfers.tx", "transfers.event_index"],
            name="fk_set_asides_transfer",
        ),
        Index(None, "at"),
    )
    chain: Mapped[str] = mapped_column(primary_key=True)
    tx: Mapped[bytes] = mapped_column(primary_key=True)
    event_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    why: Mapped[str]
    at: Mapped[datetime]


class ReachRow(Base):
    """How far one provider was read for one address; the mark only moves forward."""

    __tablename__ = "reaches"
    provider: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[bytes] = mapped_column(primary_key=True)
    until: Mapped[datetime]
    scanned_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    reason: Mapped[str]


class AuditRow(Base):
    """What was done, by whom. Append only."""

    __tablename__ = "audit"
    __table_args__ = (
        CheckConstraint("actor <> '' AND what <> ''", name="says_who_and_what"),
        Index(None, "order_id", "number"),
        # Claims that wait are looked for every few seconds.
        Index("ix_audit_claims", "at", postgresql_where=text("what = 'claimed'")),
    )
    number: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime]
    order_id: Mapped[str | None] = mapped_column(ForeignKey(OrderRow.id))
    actor: Mapped[str]
    what: Mapped[str]
    detail: Mapped[str]


class OutboxRow(Base):
    """Something to tell, written in the transaction that made it true."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_waiting", "written_at", "number", postgresql_where=text("delivered_at IS NULL")),
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Identity(always=True))
    kind: Mapped[str]
    recipient: Mapped[str]
    order_id: Mapped[str | None] = mapped_column(ForeignKey(OrderRow.id))
    facts: Mapped[Any] = mapped_column(Document(FACTS))
    written_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    next_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(server_default=text("''"))


class LicenceRow(Base):
    """What a settled order earned, once."""

    __tablename__ = "licences"
    __table_args__ = (
        UniqueConstraint("order_id"),
        CheckConstraint("devices > 0", name="admits_somebody"),
        CheckConstraint("issued_at < expires_at", name="lasts"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey(OrderRow.id))
    plan: Mapped[str]
    devices: Mapped[int]
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class AdmissionRow(Base):
    """An address that a licence lets in; one stands per licence, gateway and address."""

    __tablename__ = "admissions"
    __table_args__ = (
        Index(
            "uq_admissions_standing",
            "licence",
            "mesh",
            "node",
            "address",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("ix_admissions_node", "node", postgresql_where=text("closed_at IS NULL")),
    )
    number: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    licence: Mapped[str] = mapped_column(ForeignKey(LicenceRow.id))
    mesh: Mapped[str]
    node: Mapped[str]
    address: Mapped[str]
    until: Mapped[datetime]
    closed_at: Mapped[datetime | None]
