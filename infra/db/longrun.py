"""Holding a role: one process at a time watches a mesh or collects a node, whatever the orchestrator believes.

The lock is a Postgres advisory lock on a connection of its own, so it vanishes with the process. The epoch is the
fencing token: what an older one writes is refused.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.db.connections import single_engine
from infra.db.door import at_the_door, sqlstate_of
from infra.db.repositories_access import PostgresLongRuns
from infra.db.transaction import Transaction
from models.errors import RefusedError, SourceUnavailable, StaleEpoch
from models.ports import Clock, LongRun

log = structlog.get_logger()

# The supervisor calls a run dead after 5 s without a beat and kills it; its successor should be there already.
WAIT_FOR_PREDECESSOR = timedelta(seconds=10)
TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")
LOCK = text("SELECT pg_advisory_lock(:key)")
# For this session only: waiting for the predecessor is the point here, and a beat must not wait long.
PATIENCE = text(
    "SELECT set_config('lock_timeout', :lock_ms, false), set_config('statement_timeout', :statement_ms, false)"
)
# A beat is one row; slower than this the database is as good as away.
BEAT_MS = 2_000
FOR_BEATS = {"lock_ms": str(BEAT_MS), "statement_ms": str(BEAT_MS)}
LOCK_NOT_AVAILABLE = "55P03"


def lock_key(role: str) -> int:
    """Return the advisory lock's key: 64 bits of the role's SHA-256, signed as Postgres wants it."""
    return int.from_bytes(hashlib.sha256(f"x0tta6bl4 role {role}".encode()).digest()[:8], "big", signed=True)


class RoleHolder:
    """A role that is ours until `beat` says otherwise."""

    def __init__(self, engine: AsyncEngine, role: str, clock: Clock) -> None:
        self.role = role
        self._engine = engine
        self._clock = clock
        self._connection: AsyncConnection | None = None
        self._claimed: LongRun | None = None

    @property
    def epoch(self) -> int:
        """Our fencing token."""
        return self._run.epoch

    @property
    def _run(self) -> LongRun:
        if self._claimed is None:
            raise RefusedError(f"role {self.role} is not held yet; enter `hold_role` first")
        return self._claimed

    async def beat(self) -> None:
        """Say that we live. After a lost connection the lock is taken again first, if nobody else has it.

        Raises:
            StaleEpoch: a successor has the role; stop at once, write nothing more.
            SourceUnavailable: the database does not answer; try again at the next beat.
        """
        connection = await self._connected()
        try:
            await PostgresLongRuns(Transaction(connection)).beat(self.role, self.epoch, self._clock.now())
        except SourceUnavailable:
            await self._drop()
            raise

    async def _take(self, flow_run_id: str, at_most: timedelta) -> None:
        self._connection = connection = await self._connect()
        await self._wait_for_lock(connection, at_most)
        self._claimed = await PostgresLongRuns(Transaction(connection)).claim(
            self.role, flow_run_id=flow_run_id, pid=os.getpid(), host=socket.gethostname(), now=self._clock.now()
        )
        log.info("role taken", role=self.role, epoch=self.epoch)

    async def _wait_for_lock(self, connection: AsyncConnection, at_most: timedelta) -> None:
        # Zero would mean "no limit" to Postgres, and a statement limit below the lock's would fire first.
        patience_ms = max(1, round(at_most.total_seconds() * 1000))
        statements = Transaction(connection)
        await statements.run(PATIENCE, {"lock_ms": str(patience_ms), "statement_ms": "0"})
        try:
            await statements.run(LOCK, {"key": lock_key(self.role)})
        except SourceUnavailable as error:
            if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
                raise
            raise RefusedError(await self._held_by_another(at_most)) from error
        await statements.run(PATIENCE, FOR_BEATS)

    async def _held_by_another(self, at_most: timedelta) -> str:
        connection = await self._connect()
        try:
            runs = await PostgresLongRuns(Transaction(connection)).all()
        finally:
            await connection.close()
        holder = next((f"pid {one.pid} on {one.host}" for one in runs if one.role == self.role), "another process")
        return (
            f"role {self.role} was still held by {holder} after {at_most.total_seconds():g} s; "
            "stop that process (`x0tta6bl4 status` shows it) or wait for it to end"
        )

    async def _connected(self) -> AsyncConnection:
        """Return the connection that holds the lock; a new one takes the lock again or finds that it is lost."""
        if self._connection is not None:
            return self._connection
        connection = await self._connect()
        statements = Transaction(connection)
        await statements.run(PATIENCE, FOR_BEATS)
        got_it = (await statements.run(TRY_LOCK, {"key": lock_key(self.role)})).scalar_one()
        if not got_it:
            await connection.close()
            raise StaleEpoch(self.role, self.epoch)
        log.warning("role taken again after a lost connection", role=self.role, epoch=self.epoch)
        self._connection = connection
        return connection

    async def _connect(self) -> AsyncConnection:
        with at_the_door():
            connection = await self._engine.connect()
            # Each statement is its own transaction: the session lives for days and must never sit in one.
            return await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with at_the_door():
                await connection.close()


@asynccontextmanager
async def hold_role(
    url: str, role: str, *, flow_run_id: str, clock: Clock, at_most: timedelta = WAIT_FOR_PREDECESSOR
) -> AsyncIterator[RoleHolder]:
    """Hold a role for as long as the body runs: take its lock, claim its next epoch.

    Args:
        url: The database, `postgresql+asyncpg://...`.
        role: `watch-mesh:lab`, `collect-node:lab/n0`, ...
        flow_run_id: Which run holds it, for the supervisor.
        clock: For the beats.
        at_most: How long to wait for a predecessor to go.

    Raises:
        RefusedError: another process still holds it; the sentence says which.
        SourceUnavailable: the database does not answer.
    """
    engine = single_engine(url)
    holder = RoleHolder(engine, role, clock)
    try:
        await holder._take(flow_run_id, at_most)  # noqa: SLF001 - the two are one thing; nobody else may take
        yield holder
    finally:
        await holder._drop()  # noqa: SLF001 - as above
        await engine.dispose()
