"""Housekeeping: forget raw samples that no analysis looks at any more, and keys that nobody sends again."""

from __future__ import annotations

from datetime import timedelta

from models.wishes import KEPT
from tasks.diary import stage
from tasks.wiring import adapters


@stage("forget-old-samples")
async def forget_old_samples() -> int:
    """Delete samples older than the retention, of all meshes; return how many."""
    world = adapters()
    keep = timedelta(seconds=world.settings.sample_retention_seconds)
    async with world.store.unit() as uow:
        return await uow.samples.delete_before(world.clock.now() - keep)


@stage("forget-old-wishes")
async def forget_old_wishes() -> int:
    """Delete the idempotency keys of granted wishes after their day; return how many."""
    world = adapters()
    async with world.store.unit() as uow:
        return await uow.wishes.delete_before(world.clock.now() - KEPT)
