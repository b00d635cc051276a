"""The ledger: orders, transfers, credits, what providers said, what is told, and what a settled order earned.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from infra.db.migrations.laws_0002 import make_laws

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Make the tables, then the laws that a row alone cannot tell."""
    op.create_table(
        "cases",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("tx", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(tx) = 32", name=op.f("ck_cases_hash_length")),
        sa.PrimaryKeyConstraint("chain", "tx", name=op.f("pk_cases")),
    )
    op.create_index(op.f("ix_cases_chain_next_at"), "cases", ["chain", "next_at"], unique=False)
    op.create_table(
        "orders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("deposit", sa.LargeBinary(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payable_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("watched_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("flags", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("paid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("buyer", sa.Text(), nullable=False),
        sa.Column("plan", postgresql.JSONB(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        postgresql.ExcludeConstraint(
            (sa.column("units"), "="),
            (sa.column("deposit"), "="),
            (sa.column("asset"), "="),
            (sa.text("tstzrange(payable_from, watched_until, '[]')"), "&&"),
            using="gist",
            name="ex_orders_one_amount",
        ),
        sa.CheckConstraint(
            "'manual' <> ALL (flags) OR state IN ('SETTLED', 'REFUNDED')", name=op.f("ck_orders_manual_is_settled")
        ),
        sa.CheckConstraint("('over' = ANY (flags)) = (paid > units)", name=op.f("ck_orders_over_is_over")),
        sa.CheckConstraint(
            "('partial' = ANY (flags)) = (paid > 0 AND paid < units)", name=op.f("ck_orders_partial_is_partial")
        ),
        sa.CheckConstraint("asset IN ('USDT_TRON', 'TON', 'USDT_TON')", name=op.f("ck_orders_known_asset")),
        sa.CheckConstraint(
            "created_at - payable_from >= interval '10 minutes'", name=op.f("ck_orders_reserved_before")
        ),
        sa.CheckConstraint(
            "flags <@ ARRAY['partial', 'over', 'late', 'manual', 'degraded'] AND array_position(flags, NULL) IS NULL",
            name=op.f("ck_orders_known_flags"),
        ),
        sa.CheckConstraint("language IN ('en', 'ru')", name=op.f("ck_orders_known_language")),
        sa.CheckConstraint(
            "octet_length(deposit) = CASE asset WHEN 'USDT_TRON' THEN 21 ELSE 33 END", name=op.f("ck_orders_own_chain")
        ),
        sa.CheckConstraint(
            "state <> 'SETTLED' OR paid >= units OR 'manual' = ANY (flags)", name=op.f("ck_orders_settled_is_paid")
        ),
        sa.CheckConstraint(
            "state IN ('NEW', 'PROCESSING', 'SETTLED', 'EXPIRED', 'REVIEW', 'HOLD', 'CANCELLED', 'REFUNDED')",
            name=op.f("ck_orders_known_state"),
        ),
        sa.CheckConstraint("state NOT IN ('NEW', 'CANCELLED') OR paid = 0", name=op.f("ck_orders_new_is_unpaid")),
        sa.CheckConstraint(
            "created_at <= expires_at AND expires_at <= watched_until", name=op.f("ck_orders_instants_in_order")
        ),
        sa.CheckConstraint("units > 0", name=op.f("ck_orders_owes_something")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("code", name=op.f("uq_orders_code")),
        sa.UniqueConstraint("id", "asset", "deposit", name=op.f("uq_orders_id_asset_deposit")),
    )
    op.create_index("ix_orders_amount", "orders", ["units", "deposit"], unique=False)
    op.create_index(op.f("ix_orders_buyer_created_at"), "orders", ["buyer", "created_at"], unique=False)
    op.create_index(
        "ix_orders_expired_partial",
        "orders",
        ["watched_until"],
        unique=False,
        postgresql_where=sa.text("state = 'EXPIRED' AND 'partial' = ANY (flags)"),
    )
    op.create_index(op.f("ix_orders_state_created_at"), "orders", ["state", "created_at"], unique=False)
    op.create_index(
        "ix_orders_waiting",
        "orders",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('NEW', 'PROCESSING')"),
    )
    op.create_table(
        "reaches",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "address", name=op.f("pk_reaches")),
    )
    op.create_table(
        "sightings",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("tx", sa.LargeBinary(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("transfers", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("octet_length(tx) = 32", name=op.f("ck_sightings_hash_length")),
        sa.PrimaryKeyConstraint("chain", "tx", "provider", name=op.f("pk_sightings")),
    )
    op.create_table(
        "transfers",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("tx", sa.LargeBinary(), nullable=False),
        sa.Column("event_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=True),
        sa.Column("receiver", sa.LargeBinary(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("block_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("memo", sa.Text(), nullable=True),
        sa.Column("caution", sa.Text(), nullable=True),
        sa.Column("vouched_by", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("absent", sa.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("(chain = 'tron') = (asset = 'USDT_TRON')", name=op.f("ck_transfers_asset_of_chain")),
        sa.CheckConstraint("asset IN ('USDT_TRON', 'TON', 'USDT_TON')", name=op.f("ck_transfers_known_asset")),
        sa.CheckConstraint("chain IN ('tron', 'ton')", name=op.f("ck_transfers_known_chain")),
        sa.CheckConstraint("cardinality(vouched_by) > 0", name=op.f("ck_transfers_vouched")),
        sa.CheckConstraint("event_index >= 0", name=op.f("ck_transfers_numbered")),
        sa.CheckConstraint("octet_length(tx) = 32", name=op.f("ck_transfers_hash_length")),
        sa.CheckConstraint("units > 0", name=op.f("ck_transfers_moves_something")),
        sa.PrimaryKeyConstraint("chain", "tx", "event_index", name=op.f("pk_transfers")),
        sa.UniqueConstraint("chain", "tx", "event_index", "asset", "receiver", "units", name="uq_transfers_essence"),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.CheckConstraint("actor <> '' AND what <> ''", name=op.f("ck_audit_says_who_and_what")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_audit_order_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_order_id_number"), "audit", ["order_id", "number"], unique=False)
    op.create_table(
        "credits",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("tx", sa.LargeBinary(), nullable=False),
        sa.Column("event_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("deposit", sa.LargeBinary(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
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
        sa.ForeignKeyConstraint(
            ["order_id", "asset", "deposit"], ["orders.id", "orders.asset", "orders.deposit"], name="fk_credits_order"
        ),
        sa.PrimaryKeyConstraint("chain", "tx", "event_index", name=op.f("pk_credits")),
    )
    op.create_index(op.f("ix_credits_order_id"), "credits", ["order_id"], unique=False)
    op.create_table(
        "licences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("devices", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("devices > 0", name=op.f("ck_licences_admits_somebody")),
        sa.CheckConstraint("issued_at < expires_at", name=op.f("ck_licences_lasts")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_licences_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_licences")),
        sa.UniqueConstraint("order_id", name=op.f("uq_licences_order_id")),
    )
    op.create_table(
        "outbox",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_outbox_order_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["written_at", "number"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.create_table(
        "set_asides",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("tx", sa.LargeBinary(), nullable=False),
        sa.Column("event_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain", "tx", "event_index"],
            ["transfers.chain", "transfers.tx", "transfers.event_index"],
            name="fk_set_asides_transfer",
        ),
        sa.PrimaryKeyConstraint("chain", "tx", "event_index", name=op.f("pk_set_asides")),
    )
    op.create_index(op.f("ix_set_asides_at"), "set_asides", ["at"], unique=False)
    op.create_table(
        "admissions",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["licence"], ["licences.id"], name=op.f("fk_admissions_licence")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_admissions")),
    )
    op.create_index(
        "ix_admissions_node", "admissions", ["node"], unique=False, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_index(
        "uq_admissions_standing",
        "admissions",
        ["licence", "mesh", "node", "address"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    make_laws()
