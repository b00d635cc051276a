"""What every `Store` promises, part one: units of work, hints, meshes, samples, requests, tokens, roles.

Part two, the way of an incident, is in `store_healing`. Subclass once per implementation and supply `store`.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest

from models.errors import BrokenError, RefusedError, StaleEpoch
from models.ports import Scope, Store, Token
from tests.contracts.store_examples import (
    MESH,
    N0,
    N1,
    START,
    after,
    baseline,
    diagnosis,
    incident,
    mesh,
    request,
    sample,
)

SOON = timedelta(seconds=5)
AT_ONCE = timedelta(milliseconds=20)


class Abandoned(Exception):
    """Leaves a unit of work by the wrong door."""


class UnitContract:
    """Transactions."""

    async def test_a_clean_exit_commits(self, store: Store):
        async with store.unit() as unit:
            await unit.meshes.save(mesh())
        async with store.unit() as unit:
            assert await unit.meshes.load(MESH) == mesh()

    async def test_an_exception_rolls_everything_back(self, store: Store):
        with pytest.raises(Abandoned):  # noqa: PT012 - it must leave the unit by the exceptional door
            async with store.unit() as unit:
                await unit.meshes.save(mesh())
                raise Abandoned
        async with store.unit() as unit:
            assert await unit.meshes.load(MESH) is None

    async def test_a_unit_sees_its_own_writes_and_no_other_does_before_the_commit(self, store: Store):
        async with store.unit() as writer:
            await writer.meshes.save(mesh())
            assert await writer.meshes.load(MESH) is not None
            async with store.unit() as reader:
                assert await reader.meshes.load(MESH) is None

    async def test_a_unit_whose_schema_said_no_cannot_go_on_as_if_nothing_was(self, store: Store):
        with pytest.raises(BrokenError, match="leave the unit"):  # noqa: PT012 - the exit is what raises
            async with store.unit() as unit:
                await unit.meshes.save(mesh())
                with contextlib.suppress(RefusedError):
                    await unit.incidents.record_diagnosis(diagnosis("nobody"))
        async with store.unit() as unit:
            assert await unit.meshes.load(MESH) is None


class HintContract:
    """NOTIFY, as far as anyone may rely on it."""

    async def test_a_commit_wakes_a_waiter(self, store: Store):
        await store.wait("samples", at_most=timedelta(seconds=0.5))  # the first may wake for having begun to listen
        waiting = asyncio.create_task(store.wait("samples", at_most=SOON))
        await asyncio.sleep(0)
        async with store.unit() as unit:
            await unit.samples.add(MESH, [sample()])
        assert await waiting

    async def test_what_came_between_two_waits_is_not_lost(self, store: Store):
        await store.wait("incidents", at_most=AT_ONCE)
        async with store.unit() as unit:
            await unit.incidents.save(incident())
        assert await store.wait("incidents", at_most=SOON)

    async def test_silence_is_a_time_out(self, store: Store):
        while await store.wait("decisions", at_most=timedelta(seconds=0.5)):
            pass
        assert not await store.wait("decisions", at_most=AT_ONCE)

    async def test_a_channel_that_does_not_exist_is_an_error(self, store: Store):
        with pytest.raises(KeyError):
            await store.wait("gossip", at_most=AT_ONCE)


class MeshContract:
    """Declared meshes and baselines."""

    async def test_saving_again_replaces(self, store: Store):
        async with store.unit() as unit:
            await unit.meshes.save(mesh())
            await unit.meshes.save(mesh(cost=128))
            assert await unit.meshes.load(MESH) == mesh(cost=128)

    async def test_a_mesh_nobody_declared_is_none(self, store: Store):
        async with store.unit() as unit:
            assert await unit.meshes.load("nowhere") is None
            assert await unit.meshes.baseline("nowhere", N0) is None

    async def test_baselines_count_up_and_the_newest_is_returned(self, store: Store):
        async with store.unit() as unit:
            first = await unit.meshes.record_baseline(MESH, baseline())
            second = await unit.meshes.record_baseline(MESH, baseline(after(1), mtu=1280))
            assert (first.version, second.version) == (1, 2)
            assert await unit.meshes.baseline(MESH, N0) == second
            assert second.mtu == {"to-n1": 1280}
            assert second.routes == baseline().routes

    async def test_the_same_recording_twice_is_one_version(self, store: Store):
        async with store.unit() as unit:
            first = await unit.meshes.record_baseline(MESH, baseline())
            assert await unit.meshes.record_baseline(MESH, baseline()) == first


class SampleContract:
    """The recent past."""

    async def test_a_sample_comes_back_as_it_went(self, store: Store):
        async with store.unit() as unit:
            await unit.samples.add(MESH, [sample()])
            assert await unit.samples.between(MESH, START, after(1)) == [sample()]

    async def test_a_window_includes_its_start_and_excludes_its_end(self, store: Store):
        ticks = [sample(sequence=number, at=after(number)) for number in range(4)]
        async with store.unit() as unit:
            await unit.samples.add(MESH, ticks)
            assert await unit.samples.between(MESH, after(1), after(3)) == ticks[1:3]

    async def test_a_window_is_ordered_by_instant_and_node(self, store: Store):
        early, late, same = sample(N1, 0), sample(N0, 2), sample(N0, 0)
        async with store.unit() as unit:
            await unit.samples.add(MESH, [late, early, same])
            assert await unit.samples.between(MESH, START, after(9)) == [same, early, late]

    async def test_a_sample_stored_before_is_left_as_it_is(self, store: Store):
        async with store.unit() as unit:
            await unit.samples.add(MESH, [sample()])
            await unit.samples.add(MESH, [sample(at=after(9)), sample(sequence=1)])
            assert await unit.samples.between(MESH, START, after(99)) == [sample(), sample(sequence=1)]

    async def test_meshes_do_not_mix(self, store: Store):
        async with store.unit() as unit:
            await unit.samples.add("other", [sample()])
            assert await unit.samples.between(MESH, START, after(9)) == []
            assert await unit.samples.stored_after(MESH, 0) == ([], 0)
            assert await unit.samples.latest(MESH) == {}
            assert await unit.samples.newest_cursor(MESH) == 0

    async def test_the_cursor_walks_in_order_of_storage_and_late_batches_are_seen(self, store: Store):
        async with store.unit() as unit:
            await unit.samples.add(MESH, [sample(sequence=5), sample(sequence=6)])
            first, cursor = await unit.samples.stored_after(MESH, 0)
            assert [one.sequence for one in first] == [5, 6]
            assert cursor == await unit.samples.newest_cursor(MESH)
            await unit.samples.add(MESH, [sample(sequence=1)])
            late, cursor = await unit.samples.stored_after(MESH, cursor)
            assert [one.sequence for one in late] == [1]
            assert await unit.samples.stored_after(MESH, cursor) == ([], cursor)

    async def test_a_limit_cuts_the_walk_and_nothing_is_lost(self, store: Store):
        async with store.unit() as unit:
            await unit.samples.add(MESH, [sample(sequence=number) for number in range(5)])
            seen, cursor = [], 0
            for _ in range(3):
                part, cursor = await unit.samples.stored_after(MESH, cursor, limit=2)
                seen += [one.sequence for one in part]
            assert seen == [0, 1, 2, 3, 4]

    async def test_a_reader_never_passes_a_writer_that_commits_later(self, store: Store):
        """Two writers at once: whoever draws the first cursor value must not become visible last."""
        first_is_in, may_commit = asyncio.Event(), asyncio.Event()

        async def slow_writer() -> None:
            async with store.unit() as unit:
                await unit.samples.add(MESH, [sample(N0)])
                first_is_in.set()
                await may_commit.wait()

        async def quick_writer() -> None:
            async with store.unit() as unit:
                await unit.samples.add(MESH, [sample(N1)])

        async def read(cursor: int) -> tuple[list[str], int]:
            async with store.unit() as unit:
                found, cursor = await unit.samples.stored_after(MESH, cursor)
            return [one.node for one in found], cursor

        slow = asyncio.create_task(slow_writer())
        await first_is_in.wait()
        quick = asyncio.create_task(quick_writer())
        await asyncio.wait([quick], timeout=0.2)
        before, cursor = await read(0)
        may_commit.set()
        await asyncio.gather(slow, quick)
        later, cursor = await read(cursor)
        assert sorted(before + later) == [N0, N1]

    async def test_each_nodes_newest_sample_is_the_last_of_its_newest_epoch(self, store: Store):
        newest = sample(N0, 0, epoch=2, at=after(-60))  # its clock was set back
        async with store.unit() as unit:
            await unit.samples.add(MESH, [sample(N0, 0), sample(N0, 7), newest, sample(N1, 3), sample(N1, 2)])
            assert await unit.samples.latest(MESH) == {N0: newest, N1: sample(N1, 3)}

    async def test_retention_deletes_what_is_older_and_says_how_many(self, store: Store):
        async with store.unit() as unit:
            await unit.samples.add(MESH, [sample(sequence=number, at=after(number)) for number in range(3)])
            await unit.samples.add("other", [sample(at=after(0))])
            assert await unit.samples.delete_before(after(2)) == 3
            assert await unit.samples.delete_before(after(2)) == 0
            assert [one.sequence for one in await unit.samples.between(MESH, START, after(99))] == [2]


class HealRequestContract:
    """Requests to heal."""

    async def test_asking_twice_asks_once(self, store: Store):
        async with store.unit() as unit:
            await unit.requests.post(request())
            await unit.requests.finish("r1", "nothing to heal")
            await unit.requests.post(request())
            found = await unit.requests.get("r1")
            assert found is not None
            assert found.outcome == "nothing to heal"
            assert await unit.requests.waiting(MESH) == []

    async def test_waiting_ones_come_oldest_first_and_only_of_the_mesh(self, store: Store):
        async with store.unit() as unit:
            await unit.requests.post(request("late", at=after(2)))
            await unit.requests.post(request("early", at=after(1)))
            assert [one.id for one in await unit.requests.waiting(MESH)] == ["early", "late"]
            assert await unit.requests.waiting("other") == []
            assert await unit.requests.get("nobody") is None

    async def test_an_outcome_is_written_once(self, store: Store):
        async with store.unit() as unit:
            await unit.requests.post(request())
            await unit.requests.finish("r1", "healed")
            await unit.requests.finish("r1", "something else")
            found = await unit.requests.get("r1")
            assert found is not None
            assert found.outcome == "healed"


class TokenContract:
    """API tokens."""

    async def test_a_token_is_found_by_its_digest_until_revoked(self, store: Store):
        token = Token("alice", "d1", Scope.OPERATE, START)
        async with store.unit() as unit:
            await unit.tokens.add(token)
            assert await unit.tokens.find("d1") == token
            assert await unit.tokens.find("d2") is None
            assert await unit.tokens.revoke("alice")
            assert not await unit.tokens.revoke("alice")
            assert await unit.tokens.find("d1") is None

    async def test_adding_under_the_same_name_replaces_the_digest(self, store: Store):
        async with store.unit() as unit:
            await unit.tokens.add(Token("alice", "old", Scope.READ, START))
            await unit.tokens.add(Token("alice", "new", Scope.READ, after(1)))
            assert await unit.tokens.find("old") is None
            assert await unit.tokens.find("new") == Token("alice", "new", Scope.READ, after(1))

    async def test_one_digest_cannot_belong_to_two_names(self, store: Store):
        with pytest.raises(RefusedError, match="digest"):  # noqa: PT012 - it must leave the unit by the exceptional door
            async with store.unit() as unit:
                await unit.tokens.add(Token("alice", "d1", Scope.READ, START))
                await unit.tokens.add(Token("bob", "d1", Scope.READ, START))


class LongRunContract:
    """Roles, epochs and beats."""

    async def test_each_claim_takes_the_next_epoch(self, store: Store):
        async with store.unit() as unit:
            first = await unit.long_runs.claim("watch", flow_run_id="a", pid=1, host="h", now=START)
            second = await unit.long_runs.claim("watch", flow_run_id="b", pid=2, host="h", now=after(1))
            other = await unit.long_runs.claim("collect", flow_run_id="c", pid=3, host="h", now=START)
            assert (first.epoch, second.epoch, other.epoch) == (1, 2, 1)
            assert await unit.long_runs.all() == [other, second]

    async def test_a_beat_is_kept_and_a_superseded_one_refused(self, store: Store):
        async with store.unit() as unit:
            old = await unit.long_runs.claim("watch", flow_run_id="a", pid=1, host="h", now=START)
            await unit.long_runs.beat("watch", old.epoch, after(3))
            assert (await unit.long_runs.all())[0].beat_at == after(3)
            await unit.long_runs.claim("watch", flow_run_id="b", pid=2, host="h", now=after(4))
            with pytest.raises(StaleEpoch):
                await unit.long_runs.beat("watch", old.epoch, after(5))
            assert (await unit.long_runs.all())[0].beat_at == after(4)
