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
        self._bell = asyncio.Condition()
        self._listening: asyncio.Task[None] | None = None
        self._ringing: set[asyncio.Task[None]] = set()

    async def wait(self, channel: str, *, at_most: timedelta) -> bool:
        """Wait for a hint; False on time-out. KeyError for a channel that does not exist."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="database-hints")
        came_before = self._seen[channel]
        async with self._bell:
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._bell.wait_for(lambda: self._came[channel] != came_before), at_most.total_seconds()
                )
            has_come = self._came[channel] != came_before
            self._seen[channel] = self._came[channel]
        return has_come

    async def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, *self._ringing, return_exceptions=True)
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
            await self._ring(*CHANNELS)
            while not gone.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), PING_SECONDS)
                    return
                await connection.execute("SELECT 1", timeout=PING_SECONDS)
        finally:
            connection.terminate()

    def _on_hint(self, connection: Any, pid: int, channel: str, payload: str) -> None:  # noqa: ARG002 - asyncpg's
        ringing = asyncio.get_running_loop().create_task(self._ring(channel))
        self._ringing.add(ringing)
        ringing.add_done_callback(self._ringing.discard)

    async def _ring(self, *channels: str) -> None:
        async with self._bell:
            for channel in channels:
                self._came[channel] += 1
            self._bell.notify_all()
