"""What a database holds, in figures that can be compared: rows and contents of each table, what people ask for, laws.

Everything here is read in one transaction, whose snapshot pg_dump shares: the figures are those of the dump.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

from infra.db.connections import listener_arguments
from infra.db.door import at_the_door
from models.errors import RefusedError
from models.payment import Asset

# A snapshot is held for as long as a dump takes, and a table is read as a whole. What a row looks like as text must
# not depend on the server; and row security must refuse rather than show us less than there is.
MANNERS = {
    "application_name": "x0tta6bl4 backup",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "60s",
    "row_security": "off",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # `x::text` of a row names nothing by its schema.
    "search_path": "public",
}
TABLES = """
SELECT c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY c.relname
"""
# The sum of a 64-bit piece of each row's MD5: it depends on every row and not on their order, in one pass.
CONTENT = """
SELECT count(*) AS rows,
    coalesce(sum(('x' || left(md5((x0_row.*)::text), 16))::bit(64)::bigint::numeric), 0)::text AS content
FROM {table} AS x0_row
"""
# Roles that grants and policies of this database name; they live outside of it, so that no dump of it has them.
ROLES = """
SELECT DISTINCT r.rolname AS name FROM pg_shdepend AS d JOIN pg_roles AS r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype IN ('a', 'r') AND r.rolname <> current_user
    AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1
"""
REVISION = "SELECT max(version_num) FROM alembic_version"
BEATING = "SELECT role FROM long_runs WHERE beat_at > $1 ORDER BY role"
# A long run beats every second and is called dead after five.
ALIVE = timedelta(seconds=10)
CREDITED = "SELECT coalesce(sum(units), 0) FROM credits WHERE asset = '{asset}'"
# What somebody who restores asks first. Of a table that an older schema lacks there is nothing to say.
FACTS = {
    "incidents": ("incidents", "SELECT count(*) FROM incidents"),
    "orders settled": ("orders", "SELECT count(*) FROM orders WHERE state = 'SETTLED'"),
    **{f"base units of {asset} credited": ("credits", CREDITED.format(asset=asset)) for asset in Asset},
    "licences": ("licences", "SELECT count(*) FROM licences"),
}
# Each counts what is wrong. A dump is loaded before its triggers exist, so what only a trigger refuses is asked here.
LAWS = {
    "a constraint is not validated": "SELECT count(*) FROM pg_constraint WHERE NOT convalidated",
    "an index is not valid": "SELECT count(*) FROM pg_index WHERE NOT indisvalid",
    "a trigger is switched off": "SELECT count(*) FROM pg_trigger WHERE tgenabled <> 'O'",
    "an order was paid something else than the sum of its credits": (
        "SELECT count(*) FROM orders AS one"
        " WHERE paid <> (SELECT coalesce(sum(units), 0) FROM credits WHERE order_id = one.id)"
    ),
    "a credit lies outside its order's watch": (
        "SELECT count(*) FROM credits JOIN transfers USING (chain, tx, event_index)"
        " JOIN orders ON orders.id = order_id"
        " WHERE NOT block_time BETWEEN payable_from AND watched_until + interval '1 minute'"
    ),
    "a licence belongs to an order that was never settled": (
        "SELECT count(*) FROM licences JOIN orders ON orders.id = order_id WHERE state NOT IN ('SETTLED', 'REFUNDED')"
    ),
}


class TableCensus(BaseModel):
    """One table: how many rows, and a figure that changes with any of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=0)
    content: str


class DatabaseCensus(BaseModel):
    """One database at one moment.

    Attributes:
        taken_at: The transaction's, aware UTC; what was committed before is in it.
        server: The server's major version.
        revision: Alembic's revision; None where there is none.
        roles: Whom its grants and policies name.
        tables: By name.
        facts: What people ask for, by its words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    taken_at: datetime
    server: int
    revision: str | None
    roles: tuple[str, ...]
    tables: Mapping[str, TableCensus]
    facts: Mapping[str, int]

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(one.rows for one in self.tables.values())


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect as whoever reads or mends a whole database.

    Raises:
        SourceUnavailable: it does not answer.
        ConfigurationInvalid: it does not let us in.
    """
    with at_the_door():
        connection = await asyncpg.connect(**(listener_arguments(url) | {"server_settings": MANNERS}))
    try:
        yield connection
    finally:
        connection.terminate()


async def recorded_revision(url: str) -> str | None:
    """Return which revision a database is at; None for an empty one."""
    async with connected(url) as connection:
        with at_the_door():
            names = {row["name"] for row in await connection.fetch(TABLES)}
            return await connection.fetchval(REVISION) if "alembic_version" in names else None


async def require_nobody(url: str, *, now: datetime) -> None:
    """Refuse a database that somebody works with, on whatever machine.

    Raises:
        RefusedError: a long run has beaten within the last seconds; names it.
    """
    async with connected(url) as connection:
        with at_the_door():
            names = {row["name"] for row in await connection.fetch(TABLES)}
            alive = await connection.fetch(BEATING, now - ALIVE) if "long_runs" in names else []
    if alive:
        who = ", ".join(row["role"] for row in alive)
        raise RefusedError(f"{who} worked with this database within {ALIVE.seconds} seconds; stop it first, then wait")


async def hold_still(connection: asyncpg.Connection) -> str:
    """Hold the database as it is now until the connection ends; return the snapshot's name, for pg_dump to share."""
    with at_the_door():
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return str(await connection.fetchval("SELECT pg_export_snapshot()"))


async def census(connection: asyncpg.Connection) -> DatabaseCensus:
    """Count everything; after `hold_still` all figures are of one moment."""
    with at_the_door():
        names = {str(row["name"]): row["quoted"] for row in await connection.fetch(TABLES)}
        counts = {name: await connection.fetchrow(CONTENT.format(table=quoted)) for name, quoted in names.items()}
        asked = {said: question for said, (needed, question) in FACTS.items() if needed in names}
        return DatabaseCensus(
            taken_at=(await connection.fetchval("SELECT now()")).astimezone(UTC),
            server=connection.get_server_version().major,
            revision=await connection.fetchval(REVISION) if "alembic_version" in names else None,
            roles=tuple(row["name"] for row in await connection.fetch(ROLES)),
            tables={name: TableCensus(rows=one["rows"], content=one["content"]) for name, one in counts.items()},
            facts={said: int(await connection.fetchval(question)) for said, question in asked.items()},
        )


def differences(name: str, was: DatabaseCensus, found: DatabaseCensus) -> list[str]:
    """Say in what a restored database differs from the one that was backed up; empty: in nothing."""
    said = [f"{name}: table {one} is not there" for one in was.tables if one not in found.tables]
    said += [f"{name}: table {one} was not in the backup" for one in found.tables if one not in was.tables]
    for one in sorted(set(was.tables) & set(found.tables)):
        before, now = was.tables[one], found.tables[one]
        if before.rows != now.rows:
            said.append(f"{name}: {one} had {before.rows} rows and has {now.rows}")
        elif before.content != now.content:
            said.append(f"{name}: {one} has its {now.rows} rows, but not the same ones")
    said += [
        f"{name}: {fact} were {number} and are {found.facts.get(fact)}"
        for fact, number in was.facts.items()
        if found.facts.get(fact) != number
    ]
    return said


async def broken_laws(connection: asyncpg.Connection) -> list[str]:
    """Say which law of the schema does not hold; of the app's database, at this version's revision."""
    with at_the_door():
        counts = {said: await connection.fetchval(asked) for said, asked in LAWS.items()}
    return [f"{said} ({count} times)" for said, count in counts.items() if count]
