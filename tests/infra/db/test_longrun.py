"""Roles: one holder at a time, gone with its process, fenced by its epoch."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import asyncpg
import pytest

from infra.clock import SystemClock
from infra.db.connections import listener_arguments
from infra.db.longrun import hold_role, lock_key
from infra.db.unit import PostgresStore
from models.errors import RefusedError, SourceUnavailable, StaleEpoch

CLOCK = SystemClock()
SOON = timedelta(seconds=20)
AT_ONCE = timedelta(milliseconds=50)

HOLDER = """
import asyncio, sys
from infra.clock import SystemClock
from infra.db.longrun import hold_role

async def main():
    async with hold_role(sys.argv[1], "watch", flow_run_id="first", clock=SystemClock()) as holder:
        print("epoch", holder.epoch, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def cut_connections(url: str) -> None:
    """End every other session of this database, as a restart of the server would."""
    connection = await asyncpg.connect(**listener_arguments(url))
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


def test_a_roles_key_is_the_same_for_ever_and_fits_a_signed_bigint():
    assert lock_key("watch-mesh:lab") == lock_key("watch-mesh:lab")
    keys = {lock_key(f"collect-node:lab/n{number}") for number in range(1000)}
    assert len(keys) == 1000
    assert all(-(2**63) <= key < 2**63 for key in keys)


@pytest.mark.postgres
class TestHoldRole:
    async def test_a_holder_has_an_epoch_and_its_beats_are_seen(self, database: str, postgres_store: PostgresStore):
        async with hold_role(database, "watch", flow_run_id="a", clock=CLOCK) as holder:
            async with postgres_store.unit() as unit:
                (claimed,) = await unit.long_runs.all()
            assert (claimed.role, claimed.epoch, claimed.flow_run_id) == ("watch", holder.epoch, "a")
            await holder.beat()
            async with postgres_store.unit() as unit:
                (beaten,) = await unit.long_runs.all()
            assert beaten.beat_at > claimed.beat_at

    async def test_a_second_holder_is_told_who_has_it(self, database: str):
        async with hold_role(database, "watch", flow_run_id="a", clock=CLOCK):
            with pytest.raises(RefusedError, match="still held by pid"):
                async with hold_role(database, "watch", flow_run_id="b", clock=CLOCK, at_most=AT_ONCE):
                    pass

    async def test_a_second_holder_gets_it_when_the_first_leaves(self, database: str):
        async def succeed() -> int:
            async with hold_role(database, "watch", flow_run_id="b", clock=CLOCK, at_most=SOON) as holder:
                return holder.epoch

        async with hold_role(database, "watch", flow_run_id="a", clock=CLOCK) as first:
            successor = asyncio.create_task(succeed())
            await asyncio.wait([successor], timeout=0.1)
            assert not successor.done()
        assert await successor == first.epoch + 1

    async def test_roles_do_not_hinder_each_other(self, database: str):
        async with (
            hold_role(database, "collect:n0", flow_run_id="a", clock=CLOCK, at_most=AT_ONCE) as one,
            hold_role(database, "collect:n1", flow_run_id="b", clock=CLOCK, at_most=AT_ONCE) as other,
        ):
            assert (one.epoch, other.epoch) == (1, 1)

    async def test_the_lock_vanishes_with_a_killed_process(self, database: str):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLDER, database, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            first = 0
            while not first:  # the log speaks on the same pipe
                word, _, number = (await process.stdout.readline()).decode().partition(" ")
                first = int(number) if word == "epoch" else 0
            with pytest.raises(RefusedError, match=f"pid {process.pid}"):
                async with hold_role(database, "watch", flow_run_id="b", clock=CLOCK, at_most=AT_ONCE):
                    pass
        finally:
            process.kill()
            await process.wait()
        async with hold_role(database, "watch", flow_run_id="b", clock=CLOCK, at_most=SOON) as holder:
            assert holder.epoch == first + 1

    async def test_a_lost_connection_costs_one_beat_and_not_the_role(self, database: str):
        async with hold_role(database, "watch", flow_run_id="a", clock=CLOCK) as holder:
            await cut_connections(database)
            with pytest.raises(SourceUnavailable):
                await holder.beat()
            await holder.beat()
            with pytest.raises(RefusedError):
                async with hold_role(database, "watch", flow_run_id="b", clock=CLOCK, at_most=AT_ONCE):
                    pass

    async def test_whoever_lost_the_lock_to_a_successor_is_told_to_stop(self, database: str):
        async with hold_role(database, "watch", flow_run_id="a", clock=CLOCK) as old:
            await cut_connections(database)
            async with hold_role(database, "watch", flow_run_id="b", clock=CLOCK, at_most=SOON) as successor:
                with pytest.raises(SourceUnavailable):
                    await old.beat()
                with pytest.raises(StaleEpoch):
                    await old.beat()
                await successor.beat()
            with pytest.raises(StaleEpoch):
                await old.beat()

    async def test_a_database_that_is_not_there_is_unavailable(self, open_folder):
        url = f"postgresql+asyncpg://postgres@/app?host={open_folder}&port=5432"
        with pytest.raises(SourceUnavailable):
            async with hold_role(url, "watch", flow_run_id="a", clock=CLOCK):
                pass
