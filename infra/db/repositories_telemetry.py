"""Declared meshes, baselines and samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables import BaselineRow, MeshRow, SampleRow
from infra.db.transaction import Transaction
from models.mesh import Mesh, NodeId
from models.telemetry import NodeBaseline, Sample

# Writers of one mesh's samples take turns until they commit: identity values are drawn before the commit, and
# without turns a reader whose cursor passed a later value would never see an earlier one that commits after it.
# The two numbers keep the lock apart from other uses of advisory locks ("smpl", "base" in ASCII).
SAMPLES_TURN = text("SELECT pg_advisory_xact_lock(1936552044, hashtext(:mesh))")
BASELINE_TURN = text("SELECT pg_advisory_xact_lock(1650553701, hashtext(:place))")

# One index probe a node, instead of reading every sample to find six: a loose index scan over the primary key.
LATEST = text(
    """
    WITH RECURSIVE newest AS (
        (SELECT node, epoch, sequence FROM samples WHERE mesh = :mesh
         ORDER BY node DESC, epoch DESC, sequence DESC LIMIT 1)
        UNION ALL
        SELECT below.* FROM newest, LATERAL (
            SELECT node, epoch, sequence FROM samples WHERE mesh = :mesh AND samples.node < newest.node
            ORDER BY node DESC, epoch DESC, sequence DESC LIMIT 1) AS below
    )
    SELECT samples.sample FROM newest JOIN samples USING (node, epoch, sequence) WHERE samples.mesh = :mesh
    """
).columns(SampleRow.sample)


class PostgresMeshes:
    """`models.ports.MeshRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def save(self, mesh: Mesh) -> None:
        """Insert or replace."""
        row = insert(MeshRow).values(name=mesh.name, declared=mesh)
        await self._transaction.run(
            row.on_conflict_do_update(index_elements=["name"], set_={"declared": row.excluded.declared})
        )

    async def load(self, name: str) -> Mesh | None:
        """Return the mesh, if declared."""
        found = await self._transaction.run(select(MeshRow.declared).where(MeshRow.name == name))
        mesh: Mesh | None = found.scalar_one_or_none()
        return mesh

    async def record_baseline(self, mesh: str, baseline: NodeBaseline) -> NodeBaseline:
        """Store as the next version; the same recording (node, instant) stored before comes back as it was."""
        await self._transaction.run(BASELINE_TURN, {"place": f"{mesh}/{baseline.node}"})
        of_node = (BaselineRow.mesh == mesh, BaselineRow.node == baseline.node)
        same = await self._transaction.run(
            select(BaselineRow.baseline).where(*of_node, BaselineRow.recorded_at == baseline.recorded_at)
        )
        known: NodeBaseline | None = same.scalar_one_or_none()
        if known is not None:
            return known
        newest = await self._transaction.run(select(func.coalesce(func.max(BaselineRow.version), 0)).where(*of_node))
        recorded = replace(baseline, version=newest.scalar_one() + 1)
        await self._transaction.run(
            insert(BaselineRow).values(
                mesh=mesh,
                node=recorded.node,
                version=recorded.version,
                recorded_at=recorded.recorded_at,
                baseline=recorded,
            )
        )
        return recorded

    async def baseline(self, mesh: str, node: NodeId) -> NodeBaseline | None:
        """Return the newest."""
        found = await self._transaction.run(
            select(BaselineRow.baseline)
            .where(BaselineRow.mesh == mesh, BaselineRow.node == node)
            .order_by(BaselineRow.version.desc())
            .limit(1)
        )
        baseline: NodeBaseline | None = found.scalar_one_or_none()
        return baseline


class PostgresSamples:
    """`models.ports.SampleRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, mesh: str, samples: Sequence[Sample]) -> None:
        """Store a batch in its order; other writers of this mesh wait until this unit of work ends."""
        if not samples:
            return
        await self._transaction.run(SAMPLES_TURN, {"mesh": mesh})
        await self._transaction.run(
            insert(SampleRow).on_conflict_do_nothing(),
            [
                {
                    "mesh": mesh,
                    "node": one.node,
                    "epoch": one.epoch,
                    "sequence": one.sequence,
                    "at": one.at,
                    "sample": one,
                }
                for one in samples
            ],
        )
        self._transaction.hint("samples")

    async def between(
        self, mesh: str, start: datetime, end: datetime, *, nodes: Collection[NodeId] | None = None
    ) -> list[Sample]:
        """Return start <= at < end by (at, node)."""
        asked = [SampleRow.mesh == mesh, SampleRow.at >= start, SampleRow.at < end]
        if nodes is not None:
            asked.append(SampleRow.node.in_(nodes))
        found = await self._transaction.run(
            select(SampleRow.sample)
            .where(*asked)
            .order_by(SampleRow.at, SampleRow.node, SampleRow.epoch, SampleRow.sequence)
        )
        return list(found.scalars())

    async def stored_after(self, mesh: str, cursor: int, *, limit: int = 5000) -> tuple[list[Sample], int]:
        """Return what was stored after the cursor, in order of storage."""
        found = await self._transaction.run(
            select(SampleRow.stored, SampleRow.sample)
            .where(SampleRow.mesh == mesh, SampleRow.stored > cursor)
            .order_by(SampleRow.stored)
            .limit(limit)
        )
        rows = found.all()
        return [row.sample for row in rows], rows[-1].stored if rows else cursor

    async def newest_cursor(self, mesh: str) -> int:
        """Return the newest cursor, 0 when none."""
        found = await self._transaction.run(
            select(func.coalesce(func.max(SampleRow.stored), 0)).where(SampleRow.mesh == mesh)
        )
        cursor: int = found.scalar_one()
        return cursor

    async def latest(self, mesh: str) -> dict[NodeId, Sample]:
        """Return each node's newest sample: the highest (epoch, sequence), which no clock can turn back."""
        found = await self._transaction.run(LATEST, {"mesh": mesh})
        return {sample.node: sample for sample in sorted(found.scalars(), key=lambda one: one.node)}

    async def delete_before(self, instant: datetime) -> int:
        """Delete what is older, of all meshes."""
        return (await self._transaction.run(delete(SampleRow).where(SampleRow.at < instant))).rowcount
