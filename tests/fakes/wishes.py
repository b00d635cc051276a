"""Wishes by their keys over a fake store's memory."""

from __future__ import annotations

from datetime import datetime

from models.errors import KeyInFlight, KeyReused
from models.payment import OrderId
from models.wishes import KeyedWish
from tests.fakes.ledger import Desk
from tests.fakes.memory import Memory


class FakeWishes:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def begin(self, wish: KeyedWish) -> OrderId | None:
        row = f"wish {wish.buyer} {wish.key}"
        if not self._desk.is_free(row):
            raise KeyInFlight(wish.key)
        await self._desk.lock(row)
        known = self._desk.seen.wishes.get((wish.buyer, wish.key))
        if known is None:
            return None
        if known[0] != wish.digest:
            raise KeyReused(wish.key)
        order: OrderId = known[1]
        return order

    async def keep(self, wish: KeyedWish, order: OrderId, *, now: datetime) -> None:
        self._desk.write(lambda memory: memory.wishes.setdefault((wish.buyer, wish.key), (wish.digest, order, now)))

    async def delete_before(self, instant: datetime) -> int:
        return self._desk.write(lambda memory: _forget(memory, instant))


def _forget(memory: Memory, instant: datetime) -> int:
    gone = [name for name, (_, _, at) in memory.wishes.items() if at < instant]
    for name in gone:
        del memory.wishes[name]
    return len(gone)
