"""What every outbox and every `LicenceRepository` promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from models.errors import RefusedError
from models.ledger import Admission, MessageKind
from models.payment import OrderId
from models.payment_state import Decision, decide
from models.ports import Store
from tests.contracts.ledger_examples import later, licence, message, opened, settled
from tests.fakes.chains.examples import order

MONTH_END = later() + timedelta(days=30)
DOOR = Admission("lic-o1", "lab", "n0", "10.9.0.7", MONTH_END)


class OutboxContract:
    """What must be told."""

    @pytest.fixture(autouse=True)
    async def _order(self, store: Store) -> None:
        await opened(store, order())

    async def waiting(self, store: Store, at: float = 10, **only) -> list[str]:
        async with store.unit() as unit:
            return [one.key for one in await unit.outbox.waiting(now=later(at), **only)]

    async def put(self, store: Store, *messages) -> None:
        async with store.unit() as unit:
            for one in messages:
                await unit.outbox.put(one)

    async def test_a_message_waits_until_it_is_delivered(self, store: Store):
        await self.put(store, message())
        async with store.unit() as unit:
            assert await unit.outbox.waiting(now=later()) == [message()]
            assert (await unit.ledger.counts()).undelivered == {"licence": 1}
            await unit.outbox.delivered("licence:o1", now=later())
        assert await self.waiting(store) == []
        async with store.unit() as unit:
            await unit.outbox.delivered("licence:o1", now=later(11))
            await unit.outbox.retry("licence:o1", at=later(11), reason="late news")
        assert await self.waiting(store, 99) == []

    async def test_what_is_written_twice_is_told_once_and_as_it_was_written_first(self, store: Store):
        await self.put(store, message(), replace(message(), to="admins"))
        async with store.unit() as unit:
            assert await unit.outbox.waiting(now=later()) == [message()]
            await unit.outbox.delivered("licence:o1", now=later())
        await self.put(store, message())
        assert await self.waiting(store) == []

    async def test_many_are_written_together_each_once_and_told_in_their_order(self, store: Store):
        await self.put(store, message("b"))
        async with store.unit() as unit:
            await unit.outbox.put_many([message("d"), replace(message("b"), to="admins"), message("a")])
            await unit.outbox.put_many([])
        async with store.unit() as unit:
            assert await unit.outbox.waiting(now=later()) == [message("b"), message("d"), message("a")]

    async def test_a_failed_delivery_is_tried_again_later(self, store: Store):
        await self.put(store, message())
        async with store.unit() as unit:
            await unit.outbox.retry("licence:o1", at=later(12), reason="the messenger is away")
        assert await self.waiting(store, 11) == []
        async with store.unit() as unit:
            assert await unit.outbox.waiting(now=later(12)) == [replace(message(), tries=1)]

    async def test_the_oldest_comes_first(self, store: Store):
        await self.put(store, message("b"), replace(message("a"), written_at=later(5)), message("c"))
        assert await self.waiting(store, limit=2) == ["a", "b"]

    async def test_each_deliverer_gets_its_own(self, store: Store):
        await self.put(
            store,
            message("a"),
            message("b", kind=MessageKind.ALERT, to="admins"),
            message("c", to="api:bob"),
            message("d", to="telegram_fake"),
        )
        assert await self.waiting(store, kinds=[MessageKind.ALERT]) == ["b"]
        assert await self.waiting(store, kinds=[]) == []
        assert await self.waiting(store, to=["telegram:", "admins"]) == ["a", "b"]
        assert await self.waiting(store, to=["telegram_"]) == ["d"]

    async def test_of_two_deliverers_one_has_it(self, store: Store):
        await self.put(store, message("a"), message("b"))
        held = asyncio.Event()

        async def deliver() -> list[str]:
            async with store.unit() as unit:
                found = await unit.outbox.waiting(now=later(), limit=1)
                await held.wait()
                return [one.key for one in found]

        both = [asyncio.create_task(deliver()) for _ in range(2)]
        await asyncio.sleep(0.2)
        held.set()
        assert sorted(key for keys in await asyncio.gather(*both) for key in keys) == ["a", "b"]

    async def test_a_commit_wakes_the_deliverer(self, store: Store):
        await store.wait("outbox", at_most=timedelta(milliseconds=500))
        waiting = asyncio.create_task(store.wait("outbox", at_most=timedelta(seconds=5)))
        await asyncio.sleep(0)
        await self.put(store, message())
        assert await waiting


class LicenceContract:
    """Licences and whom they let in."""

    async def issued(self, store: Store) -> None:
        await settled(store)
        async with store.unit() as unit:
            await unit.licences.issue(licence())

    async def test_an_order_earns_one(self, store: Store):
        await self.issued(store)
        async with store.unit() as unit:
            assert await unit.licences.issue(replace(licence("lic-another"), devices=9)) == licence()
            assert await unit.licences.get("lic-o1") == licence()
            assert await unit.licences.get("lic-o1", for_update=True) == licence()
            assert await unit.licences.of_order(OrderId("o1")) == licence()
            assert await unit.licences.get("lic-another") is None
            assert await unit.licences.of_order(OrderId("o2")) is None

    async def test_many_orders_earn_theirs_together_also_those_that_had_it_before(self, store: Store):
        await self.issued(store)
        await settled(store, order(29_000_124, name="o2"))
        asked = [licence("lic-o2", of="o2"), licence("lic-another")]
        async with store.unit() as unit:
            assert await unit.licences.issue_many(asked) == [licence("lic-o2", of="o2"), licence()]
            assert await unit.licences.issue_many(asked) == [licence("lic-o2", of="o2"), licence()]
            assert await unit.licences.issue_many([]) == []
        await opened(store, order(29_000_125, name="o3"))
        with pytest.raises(RefusedError, match="settled"):
            async with store.unit() as unit:
                await unit.licences.issue_many([licence("lic-o2", of="o2"), licence("lic-o3", of="o3")])

    async def test_two_who_issue_at_once_issue_one(self, store: Store):
        await settled(store)

        async def issue(name: str) -> str:
            async with store.unit() as unit:
                issued = await unit.licences.issue(licence(name))
                await asyncio.sleep(0.02)
                return issued.id

        assert len(set(await asyncio.gather(*(issue(f"lic-{number}") for number in range(3))))) == 1

    async def test_an_order_that_is_not_settled_earns_none(self, store: Store):
        await opened(store, order())
        for name in ("o1", "nobody's"):
            with pytest.raises(RefusedError, match="settled"):
                async with store.unit() as unit:
                    await unit.licences.issue(licence(of=name))

    async def test_what_was_earned_is_told_also_after_a_refund(self, store: Store):
        done = await settled(store)
        async with store.unit() as unit:
            await unit.licences.issue(licence())
            await unit.ledger.save(decide(done, Decision.REFUND), [])
        async with store.unit() as unit:
            assert await unit.licences.issue(licence()) == licence()

    async def test_it_is_revoked_once(self, store: Store):
        await self.issued(store)
        async with store.unit() as unit:
            assert await unit.licences.revoke("lic-o1", now=later(20))
            assert not await unit.licences.revoke("lic-o1", now=later(30))
            assert not await unit.licences.revoke("nobody's", now=later(30))
            assert await unit.licences.get("lic-o1") == replace(licence(), revoked_at=later(20))

    async def test_an_address_is_admitted_prolonged_and_closed(self, store: Store):
        await self.issued(store)
        async with store.unit() as unit:
            await unit.licences.admit(replace(DOOR, until=later(60)))
            await unit.licences.admit(DOOR)
            await unit.licences.admit(replace(DOOR, address="10.9.0.8"))
        async with store.unit() as unit:
            assert await unit.licences.admissions() == [DOOR, replace(DOOR, address="10.9.0.8")]
            assert await unit.licences.admissions(licence="lic-o2") == []
            assert await unit.licences.admissions(node="n1") == []
            assert len(await unit.licences.admissions(licence="lic-o1", node="n0")) == 2
            await unit.licences.close(DOOR, now=later(30))
            await unit.licences.close(DOOR, now=later(31))
            assert await unit.licences.admissions() == [replace(DOOR, address="10.9.0.8")]
            await unit.licences.admit(DOOR)
            assert await unit.licences.admissions() == [replace(DOOR, address="10.9.0.8"), DOOR]

    async def test_nobody_is_admitted_longer_than_the_licence_or_after_it_was_revoked(self, store: Store):
        await self.issued(store)
        for wrong in (replace(DOOR, until=MONTH_END + timedelta(seconds=1)), replace(DOOR, licence="nobody's")):
            with pytest.raises(RefusedError):
                async with store.unit() as unit:
                    await unit.licences.admit(wrong)
        async with store.unit() as unit:
            await unit.licences.admit(DOOR)
            await unit.licences.revoke("lic-o1", now=later(20))
            await unit.licences.close(DOOR, now=later(20))
        with pytest.raises(RefusedError):
            async with store.unit() as unit:
                await unit.licences.admit(DOOR)
