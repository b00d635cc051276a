"""Validations over a fake store's memory."""

from __future__ import annotations

from datetime import datetime

from models.incident import IncidentId
from models.validation import ValidationRecord
from tests.fakes.ledger import Desk
from tests.fakes.memory import Memory


class FakeValidations:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def keep(self, record: ValidationRecord) -> None:
        self._desk.write(lambda memory: _keep(memory, record))

    async def of(self, incident: IncidentId) -> ValidationRecord | None:
        return self._desk.seen.validations.get(incident)

    async def lacking(self, mesh: str, *, since: datetime, limit: int) -> list[IncidentId]:
        seen = self._desk.seen
        closed = [
            (one.closed_at, one.id)
            for one in seen.incidents_of(mesh)
            if one.closed_at is not None and one.closed_at >= since and one.id not in seen.validations
        ]
        return [incident for _, incident in sorted(closed)][:limit]


def _keep(memory: Memory, record: ValidationRecord) -> None:
    memory.known_incident(record.incident)
    memory.validations[record.incident] = record
