"""Wishes sent with an Idempotency-Key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from infra.db.tables import Base
from infra.db.tables_money import OrderRow


class WishRow(Base):
    """A wish that was granted, by its key; deleted after a day."""

    __tablename__ = "wishes"
    __table_args__ = (
        CheckConstraint("octet_length(digest) = 32", name="digest_length"),
        CheckConstraint("char_length(key) BETWEEN 1 AND 255", name="bounded_key"),
        Index(None, "at"),
    )
    buyer: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes]
    order_id: Mapped[str] = mapped_column(ForeignKey(OrderRow.id))
    at: Mapped[datetime]
