"""What every `ModelRepository` promises. Subclass once per implementation and supply `store`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.errors import ConfigurationInvalid
from models.fitting import Checkpoint
from models.modelstore import ModelRecord
from models.ports import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def record(content: bytes = b"weights", at: datetime = NOW) -> ModelRecord:
    digest = hashlib.sha256(content).hexdigest()
    return ModelRecord(digest, content, {"seed": 1, "rate": 0.5}, {"top1": 0.5}, "data", at, "not promoted: why")


def checkpoint(epoch: int) -> Checkpoint:
    return Checkpoint(epoch, f"state {epoch}".encode(), ((1.5, 1.25),) * epoch)


class ModelContract:
    """Fitted models and unfinished fits."""

    async def test_the_model_promoted_last_serves_and_the_one_before_can_come_back(self, store: Store):
        first, second = record(b"first"), record(b"second", LATER)
        async with store.unit() as unit:
            assert await unit.models.promoted() is None
            await unit.models.add(first)
            await unit.models.add(second)
            assert await unit.models.promoted() is None
            await unit.models.promote(first.digest, NOW)
            await unit.models.promote(second.digest, LATER)
        async with store.unit() as unit:
            assert await unit.models.promoted() == replace(second, promoted_at=LATER)
            assert [one.digest for one in await unit.models.recent()] == [second.digest, first.digest]
            assert len(await unit.models.recent(1)) == 1
            await unit.models.promote(first.digest, LATER + timedelta(hours=1))
        async with store.unit() as unit:
            serving = await unit.models.promoted()
            assert serving is not None
            assert serving.weights == b"first"

    async def test_adding_again_keeps_the_promotion_and_takes_the_new_verdict(self, store: Store):
        async with store.unit() as unit:
            await unit.models.add(record())
            await unit.models.promote(record().digest, NOW)
            await unit.models.add(replace(record(at=LATER), verdict="anew", metrics={"top1": 0.75}))
        async with store.unit() as unit:
            kept = replace(record(), verdict="anew", metrics={"top1": 0.75}, promoted_at=NOW)
            assert await unit.models.promoted() == kept

    async def test_what_is_not_stored_cannot_be_promoted(self, store: Store):
        with pytest.raises(ConfigurationInvalid, match="train-graphsage"):
            async with store.unit() as unit:
                await unit.models.promote("0" * 64, NOW)

    async def test_a_checkpoint_is_found_again_and_an_older_one_never_takes_its_place(self, store: Store):
        async with store.unit() as unit:
            assert await unit.models.checkpoint("run") is None
            for epoch in (1, 3, 2):
                await unit.models.keep_checkpoint("run", checkpoint(epoch), NOW)
        async with store.unit() as unit:
            known = await unit.models.checkpoint("run")
            assert known is not None
            assert (known.epoch, known.state, known.losses) == (3, b"state 3", ((1.5, 1.25),) * 3)

    async def test_finished_and_forgotten_fits_are_dropped(self, store: Store):
        async with store.unit() as unit:
            await unit.models.keep_checkpoint("old", checkpoint(1), NOW - timedelta(days=9))
            await unit.models.keep_checkpoint("done", checkpoint(1), NOW)
            await unit.models.keep_checkpoint("other", checkpoint(1), NOW)
        async with store.unit() as unit:
            await unit.models.drop_checkpoints("done", before=NOW - timedelta(days=7))
        async with store.unit() as unit:
            left = [await unit.models.checkpoint(name) for name in ("old", "done", "other")]
            assert [one is not None for one in left] == [False, False, True]
