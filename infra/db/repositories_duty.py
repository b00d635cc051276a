"""The post about client addresses on Postgres."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables_duty import DutyRow
from infra.db.transaction import Transaction
from models.gate import Duty
from models.mesh import NodeId
from models.ports import Signed
from models.remedy import ActionReport, ActionState, OperationId


class PostgresDuties:
    """`models.ports.DutyRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def request(self, mesh: str, duty: Duty, signed: Signed) -> None:
        """Take the address's row away and write a new one, so that the newest order stands last in the post."""
        await self._transaction.run(
            delete(DutyRow).where(
                DutyRow.mesh == mesh, DutyRow.node == duty.action.node, DutyRow.address == duty.address
            )
        )
        await self._transaction.run(
            insert(DutyRow).values(
                mesh=mesh,
                node=duty.action.node,
                address=duty.address,
                operation=duty.operation,
                verb=duty.action.verb,
                action=duty.action,
                epoch=duty.epoch,
                state=duty.state,
                requested_at=duty.requested_at,
                order_payload=signed.payload,
                order_signature=signed.signature,
                report=duty.report,
            )
        )
        self._transaction.hint("actions")

    async def of_node(self, mesh: str, node: NodeId) -> list[Duty]:
        """Return the newest duty of each address, in the order in which they were asked for."""
        found = await self._transaction.run(
            select(
                DutyRow.operation,
                DutyRow.action,
                DutyRow.epoch,
                DutyRow.state,
                DutyRow.requested_at,
                DutyRow.report,
            )
            .where(DutyRow.mesh == mesh, DutyRow.node == node)
            .order_by(DutyRow.number)
        )
        return [
            Duty(
                operation=OperationId(row.operation),
                action=row.action,
                epoch=row.epoch,
                state=ActionState(row.state),
                requested_at=row.requested_at,
                report=row.report,
            )
            for row in found
        ]

    async def post_for(self, mesh: str, node: NodeId) -> list[tuple[OperationId, Signed]]:
        """Return the orders this node has not answered yet, oldest first."""
        found = await self._transaction.run(
            select(DutyRow.operation, DutyRow.order_payload, DutyRow.order_signature)
            .where(DutyRow.mesh == mesh, DutyRow.node == node, DutyRow.state == ActionState.REQUESTED)
            .order_by(DutyRow.number)
        )
        return [(OperationId(row.operation), Signed(row.order_payload, row.order_signature)) for row in found]

    async def report(self, mesh: str, node: NodeId, report: ActionReport) -> None:
        """Store the answer to an order that still waits for it."""
        await self._transaction.run(
            update(DutyRow)
            .where(
                DutyRow.operation == report.operation,
                DutyRow.mesh == mesh,
                DutyRow.node == node,
                DutyRow.state == ActionState.REQUESTED,
            )
            .values(state=report.state, report=report)
        )
        self._transaction.hint("reports")

    async def forget(self, mesh: str, node: NodeId, addresses: Collection[str]) -> None:
        """Drop what is over."""
        await self._transaction.run(
            delete(DutyRow).where(DutyRow.mesh == mesh, DutyRow.node == node, DutyRow.address.in_(addresses))
        )
