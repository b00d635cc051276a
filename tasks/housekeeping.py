"""Housekeeping: forget raw samples that no analysis looks at any more."""

from __future__ import annotations

from datetime import timedelta

from tasks.diary import stage
from tasks.wiring import adapters


@stage("forget-old-samples")
async def forget_old_samples() -> int:
    """Delete samples older than the retention, of all meshes; return how many."""
    world = adapters()
    keep = timedelta(seconds=world.settings.sample_retention_seconds)
    async with world.store.unit() as uow:
        return await uow.samples.delete_before(world.clock.now() - keep)
