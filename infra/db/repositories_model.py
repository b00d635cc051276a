"""Fitted models on Postgres."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables_model import FitRow, ModelRow
from infra.db.transaction import Transaction
from models.errors import ConfigurationInvalid
from models.fitting import Checkpoint
from models.modelstore import ModelRecord


class PostgresModels:
    """`models.modelstore.ModelRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, record: ModelRecord) -> None:
        """Store; a known digest takes the new metrics and verdict."""
        row = insert(ModelRow).values(
            digest=record.digest,
            weights=record.weights,
            config=json.dumps(record.config, allow_nan=False),
            metrics=json.dumps(record.metrics, allow_nan=False),
            data_digest=record.data_digest,
            made_at=record.made_at,
            verdict=record.verdict,
            promoted_at=record.promoted_at,
        )
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=[ModelRow.digest],
                set_={"metrics": row.excluded.metrics, "verdict": row.excluded.verdict},
            )
        )

    async def promote(self, digest: str, now: datetime) -> None:
        """Let this one serve from now on."""
        done = await self._transaction.run(
            update(ModelRow).where(ModelRow.digest == digest).values(promoted_at=now).returning(ModelRow.digest)
        )
        if done.first() is None:
            raise ConfigurationInvalid(f"no model {digest[:12]} is stored", "fit it with the flow train-graphsage")

    async def promoted(self) -> ModelRecord | None:
        """Return the one promoted last."""
        found = await self._transaction.run(
            select(ModelRow.__table__)
            .where(ModelRow.promoted_at.is_not(None))
            .order_by(ModelRow.promoted_at.desc(), ModelRow.digest)
            .limit(1)
        )
        row = found.first()
        return None if row is None else _record(row)

    async def recent(self, limit: int = 20) -> list[ModelRecord]:
        """Return the newest, latest first."""
        found = await self._transaction.run(
            select(ModelRow.__table__).order_by(ModelRow.made_at.desc(), ModelRow.digest).limit(limit)
        )
        return [_record(row) for row in found]

    async def keep_checkpoint(self, run: str, checkpoint: Checkpoint, now: datetime) -> None:
        """Remember where a fit stands."""
        row = insert(FitRow).values(
            run=run,
            epoch=checkpoint.epoch,
            state=checkpoint.state,
            losses=json.dumps(checkpoint.losses, allow_nan=False),
            at=now,
        )
        fresh = {name: row.excluded[name] for name in ("epoch", "state", "losses", "at")}
        await self._transaction.run(
            row.on_conflict_do_update(index_elements=[FitRow.run], set_=fresh, where=FitRow.epoch <= row.excluded.epoch)
        )

    async def checkpoint(self, run: str) -> Checkpoint | None:
        """Return where a fit stood when it was last heard of."""
        found = await self._transaction.run(select(FitRow.epoch, FitRow.state, FitRow.losses).where(FitRow.run == run))
        row = found.first()
        if row is None:
            return None
        return Checkpoint(row.epoch, row.state, tuple((steps, held) for steps, held in json.loads(row.losses)))

    async def drop_checkpoints(self, run: str, *, before: datetime) -> None:
        """Forget a finished fit, and those not heard of for long."""
        await self._transaction.run(delete(FitRow).where(or_(FitRow.run == run, FitRow.at < before)))


def _record(row: Row[Any]) -> ModelRecord:
    return ModelRecord(
        digest=row.digest,
        weights=row.weights,
        config=json.loads(row.config),
        metrics=json.loads(row.metrics),
        data_digest=row.data_digest,
        made_at=row.made_at,
        verdict=row.verdict,
        promoted_at=row.promoted_at,
    )
