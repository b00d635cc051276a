"""The bot's tables."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.db.tables import Base


class ChatLanguageRow(Base):
    """The language somebody chose."""

    __tablename__ = "chat_languages"
    __table_args__ = (CheckConstraint("language IN ('en', 'ru')", name="language_is_spoken"),)
    user: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    language: Mapped[str]


class ButtonRow(Base):
    """A button that works once, for one person."""

    __tablename__ = "buttons"
    __table_args__ = (Index("ix_buttons_expires_at", "expires_at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    user: Mapped[int]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class CardRow(Base):
    """The message that shows how an order stands."""

    __tablename__ = "order_cards"
    __table_args__ = (Index("ix_order_cards_due", "look_at", postgresql_where=text("look_at IS NOT NULL")),)
    # No foreign key to the orders: a card is a convenience and must never be why an order cannot be kept as it is.
    order: Mapped[str] = mapped_column(primary_key=True)
    chat: Mapped[int]
    message: Mapped[int]
    shown: Mapped[str]
    look_at: Mapped[datetime | None]
