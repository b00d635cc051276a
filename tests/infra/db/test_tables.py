"""What the schema itself refuses, whoever writes; and that tables and migrations say the same."""

from __future__ import annotations

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from infra.db.connections import listener_arguments, single_engine
from infra.db.migrate import migrate
from infra.db.tables import Base

pytestmark = pytest.mark.postgres

INCIDENT = "INSERT INTO incidents VALUES ('i1', 'lab', 'open', now(), NULL, '[]')"
OPERATION = """
    INSERT INTO operations (operation, mesh, node, element, incident, remedy, plan_hash, verb, action, state,
                            requested_at, order_payload, order_signature)
    VALUES ($1, 'lab', 'n0', $2, 'i1', 'cost-out-link', $3, 'set-cost', '{}', $4, now(), '', '')
"""
OUTCOME = "INSERT INTO outcomes VALUES ('i1', 'p1', $1, '', now(), $2, $3)"
HEALED_AT = "SELECT max(at) FROM verifications"


@pytest.fixture
async def connection(database: str):
    connection = await asyncpg.connect(**listener_arguments(database))
    await connection.execute(INCIDENT)
    yield connection
    await connection.close()


async def test_tables_and_migrations_agree(database: str):
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
        )
        return list(compare_metadata(context, Base.metadata))

    engine = single_engine(database)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_the_constraints_that_no_comparison_sees_are_in_both(database: str, connection):
    """Alembic compares neither checks nor exclusions."""
    declared = {
        str(one.name)
        for table in Base.metadata.tables.values()
        for one in table.constraints
        if type(one).__name__ in {"CheckConstraint", "ExcludeConstraint"}
    }
    rows = await connection.fetch(
        "SELECT conname FROM pg_constraint WHERE contype IN ('c', 'x') AND connamespace = 'public'::regnamespace"
    )
    assert {row["conname"] for row in rows} == declared


async def test_migrating_again_changes_nothing(database: str, connection):
    await migrate(database)
    assert await connection.fetchval("SELECT count(*) FROM incidents") == 1


async def test_a_direct_insert_of_fixed_without_proof_fails(connection):
    with pytest.raises(asyncpg.CheckViolationError, match="fixed_is_proven"):
        await connection.execute(OUTCOME, "fixed", None, None)


async def test_a_direct_insert_of_fixed_with_an_invented_proof_fails(connection):
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="fk_outcomes_proof"):
        await connection.execute(OUTCOME, "fixed", await connection.fetchval("SELECT now()"), "healed")


async def test_a_proof_that_says_not_healed_proves_nothing(connection):
    await connection.execute("INSERT INTO verifications VALUES ('i1', 'p1', now(), 'not-healed', '{}')")
    at = await connection.fetchval(HEALED_AT)
    with pytest.raises(asyncpg.CheckViolationError, match="proof_says_healed"):
        await connection.execute(OUTCOME, "fixed", at, "not-healed")
    with pytest.raises(asyncpg.CheckViolationError, match="proof_says_healed"):
        await connection.execute(OUTCOME, "fixed", at, None)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute(OUTCOME, "fixed", at, "healed")


async def test_a_proof_that_is_used_cannot_be_taken_back(connection):
    await connection.execute("INSERT INTO verifications VALUES ('i1', 'p1', now(), 'healed', '{}')")
    await connection.execute(OUTCOME, "fixed", await connection.fetchval(HEALED_AT), "healed")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute("UPDATE verifications SET verdict = 'worse'")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute("DELETE FROM verifications")


async def test_a_direct_insert_of_a_dry_run_fails(connection):
    with pytest.raises(asyncpg.CheckViolationError, match="no_dry_run"):
        await connection.execute(OUTCOME, "dry-run", None, None)


@pytest.mark.parametrize("state", ["requested", "applied"])
async def test_a_direct_insert_of_a_second_writer_fails(connection, state):
    await connection.execute(OPERATION, "o1", "link:a", "p1", "requested")
    await connection.execute(OPERATION, "o2", "link:a", "p1", state)
    await connection.execute(OPERATION, "o3", "link:b", "p2", state)
    await connection.execute(OPERATION, "o4", "link:a", "p2", "undone")
    with pytest.raises(asyncpg.ExclusionViolationError, match="one_writer"):
        await connection.execute(OPERATION, "o5", "link:a", "p2", state)


async def test_a_state_nobody_knows_fails(connection):
    with pytest.raises(asyncpg.CheckViolationError, match="known_state"):
        await connection.execute(OPERATION, "o1", "link:a", "p1", "perhaps")
