"""The ledger of operations, people's decisions, and the guards' memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import Row, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.documents import closing_of
from infra.db.tables import DecisionRow, GuardRow, IncidentRow, OperationRow, RemedyRow
from infra.db.transaction import Transaction
from models.errors import DecisionRefused, RefusedError, RemedyRejected
from models.incident import IncidentId, IncidentState
from models.mesh import NodeId
from models.ports import Signed
from models.remedy import (
    ActionReport,
    ActionState,
    Closing,
    Decision,
    DecisionKind,
    GuardState,
    OperationId,
    OperationRecord,
    PlanHash,
    RemedyName,
    Verb,
)

log = structlog.get_logger()

OPERATION_COLUMNS = (
    OperationRow.operation,
    OperationRow.incident,
    OperationRow.remedy,
    OperationRow.plan_hash,
    OperationRow.action,
    OperationRow.state,
    OperationRow.requested_at,
    OperationRow.report,
)
DECISION_COLUMNS = (
    DecisionRow.incident,
    DecisionRow.plan_hash,
    DecisionRow.kind,
    DecisionRow.decided_by,
    DecisionRow.decided_at,
    DecisionRow.expires_at,
)
IN_FLIGHT = (ActionState.REQUESTED, ActionState.APPLIED)
# Until the node reports the end it was asked for (or a worse one), the closing order stays in its post.
CLOSING_WAITS = or_(
    and_(OperationRow.closing == Closing.COMMIT, OperationRow.state.in_(IN_FLIGHT)),
    and_(OperationRow.closing == Closing.UNDO, OperationRow.state.in_((*IN_FLIGHT, ActionState.COMMITTED))),
)


def operation_of(row: Row[Any]) -> OperationRecord:
    """Read one row of OPERATION_COLUMNS."""
    return OperationRecord(
        operation=OperationId(row.operation),
        incident=IncidentId(row.incident),
        remedy=RemedyName(row.remedy),
        plan_hash=PlanHash(row.plan_hash),
        action=row.action,
        state=ActionState(row.state),
        requested_at=row.requested_at,
        report=row.report,
    )


def decision_of(row: Row[Any]) -> Decision:
    """Read one row of DECISION_COLUMNS."""
    return Decision(
        incident=IncidentId(row.incident),
        plan_hash=PlanHash(row.plan_hash),
        kind=DecisionKind(row.kind),
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        expires_at=row.expires_at,
    )


class PostgresActions:
    """`models.ports.ActionRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def request(self, mesh: str, record: OperationRecord, signed: Signed) -> None:
        """Write ahead. The exclusion constraint decides who writes to an element, also between two transactions."""
        element = str(record.action.element)
        stored = await self._transaction.run(
            insert(OperationRow)
            .values(
                operation=record.operation,
                mesh=mesh,
                node=record.action.node,
                element=element,
                incident=record.incident,
                remedy=record.remedy,
                plan_hash=record.plan_hash,
                verb=record.action.verb,
                action=record.action,
                state=record.state,
                requested_at=record.requested_at,
                order_payload=signed.payload,
                order_signature=signed.signature,
                report=record.report,
                reported_at=record.report.at if record.report else None,
            )
            .on_conflict_do_nothing()
            .returning(OperationRow.operation)
        )
        if stored.scalar_one_or_none() is None and await self.get(record.operation) is None:
            raise RemedyRejected(record.remedy, f"another operation in flight writes to {element}")
        self._transaction.hint("actions")

    async def close(self, operation: OperationId, signed: Signed) -> None:
        """Post a closing order; the newest replaces one that still waits."""
        posted = await self._transaction.run(
            update(OperationRow)
            .where(OperationRow.operation == operation)
            .values(closing=closing_of(signed), closing_payload=signed.payload, closing_signature=signed.signature)
        )
        if posted.rowcount == 0:
            raise RefusedError(f"operation {operation} is unknown; only a requested operation can be closed")
        self._transaction.hint("actions")

    async def post_for(self, mesh: str, node: NodeId) -> list[tuple[OperationId, Signed]]:
        """Return what waits for the node, oldest operation first, an order before its closing order."""
        found = await self._transaction.run(
            select(
                OperationRow.operation,
                OperationRow.state,
                OperationRow.order_payload,
                OperationRow.order_signature,
                OperationRow.closing_payload,
                OperationRow.closing_signature,
                CLOSING_WAITS.label("closing_waits"),
            )
            .where(
                OperationRow.mesh == mesh,
                OperationRow.node == node,
                # Said once more for the planner: it is the partial index's own condition.
                OperationRow.state.in_((*IN_FLIGHT, ActionState.COMMITTED)),
                or_(OperationRow.state == ActionState.REQUESTED, CLOSING_WAITS),
            )
            .order_by(OperationRow.number)
        )
        post: list[tuple[OperationId, Signed]] = []
        for row in found:
            if row.state == ActionState.REQUESTED:
                post.append((OperationId(row.operation), Signed(row.order_payload, row.order_signature)))
            if row.closing_waits:
                post.append((OperationId(row.operation), Signed(row.closing_payload, row.closing_signature)))
        return post

    async def report(self, mesh: str, node: NodeId, report: ActionReport) -> None:
        """Store a newer report; one about an operation that is not this node's in this mesh changes nothing."""
        own = (OperationRow.operation == report.operation, OperationRow.mesh == mesh, OperationRow.node == node)
        stored = await self._transaction.run(
            update(OperationRow)
            .where(*own, or_(OperationRow.reported_at.is_(None), OperationRow.reported_at < report.at))
            .values(state=report.state, reported_at=report.at, report=report)
        )
        if stored.rowcount:
            self._transaction.hint("reports")
        elif (await self._transaction.run(select(OperationRow.operation).where(*own))).first() is None:
            log.warning("report about a foreign operation ignored", mesh=mesh, node=node, operation=report.operation)

    async def get(self, operation: OperationId) -> OperationRecord | None:
        """Return one operation."""
        found = await self._transaction.run(select(*OPERATION_COLUMNS).where(OperationRow.operation == operation))
        row = found.one_or_none()
        return None if row is None else operation_of(row)

    async def of_plan(self, plan_hash: PlanHash) -> list[OperationRecord]:
        """Return a plan's operations in the order they were requested."""
        found = await self._transaction.run(
            select(*OPERATION_COLUMNS).where(OperationRow.plan_hash == plan_hash).order_by(OperationRow.number)
        )
        return [operation_of(row) for row in found]

    async def in_flight(self, mesh: str) -> list[OperationRecord]:
        """Return what is not closed yet, oldest first."""
        found = await self._transaction.run(
            select(*OPERATION_COLUMNS)
            .where(OperationRow.mesh == mesh, OperationRow.state.in_(IN_FLIGHT))
            .order_by(OperationRow.number)
        )
        return [operation_of(row) for row in found]

    async def state_counts(self, mesh: str) -> Mapping[ActionState, int]:
        """Count operations by state."""
        found = await self._transaction.run(
            select(OperationRow.state, func.count()).where(OperationRow.mesh == mesh).group_by(OperationRow.state)
        )
        return {ActionState(state): count for state, count in found}

    async def standing(self, mesh: str) -> list[OperationRecord]:
        """Return the newest committed cost of each interface, oldest first, unless it put the cost back."""
        interface = OperationRow.action["arguments"]["interface"].astext
        newest = (
            select(OperationRow.operation)
            .where(
                OperationRow.mesh == mesh,
                OperationRow.verb == Verb.SET_COST,
                OperationRow.state == ActionState.COMMITTED,
            )
            .distinct(OperationRow.node, interface)
            .order_by(OperationRow.node, interface, OperationRow.reported_at.desc(), OperationRow.number.desc())
        )
        found = await self._transaction.run(
            select(*OPERATION_COLUMNS)
            .where(OperationRow.operation.in_(newest), OperationRow.remedy != RemedyName.UNCOST_LINK)
            .order_by(OperationRow.number)
        )
        return [operation_of(row) for row in found]


class PostgresGuards:
    """`models.ports.GuardRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def load(self, mesh: str) -> GuardState:
        """Return the state with its row locked; a mesh without one gets its row here, or nothing could be locked."""
        query = select(GuardRow.state).where(GuardRow.mesh == mesh).with_for_update()
        state: GuardState | None = (await self._transaction.run(query)).scalar_one_or_none()
        if state is None:
            await self._transaction.run(insert(GuardRow).values(mesh=mesh, state=GuardState()).on_conflict_do_nothing())
            state = (await self._transaction.run(query)).scalar_one()
        return state

    async def save(self, mesh: str, state: GuardState) -> None:
        """Replace the state."""
        row = insert(GuardRow).values(mesh=mesh, state=state)
        await self._transaction.run(
            row.on_conflict_do_update(index_elements=["mesh"], set_={"state": row.excluded.state})
        )


class PostgresDecisions:
    """`models.ports.DecisionRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def post(self, decision: Decision) -> None:
        """Store the one decision of a plan that waits; the incident is locked so that it cannot move on meanwhile."""
        waiting = await self._transaction.run(
            select(IncidentRow.state)
            .join(RemedyRow, RemedyRow.incident == IncidentRow.id)
            .where(IncidentRow.id == decision.incident, RemedyRow.plan_hash == decision.plan_hash)
            .with_for_update(of=IncidentRow)
        )
        if waiting.scalar_one_or_none() != IncidentState.AWAITING_APPROVAL:
            raise DecisionRefused(f"incident {decision.incident} does not wait for a decision on this plan")
        stored = await self._transaction.run(
            insert(DecisionRow)
            .values(
                plan_hash=decision.plan_hash,
                incident=decision.incident,
                kind=decision.kind,
                decided_by=decision.decided_by,
                decided_at=decision.decided_at,
                expires_at=decision.expires_at,
            )
            .on_conflict_do_nothing()
            .returning(DecisionRow.plan_hash)
        )
        if stored.scalar_one_or_none() is None:
            raise DecisionRefused("this plan was decided already; a decision is used once")
        self._transaction.hint("decisions")

    async def unused(self, mesh: str) -> list[Decision]:
        """Return what no run has taken yet, oldest first."""
        found = await self._transaction.run(
            select(*DECISION_COLUMNS)
            .join(IncidentRow, IncidentRow.id == DecisionRow.incident)
            .where(IncidentRow.mesh == mesh, DecisionRow.used.is_(False))
            .order_by(DecisionRow.decided_at, DecisionRow.plan_hash)
        )
        return [decision_of(row) for row in found]

    async def take(self, plan_hash: PlanHash) -> Decision | None:
        """Use the decision up; of two takers one gets it."""
        found = await self._transaction.run(
            update(DecisionRow)
            .where(DecisionRow.plan_hash == plan_hash, DecisionRow.used.is_(False))
            .values(used=True)
            .returning(*DECISION_COLUMNS)
        )
        row = found.one_or_none()
        return None if row is None else decision_of(row)
