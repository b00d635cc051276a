"""What every `JoinRepository` promises. Subclass once per implementation and supply `store`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from models.joining import JoinedNode, JoinRefused, JoinToken, role_of
from models.ports import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOKEN = JoinToken("d" * 64, "lab", None, "cli:root", NOW, NOW + timedelta(hours=1))


def joined(node: str, mesh: str = "lab") -> JoinedNode:
    return JoinedNode(mesh, node, role_of(mesh, node), f"pass of {node} of {mesh}", NOW)


class JoinContract:
    """Tokens, and who came in by them."""

    async def test_a_token_is_found_by_its_digest_and_says_who_used_it(self, store: Store):
        async with store.unit() as unit:
            await unit.joins.add_token(TOKEN)
        async with store.unit() as unit:
            assert await unit.joins.token("e" * 64) is None
            assert await unit.joins.token(TOKEN.digest) == TOKEN
            await unit.joins.use_token(TOKEN.digest, by="n7")
        async with store.unit() as unit:
            used = await unit.joins.token(TOKEN.digest)
            assert used is not None
            assert used.used_by == "n7"

    async def test_of_two_that_use_a_token_at_once_one_finds_it_used(self, store: Store):
        async with store.unit() as unit:
            await unit.joins.add_token(TOKEN)

        async def use(name: str) -> str | None:
            async with store.unit() as unit:
                found = await unit.joins.token(TOKEN.digest)
                assert found is not None
                if found.used_by is None:
                    await unit.joins.use_token(TOKEN.digest, by=name)
                return found.used_by

        seen = await asyncio.gather(use("n1"), use("n2"))
        assert sorted(str(one) for one in seen) in (["None", "n1"], ["None", "n2"])

    async def test_a_node_that_joined_is_known_by_its_name_and_by_its_pass(self, store: Store):
        async with store.unit() as unit:
            await unit.joins.admit(joined("m2"), password="first")  # noqa: S106 - it opens nothing
            await unit.joins.admit(joined("m1"), password="second")  # noqa: S106 - as above
        async with store.unit() as unit:
            assert await unit.joins.get("lab", "m1") == joined("m1")
            assert await unit.joins.get("another", "m1") is None
            assert await unit.joins.of_pass("pass of m2 of lab") == joined("m2")
            assert await unit.joins.of_pass("another") is None
            assert await unit.joins.of_mesh("lab") == [joined("m1"), joined("m2")]
            assert [await unit.joins.expel("lab", one) for one in ("m1", "m2")] == [True, True]

    async def test_a_name_is_joined_once_until_it_is_expelled(self, store: Store):
        async with store.unit() as unit:
            await unit.joins.admit(joined("m3"), password="first")  # noqa: S106 - it opens nothing
        with pytest.raises(JoinRefused, match="m3 has joined lab already"):
            async with store.unit() as unit:
                await unit.joins.admit(joined("m3"), password="second")  # noqa: S106 - as above
        async with store.unit() as unit:
            assert await unit.joins.expel("lab", "m3")
            assert not await unit.joins.expel("lab", "m3")
            await unit.joins.admit(joined("m3"), password="third")  # noqa: S106 - as above
        async with store.unit() as unit:
            assert await unit.joins.expel("lab", "m3")

    async def test_a_unit_that_fails_lets_nobody_in(self, store: Store):
        async def dies() -> None:
            async with store.unit() as unit:
                await unit.joins.admit(joined("m4"), password="first")  # noqa: S106 - it opens nothing
                raise RuntimeError("the process died")

        with pytest.raises(RuntimeError, match="the process died"):
            await dies()
        async with store.unit() as unit:
            assert await unit.joins.get("lab", "m4") is None
            # The role went with the row, or it could not be made now.
            await unit.joins.admit(joined("m4"), password="second")  # noqa: S106 - as above
            assert await unit.joins.expel("lab", "m4")
