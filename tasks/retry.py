"""Which failures are worth another try: the branch of the error decides, never the stage."""

from __future__ import annotations

from typing import Any

from models.errors import TransientError

# Two quick tries, then one after the longest failover a single Postgres needs here; a heal has no time for more.
RETRY_DELAYS_SECONDS = [0.2, 1.0]


async def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Tell Prefect whether the failed task may succeed later (signature: Prefect's retry_condition_fn)."""
    return isinstance(await state.aresult(raise_on_failure=False), TransientError)
