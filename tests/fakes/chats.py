"""The bot's memory over a fake store's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.chat import Button, Card
from models.ledger import Language
from models.payment import OrderId
from tests.fakes.ledger import Desk
from tests.fakes.memory import Memory


class FakeChats:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def speak(self, user: int, language: Language) -> None:
        self._desk.write(lambda memory: memory.languages.update({user: language}))

    async def language(self, user: int) -> Language | None:
        return self._desk.seen.languages.get(user)

    async def offer(self, buttons: Sequence[Button]) -> None:
        self._desk.write(lambda memory: memory.buttons.update({one.id: (one, False) for one in buttons}))

    async def press(self, button: str, *, user: int, now: datetime) -> Button | None:
        await self._desk.lock(f"button {button}")
        return self._desk.write(lambda memory: _press(memory, button, user, now))

    async def forget_buttons(self, *, before: datetime) -> int:
        return self._desk.write(lambda memory: _forget(memory, before))

    async def pin(self, card: Card) -> None:
        self._desk.write(lambda memory: memory.cards.update({card.order: card}))

    async def card(self, order: OrderId) -> Card | None:
        return self._desk.seen.cards.get(order)

    async def due_cards(self, *, now: datetime, limit: int = 100) -> list[Card]:
        due = [one for one in self._desk.seen.cards.values() if one.look_at is not None and one.look_at <= now]
        return sorted(due, key=lambda one: (one.look_at, one.order))[:limit]


def _press(memory: Memory, button: str, user: int, now: datetime) -> Button | None:
    found, is_used = memory.buttons.get(button, (None, True))
    if found is None or is_used or found.user != user or found.expires_at <= now:
        return None
    memory.buttons[button] = (found, True)
    return found


def _forget(memory: Memory, before: datetime) -> int:
    old = [name for name, (one, _) in memory.buttons.items() if one.expires_at < before]
    for name in old:
        del memory.buttons[name]
    return len(old)
