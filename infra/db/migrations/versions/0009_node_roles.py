"""A database role per node: who may join, and row security that shows a node its own rows only.

The rules stand in `infra/db/migrations/rules_0009.py`; what changes them later is a migration of its own.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.db.migrations.rules_0009 import make_rules

revision = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Make the tables, the group of all nodes' roles, and what it may."""
    op.create_table(
        "join_tokens",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_by", sa.Text(), nullable=True),
        sa.CheckConstraint("created_at < expires_at", name=op.f("ck_join_tokens_lasts")),
        sa.PrimaryKeyConstraint("digest", name="pk_join_tokens"),
    )
    op.create_table(
        "joined_nodes",
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("pass_digest", sa.Text(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("mesh", "node", name="pk_joined_nodes"),
        sa.UniqueConstraint("role", name="uq_joined_nodes_role"),
        sa.UniqueConstraint("pass_digest", name="uq_joined_nodes_pass_digest"),
    )
    make_rules()
