"""What a conversation needs remembered: buttons that work once, the language somebody chose, the card an order has.

Adapter: `infra/db/repositories_chat.py`. None of it is money: losing all of it costs a person one more command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from models.ledger import Language
from models.payment import OrderId


class ButtonKind(StrEnum):
    """What a press asks for."""

    BUY = "buy"
    STATUS = "status"
    CANCEL = "cancel"
    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Button:
    """Something a certain person may ask for by one press. What travels through Telegram is the id alone.

    Attributes:
        id: Random, so that nobody guesses another's.
        kind: What it asks for.
        subject: Of what: an order's id, `PLAN:ASSET`, a plan's hash.
        user: The Telegram id of the one person who may press it.
        expires_at: Until when.
    """

    id: str
    kind: ButtonKind
    subject: str
    user: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Card:
    """The message in a chat that shows how an order stands, kept up to date by editing it.

    Attributes:
        order: Which; one card an order, the newest one shown.
        chat: Where.
        message: Its number there.
        shown: Digest of what it shows, so that nothing is edited into itself.
        look_at: When to see whether it should show something else; None once nothing changes any more.
    """

    order: OrderId
    chat: int
    message: int
    shown: str
    look_at: datetime | None


class ChatRepository(Protocol):
    """Buttons, languages and cards. Inside one unit of work."""

    async def speak(self, user: int, language: Language) -> None:
        """Remember the language somebody chose."""

    async def language(self, user: int) -> Language | None:
        """Return it; None when they never chose."""

    async def offer(self, buttons: Sequence[Button]) -> None:
        """Insert new buttons."""

    async def press(self, button: str, *, user: int, now: datetime) -> Button | None:
        """Use a button up; of two presses at once one gets it.

        Returns:
            None when it is unknown, somebody else's, used or expired; whoever may not press it does not use it up.
        """

    async def forget_buttons(self, *, before: datetime) -> int:
        """Delete those that expired before an instant; return how many."""

    async def pin(self, card: Card) -> None:
        """Insert or replace an order's card."""

    async def card(self, order: OrderId) -> Card | None:
        """Return an order's card."""

    async def due_cards(self, *, now: datetime, limit: int = 100) -> list[Card]:
        """Return cards to be looked at by now, longest due first."""
