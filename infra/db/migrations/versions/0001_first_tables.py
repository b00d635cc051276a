"""The first tables: meshes, samples, incidents, operations, decisions, guards, requests, tokens, roles.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Make everything, and the extension that lets a constraint say "same element, another plan"."""
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    op.create_table(
        "baselines",
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("baseline", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("mesh", "node", "version", name="pk_baselines"),
        sa.UniqueConstraint("mesh", "node", "recorded_at", name="uq_baselines_mesh_node_recorded_at"),
    )
    op.create_table(
        "guards",
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("state", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("mesh", name="pk_guards"),
    )
    op.create_table(
        "heal_requests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_heal_requests"),
    )
    op.create_index(
        "ix_heal_requests_waiting", "heal_requests", ["mesh"], unique=False, postgresql_where=sa.text("outcome IS NULL")
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("symptoms", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint(
            "(state = 'closed') = (closed_at IS NOT NULL)", name=op.f("ck_incidents_closed_has_its_instant")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
    )
    op.create_index("ix_incidents_mesh_opened_at", "incidents", ["mesh", "opened_at"], unique=False)
    op.create_index(
        "ix_incidents_open", "incidents", ["mesh"], unique=False, postgresql_where=sa.text("state <> 'closed'")
    )
    op.create_table(
        "long_runs",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("flow_run_id", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role", name="pk_long_runs"),
    )
    op.create_table(
        "meshes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("declared", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meshes"),
    )
    op.create_table(
        "samples",
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sample", postgresql.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("mesh", "node", "epoch", "sequence", name="pk_samples"),
    )
    op.create_index("ix_samples_mesh_at", "samples", ["mesh", "at"], unique=False)
    op.create_index("ix_samples_mesh_stored", "samples", ["mesh", "stored"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
    )
    op.create_table(
        "diagnoses",
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("diagnosis", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"], name="fk_diagnoses_incident"),
        sa.PrimaryKeyConstraint("incident", "at", name="pk_diagnoses"),
    )
    op.create_table(
        "operations",
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("mesh", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("element", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("action", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("order_payload", sa.LargeBinary(), nullable=False),
        sa.Column("order_signature", sa.LargeBinary(), nullable=False),
        sa.Column("closing", sa.Text(), nullable=True),
        sa.Column("closing_payload", sa.LargeBinary(), nullable=True),
        sa.Column("closing_signature", sa.LargeBinary(), nullable=True),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("report", postgresql.JSONB(), nullable=True),
        postgresql.ExcludeConstraint(
            (sa.column("mesh"), "="),
            (sa.column("element"), "="),
            (sa.column("plan_hash"), "<>"),
            where=sa.text("state IN ('requested', 'applied')"),
            using="gist",
            name="ex_operations_one_writer",
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'applied', 'committed', 'undone', 'refused', 'failed')",
            name=op.f("ck_operations_known_state"),
        ),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"], name="fk_operations_incident"),
        sa.PrimaryKeyConstraint("operation", name="pk_operations"),
    )
    op.create_index("ix_operations_incident", "operations", ["incident"], unique=False)
    op.create_index("ix_operations_plan_hash", "operations", ["plan_hash"], unique=False)
    op.create_index(
        "ix_operations_post",
        "operations",
        ["mesh", "node"],
        unique=False,
        postgresql_where=sa.text("state IN ('requested', 'applied', 'committed')"),
    )
    op.create_table(
        "remedies",
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("evidence_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("remedy", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"], name="fk_remedies_incident"),
        sa.PrimaryKeyConstraint("plan_hash", name="pk_remedies"),
    )
    op.create_index("ix_remedies_incident", "remedies", ["incident"], unique=False)
    op.create_table(
        "verifications",
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("verification", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"], name="fk_verifications_incident"),
        sa.PrimaryKeyConstraint("incident", "plan_hash", "at", name="pk_verifications"),
        sa.UniqueConstraint(
            "incident", "plan_hash", "at", "verdict", name="uq_verifications_incident_plan_hash_at_verdict"
        ),
    )
    op.create_table(
        "decisions",
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"], name="fk_decisions_incident"),
        sa.ForeignKeyConstraint(["plan_hash"], ["remedies.plan_hash"], name="fk_decisions_plan_hash"),
        sa.PrimaryKeyConstraint("plan_hash", name="pk_decisions"),
    )
    op.create_index("ix_decisions_incident", "decisions", ["incident"], unique=False)
    op.create_table(
        "outcomes",
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("healed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("healed_verdict", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(healed_at IS NULL) = (healed_verdict IS NULL) AND coalesce(healed_verdict, 'healed') = 'healed'",
            name=op.f("ck_outcomes_proof_says_healed"),
        ),
        sa.CheckConstraint("(kind = 'fixed') = (healed_at IS NOT NULL)", name=op.f("ck_outcomes_fixed_is_proven")),
        sa.CheckConstraint("kind <> 'dry-run'", name=op.f("ck_outcomes_no_dry_run")),
        sa.ForeignKeyConstraint(
            ["incident", "plan_hash", "healed_at", "healed_verdict"],
            ["verifications.incident", "verifications.plan_hash", "verifications.at", "verifications.verdict"],
            name="fk_outcomes_proof",
        ),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"], name="fk_outcomes_incident"),
        sa.PrimaryKeyConstraint("incident", "plan_hash", name="pk_outcomes"),
    )
