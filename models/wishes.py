"""A wish with a key of its sender's choice: sent again it is the same wish, not another one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from models.ledger import BuyerId
from models.payment import OrderId

KEY_LENGTH = 255
"""Characters a key may have."""

KEPT = timedelta(hours=24)
"""How long a key is remembered at least. A client that retries for longer looks its order up instead."""


@dataclass(frozen=True, slots=True)
class KeyedWish:
    """What somebody asks for, and by which key.

    Attributes:
        buyer: Who asks; everybody's keys are their own.
        key: Chosen by the sender, 1 to KEY_LENGTH characters.
        digest: SHA-256 of what is asked for; another wish has another one.
    """

    buyer: BuyerId
    key: str
    digest: bytes


class WishRepository(Protocol):
    """Granted wishes, by buyer and key."""

    async def begin(self, wish: KeyedWish) -> OrderId | None:
        """Hold the key until this unit ends, without waiting; return the order that was its answer, if it had one.

        Raises:
            KeyInFlight: another unit holds it.
            KeyReused: it belongs to another wish.
        """

    async def keep(self, wish: KeyedWish, order: OrderId, *, now: datetime) -> None:
        """Store the answer to a wish whose key this unit holds."""

    async def delete_before(self, instant: datetime) -> int:
        """Forget answers older than this; return how many."""
