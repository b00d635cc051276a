"""What every `WishRepository` promises. Subclass once per implementation and supply `store`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from models.errors import KeyInFlight, KeyReused
from models.ledger import BuyerId
from models.ports import Store
from models.wishes import KEY_LENGTH, KeyedWish
from tests.infra.shop.counter import NOON, a_sale

WISH = KeyedWish(BuyerId("api:carol"), "k-1", hashlib.sha256(b"one week").digest())


async def granted(store: Store, wish: KeyedWish, number: int = 1, *, age: timedelta = timedelta(0)):
    sale = a_sale(number)
    async with store.unit() as unit:
        assert await unit.wishes.begin(wish) is None
        await unit.ledger.open_order(sale)
        await unit.wishes.keep(wish, sale.order.id, now=NOON - age)
    return sale.order.id


async def died_half_way(store: Store, wish: KeyedWish):
    sale = a_sale(1)
    async with store.unit() as unit:
        await unit.wishes.begin(wish)
        await unit.ledger.open_order(sale)
        await unit.wishes.keep(wish, sale.order.id, now=NOON)
        raise RuntimeError("the process died")


class WishContract:
    """Keys and what they were used for."""

    async def test_a_wish_sent_again_finds_the_order_it_got(self, store: Store):
        order = await granted(store, WISH)
        async with store.unit() as unit:
            assert await unit.wishes.begin(WISH) == order

    async def test_a_key_with_another_wish_is_refused(self, store: Store):
        await granted(store, WISH)
        with pytest.raises(KeyReused, match="another body"):
            async with store.unit() as unit:
                await unit.wishes.begin(replace(WISH, digest=hashlib.sha256(b"one month").digest()))

    async def test_everybodys_keys_are_their_own(self, store: Store):
        await granted(store, WISH)
        async with store.unit() as unit:
            assert await unit.wishes.begin(replace(WISH, buyer=BuyerId("api:dave"))) is None
            assert await unit.wishes.begin(replace(WISH, key="k-2")) is None

    async def test_a_key_that_another_unit_holds_is_in_flight_and_nobody_waits_for_it(self, store: Store):
        async with store.unit() as first:
            assert await first.wishes.begin(WISH) is None
            with pytest.raises(KeyInFlight, match="ask again"):
                async with store.unit() as second:
                    await second.wishes.begin(WISH)
        async with store.unit() as third:
            assert await third.wishes.begin(WISH) is None

    async def test_a_unit_that_fails_leaves_its_key_unused(self, store: Store):
        with pytest.raises(RuntimeError, match="the process died"):
            await died_half_way(store, WISH)
        await granted(store, WISH)

    async def test_the_longest_key_is_kept_whole(self, store: Store):
        longest = replace(WISH, key="x" * KEY_LENGTH)
        order = await granted(store, longest)
        async with store.unit() as unit:
            assert await unit.wishes.begin(longest) == order
            assert await unit.wishes.begin(replace(longest, key="x" * (KEY_LENGTH - 1))) is None

    async def test_only_old_wishes_are_forgotten(self, store: Store):
        old = replace(WISH, key="old")
        await granted(store, old, 1, age=timedelta(hours=25))
        kept = await granted(store, WISH, 2, age=timedelta(hours=23))
        async with store.unit() as unit:
            assert await unit.wishes.delete_before(NOON - timedelta(hours=24)) == 1
        async with store.unit() as unit:
            assert await unit.wishes.begin(old) is None
            assert await unit.wishes.begin(WISH) == kept
