"""`models.ledger.LedgerRepository` on Postgres: its two halves, and what people read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, LargeBinary, Select, exists, func, literal, select, text
from sqlalchemy.orm import aliased

from infra.db.repositories_money_orders import OF_CREDIT, TRANSFER_COLUMNS, LedgerOrders, transfer_of
from infra.db.repositories_money_tellings import NOT_CREDITED, LedgerTellings
from infra.db.tables_money import AuditRow, CaseRow, CreditRow, OrderRow, OutboxRow, SetAsideRow, TransferRow
from models.ledger import CLAIM_ANSWERED, CLAIMED, AuditEntry, LedgerCounts
from models.payment import Asset, OrderId, Transfer
from models.payment_address import Address, Chain

HASH_HEX = 64
"""A transaction's hash as hex, with which a claim's detail begins."""

RECORD = text("""
INSERT INTO audit (at, order_id, actor, what, detail)
SELECT at, order_id, actor, what, detail
FROM unnest(CAST(:at AS timestamptz[]), CAST(:order_id AS text[]), CAST(:actor AS text[]), CAST(:what AS text[]),
            CAST(:detail AS text[])) WITH ORDINALITY AS done (at, order_id, actor, what, detail, turn)
ORDER BY turn
""")


class PostgresLedger(LedgerOrders, LedgerTellings):
    """`models.ledger.LedgerRepository` on Postgres."""

    async def record(self, entry: AuditEntry) -> None:
        """Append."""
        await self.record_many([entry])

    async def record_many(self, entries: Sequence[AuditEntry]) -> None:
        """Append in this order."""
        if not entries:
            return
        await self._transaction.run(
            RECORD,
            {
                "at": [one.at for one in entries],
                "order_id": [one.order for one in entries],
                "actor": [one.actor for one in entries],
                "what": [one.what for one in entries],
                "detail": [one.detail for one in entries],
            },
        )

    async def credited_beside(
        self, address: Address, txs: Collection[bytes], *, since: datetime, until: datetime, limit: int = 100
    ) -> list[tuple[OrderId, Transfer]]:
        """Return what was counted of payments to an address, other than by these transactions."""
        # Joined, not compared one by one: a busy address has a hundred thousand in two days.
        told = func.unnest(literal(sorted(txs), ARRAY(LargeBinary()))).table_valued("tx").render_derived()
        found = await self._transaction.run(
            select(CreditRow.order_id, *TRANSFER_COLUMNS)
            .join(TransferRow, OF_CREDIT)
            .where(
                TransferRow.chain == address.chain,
                TransferRow.receiver == address.raw,
                TransferRow.block_time >= since,
                TransferRow.block_time < until,
                ~exists().where(told.c.tx == TransferRow.tx),
            )
            .order_by(TransferRow.block_time, TransferRow.tx, TransferRow.event_index)
            .limit(limit)
        )
        return [(OrderId(row.order_id), transfer_of(row)) for row in found]

    async def audit(self, order: OrderId) -> list[AuditEntry]:
        """Return an order's history, oldest first."""
        found = await self._transaction.run(
            select(AuditRow.at, AuditRow.order_id, AuditRow.actor, AuditRow.what, AuditRow.detail)
            .where(AuditRow.order_id == order)
            .order_by(AuditRow.number)
        )
        return [AuditEntry(*row) for row in found]

    async def open_claims(self, chain: Chain, *, since: datetime, limit: int = 200) -> list[AuditEntry]:
        """Return claims that were not answered yet; oldest first."""
        answer = aliased(AuditRow)
        is_answered = exists().where(
            answer.order_id == AuditRow.order_id,
            answer.what == CLAIM_ANSWERED,
            func.left(answer.detail, HASH_HEX) == func.left(AuditRow.detail, HASH_HEX),
        )
        found = await self._transaction.run(
            select(AuditRow.at, AuditRow.order_id, AuditRow.actor, AuditRow.what, AuditRow.detail)
            .join(OrderRow, OrderRow.id == AuditRow.order_id)
            .where(
                AuditRow.what == CLAIMED,
                AuditRow.at >= since,
                OrderRow.asset.in_([asset.value for asset in Asset if asset.chain is chain]),
                ~is_answered,
            )
            .order_by(AuditRow.number)
            .limit(limit)
        )
        return [AuditEntry(*row) for row in found]

    async def counts(self) -> LedgerCounts:
        """Count."""
        orders = select(OrderRow.state, func.count()).group_by(OrderRow.state)
        unmatched = select(SetAsideRow.why, func.count()).where(NOT_CREDITED).group_by(SetAsideRow.why)
        cases = select(CaseRow.chain, func.count()).group_by(CaseRow.chain)
        undelivered = (
            select(OutboxRow.kind, func.count()).where(OutboxRow.delivered_at.is_(None)).group_by(OutboxRow.kind)
        )
        return LedgerCounts(*[await self._counted(query) for query in (orders, unmatched, cases, undelivered)])

    async def _counted(self, query: Select[tuple[str, int]]) -> dict[str, int]:
        found = await self._transaction.run(query)
        return {row[0]: row[1] for row in found}
