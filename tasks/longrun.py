"""Holding a post: one long run per role, known by an advisory lock, an epoch and a beat; no Prefect limit involved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from prefect.context import FlowRunContext

from infra.db.longrun import RoleHolder, hold_role
from models.errors import SourceUnavailable, StaleEpoch
from tasks.wiring import adapters

log = structlog.get_logger()

BEAT_EVERY = timedelta(seconds=1)
# A tick that fails five times in a row will not get better by itself: the run ends, visibly, and is started anew.
FAILURES_BEFORE_STOPPING = 5

Tick = Callable[[], Awaitable[None]]


async def hold(role: str, tick: Tick, *, every: timedelta, taken: Callable[[int], None] | None = None) -> None:
    """Hold a role and call `tick` at a steady pace until superseded; an absent database is waited out.

    Args:
        role: `watch-mesh:lab`, `collect-node:lab:n0`, ...
        tick: What to do each time.
        every: The pace; a late tick is not made up for.
        taken: Told our epoch once the role is ours.

    Raises:
        StaleEpoch: a successor took the role over.
        RefusedError: another process held the role all the while.
        Exception: whatever a tick raised five times in a row.
    """
    world = adapters()
    context = FlowRunContext.get()
    run = str(context.flow_run.id) if context and context.flow_run else ""
    async with hold_role(world.database, role, flow_run_id=run, clock=world.clock) as holder:
        if taken is not None:
            taken(holder.epoch)
        beating = asyncio.create_task(_beat(holder))
        try:
            await _pace(role, tick, every=every, beating=beating)
        finally:
            beating.cancel()


async def _beat(holder: RoleHolder) -> None:
    is_away = False
    while True:
        try:
            await holder.beat()
        except SourceUnavailable as error:
            if not is_away:
                log.warning("no beat: the database is away", role=holder.role, error=str(error))
            is_away = True
        else:
            is_away = False
        await asyncio.sleep(BEAT_EVERY.total_seconds())


async def _pace(role: str, tick: Tick, *, every: timedelta, beating: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    failures = 0
    while True:
        if beating.done():
            beating.result()
        try:
            await tick()
            failures = 0
        except StaleEpoch:
            raise
        except SourceUnavailable as error:
            # `_beat` says it once; what a tick could not write it keeps for the next.
            log.debug("tick without a database", role=role, error=str(error))
        except Exception:
            failures += 1
            log.exception("tick failed", role=role, in_a_row=failures)
            if failures >= FAILURES_BEFORE_STOPPING:
                raise
        # A late tick is not made up for: two at once would show the world twice in the same state.
        due = max(due + every.total_seconds(), loop.time())
        await asyncio.sleep(due - loop.time())
