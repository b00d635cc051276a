"""Bring a database to this version's schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from infra.db.connections import single_engine
from infra.db.door import at_the_door

SCRIPTS = Path(__file__).parent / "migrations"
# Two processes that migrate at once take turns ("migr" in ASCII); the second finds nothing left to do.
TURN = text("SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true)")
LOCK = text("SELECT pg_advisory_xact_lock(1835624306)")


async def migrate(url: str) -> None:
    """Apply every missing migration in one transaction. Running it again changes nothing.

    Raises:
        SourceUnavailable: the database does not answer, or another migration holds the lock for a minute.
        ConfigurationInvalid: the address does not let us in.
    """
    engine = single_engine(url)
    try:
        with at_the_door():
            async with engine.begin() as connection:
                await connection.execute(TURN)
                await connection.execute(LOCK)
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
