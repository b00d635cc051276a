"""Wishes by their keys on Postgres."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables_wishes import WishRow
from infra.db.transaction import Transaction
from models.errors import KeyInFlight, KeyReused
from models.payment import OrderId
from models.wishes import KeyedWish


class PostgresWishes:
    """`models.wishes.WishRepository` on Postgres.

    A key is held by an advisory lock, not by its row: whoever inserts a row that another transaction has inserted
    waits for it, and who asks twice at once is told so instead.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def begin(self, wish: KeyedWish) -> OrderId | None:
        """Take the lock, then look: what its last holder committed is seen."""
        # Two keys of one number in 2^64 at the same moment: one of them is told to ask again.
        number = func.hashtextextended(f"wish {wish.buyer} {wish.key}", 0)
        taken = await self._transaction.run(select(func.pg_try_advisory_xact_lock(number)))
        if not taken.scalar_one():
            raise KeyInFlight(wish.key)
        found = await self._transaction.run(
            select(WishRow.digest, WishRow.order_id).where(WishRow.buyer == wish.buyer, WishRow.key == wish.key)
        )
        known = found.one_or_none()
        if known is None:
            return None
        if known.digest != wish.digest:
            raise KeyReused(wish.key)
        return OrderId(known.order_id)

    async def keep(self, wish: KeyedWish, order: OrderId, *, now: datetime) -> None:
        """Insert; the same answer again is no news."""
        await self._transaction.run(
            insert(WishRow)
            .values(buyer=wish.buyer, key=wish.key, digest=wish.digest, order_id=order, at=now)
            .on_conflict_do_nothing()
        )

    async def delete_before(self, instant: datetime) -> int:
        """Delete."""
        gone = await self._transaction.run(delete(WishRow).where(WishRow.at < instant))
        return gone.rowcount
