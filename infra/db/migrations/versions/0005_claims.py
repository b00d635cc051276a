"""An index for the claims that wait: they are looked for every few seconds.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_audit_claims", "audit", ["at"], unique=False, postgresql_where=sa.text("what = 'claimed'"))
