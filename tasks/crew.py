"""The turns of the cycle that run beside the watch, one per incident, with a growing pause before the next try."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 300.0


class Crew:
    """Runs at most one job per key; a key whose job ended pauses 2 s, 4 s, ... 300 s before it may run again."""

    def __init__(self) -> None:
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._pauses: dict[str, tuple[float, float]] = {}

    def send(self, key: str, job: Callable[[], Awaitable[object]], *, at_once: bool = False) -> bool:
        """Start the job unless one of that key runs, or pauses and nobody wants it at once; tell whether it started."""
        now = asyncio.get_running_loop().time()
        until, _ = self._pauses.get(key, (0.0, 0.0))
        if key in self._jobs or (now < until and not at_once):
            return False
        self._jobs[key] = asyncio.create_task(self._run(key, job))
        return True

    async def _run(self, key: str, job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except Exception:
            # One incident's failure must not end the watch over all others; the incident stays open and is tried again.
            log.exception("job failed", job=key)
        finally:
            del self._jobs[key]
            _, last = self._pauses.get(key, (0.0, 0.0))
            pause = min(max(FIRST_PAUSE_SECONDS, last * 2), LONGEST_PAUSE_SECONDS)
            self._pauses[key] = (asyncio.get_running_loop().time() + pause, pause)

    async def dismiss(self) -> None:
        """Cancel what still runs and wait for it to end."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
