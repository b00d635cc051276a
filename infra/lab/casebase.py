"""A private Postgres for conformance cases: made, migrated, emptied between cases, and gone with the block."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from infra.db.cluster import Cluster
from infra.db.connections import listener_arguments
from infra.db.migrate import migrate
from infra.db.unit import PostgresStore

EMPTY = """
SET session_replication_role = replica;
DO $$
DECLARE one text;
BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DELETE FROM %I', one);
    END LOOP;
END $$
"""
"""The schema refuses to forget money; for a replica's superuser no trigger asks. Deleting a case's few rows is quicker
than truncating every table."""


@dataclass(frozen=True, slots=True)
class CaseBase:
    """A database for one case after the other."""

    url: str

    async def empty(self) -> None:
        """Forget everything that the last case wrote."""
        connection = await asyncpg.connect(**listener_arguments(self.url))
        try:
            await connection.execute(EMPTY)
        finally:
            await connection.close()

    def open(self) -> PostgresStore:
        """Return a store on it, for whoever closes it."""
        return PostgresStore(self.url)


@asynccontextmanager
async def case_base() -> AsyncIterator[CaseBase]:
    """Make a cluster in a folder of its own and remove both at the end.

    Raises:
        ToolMissing: Postgres is not installed.
    """
    folder = await asyncio.to_thread(_folder)
    cluster = Cluster(folder / "postgres")
    try:
        await asyncio.to_thread(cluster.create)
        await asyncio.to_thread(cluster.start)
        await migrate(cluster.app_url)
        connection = await asyncpg.connect(**listener_arguments(cluster.app_url))
        try:
            # Nothing here outlives the process, so no commit need wait for a disk.
            await connection.execute("ALTER DATABASE app SET synchronous_commit TO off")
        finally:
            await connection.close()
        yield CaseBase(cluster.app_url)
    finally:
        await asyncio.to_thread(cluster.stop)
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"x0-conformance-{os.getpid()}-"))
    folder.chmod(0o755)  # Postgres' own user must reach it
    return folder
