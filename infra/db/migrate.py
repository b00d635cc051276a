"""Bring a database to this version's schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from infra.db.connections import single_engine
from infra.db.door import at_the_door
from models.errors import ConfigurationInvalid

SCRIPTS = Path(__file__).parent / "migrations"
# Two processes that migrate at once take turns ("migr" in ASCII); the second finds nothing left to do.
TURN = text("SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true)")
LOCK = text("SELECT pg_advisory_xact_lock(1835624306)")


async def migrate(url: str) -> None:
    """Apply every missing migration in one transaction. Running it again changes nothing.

    Raises:
        SourceUnavailable: the database does not answer, or another migration holds the lock for a minute.
        ConfigurationInvalid: the address does not let us in, or a newer version migrated this database.
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


def newest() -> str:
    """Return this version's newest revision."""
    return str(ScriptDirectory.from_config(_configuration()).get_current_head())


def missing(revision: str | None) -> list[tuple[str, str]]:
    """Return the revisions a database at `revision` lacks, oldest first, each with what it does; None: an empty one.

    Raises:
        ConfigurationInvalid: this version does not know the revision, so a newer one made it.
    """
    scripts = list(ScriptDirectory.from_config(_configuration()).walk_revisions())
    known = [one.revision for one in scripts]
    if revision is not None and revision not in known:
        what = f"the database is at revision {revision}, and this version knows none after {known[0]}"
        raise ConfigurationInvalid(what, "install the version that made it; no revision is ever taken back")
    later = scripts if revision is None else scripts[: known.index(revision)]
    return [(one.revision, one.doc) for one in reversed(later)]


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return configuration


def _upgrade(connection: Connection) -> None:
    missing(MigrationContext.configure(connection).get_current_revision())
    configuration = _configuration()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
