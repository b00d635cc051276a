"""The tables. What must never be stored is refused here, by constraints, whoever writes.

Samples, baselines and operations carry (mesh, node), so that a role per node with row security can be added later.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from infra.db.documents import Document, WholeDocument
from models.incident import Diagnosis, Symptom, Verification
from models.mesh import Mesh
from models.remedy import Action, ActionReport, GuardState, Remedy
from models.telemetry import NodeBaseline, Sample

IN_FLIGHT = "state IN ('requested', 'applied')"


class Base(DeclarativeBase):
    """Every table's base: texts are unbounded, instants carry their zone, constraints have predictable names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text(), datetime: DateTime(timezone=True), int: BigInteger(), bytes: LargeBinary()}  # noqa: RUF012 - SQLAlchemy reads it from the class


class MeshRow(Base):
    """A declared mesh."""

    __tablename__ = "meshes"
    name: Mapped[str] = mapped_column(primary_key=True)
    declared: Mapped[Any] = mapped_column(Document(Mesh))


class BaselineRow(Base):
    """One recording of a node's configuration; a second writing of the same recording finds the first."""

    __tablename__ = "baselines"
    __table_args__ = (UniqueConstraint("mesh", "node", "recorded_at"),)
    mesh: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    recorded_at: Mapped[datetime]
    baseline: Mapped[Any] = mapped_column(Document(NodeBaseline))


class SampleRow(Base):
    """One reading of one node. `stored` counts up in order of commit within a mesh: the readers' cursor."""

    __tablename__ = "samples"
    __table_args__ = (Index(None, "mesh", "stored"), Index(None, "mesh", "at"))
    mesh: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    stored: Mapped[int] = mapped_column(Identity(always=True))
    sample: Mapped[Any] = mapped_column(WholeDocument(Sample))


class IncidentRow(Base):
    """An incident as last seen."""

    __tablename__ = "incidents"
    __table_args__ = (
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_has_its_instant"),
        Index(None, "mesh", "opened_at"),
        Index("ix_incidents_open", "mesh", postgresql_where=text("state <> 'closed'")),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    mesh: Mapped[str]
    state: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    symptoms: Mapped[Any] = mapped_column(Document(tuple[Symptom, ...]))


class DiagnosisRow(Base):
    """What was thought of an incident at one instant."""

    __tablename__ = "diagnoses"
    incident: Mapped[str] = mapped_column(ForeignKey(IncidentRow.id), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    diagnosis: Mapped[Any] = mapped_column(Document(Diagnosis))


class RemedyRow(Base):
    """A chosen plan, as it was chosen last."""

    __tablename__ = "remedies"
    __table_args__ = (Index(None, "incident"),)
    plan_hash: Mapped[str] = mapped_column(primary_key=True)
    incident: Mapped[str] = mapped_column(ForeignKey(IncidentRow.id))
    name: Mapped[str]
    fault: Mapped[str]
    evidence_at: Mapped[datetime]
    number: Mapped[int] = mapped_column(Identity(always=True))
    remedy: Mapped[Any] = mapped_column(Document(Remedy))


class VerificationRow(Base):
    """What the affected pairs said after acting."""

    __tablename__ = "verifications"
    # The key once more with the verdict, so that an outcome can point at a row that says "healed" and nothing else.
    __table_args__ = (UniqueConstraint("incident", "plan_hash", "at", "verdict"),)
    incident: Mapped[str] = mapped_column(ForeignKey(IncidentRow.id), primary_key=True)
    plan_hash: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    verdict: Mapped[str]
    verification: Mapped[Any] = mapped_column(Document(Verification))


class OutcomeRow(Base):
    """How a plan ended. `fixed` must point at its proof; what was only simulated is no knowledge."""

    __tablename__ = "outcomes"
    __table_args__ = (
        ForeignKeyConstraint(
            ["incident", "plan_hash", "healed_at", "healed_verdict"],
            ["verifications.incident", "verifications.plan_hash", "verifications.at", "verifications.verdict"],
            name="fk_outcomes_proof",
        ),
        CheckConstraint("kind <> 'dry-run'", name="no_dry_run"),
        CheckConstraint("(kind = 'fixed') = (healed_at IS NOT NULL)", name="fixed_is_proven"),
        CheckConstraint(
            "(healed_at IS NULL) = (healed_verdict IS NULL) AND coalesce(healed_verdict, 'healed') = 'healed'",
            name="proof_says_healed",
        ),
    )
    incident: Mapped[str] = mapped_column(ForeignKey(IncidentRow.id), primary_key=True)
    plan_hash: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]
    healed_at: Mapped[datetime | None]
    healed_verdict: Mapped[str | None]


class OperationRow(Base):
    """The ledger of operations, with the signed orders that wait for the node and its latest report."""

    __tablename__ = "operations"
    __table_args__ = (
        # One writer per element. Two actions of one plan may share it: a cost-out writes both ends of one link.
        ExcludeConstraint(
            ("mesh", "="),
            ("element", "="),
            ("plan_hash", "<>"),
            name="ex_operations_one_writer",
            using="gist",
            where=text(IN_FLIGHT),
        ),
        CheckConstraint(
            "state IN ('requested', 'applied', 'committed', 'undone', 'refused', 'failed')", name="known_state"
        ),
        Index(None, "plan_hash"),
        Index(None, "incident"),
        Index(
            "ix_operations_post",
            "mesh",
            "node",
            postgresql_where=text("state IN ('requested', 'applied', 'committed')"),
        ),
    )
    operation: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Identity(always=True))
    mesh: Mapped[str]
    node: Mapped[str]
    element: Mapped[str]
    incident: Mapped[str] = mapped_column(ForeignKey(IncidentRow.id))
    remedy: Mapped[str]
    plan_hash: Mapped[str]
    verb: Mapped[str]
    action: Mapped[Any] = mapped_column(Document(Action))
    state: Mapped[str]
    requested_at: Mapped[datetime]
    order_payload: Mapped[bytes]
    order_signature: Mapped[bytes]
    closing: Mapped[str | None]
    closing_payload: Mapped[bytes | None]
    closing_signature: Mapped[bytes | None]
    reported_at: Mapped[datetime | None]
    report: Mapped[Any] = mapped_column(Document(ActionReport), nullable=True)


class DecisionRow(Base):
    """A person's answer to one plan; there is room for one, and it is used once."""

    __tablename__ = "decisions"
    __table_args__ = (Index(None, "incident"),)
    plan_hash: Mapped[str] = mapped_column(ForeignKey(RemedyRow.plan_hash), primary_key=True)
    incident: Mapped[str] = mapped_column(ForeignKey(IncidentRow.id))
    kind: Mapped[str]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used: Mapped[bool] = mapped_column(server_default=text("false"))


class GuardRow(Base):
    """The guards' memory of one mesh."""

    __tablename__ = "guards"
    mesh: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[Any] = mapped_column(Document(GuardState))


class HealRequestRow(Base):
    """Somebody asked for a turn of the cycle."""

    __tablename__ = "heal_requests"
    __table_args__ = (Index("ix_heal_requests_waiting", "mesh", postgresql_where=text("outcome IS NULL")),)
    id: Mapped[str] = mapped_column(primary_key=True)
    mesh: Mapped[str]
    dry_run: Mapped[bool]
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    outcome: Mapped[str | None]


class TokenRow(Base):
    """An API token's digest."""

    __tablename__ = "tokens"
    __table_args__ = (UniqueConstraint("digest"),)
    name: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    scope: Mapped[str]
    created_at: Mapped[datetime]


class LongRunRow(Base):
    """Who holds a role."""

    __tablename__ = "long_runs"
    role: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    flow_run_id: Mapped[str]
    pid: Mapped[int]
    host: Mapped[str]
    beat_at: Mapped[datetime]
