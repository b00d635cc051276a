"""Orders to gateway nodes about client addresses: a row an address, never more."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.db.documents import Document
from infra.db.tables import Base
from models.remedy import Action, ActionReport


class DutyRow(Base):
    """The newest order about one address at one gateway node, and the node's answer."""

    __tablename__ = "duties"
    __table_args__ = (
        CheckConstraint("verb IN ('admit', 'expel')", name="known_verb"),
        CheckConstraint(
            "state IN ('requested', 'applied', 'committed', 'undone', 'refused', 'failed')", name="known_state"
        ),
        Index("ix_duties_post", "mesh", "node", postgresql_where=text("state = 'requested'")),
    )
    mesh: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Identity(always=True))
    operation: Mapped[str] = mapped_column(unique=True)
    verb: Mapped[str]
    action: Mapped[Any] = mapped_column(Document(Action))
    epoch: Mapped[int]
    state: Mapped[str]
    requested_at: Mapped[datetime]
    order_payload: Mapped[bytes]
    order_signature: Mapped[bytes]
    report: Mapped[Any] = mapped_column(Document(ActionReport), nullable=True)
