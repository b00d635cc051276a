"""Who may join a mesh, and who has: what stands behind a node's own database role and its way to Prefect."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from infra.db.tables import Base


class JoinTokenRow(Base):
    """The digest of a token that can only join, and once."""

    __tablename__ = "join_tokens"
    __table_args__ = (CheckConstraint("created_at < expires_at", name="lasts"),)
    digest: Mapped[str] = mapped_column(primary_key=True)
    mesh: Mapped[str]
    node: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_by: Mapped[str | None]


class JoinedNodeRow(Base):
    """A node that has credentials of its own. Row security asks this table which mesh and node a role is."""

    __tablename__ = "joined_nodes"
    __table_args__ = (UniqueConstraint("role"), UniqueConstraint("pass_digest"))
    mesh: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    pass_digest: Mapped[str]
    joined_at: Mapped[datetime]
