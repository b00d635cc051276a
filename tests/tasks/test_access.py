"""Access: the gateway's gate follows the licences, by orders that a courier carries and nothing of healing counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from infra.access import Access, earn
from infra.licences import LicenceSigner
from infra.node.signing import Ed25519Signer
from infra.settings import Settings
from models.errors import ConfigurationInvalid, LicenceRefused
from models.incident import Incident, IncidentId, IncidentState
from models.mesh import Element
from models.remedy import (
    Action,
    ActionState,
    GuardState,
    Limits,
    OperationId,
    OperationRecord,
    Order,
    PlanHash,
    RemedyName,
    Verb,
)
from tasks.access import Doorkeeper, keep_admissions
from tasks.collection import DUTIES_AT_ONCE
from tasks.wiring import Adapters, using
from tests.fakes.node import FakeActuator
from tests.fakes.store import FakeStore
from tests.infra.test_access import settled
from tests.tasks.virtual_time import LoopClock, virtual_time
from tests.tasks.world import HANDS_SECONDS, KEY, Hands, ring, station

MESH = ring()
NODE = MESH.nodes[1].id
ANNA, BORIS = "10.45.0.2", "fd45::2"
DAY = timedelta(days=1)


@dataclass
class Gateway:
    """A shop, a gateway node with its courier, and the keeper between them."""

    store: FakeStore
    clock: LoopClock
    hands: FakeActuator
    access: Access
    world: Adapters

    async def keep(self, seconds: float = 3) -> None:
        """Look as the watch does, for so long."""
        for _ in range(round(seconds * 2)):
            await keep_admissions(MESH.name)
            await asyncio.sleep(0.5)

    async def sold(self, name: str = "o1", *, days: int = 30, devices: int = 2) -> str:
        """Settle an order; return the licence it earns."""
        sale = await settled(self.store, self.clock.now(), name=name, days=days, devices=devices)
        async with self.store.unit() as unit:
            return self.access.text_of(await earn(unit, sale, now=self.clock.now()))

    def open_for(self) -> set[str]:
        return {name.removeprefix("gate:") for name, until in self.hands.settings.items() if until}


@asynccontextmanager
async def gateway(*, node: str | None = NODE) -> AsyncIterator[Gateway]:
    store, clock = FakeStore(), LoopClock()
    hands = Hands(NODE, KEY.public_key(), clock)
    settings = Settings(gateway_node=node)
    world = Adapters(
        settings=settings, clock=clock, store=store, database="", signer=Ed25519Signer(KEY), limits=Limits(), epoch=1
    )
    access = Access(store, clock, licences=LicenceSigner(KEY), mesh=MESH.name, gateway_node=NODE)
    courier = asyncio.create_task(station(MESH, NODE, store, clock, hands).run_courier())
    try:
        with using(world):
            yield Gateway(store, clock, hands, access, world)
    finally:
        courier.cancel()
        await asyncio.gather(courier, return_exceptions=True)


@virtual_time
async def test_an_activated_address_is_let_in_until_its_licence_ends():
    async with gateway() as one:
        text = await one.sold()
        admission = await one.access.activate(text, ANNA)
        await one.keep()
        assert one.hands.settings == {f"gate:{ANNA}": str(int(admission.until.timestamp()))}


@virtual_time
async def test_what_is_done_is_not_asked_for_again():
    async with gateway() as one:
        await one.access.activate(await one.sold(), ANNA)
        await one.keep(10)
        assert one.hands.writes == 1


@virtual_time
async def test_a_revoked_licence_lets_nobody_in_any_more_and_others_stay():
    async with gateway() as one:
        text, other = await one.sold(), await one.sold("o2")
        await one.access.activate(text, ANNA)
        await one.access.activate(other, BORIS)
        await one.keep()
        assert one.open_for() == {ANNA, BORIS}
        await one.access.revoke("lic-o1", actor="cli:root", reason="charged back")
        await one.keep()
        assert one.open_for() == {BORIS}
        async with one.store.unit() as unit:
            assert [duty.address for duty in await unit.duties.of_node(MESH.name, NODE)] == [BORIS]


@virtual_time
async def test_an_address_that_two_licences_let_in_stays_until_the_longer_one_ends():
    async with gateway() as one:
        text, longer = await one.sold(days=1), await one.sold("o2", days=2)
        await one.access.activate(text, ANNA)
        until = (await one.access.activate(longer, ANNA)).until
        await one.keep()
        assert one.hands.settings == {f"gate:{ANNA}": str(int(until.timestamp()))}
        await one.access.revoke("lic-o1", actor="cli:root", reason="bought twice")
        await one.keep()
        assert one.open_for() == {ANNA}


@virtual_time
async def test_a_released_address_makes_room_for_another():
    async with gateway() as one:
        text = await one.sold(devices=1)
        await one.access.activate(text, ANNA)
        await one.keep()
        with pytest.raises(LicenceRefused, match="release one first"):
            await one.access.activate(text, BORIS)
        assert await one.access.release(text, ANNA)
        await one.access.activate(text, BORIS)
        await one.keep()
        assert one.open_for() == {BORIS}


@virtual_time
async def test_a_licence_that_ran_out_needs_no_order_and_leaves_nothing_behind():
    async with gateway() as one:
        await one.access.activate(await one.sold(days=1), ANNA)
        await one.keep()
        await asyncio.sleep(DAY.total_seconds())
        writes = one.hands.writes
        await one.keep()
        assert one.hands.writes == writes
        async with one.store.unit() as unit:
            assert await unit.duties.of_node(MESH.name, NODE) == []
            assert await unit.licences.admissions(node=NODE) == []


@virtual_time
async def test_a_node_that_is_away_gets_its_orders_when_it_is_back():
    async with gateway() as one:
        one.hands.is_away = True
        await one.access.activate(await one.sold(), ANNA)
        await one.keep(60)
        assert one.open_for() == set()
        one.hands.is_away = False
        await one.keep(15)
        assert one.open_for() == {ANNA}


@virtual_time
async def test_a_node_that_refuses_is_asked_again_but_not_every_second():
    async with gateway() as one:
        asked: list[datetime] = []
        one.hands.refuses = lambda _: asked.append(one.clock.now()) or "there is no gate here now"  # type: ignore[func-returns-value]
        await one.access.activate(await one.sold(), ANNA)
        await one.keep(40)
        assert 3 <= len(asked) <= 5
        one.hands.refuses = None
        await one.keep(15)
        assert one.open_for() == {ANNA}


@virtual_time
async def test_a_new_watch_run_asks_for_everything_anew_because_the_node_may_be_a_new_one():
    async with gateway() as one:
        await one.access.activate(await one.sold(), ANNA)
        await one.keep()
        one.hands.settings.clear()
        one.world.epoch = 2
        await one.keep()
        assert one.open_for() == {ANNA}


@virtual_time
async def test_nothing_that_counts_or_guards_healing_sees_a_duty_and_the_pause_switch_does_not_hold_it():
    async with gateway() as one:
        async with one.store.unit() as unit:
            await unit.guards.save(MESH.name, GuardState(paused=True))
        await one.access.activate(await one.sold(), ANNA)
        await one.keep()
        assert one.open_for() == {ANNA}
        async with one.store.unit() as unit:
            assert await unit.guards.load(MESH.name) == GuardState(paused=True)
            assert await unit.actions.state_counts(MESH.name) == {}
            assert await unit.actions.in_flight(MESH.name) == []
            assert await unit.incidents.recent(MESH.name) == []


@virtual_time
async def test_without_a_gateway_node_nothing_is_asked_of_anybody():
    async with gateway(node=None) as one:
        await one.access.activate(await one.sold(), ANNA)
        assert await keep_admissions(MESH.name) == 0
        await one.keep()
        assert one.hands.writes == 0


@virtual_time
async def test_a_process_without_the_control_key_sends_nothing():
    async with gateway() as one:
        await one.access.activate(await one.sold(), ANNA)
        with using(replace(one.world, signer=None)), pytest.raises(ConfigurationInvalid, match="control key"):
            await keep_admissions(MESH.name)
        async with one.store.unit() as unit:
            assert await unit.duties.of_node(MESH.name, NODE) == []


@virtual_time
async def test_the_doorkeeper_looks_once_a_second_however_often_it_is_asked():
    async with gateway() as one:
        keeper = Doorkeeper(MESH.name)
        await keeper.look()
        await one.access.activate(await one.sold(), ANNA)
        await keeper.look()
        async with one.store.unit() as unit:
            assert await unit.duties.of_node(MESH.name, NODE) == []
        await asyncio.sleep(1)
        await keeper.look()
        async with one.store.unit() as unit:
            assert len(await unit.duties.of_node(MESH.name, NODE)) == 1


@virtual_time
async def test_a_gate_that_cannot_be_kept_is_said_once_and_does_not_stop_the_watch(logs):
    async with gateway() as one:
        await one.access.activate(await one.sold(), ANNA)
        keeper = Doorkeeper(MESH.name)
        with using(replace(one.world, signer=None)):
            for _ in range(5):
                await keeper.look()
                await asyncio.sleep(1)
        assert [event["event"] for event in logs].count("gate cannot be kept") == 1
        await keeper.look()
        async with one.store.unit() as unit:
            assert len(await unit.duties.of_node(MESH.name, NODE)) == 1


@virtual_time
async def test_a_remedys_order_does_not_wait_behind_a_thousand_addresses():
    async with gateway() as one:
        done: list[str] = []
        one.hands.refuses = lambda asked: done.append(asked.action.verb) or ""  # type: ignore[func-returns-value]
        text = await one.sold(devices=100)
        for number in range(50):
            await one.access.activate(text, f"10.45.1.{number + 1}")
        await one.keep(1)
        now = one.clock.now()
        action = Action(NODE, Verb.SET_COST, {"interface": "to-n2", "cost": 5000}, Element.of_node(NODE))
        order = Order(OperationId("op"), PlanHash("p"), action, 1, now + DAY, timedelta(seconds=20))
        record = OperationRecord(
            order.operation,
            IncidentId("i1"),
            RemedyName.COST_OUT_LINK,
            order.plan_hash,
            action,
            ActionState.REQUESTED,
            now,
        )
        async with one.store.unit() as uow:
            await uow.incidents.save(Incident(IncidentId("i1"), MESH.name, IncidentState.HEALING, now, ()))
            await uow.actions.request(MESH.name, record, Ed25519Signer(KEY).sign(order))
        # Ten addresses later at most, of which each takes these hands a third of a second.
        await asyncio.sleep(50 * HANDS_SECONDS)
        assert done.index(Verb.SET_COST) <= 2 * DUTIES_AT_ONCE
        await one.keep(3)
        assert len(done) == 51
