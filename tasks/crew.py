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
        self._hurried: dict[str, str] = {}

    def send(self, key: str, job: Callable[[], Awaitable[object]], *, hurry: str | None = None) -> bool:
        """Start the job unless one of that key runs or pauses; tell whether it started.

        Args:
            key: Whose turn it is.
            job: To be run.
            hurry: Ends a pause, once: whoever hurries a key for the same thing again waits like everybody.
        """
        now = asyncio.get_running_loop().time()
        until, _ = self._pauses.get(key, (0.0, 0.0))
        is_hurried = hurry is not None and self._hurried.get(key) != hurry
        if key in self._jobs or (now < until and not is_hurried):
            return False
        if hurry is not None:
            self._hurried[key] = hurry
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
