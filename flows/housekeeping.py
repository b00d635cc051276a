"""Housekeeping: keep what grows bounded, and start what incidents that are over leave to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prefect import flow

from flows.healing import watch_mesh
from tasks import following, forgetting, housekeeping
from tasks.following import Due


@flow(name="keep-house", persist_result=False)
async def keep_house() -> int:
    """Delete samples, idempotency keys and heals in Prefect past their time, start what is due; return how many rows.

    What is due is a validation of incidents that closed, and a fit after so many fixed with proof.
    """
    return await keep(following.start) + await forgetting.forget_old_turns([watch_mesh.name])


async def keep(start: Callable[[Due], Awaitable[None]]) -> int:
    """Do what `keep_house` does with another way to start a run."""
    gone = await housekeeping.forget_old_samples() + await housekeeping.forget_old_wishes()
    for one in await following.due():
        await start(one)
    return gone
