"""Orders to gateway nodes about client addresses.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "duties",
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("action", postgresql.JSONB(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("order_payload", sa.LargeBinary(), nullable=False),
        sa.Column("order_signature", sa.LargeBinary(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint("verb IN ('admit', 'expel')", name=op.f("ck_duties_known_verb")),
        sa.CheckConstraint(
            "state IN ('requested', 'applied', 'committed', 'undone', 'refused', 'failed')",
            name=op.f("ck_duties_known_state"),
        ),
        sa.PrimaryKeyConstraint("mesh", "node", "address", name="pk_duties"),
        sa.UniqueConstraint("operation", name="uq_duties_operation"),
    )
    op.create_index(
        "ix_duties_post", "duties", ["mesh", "node"], unique=False, postgresql_where=sa.text("state = 'requested'")
    )
