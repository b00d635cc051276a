"""No driver's error crosses the port, from connecting to committing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from infra.db.cluster import Cluster
from infra.db.connections import listener_arguments, pooled_engine
from infra.db.unit import PostgresStore
from models.errors import ConfigurationInvalid, SourceUnavailable
from tests.contracts.store_examples import MESH, mesh, sample

pytestmark = pytest.mark.postgres


async def save(store: PostgresStore) -> None:
    async with store.unit() as unit:
        await unit.meshes.save(mesh())


async def test_a_database_that_is_not_there_is_unavailable_on_entering(open_folder: Path):
    store = PostgresStore(f"postgresql+asyncpg://postgres@/app?host={open_folder}&port=5432")
    with pytest.raises(SourceUnavailable, match="x0tta6bl4 up"):
        await store.unit().__aenter__()
    assert not await store.wait("samples", at_most=timedelta(milliseconds=50))
    await store.close()


async def test_a_database_of_another_name_is_a_wrong_address(cluster: Cluster):
    store = PostgresStore(cluster.url("nowhere"))
    with pytest.raises(ConfigurationInvalid, match="DATABASE_URL"):
        await store.unit().__aenter__()
    await store.close()


async def test_a_database_without_tables_wants_its_migrations(cluster: Cluster):
    store = PostgresStore(cluster.url("postgres"))
    with pytest.raises(ConfigurationInvalid, match="migrations"):
        await save(store)
    await store.close()


async def test_connections_the_server_ended_while_idle_are_replaced_without_an_error(
    postgres_store: PostgresStore, database: str
):
    await save(postgres_store)
    await end_others(database)
    await save(postgres_store)


async def test_a_connection_lost_inside_a_unit_is_unavailable_and_the_next_unit_works(
    postgres_store: PostgresStore, database: str
):
    with pytest.raises(SourceUnavailable):  # noqa: PT012 - the error must leave the unit by its exceptional door
        async with postgres_store.unit() as unit:
            await unit.meshes.load(MESH)
            await end_others(database)
            await unit.meshes.load(MESH)
    await save(postgres_store)


async def test_a_connection_lost_before_the_commit_is_unavailable(postgres_store: PostgresStore, database: str):
    with pytest.raises(SourceUnavailable):  # noqa: PT012 - the exit is what raises
        async with postgres_store.unit() as unit:
            await unit.meshes.save(mesh())
            await end_others(database)
    async with postgres_store.unit() as unit:
        assert await unit.meshes.load(MESH) is None


async def test_a_stuck_writer_makes_others_wait_a_bounded_time(database: str):
    """A collector that was stopped inside a transaction must not stop every other one for ever."""
    stuck, other = PostgresStore(database), PostgresStore(database)
    with pytest.raises(SourceUnavailable, match="lock timeout"):
        await both_write(stuck, other)
    await stuck.close()
    await other.close()


async def both_write(stuck: PostgresStore, other: PostgresStore) -> None:
    async with stuck.unit() as unit:
        await unit.samples.add(MESH, [sample()])
        async with other.unit() as waiting:
            await waiting.samples.add(MESH, [sample(sequence=1)])


async def test_hints_come_back_by_themselves_after_the_server_cut_them(postgres_store: PostgresStore, database: str):
    assert await postgres_store.wait("samples", at_most=timedelta(seconds=10))  # has begun to listen
    await end_others(database)
    assert await postgres_store.wait("samples", at_most=timedelta(seconds=10))  # listens again: look once
    waiting = asyncio.create_task(postgres_store.wait("samples", at_most=timedelta(seconds=10)))
    await asyncio.sleep(0)
    async with postgres_store.unit() as unit:
        await unit.samples.add(MESH, [sample()])
    assert await waiting


async def end_others(url: str) -> None:
    connection = await asyncpg.connect(**listener_arguments(url))
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "address", ["s3cret-nonsense", "postgresql+asyncpg://u:s3cret@host:port/app", "mysql://u:s3cret@h/app"]
)
def test_a_malformed_address_is_told_without_quoting_it(address):
    with pytest.raises(ConfigurationInvalid, match="DATABASE_URL") as refused:
        pooled_engine(address)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None
