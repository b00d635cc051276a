"""Fitted models, and where unfinished fits stand.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "models",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("weights", sa.LargeBinary(), nullable=False),
        sa.Column("config", postgresql.JSON(), nullable=False),
        sa.Column("metrics", postgresql.JSON(), nullable=False),
        sa.Column("data_digest", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("encode(sha256(weights), 'hex') = digest", name=op.f("ck_models_weights_are_the_digests")),
        sa.PrimaryKeyConstraint("digest", name="pk_models"),
    )
    op.create_index(
        "ix_models_promoted",
        "models",
        ["promoted_at"],
        unique=False,
        postgresql_where=sa.text("promoted_at IS NOT NULL"),
    )
    op.create_table(
        "fits",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("losses", postgresql.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_fits"),
    )
