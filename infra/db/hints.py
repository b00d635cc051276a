"""LISTEN on one dedicated connection, which comes back by itself when the server went away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from infra.db.connections import listener_arguments

log = structlog.get_logger()

CHANNELS = ("samples", "actions", "reports", "incidents", "decisions", "requests", "orders", "outbox")
# Waiters poll beside the hints, so a lost listener costs latency and not correctness.
RECONNECT_SECONDS = 0.5
# A server that vanished without closing the socket is noticed by this question.
PING_SECONDS = 10.0


class Hints:
    """The hints of one process.

    A hint that came while nobody waited wakes the next waiter of its channel at once: what happens between looking
    and waiting is not lost.
    """

    def __init__(self, url: str) -> None:
        self._arguments = listener_arguments(url)
        self._came = dict.fromkeys(CHANNELS, 0)
        self._seen = dict.fromkeys(CHANNELS, 0)
        # A bell for each who waits: in Python 3.11 a Condition whose waiters are cancelled may stay locked for ever.
        self._bells: dict[str, set[asyncio.Event]] = {one: set() for one in CHANNELS}
        self._listening: asyncio.Task[None] | None = None

    async def wait(self, channel: str, *, at_most: timedelta) -> bool:
        """Wait for a hint; False on time-out. KeyError for a channel that does not exist."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="database-hints")
        came_before, bell = self._seen[channel], asyncio.Event()
        if self._came[channel] == came_before:
            self._bells[channel].add(bell)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(at_most.total_seconds()):
                        await bell.wait()
            finally:
                self._bells[channel].discard(bell)
        has_come = self._came[channel] != came_before
        self._seen[channel] = self._came[channel]
        return has_come

    async def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None

    async def _listen(self) -> None:
        was_reachable = True
        while True:
            try:
                await self._listen_once()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if was_reachable:
                    log.warning("database hints lost, reconnecting", reason=str(error))
                was_reachable = False
            else:
                was_reachable = True
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(**self._arguments)
        try:
            gone = asyncio.Event()
            connection.add_termination_listener(lambda _: gone.set())
            for channel in CHANNELS:
                await connection.add_listener(channel, self._on_hint)
            # Whatever was said while nobody listened is lost: let everyone look once.
            for channel in CHANNELS:
                self._ring(channel)
            while not gone.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), PING_SECONDS)
                    return
                await connection.execute("SELECT 1", timeout=PING_SECONDS)
        finally:
            connection.terminate()

    def _on_hint(self, connection: Any, pid: int, channel: str, payload: str) -> None:  # noqa: ARG002 - asyncpg's
        self._ring(channel)

    def _ring(self, channel: str) -> None:
        self._came[channel] += 1
        for bell in self._bells[channel]:
            bell.set()
