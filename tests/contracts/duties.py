"""What every `DutyRepository` promises. Subclass once per implementation and supply `store`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from models.gate import Duty, admission, expulsion
from models.mesh import NodeId
from models.ports import Signed, Store
from models.remedy import ActionReport, ActionState, OperationId

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MESH, GATE, OTHER = "lab", NodeId("n0"), NodeId("n1")
ANNA, BORIS = "10.45.0.2", "fd45::2"


def duty(name: str = "duty-1", address: str = ANNA, *, node: NodeId = GATE) -> Duty:
    action = admission(node, address, NOW + timedelta(days=1))
    return Duty(OperationId(name), action, 3, ActionState.REQUESTED, NOW)


def signed(name: str) -> Signed:
    return Signed(f"order {name}".encode(), b"signature")


def answer(name: str = "duty-1", state: ActionState = ActionState.COMMITTED) -> ActionReport:
    return ActionReport(OperationId(name), state, "absent", "1", "done", NOW)


class DutyContract:
    """Orders about addresses, and their answers."""

    async def asked(self, store: Store, *duties: Duty) -> None:
        async with store.unit() as unit:
            for one in duties:
                await unit.duties.request(MESH, one, signed(one.operation))

    async def test_an_order_waits_in_its_nodes_post_until_it_is_answered(self, store: Store):
        await self.asked(store, duty(), duty("duty-2", BORIS), duty("duty-3", node=OTHER))
        async with store.unit() as unit:
            post = await unit.duties.post_for(MESH, GATE)
            assert post == [("duty-1", signed("duty-1")), ("duty-2", signed("duty-2"))]
            await unit.duties.report(MESH, GATE, answer())
        async with store.unit() as unit:
            assert [name for name, _ in await unit.duties.post_for(MESH, GATE)] == ["duty-2"]
            done, waiting = await unit.duties.of_node(MESH, GATE)
            assert done == replace(duty(), state=ActionState.COMMITTED, report=answer())
            assert waiting == duty("duty-2", BORIS)
            assert await unit.duties.post_for("another", GATE) == []

    async def test_the_newest_order_about_an_address_takes_the_place_of_the_one_before(self, store: Store):
        await self.asked(store, duty(), duty("duty-2", BORIS))
        turned = Duty(OperationId("duty-3"), expulsion(GATE, ANNA), 3, ActionState.REQUESTED, NOW)
        await self.asked(store, turned)
        async with store.unit() as unit:
            assert [name for name, _ in await unit.duties.post_for(MESH, GATE)] == ["duty-2", "duty-3"]
            await unit.duties.report(MESH, GATE, answer("duty-1"))
        async with store.unit() as unit:
            assert (await unit.duties.of_node(MESH, GATE))[1] == turned

    async def test_only_the_node_that_was_asked_answers_and_only_once(self, store: Store):
        await self.asked(store, duty())
        async with store.unit() as unit:
            await unit.duties.report(MESH, OTHER, answer())
            await unit.duties.report("another", GATE, answer())
            assert (await unit.duties.of_node(MESH, GATE))[0].state is ActionState.REQUESTED
            await unit.duties.report(MESH, GATE, answer(state=ActionState.REFUSED))
            await unit.duties.report(MESH, GATE, answer())
        async with store.unit() as unit:
            assert (await unit.duties.of_node(MESH, GATE))[0].state is ActionState.REFUSED

    async def test_what_is_over_is_forgotten_and_nothing_else(self, store: Store):
        await self.asked(store, duty(), duty("duty-2", BORIS), duty("duty-3", node=OTHER))
        async with store.unit() as unit:
            await unit.duties.forget(MESH, GATE, [ANNA, "10.45.0.99"])
            await unit.duties.forget(MESH, GATE, [])
        async with store.unit() as unit:
            assert [one.address for one in await unit.duties.of_node(MESH, GATE)] == [BORIS]
            assert [one.address for one in await unit.duties.of_node(MESH, OTHER)] == [ANNA]

    async def test_an_order_wakes_the_courier(self, store: Store):
        await store.wait("actions", at_most=timedelta(seconds=0.5))
        await self.asked(store, duty())
        assert await store.wait("actions", at_most=timedelta(seconds=5))
