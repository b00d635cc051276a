"""Validations of incidents' dependencies on Postgres."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables import IncidentRow
from infra.db.tables_validation import ValidationRow
from infra.db.transaction import Transaction
from models.incident import IncidentId
from models.validation import ValidationRecord


class PostgresValidations:
    """`models.validation.ValidationRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def keep(self, record: ValidationRecord) -> None:
        """Insert or replace by incident."""
        row = insert(ValidationRow).values(incident=record.incident, at=record.at, record=record)
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["incident"], set_={"at": row.excluded.at, "record": row.excluded.record}
            )
        )

    async def of(self, incident: IncidentId) -> ValidationRecord | None:
        """Return an incident's."""
        found = await self._transaction.run(select(ValidationRow.record).where(ValidationRow.incident == incident))
        record: ValidationRecord | None = found.scalar_one_or_none()
        return record

    async def lacking(self, mesh: str, *, since: datetime, limit: int) -> list[IncidentId]:
        """Return closed incidents without one, the longest closed first."""
        found = await self._transaction.run(
            select(IncidentRow.id)
            .outerjoin(ValidationRow, ValidationRow.incident == IncidentRow.id)
            .where(IncidentRow.mesh == mesh, IncidentRow.closed_at >= since, ValidationRow.incident.is_(None))
            .order_by(IncidentRow.closed_at, IncidentRow.id)
            .limit(limit)
        )
        return [IncidentId(one) for one in found.scalars()]
