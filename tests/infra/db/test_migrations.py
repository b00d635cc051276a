"""A database of the first released schema comes to the newest one with all it holds, one revision at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from infra.db.cluster import Cluster
from infra.db.connections import listener_arguments, single_engine
from infra.db.migrate import SCRIPTS, migrate, missing, newest
from infra.db.unit import PostgresStore
from models.errors import ConfigurationInvalid
from models.incident import IncidentId, IncidentState
from models.payment import OrderId, OrderState
from tests.conftest import execute

FIRST = """
INSERT INTO meshes VALUES ('old', '{"name": "old", "nodes": [], "links": []}');
INSERT INTO baselines VALUES ('old', 'n0', 1, now(), '{"kept": "as it was"}');
INSERT INTO guards VALUES ('old', '{"paused": true}');
INSERT INTO heal_requests VALUES ('r1', 'old', true, 'cli:ann', now(), NULL);
INSERT INTO incidents VALUES ('i1', 'old', 'closed', now(), now(), '[]'), ('i2', 'old', 'open', now(), NULL, '[]');
INSERT INTO long_runs VALUES ('watch-mesh:old', 7, 'run', 1, 'host', now());
INSERT INTO samples (mesh, node, epoch, sequence, at, sample)
    SELECT 'old', 'n' || number % 3, 1, number, now(), json_build_object('number', number)
    FROM generate_series(1, 500) AS number;
INSERT INTO tokens VALUES ('shop', 'digest', 'pay', now());
INSERT INTO diagnoses VALUES ('i1', now(), '{"causes": []}');
INSERT INTO operations (operation, mesh, node, element, incident, remedy, plan_hash, verb, action, state, requested_at,
                        order_payload, order_signature)
    VALUES ('o1', 'old', 'n0', 'link:a', 'i1', 'cost-out-link', 'p1', 'set-cost', '{}', 'committed', now(), '\\x00ff',
            '');
INSERT INTO remedies (plan_hash, incident, name, fault, evidence_at, remedy)
    VALUES ('p1', 'i1', 'cost-out-link', 'grey', now(), '{"actions": []}');
INSERT INTO verifications VALUES ('i1', 'p1', '2026-01-01 12:00Z', 'healed', '{}');
INSERT INTO decisions VALUES ('p1', 'i1', 'approve', 'ann', now(), now(), true);
INSERT INTO outcomes VALUES ('i1', 'p1', 'fixed', 'proven', now(), '2026-01-01 12:00Z', 'healed');
"""
LEDGER = """
INSERT INTO orders (id, asset, deposit, units, code, created_at, payable_from, expires_at, watched_until, state, flags,
                    buyer, plan, language)
    SELECT 'o' || number, 'USDT_TRON', decode(repeat('41', 21), 'hex'), 29000000 + number, NULL, '2026-01-01 12:00Z',
        '2026-01-01 11:50Z', '2026-01-01 13:00Z', '2026-01-02 13:00Z', 'NEW', '{}', 'telegram:4711',
        '{"name": "month", "days": 30, "devices": 2, "prices": {"USDT_TRON": 29000000}}', 'ru'
    FROM generate_series(1, 3) AS number;
INSERT INTO transfers (chain, tx, event_index, asset, receiver, units, position, block_time, vouched_by, absent)
    SELECT 'tron', decode(repeat('0' || number, 32), 'hex'), 0, 'USDT_TRON', decode(repeat('41', 21), 'hex'),
        29000000 + number, 1, '2026-01-01 12:05Z', '{tronscan,trongrid}', '{}'
    FROM generate_series(1, 2) AS number;
WITH counted AS (
    INSERT INTO credits
        SELECT chain, tx, event_index, 'o1', asset, receiver, units FROM transfers WHERE units = 29000001
) UPDATE orders SET state = 'SETTLED', paid = units WHERE id = 'o1';
INSERT INTO set_asides SELECT chain, tx, event_index, 'no_order', now() FROM transfers WHERE units = 29000002;
INSERT INTO sightings VALUES ('tron', decode(repeat('01', 32), 'hex'), 'tronscan', 'final', now(), '[]');
INSERT INTO cases VALUES ('tron', decode(repeat('03', 32), 'hex'), decode(repeat('41', 21), 'hex'), now(), 4, now());
INSERT INTO reaches VALUES ('tronscan', decode(repeat('41', 21), 'hex'), now(), now(), NULL, '');
INSERT INTO audit (at, order_id, actor, what, detail) VALUES (now(), 'o1', 'scan', 'settled', 'by one payment');
INSERT INTO outbox (key, kind, recipient, order_id, facts, written_at, next_at, delivered_at)
    VALUES ('licence:o1', 'licence', 'telegram:4711', 'o1', '{"plan": "month"}', now(), now(), NULL);
INSERT INTO licences VALUES ('lic-o1', 'o1', 'month', 2, '2026-01-01 12:10Z', '2030-01-01 12:10Z', NULL);
INSERT INTO admissions (licence, mesh, node, address, until)
    VALUES ('lic-o1', 'old', 'n0', '10.45.0.2', '2029-01-01 12:00Z');
"""
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"
COLUMNS = """
SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1
"""


@pytest.fixture
async def empty(cluster: Cluster) -> AsyncIterator[str]:
    """The address of a database with nothing in it."""
    name = "migrated"
    await execute(cluster.prefect_url, f"CREATE DATABASE {name}")
    yield cluster.url(name)
    await execute(cluster.prefect_url, f"DROP DATABASE {name} WITH (FORCE)")


async def step(url: str, revision: str) -> None:
    """Bring a database to one revision and no further."""

    def upgrade(connection: Connection) -> None:
        configuration = Config()
        configuration.set_main_option("script_location", str(SCRIPTS))
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)

    engine = single_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


async def everything(connection: asyncpg.Connection, columns: dict[str, str]) -> dict[str, list[str]]:
    """Return each table's rows as text, by the columns it had when it was filled."""
    rows = "SELECT ROW({columns})::text AS said FROM {table}"
    return {
        table: sorted(row["said"] for row in await connection.fetch(rows.format(columns=asked, table=table)))
        for table, asked in columns.items()
    }


@pytest.mark.postgres
async def test_every_row_of_the_first_schemas_is_there_and_the_same_after_each_later_revision(empty: str):
    connection = await asyncpg.connect(**listener_arguments(empty))
    columns: dict[str, str] = {}
    kept: dict[str, list[str]] = {}
    for revision, _ in missing(None):
        await step(empty, revision)
        assert await everything(connection, columns) == kept, f"revision {revision} changed what was there"
        if revision in {"0001", "0002"}:
            await connection.execute(FIRST if revision == "0001" else LEDGER)
            names = [row["tablename"] for row in await connection.fetch(TABLES)]
            columns = {name: await connection.fetchval(COLUMNS, name) for name in names}
            kept = await everything(connection, columns)
            assert all(kept.values()), "a table that nothing was put into shows nothing"
    assert len(kept["samples"]) == 500
    await connection.close()


@pytest.mark.postgres
async def test_this_versions_code_reads_what_the_first_schemas_hold_and_goes_on_with_it(empty: str):
    connection = await asyncpg.connect(**listener_arguments(empty))
    for revision, filling in (("0001", FIRST), ("0002", LEDGER)):
        await step(empty, revision)
        await connection.execute(filling)
    await connection.close()
    await migrate(empty)
    store = PostgresStore(empty)
    async with store.unit() as unit:
        incident = await unit.incidents.get(IncidentId("i2"))
        sale = await unit.ledger.sale(OrderId("o1"))
        licence = await unit.licences.of_order(OrderId("o1"))
    assert incident is not None
    assert incident.state is IncidentState.OPEN
    assert sale is not None
    assert (sale.order.state, sale.order.paid.units) == (OrderState.SETTLED, 29_000_001)
    assert licence is not None
    assert licence.id == "lic-o1"
    await store.close()


@pytest.mark.postgres
async def test_a_database_of_a_newer_version_is_refused_with_a_sentence_and_left_as_it_is(database: str):
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationInvalid, match=rf"at revision 9999, and this version knows none after {newest()}"):
        await migrate(database)
    connection = await asyncpg.connect(**listener_arguments(database))
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    await connection.close()


def test_what_a_database_lacks_is_what_comes_after_its_revision():
    all_of_them = [revision for revision, _ in missing(None)]
    assert all_of_them[0] == "0001"
    assert all_of_them[-1] == newest()
    assert [revision for revision, _ in missing("0002")] == all_of_them[2:]
    assert missing(newest()) == []
    assert all(what for _, what in missing(None))
