"""Housekeeping: keep what grows bounded."""

from __future__ import annotations

from prefect import flow

from tasks import housekeeping


@flow(name="keep-house", persist_result=False)
async def keep_house() -> int:
    """Delete raw samples older than the retention and idempotency keys older than a day; return how many rows."""
    return await housekeeping.forget_old_samples() + await housekeeping.forget_old_wishes()
