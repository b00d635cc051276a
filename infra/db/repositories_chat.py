"""The bot's memory on Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables_chat import ButtonRow, CardRow, ChatLanguageRow
from infra.db.transaction import Transaction
from models.chat import Button, ButtonKind, Card
from models.ledger import Language
from models.payment import OrderId

CARD_COLUMNS = (CardRow.order, CardRow.chat, CardRow.message, CardRow.shown, CardRow.look_at)


class PostgresChats:
    """`models.chat.ChatRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def speak(self, user: int, language: Language) -> None:
        """Insert or replace."""
        row = insert(ChatLanguageRow).values(user=user, language=language)
        await self._transaction.run(
            row.on_conflict_do_update(index_elements=["user"], set_={"language": row.excluded.language})
        )

    async def language(self, user: int) -> Language | None:
        """Return what was chosen."""
        found = await self._transaction.run(select(ChatLanguageRow.language).where(ChatLanguageRow.user == user))
        chosen = found.scalar_one_or_none()
        return None if chosen is None else Language(chosen)

    async def offer(self, buttons: Sequence[Button]) -> None:
        """Insert all in one round trip."""
        if not buttons:
            return
        await self._transaction.run(
            insert(ButtonRow),
            [
                {
                    "id": one.id,
                    "kind": one.kind,
                    "subject": one.subject,
                    "user": one.user,
                    "expires_at": one.expires_at,
                    "used_at": None,
                }
                for one in buttons
            ],
        )

    async def press(self, button: str, *, user: int, now: datetime) -> Button | None:
        """Compare and set in one statement."""
        pressed = await self._transaction.run(
            update(ButtonRow)
            .where(
                ButtonRow.id == button,
                ButtonRow.user == user,
                ButtonRow.used_at.is_(None),
                ButtonRow.expires_at > now,
            )
            .values(used_at=now)
            .returning(ButtonRow.id, ButtonRow.kind, ButtonRow.subject, ButtonRow.user, ButtonRow.expires_at)
        )
        row = pressed.one_or_none()
        return None if row is None else Button(row.id, ButtonKind(row.kind), row.subject, row.user, row.expires_at)

    async def forget_buttons(self, *, before: datetime) -> int:
        """Delete those that expired before an instant."""
        return (await self._transaction.run(delete(ButtonRow).where(ButtonRow.expires_at < before))).rowcount

    async def pin(self, card: Card) -> None:
        """Insert or replace an order's card."""
        row = insert(CardRow).values(
            order=card.order, chat=card.chat, message=card.message, shown=card.shown, look_at=card.look_at
        )
        new = row.excluded
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["order"],
                set_={"chat": new.chat, "message": new.message, "shown": new.shown, "look_at": new.look_at},
            )
        )

    async def card(self, order: OrderId) -> Card | None:
        """Return an order's card."""
        row = (await self._transaction.run(select(*CARD_COLUMNS).where(CardRow.order == order))).one_or_none()
        return None if row is None else Card(OrderId(row.order), row.chat, row.message, row.shown, row.look_at)

    async def due_cards(self, *, now: datetime, limit: int = 100) -> list[Card]:
        """Return cards to be looked at by now, longest due first."""
        found = await self._transaction.run(
            select(*CARD_COLUMNS).where(CardRow.look_at <= now).order_by(CardRow.look_at, CardRow.order).limit(limit)
        )
        return [Card(OrderId(row.order), row.chat, row.message, row.shown, row.look_at) for row in found]
