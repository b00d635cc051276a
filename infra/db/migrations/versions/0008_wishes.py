"""Wishes sent with an Idempotency-Key, so that one that is sent again is not granted twice.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "wishes",
        sa.Column("buyer", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_wishes_digest_length")),
        sa.CheckConstraint("char_length(key) BETWEEN 1 AND 255", name=op.f("ck_wishes_bounded_key")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_wishes_order_id")),
        sa.PrimaryKeyConstraint("buyer", "key", name=op.f("pk_wishes")),
    )
    op.create_index("ix_wishes_at", "wishes", ["at"], unique=False)
