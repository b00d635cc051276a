"""Plans that a connection keeps from when a table was small are those of a large one."""

from __future__ import annotations

import asyncpg
import pytest

from infra.db.connections import listener_arguments
from infra.db.unit import PostgresStore
from tests.contracts.ledger_examples import settled

pytestmark = pytest.mark.postgres

# From the sixth time on Postgres keeps a plan.
KEPT_AFTER = 6
QUESTIONS = {
    "orders": ("SELECT * FROM orders WHERE id = $1", "text", "'o1'"),
    "credits": ("SELECT sum(units) FROM credits WHERE order_id = $1", "text", "'o1'"),
    "transfers": ("SELECT 1 FROM transfers WHERE chain = $1 AND tx = $2 FOR KEY SHARE", "text, bytea", r"'tron', '\x'"),
}


@pytest.mark.parametrize("table", QUESTIONS)
async def test_a_plan_kept_from_a_small_analysed_table_uses_an_index(
    postgres_store: PostgresStore, database: str, table: str
):
    await settled(postgres_store)
    question, types, arguments = QUESTIONS[table]
    connection = await asyncpg.connect(**listener_arguments(database))
    try:
        await connection.execute("ANALYZE")
        await connection.execute(f"PREPARE kept ({types}) AS {question}")
        for _ in range(KEPT_AFTER):
            await connection.fetch(f"EXECUTE kept ({arguments})")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE kept ({arguments})"))
        assert "$1" in plan, "it is planned anew each time"
        assert "Index" in plan
        assert "Seq Scan" not in plan
    finally:
        await connection.close()
