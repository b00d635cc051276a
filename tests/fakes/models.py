"""Fitted models over a fake store's memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from models.errors import ConfigurationInvalid
from models.fitting import Checkpoint
from models.modelstore import ModelRecord
from tests.fakes.ledger import Desk
from tests.fakes.memory import Memory


class FakeModels:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def add(self, record: ModelRecord) -> None:
        self._desk.write(lambda memory: _add(memory, record))

    async def promote(self, digest: str, now: datetime) -> None:
        if digest not in self._desk.seen.models:
            raise ConfigurationInvalid(f"no model {digest[:12]} is stored", "fit it with the flow train-graphsage")
        self._desk.write(lambda memory: memory.models.update({digest: replace(memory.models[digest], promoted_at=now)}))

    async def promoted(self) -> ModelRecord | None:
        served = [one for one in self._desk.seen.models.values() if one.promoted_at is not None]
        return max(served, key=lambda one: one.promoted_at, default=None)

    async def recent(self, limit: int = 20) -> list[ModelRecord]:
        return sorted(self._desk.seen.models.values(), key=lambda one: one.made_at, reverse=True)[:limit]

    async def keep_checkpoint(self, run: str, checkpoint: Checkpoint, now: datetime) -> None:
        self._desk.write(lambda memory: _keep(memory, run, checkpoint, now))

    async def checkpoint(self, run: str) -> Checkpoint | None:
        known = self._desk.seen.fits.get(run)
        return None if known is None else known[0]

    async def drop_checkpoints(self, run: str, *, before: datetime) -> None:
        gone = [name for name, (_, at) in self._desk.seen.fits.items() if name == run or at < before]
        self._desk.write(lambda memory: [memory.fits.pop(name, None) for name in gone])


def _add(memory: Memory, record: ModelRecord) -> None:
    known = memory.models.get(record.digest)
    memory.models[record.digest] = (
        record if known is None else replace(known, metrics=record.metrics, verdict=record.verdict)
    )


def _keep(memory: Memory, run: str, checkpoint: Checkpoint, now: datetime) -> None:
    known = memory.fits.get(run)
    if known is None or known[0].epoch <= checkpoint.epoch:
        memory.fits[run] = (checkpoint, now)
