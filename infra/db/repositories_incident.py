"""Incidents, what was thought and done about them, and what they taught."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, case, func, select
from sqlalchemy.dialects.postgresql import insert

from infra.db.documents import with_numbers
from infra.db.repositories_action import DECISION_COLUMNS, OPERATION_COLUMNS, decision_of, operation_of
from infra.db.tables import DecisionRow, DiagnosisRow, IncidentRow, OperationRow, OutcomeRow, RemedyRow, VerificationRow
from infra.db.transaction import Transaction
from models.errors import RefusedError
from models.incident import (
    Diagnosis,
    FaultKind,
    Incident,
    IncidentId,
    IncidentState,
    Outcome,
    OutcomeKind,
    Verdict,
    Verification,
)
from models.ports import IncidentStory
from models.remedy import PlanHash, Prior, Remedy, RemedyName

INCIDENT_COLUMNS = (
    IncidentRow.id,
    IncidentRow.mesh,
    IncidentRow.state,
    IncidentRow.opened_at,
    IncidentRow.symptoms,
    IncidentRow.closed_at,
)
FAILURES = (OutcomeKind.NO_EFFECT, OutcomeKind.WORSE_UNDONE, OutcomeKind.AMBIGUOUS)


def _incident_of(row: Row[Any]) -> Incident:
    return Incident(
        id=IncidentId(row.id),
        mesh=row.mesh,
        state=IncidentState(row.state),
        opened_at=row.opened_at,
        symptoms=with_numbers(row.symptoms),
        closed_at=row.closed_at,
    )


def _outcome_of(row: Row[Any]) -> Outcome:
    return Outcome(IncidentId(row.incident), OutcomeKind(row.kind), row.reason, row.plan_hash, row.at)


class PostgresIncidents:
    """`models.ports.IncidentRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def save(self, incident: Incident) -> None:
        """Insert or update by id."""
        row = insert(IncidentRow).values(
            id=incident.id,
            mesh=incident.mesh,
            state=incident.state,
            opened_at=incident.opened_at,
            closed_at=incident.closed_at,
            symptoms=incident.symptoms,
        )
        new = row.excluded
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["id"],
                set_={
                    "mesh": new.mesh,
                    "state": new.state,
                    "opened_at": new.opened_at,
                    "closed_at": new.closed_at,
                    "symptoms": new.symptoms,
                },
            )
        )
        self._transaction.hint("incidents")

    async def get(self, incident: IncidentId, *, for_update: bool = False) -> Incident | None:
        """Return one, locked if asked."""
        query = select(*INCIDENT_COLUMNS).where(IncidentRow.id == incident)
        # The key never changes, so that rows which refer to the incident may be written meanwhile.
        query = query.with_for_update(key_share=True) if for_update else query
        row = (await self._transaction.run(query)).one_or_none()
        return None if row is None else _incident_of(row)

    async def open(self, mesh: str, *, for_update: bool = False) -> list[Incident]:
        """Return those not closed, oldest first, locked if asked."""
        query = (
            select(*INCIDENT_COLUMNS)
            .where(IncidentRow.mesh == mesh, IncidentRow.state != IncidentState.CLOSED)
            .order_by(IncidentRow.opened_at, IncidentRow.id)
        )
        found = await self._transaction.run(query.with_for_update(key_share=True) if for_update else query)
        return [_incident_of(row) for row in found]

    async def recent(self, mesh: str, limit: int = 50) -> list[Incident]:
        """Return the newest first."""
        found = await self._transaction.run(
            select(*INCIDENT_COLUMNS)
            .where(IncidentRow.mesh == mesh)
            .order_by(IncidentRow.opened_at.desc(), IncidentRow.id.desc())
            .limit(limit)
        )
        return [_incident_of(row) for row in found]

    async def record_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Insert or replace by (incident, at)."""
        row = insert(DiagnosisRow).values(incident=diagnosis.incident, at=diagnosis.at, diagnosis=diagnosis)
        await self._transaction.run(
            row.on_conflict_do_update(index_elements=["incident", "at"], set_={"diagnosis": row.excluded.diagnosis})
        )
        self._transaction.hint("incidents")

    async def record_remedy(self, remedy: Remedy) -> None:
        """Insert by plan hash; the same plan chosen again on newer evidence replaces its former self."""
        row = insert(RemedyRow).values(
            plan_hash=remedy.plan_hash,
            incident=remedy.incident,
            name=remedy.name,
            fault=remedy.cause.fault,
            evidence_at=remedy.evidence_at,
            remedy=remedy,
        )
        new = row.excluded
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["plan_hash"],
                set_={"fault": new.fault, "evidence_at": new.evidence_at, "remedy": new.remedy},
                where=new.evidence_at >= RemedyRow.evidence_at,
            )
        )
        self._transaction.hint("incidents")

    async def remedy(self, plan_hash: PlanHash) -> Remedy | None:
        """Return the remedy as chosen last."""
        found = await self._transaction.run(select(RemedyRow.remedy).where(RemedyRow.plan_hash == plan_hash))
        remedy: Remedy | None = found.scalar_one_or_none()
        return remedy

    async def record_verification(self, verification: Verification) -> None:
        """Insert or replace by (incident, plan hash, at)."""
        row = insert(VerificationRow).values(
            incident=verification.incident,
            plan_hash=verification.plan_hash,
            at=verification.at,
            verdict=verification.verdict,
            verification=verification,
        )
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["incident", "plan_hash", "at"],
                set_={"verdict": row.excluded.verdict, "verification": row.excluded.verification},
            )
        )
        self._transaction.hint("incidents")

    async def record_outcome(self, outcome: Outcome) -> None:
        """Insert or replace by (incident, plan hash); a quiet turn (no incident) teaches nothing and leaves no row."""
        if outcome.incident is None:
            return
        if outcome.kind is None:
            raise RefusedError("an outcome of an incident must say how it ended")
        is_fixed = outcome.kind is OutcomeKind.FIXED
        proof = (
            select(func.max(VerificationRow.at))
            .where(
                VerificationRow.incident == outcome.incident,
                VerificationRow.plan_hash == outcome.plan_hash,
                VerificationRow.verdict == Verdict.HEALED,
            )
            .scalar_subquery()
        )
        row = insert(OutcomeRow).values(
            incident=outcome.incident,
            plan_hash=outcome.plan_hash,
            kind=outcome.kind,
            reason=outcome.reason,
            at=outcome.at,
            healed_at=proof if is_fixed else None,
            healed_verdict=Verdict.HEALED if is_fixed else None,
        )
        new = row.excluded
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["incident", "plan_hash"],
                set_={
                    "kind": new.kind,
                    "reason": new.reason,
                    "at": new.at,
                    "healed_at": new.healed_at,
                    "healed_verdict": new.healed_verdict,
                },
            )
        )
        self._transaction.hint("incidents")

    async def fixed_since(self, mesh: str, since: datetime) -> int:
        """Count incidents fixed with proof since then; the schema lets no other outcome say so."""
        found = await self._transaction.run(
            select(func.count(OutcomeRow.incident.distinct()))
            .join(IncidentRow, IncidentRow.id == OutcomeRow.incident)
            .where(IncidentRow.mesh == mesh, OutcomeRow.kind == OutcomeKind.FIXED, OutcomeRow.at > since)
        )
        return int(found.scalar_one())

    async def outcome_counts(self, mesh: str) -> Mapping[OutcomeKind, int]:
        """Count outcomes by kind."""
        found = await self._transaction.run(
            select(OutcomeRow.kind, func.count())
            .join(IncidentRow, IncidentRow.id == OutcomeRow.incident)
            .where(IncidentRow.mesh == mesh)
            .group_by(OutcomeRow.kind)
        )
        return {OutcomeKind(kind): count for kind, count in found}

    async def story(self, incident: IncidentId) -> IncidentStory | None:
        """Return everything known of one incident."""
        told = await self.get(incident)
        if told is None:
            return None
        return IncidentStory(
            incident=told,
            diagnoses=await self._documents(
                select(DiagnosisRow.diagnosis).where(DiagnosisRow.incident == incident).order_by(DiagnosisRow.at)
            ),
            remedies=await self._documents(
                select(RemedyRow.remedy)
                .where(RemedyRow.incident == incident)
                .order_by(RemedyRow.evidence_at, RemedyRow.number)
            ),
            operations=tuple(
                operation_of(row)
                for row in await self._transaction.run(
                    select(*OPERATION_COLUMNS).where(OperationRow.incident == incident).order_by(OperationRow.number)
                )
            ),
            verifications=await self._documents(
                select(VerificationRow.verification)
                .where(VerificationRow.incident == incident)
                .order_by(VerificationRow.at, VerificationRow.plan_hash)
            ),
            decisions=tuple(
                decision_of(row)
                for row in await self._transaction.run(
                    select(*DECISION_COLUMNS)
                    .where(DecisionRow.incident == incident)
                    .order_by(DecisionRow.decided_at, DecisionRow.plan_hash)
                )
            ),
            outcomes=tuple(
                _outcome_of(row)
                for row in await self._transaction.run(
                    select(OutcomeRow.incident, OutcomeRow.kind, OutcomeRow.reason, OutcomeRow.plan_hash, OutcomeRow.at)
                    .where(OutcomeRow.incident == incident)
                    .order_by(OutcomeRow.at, OutcomeRow.plan_hash)
                )
            ),
        )

    async def _documents(self, query: Select[tuple[Any]]) -> tuple[Any, ...]:
        return tuple((await self._transaction.run(query)).scalars())


class PostgresKnowledge:
    """`models.ports.KnowledgeRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def priors(self, mesh: str) -> Mapping[tuple[FaultKind, RemedyName], Prior]:
        """Count outcomes per (fault, remedy); pairs without a verdict are left out."""
        fixed = func.count(case((OutcomeRow.kind == OutcomeKind.FIXED, 1)))
        failed = func.count(case((OutcomeRow.kind.in_(FAILURES), 1)))
        found = await self._transaction.run(
            select(RemedyRow.fault, RemedyRow.name, fixed.label("fixed"), failed.label("failed"))
            .join(
                OutcomeRow,
                and_(OutcomeRow.plan_hash == RemedyRow.plan_hash, OutcomeRow.incident == RemedyRow.incident),
            )
            .join(IncidentRow, IncidentRow.id == RemedyRow.incident)
            .where(IncidentRow.mesh == mesh, OutcomeRow.kind.in_((OutcomeKind.FIXED, *FAILURES)))
            .group_by(RemedyRow.fault, RemedyRow.name)
        )
        return {(FaultKind(row.fault), RemedyName(row.name)): Prior(row.fixed, row.failed) for row in found}
