"""Orders, transfers and credits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, any_, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from infra.db.door import sqlstate_of
from infra.db.tables_money import CreditRow, OrderRow, TransferRow
from infra.db.transaction import Transaction, among
from models.errors import AmountTaken, RefusedError, TransferSpent
from models.ledger import BuyerId, Language, Sale
from models.ledger_words import RESERVED_BEFORE, storable
from models.payment import (
    Asset,
    Caution,
    Credit,
    Flag,
    Money,
    Order,
    OrderId,
    OrderState,
    Provider,
    Transfer,
    TransferKey,
)
from models.payment_address import Address, Chain
from models.payment_matching import codes_in

ORDER_COLUMNS = (
    OrderRow.id,
    OrderRow.asset,
    OrderRow.deposit,
    OrderRow.units,
    OrderRow.code,
    OrderRow.created_at,
    OrderRow.expires_at,
    OrderRow.watched_until,
    OrderRow.state,
    OrderRow.flags,
    OrderRow.buyer,
    OrderRow.plan,
    OrderRow.language,
)
TRANSFER_COLUMNS = (
    TransferRow.chain,
    TransferRow.tx,
    TransferRow.event_index,
    TransferRow.asset,
    TransferRow.sender,
    TransferRow.receiver,
    TransferRow.units,
    TransferRow.position,
    TransferRow.block_time,
    TransferRow.memo,
    TransferRow.caution,
    TransferRow.vouched_by,
    TransferRow.absent,
)
UNIQUE_VIOLATION = "23505"

KEEP = text("""
INSERT INTO transfers (chain, tx, event_index, asset, sender, receiver, units, position, block_time, memo, caution,
                       vouched_by, absent)
SELECT chain, tx, event_index, asset, sender, receiver, units, position, block_time, memo, caution,
       string_to_array(vouched_by, ','), string_to_array(absent, ',')
FROM unnest(CAST(:chain AS text[]), CAST(:tx AS bytea[]), CAST(:event_index AS bigint[]), CAST(:asset AS text[]),
            CAST(:sender AS bytea[]), CAST(:receiver AS bytea[]), CAST(:units AS bigint[]),
            CAST(:position AS bigint[]), CAST(:block_time AS timestamptz[]), CAST(:memo AS text[]),
            CAST(:caution AS text[]), CAST(:vouched_by AS text[]), CAST(:absent AS text[]))
    AS told (chain, tx, event_index, asset, sender, receiver, units, position, block_time, memo, caution,
             vouched_by, absent)
ON CONFLICT DO NOTHING
""")
# One statement: the schema's laws are checked at its end, and neither a credit without its order's new state nor the
# state without the credit would pass them.
SETTLE = text("""
WITH counted AS (
    INSERT INTO credits (chain, tx, event_index, order_id, asset, deposit, units)
    SELECT fresh.chain, fresh.tx, fresh.event_index, fresh.order_id, orders.asset, orders.deposit, fresh.units
    FROM unnest(CAST(:chain AS text[]), CAST(:tx AS bytea[]), CAST(:event_index AS bigint[]),
                CAST(:order_id AS text[]), CAST(:units AS bigint[]))
        AS fresh (chain, tx, event_index, order_id, units)
    JOIN orders ON orders.id = fresh.order_id
)
UPDATE orders SET state = saved.state, flags = string_to_array(saved.flags, ','), paid = orders.paid + saved.fresh
FROM unnest(CAST(:ids AS text[]), CAST(:states AS text[]), CAST(:flags AS text[]), CAST(:fresh AS bigint[]))
    AS saved (id, state, flags, fresh)
WHERE orders.id = saved.id
""")
OWNERS = text("""
SELECT chain, tx, event_index, order_id FROM credits
JOIN unnest(CAST(:chain AS text[]), CAST(:tx AS bytea[]), CAST(:event_index AS bigint[]))
    AS asked (chain, tx, event_index) USING (chain, tx, event_index)
""")
MEANT = text("""
SELECT id FROM orders WHERE code = ANY (CAST(:codes AS text[]))
UNION
SELECT orders.id FROM orders
JOIN unnest(CAST(:assets AS text[]), CAST(:receivers AS bytea[]), CAST(:units AS bigint[]))
    AS paid (asset, receiver, units)
    ON orders.units = paid.units AND orders.deposit = paid.receiver AND orders.asset = paid.asset
""")

OF_CREDIT = and_(
    CreditRow.chain == TransferRow.chain,
    CreditRow.tx == TransferRow.tx,
    CreditRow.event_index == TransferRow.event_index,
)


def transfer_of(row: Row[Any]) -> Transfer:
    """Read one row of TRANSFER_COLUMNS; what is stored is final."""
    chain = Chain(row.chain)
    return Transfer(
        chain=chain,
        tx=row.tx,
        event_index=row.event_index,
        asset=Asset(row.asset),
        sender=None if row.sender is None else Address(chain, row.sender),
        receiver=Address(chain, row.receiver),
        units=row.units,
        position=row.position,
        block_time=row.block_time,
        memo=row.memo,
        caution=None if row.caution is None else Caution(row.caution),
        final=True,
        vouched_by=frozenset(map(Provider, row.vouched_by)),
        absent=frozenset(map(Provider, row.absent)),
    )


def keys_as_columns(keys: Iterable[TransferKey]) -> dict[str, list[Any]]:
    """Return keys as three arrays, in their order: whoever locks many does it in the same order."""
    ordered = sorted(keys)
    return {
        "chain": [one.chain for one in ordered],
        "tx": [one.tx for one in ordered],
        "event_index": [one.event_index for one in ordered],
    }


async def keep(transaction: Transaction, transfers: Iterable[Transfer]) -> None:
    """Insert final transfers that are not there yet."""
    told = sorted((storable(one) for one in transfers), key=lambda one: (one.chain, one.tx, one.event_index or 0))
    if not told:
        return
    await transaction.run(
        KEEP,
        {
            "chain": [one.chain for one in told],
            "tx": [one.tx for one in told],
            "event_index": [one.event_index for one in told],
            "asset": [one.asset for one in told],
            "sender": [one.sender.raw if one.sender else None for one in told],
            "receiver": [one.receiver.raw for one in told],
            "units": [one.units for one in told],
            "position": [one.position for one in told],
            "block_time": [one.block_time for one in told],
            "memo": [one.memo for one in told],
            "caution": [one.caution for one in told],
            "vouched_by": [",".join(sorted(one.vouched_by)) for one in told],
            "absent": [",".join(sorted(one.absent)) for one in told],
        },
    )


class LedgerOrders:
    """The half of the ledger that orders and their credits are in."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def open_order(self, sale: Sale) -> None:
        """Insert. A constraint decides who has an amount, also between two transactions."""
        order = sale.order
        stored = await self._transaction.run(
            insert(OrderRow)
            .values(
                id=order.id,
                asset=order.amount.asset,
                deposit=order.deposit.raw,
                units=order.amount.units,
                code=order.code,
                created_at=order.created_at,
                payable_from=order.created_at - RESERVED_BEFORE,
                expires_at=order.expires_at,
                watched_until=order.watched_until,
                state=order.state,
                flags=sorted(order.flags),
                paid=order.paid.units,
                buyer=sale.buyer,
                plan=sale.plan,
                language=sale.language,
            )
            .on_conflict_do_nothing()
            .returning(OrderRow.id)
        )
        if stored.scalar_one_or_none() is None:
            raise AmountTaken(order.id)
        self._transaction.hint("orders")

    async def taken(
        self, asset: Asset, deposit: Address, *, lowest: int, highest: int, now: datetime
    ) -> frozenset[int]:
        """Return the units that an order made now could not have."""
        found = await self._transaction.run(
            select(OrderRow.units).where(
                OrderRow.units.between(lowest, highest),
                OrderRow.asset == asset,
                OrderRow.deposit == deposit.raw,
                OrderRow.watched_until >= now - RESERVED_BEFORE,
            )
        )
        return frozenset(found.scalars())

    async def sale(self, order: OrderId, *, for_update: bool = False) -> Sale | None:
        """Return one."""
        query = select(*ORDER_COLUMNS).where(OrderRow.id == order)
        found = await self._sales(query.with_for_update() if for_update else query)
        return found[0] if found else None

    async def sales(self, orders: Collection[OrderId]) -> list[Sale]:
        """Return these, in id order."""
        if not orders:
            return []
        return await self._sales(select(*ORDER_COLUMNS).where(among(OrderRow.id, orders)).order_by(OrderRow.id))

    async def sales_of(self, buyer: BuyerId, limit: int = 20) -> list[Sale]:
        """Return a buyer's, newest first."""
        return await self._sales(
            select(*ORDER_COLUMNS)
            .where(OrderRow.buyer == buyer)
            .order_by(OrderRow.created_at.desc(), OrderRow.id.desc())
            .limit(limit)
        )

    async def in_state(self, states: Collection[str], limit: int = 100) -> list[Sale]:
        """Return orders in these states, oldest first."""
        return await self._sales(
            select(*ORDER_COLUMNS)
            .where(OrderRow.state.in_(states))
            .order_by(OrderRow.created_at, OrderRow.id)
            .limit(limit)
        )

    async def candidates(self, transfers: Collection[Transfer]) -> list[Order]:
        """Return and lock, in id order, what a code or an exact amount may mean."""
        meant = await self._transaction.run(
            MEANT,
            {
                "codes": sorted(frozenset[str]().union(*(codes_in(one.memo) for one in transfers))),
                "assets": [one.asset for one in transfers],
                "receivers": [one.receiver.raw for one in transfers],
                "units": [one.units for one in transfers],
            },
        )
        ids = list(meant.scalars())
        if not ids:
            return []
        query = select(*ORDER_COLUMNS).where(among(OrderRow.id, ids)).order_by(OrderRow.id).with_for_update()
        return [one.order for one in await self._sales(query)]

    async def overdue(self, chain: Chain, *, scanned_until: datetime, limit: int = 500) -> list[Order]:
        """Return and lock what time has overtaken, longest ago first."""
        assets = [asset for asset in Asset if asset.chain is chain]
        query = (
            select(*ORDER_COLUMNS)
            .where(
                OrderRow.asset.in_(assets),
                or_(
                    and_(
                        OrderRow.state.in_((OrderState.NEW, OrderState.PROCESSING)), OrderRow.expires_at < scanned_until
                    ),
                    and_(
                        OrderRow.state == OrderState.EXPIRED,
                        literal(str(Flag.PARTIAL)) == any_(OrderRow.flags),
                        OrderRow.watched_until < scanned_until,
                    ),
                ),
            )
            .order_by(OrderRow.expires_at, OrderRow.id)
            .limit(limit)
            .with_for_update()
        )
        return [one.order for one in await self._sales(query)]

    async def save(self, order: Order, transfers: Sequence[Transfer]) -> None:
        """Write one."""
        await self.save_many([(order, transfers)])

    async def save_many(self, settled: Sequence[tuple[Order, Sequence[Transfer]]]) -> None:
        """Write many: lock the orders, see what is credited already, then one statement for all."""
        orders = {order.id: order for order, _ in settled}
        if not orders:
            return
        await self._lock(list(orders))
        owed_to = {credit.transfer: order.id for order in orders.values() for credit in order.credits}
        owners = await self.credited_to(owed_to)
        for key, owner in owners.items():
            if owner != owed_to[key]:
                self._transaction.spoil()
                raise TransferSpent(str(key), owed_to[key])
        fresh = {
            credit.transfer: (order.id, credit.units)
            for order in orders.values()
            for credit in order.credits
            if credit.transfer not in owners
        }
        told = {one.key: one for _, transfers in settled for one in transfers}
        await keep(self._transaction, [told[key] for key in fresh if key in told])
        await self._settle(list(orders.values()), fresh)
        self._transaction.hint("orders")

    async def transfers_of(self, order: OrderId) -> list[Transfer]:
        """Return what was credited to an order, in key order."""
        found = await self._transaction.run(
            select(*TRANSFER_COLUMNS)
            .join(CreditRow, OF_CREDIT)
            .where(CreditRow.order_id == order)
            .order_by(TransferRow.chain, TransferRow.tx, TransferRow.event_index)
        )
        return [transfer_of(row) for row in found]

    async def credited_to(self, keys: Collection[TransferKey]) -> Mapping[TransferKey, OrderId]:
        """Return who has them."""
        if not keys:
            return {}
        found = await self._transaction.run(OWNERS, keys_as_columns(keys))
        return {TransferKey(Chain(row.chain), row.tx, row.event_index): OrderId(row.order_id) for row in found}

    async def _lock(self, ids: Sequence[OrderId]) -> None:
        locked = await self._transaction.run(
            select(OrderRow.id).where(among(OrderRow.id, ids)).order_by(OrderRow.id).with_for_update()
        )
        unknown = set(ids) - set(locked.scalars())
        if unknown:
            self._transaction.spoil()
            raise RefusedError(f"order {min(unknown)} is unknown; open it first")

    async def _settle(self, orders: Sequence[Order], fresh: Mapping[TransferKey, tuple[OrderId, int]]) -> None:
        keys = sorted(fresh)
        added = dict.fromkeys((one.id for one in orders), 0)
        for owner, units in fresh.values():
            added[owner] += units
        try:
            await self._transaction.run(
                SETTLE,
                {
                    **keys_as_columns(keys),
                    "order_id": [fresh[key][0] for key in keys],
                    "units": [fresh[key][1] for key in keys],
                    "ids": [one.id for one in orders],
                    "states": [one.state for one in orders],
                    "flags": [",".join(sorted(one.flags)) for one in orders],
                    "fresh": [added[one.id] for one in orders],
                },
            )
        except RefusedError as refused:
            # The orders are locked, so it was another order's unit of work that came first.
            if sqlstate_of(refused) != UNIQUE_VIOLATION:
                raise
            which = str(keys[0]) if len(keys) == 1 else f"one of {len(keys)}, {keys[0]} to {keys[-1]},"
            raise TransferSpent(which, fresh[keys[0]][0]) from refused

    async def _sales(self, query: Select[Any]) -> list[Sale]:
        rows = (await self._transaction.run(query)).all()
        credited = await self._credits([row.id for row in rows])
        return [_sale_of(row, credited.get(row.id, ())) for row in rows]

    async def _credits(self, ids: Sequence[str]) -> dict[str, tuple[Credit, ...]]:
        if not ids:
            return {}
        found = await self._transaction.run(
            select(
                CreditRow.order_id,
                func.array_agg(CreditRow.chain),
                func.array_agg(CreditRow.tx),
                func.array_agg(CreditRow.event_index),
                func.array_agg(CreditRow.units),
            )
            .where(among(CreditRow.order_id, ids))
            .group_by(CreditRow.order_id)
        )
        return {
            owner: tuple(
                sorted(
                    Credit(TransferKey(Chain(chain), tx, number), units)
                    for chain, tx, number, units in zip(*columns, strict=True)
                )
            )
            for owner, *columns in found
        }


def _sale_of(row: Row[Any], credited: tuple[Credit, ...]) -> Sale:
    asset = Asset(row.asset)
    order = Order(
        id=OrderId(row.id),
        amount=Money(asset, row.units),
        deposit=Address(asset.chain, row.deposit),
        code=row.code,
        created_at=row.created_at,
        expires_at=row.expires_at,
        watched_until=row.watched_until,
        state=OrderState(row.state),
        flags=frozenset(map(Flag, row.flags)),
        credits=credited,
    )
    return Sale(order, BuyerId(row.buyer), row.plan, Language(row.language))
