"""Forgetting: what Prefect remembers of work inside a run that does not end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterParentTaskRunId,
    TaskRunFilter,
    TaskRunFilterEndTime,
)
from prefect.exceptions import ObjectNotFound

from tasks.diary import stage
from tasks.wiring import adapters

# As many as Prefect lists at once; every six minutes they are 48,000 a day.
_AT_ONCE = 200


@stage("forget-old-turns")
async def forget_old_turns(lasting: Sequence[str]) -> int:
    """Delete what ended inside runs of these flows before the retention of runs; return how many tasks.

    Prefect forgets a run that ended, with all inside it. A watch does not end, and every heal is a run inside it.
    """
    world = adapters()
    return await forget_inside(
        lasting, world.clock.now() - timedelta(seconds=world.settings.prefect_run_retention_seconds)
    )


async def forget_inside(lasting: Sequence[str], before: datetime) -> int:
    """Do what `forget_old_turns` does, for what ended before a moment."""
    async with get_client() as client:
        ended = await client.read_task_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(lasting))),
            task_run_filter=TaskRunFilter(end_time=TaskRunFilterEndTime(before_=before)),
            limit=_AT_ONCE,
        )
        parents = FlowRunFilterParentTaskRunId(any_=[one.id for one in ended])
        # Runs before the tasks that stand for them: cut short in between, the next time finds the tasks again.
        for run in await client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_task_run_id=parents)):
            with suppress(ObjectNotFound):
                await client.delete_flow_run(run.id)
        for one in ended:
            with suppress(ObjectNotFound):
                await client.delete_task_run(one.id)
    return len(ended)
