"""A station: every sample reaches the database once and in order, and every order reaches the node's hands."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.node.signing import Ed25519Signer
from models.errors import SourceUnavailable
from models.incident import Incident, IncidentId, IncidentState
from models.mesh import Element
from models.remedy import Action, ActionState, OperationId, OperationRecord, Order, PlanHash, RemedyName, Verb
from models.telemetry import Drift, DriftKind, DropClass, DropCount, KernelReading
from tasks.collection import BUFFERED_SAMPLES
from tests.fakes.kernel_signals import FakeKernelSignals
from tests.fakes.node import FakeActuator
from tests.fakes.store import FakeStore
from tests.tasks.virtual_time import LoopClock, virtual_time
from tests.tasks.world import KEY, LINK, Hands, baseline_of, ring, station

MESH = ring()
NODE = MESH.nodes[1].id
OPERATION = OperationId("op-1")


async def stored(store: FakeStore) -> list[int]:
    async with store.unit() as uow:
        samples, _ = await uow.samples.stored_after(MESH.name, 0)
    return [one.sequence for one in samples]


@virtual_time
async def test_a_tick_stores_one_sample_of_everything():
    store, clock = FakeStore(), LoopClock()
    one = station(MESH, NODE, store, clock)
    await one.tick()
    async with store.unit() as uow:
        sample = (await uow.samples.latest(MESH.name))[NODE]
    assert (sample.epoch, sample.sequence, sample.at) == (1, 0, clock.now())
    assert [reading.name for reading in sample.interfaces] == ["to-n0", "to-n2"]
    assert len(sample.probes) == 2 * 2 * 2
    assert {reading.target for reading in sample.reach} == {"n0", "n2", "n3"}
    assert len(one.buffer) == 0


@virtual_time
async def test_a_sample_carries_what_tracing_programs_count_and_names_what_they_cannot():
    store = FakeStore()
    one = station(MESH, NODE, store, LoopClock())
    before = one.sample()
    assert before.host.kernel == KernelReading()
    one.kernel = FakeKernelSignals({DropClass.QUEUE: 3}, absent=frozenset({"syscalls", "retransmits"}))
    sample = one.sample()
    assert sample.host.kernel == KernelReading(drops=(DropCount(DropClass.QUEUE, 3),))
    assert sample.missing >= {"syscalls", "retransmits"}
    assert sample.missing == before.missing | {"syscalls", "retransmits"}


@virtual_time
async def test_a_sample_names_what_the_host_does_not_measure():
    one = station(MESH, NODE, FakeStore(), LoopClock())
    assert one.sample().missing >= {"pressure", "softirq"}
    one.senses.reading = replace(
        one.senses.reading, memory_pressure=0.0, io_pressure=0.0, softirq_share=0.01, softirq_squeezes=3
    )
    sample = one.sample()
    assert sample.host.softirq_squeezes == 3
    assert not sample.missing & {"pressure", "softirq"}
    one.senses.reading = None
    assert one.sample().host is None


@virtual_time
async def test_samples_wait_while_the_database_is_away_and_are_stored_once_and_in_order_afterwards():
    store, clock = FakeStore(), LoopClock()
    one = station(MESH, NODE, store, clock)
    await one.tick()
    store.is_down = True
    for _ in range(5):
        await asyncio.sleep(0.5)
        with pytest.raises(SourceUnavailable):
            await one.tick()
    assert len(one.buffer) == 5
    store.is_down = False
    await asyncio.sleep(0.5)
    await one.tick()
    await one.tick()
    assert await stored(store) == list(range(8))
    assert len(one.buffer) == 0


@virtual_time
async def test_a_batch_whose_commit_was_not_confirmed_is_stored_again_without_a_double():
    store, clock = FakeStore(), LoopClock()
    one = station(MESH, NODE, store, clock)
    await one.tick()
    one.sample()
    async with store.unit() as uow:
        await uow.samples.add(MESH.name, list(one.buffer))
    assert await one.flush() == 1
    assert await stored(store) == [0, 1]


@virtual_time
async def test_collectors_of_one_process_wait_for_their_turn_before_they_take_a_connection():
    store, turn = FakeStore(is_down=True), asyncio.Lock()
    one = replace(station(MESH, NODE, store, LoopClock()), turn=turn)
    one.sample()
    async with turn:
        storing = asyncio.create_task(one.flush())
        await asyncio.sleep(1)
        assert not storing.done()
        store.is_down = False
    assert await storing == 1
    assert await stored(store) == [0]


@virtual_time
async def test_the_buffer_forgets_the_oldest_first_when_the_database_stays_away():
    one = station(MESH, NODE, FakeStore(is_down=True), LoopClock())
    for _ in range(BUFFERED_SAMPLES + 3):
        one.sample()
    assert (len(one.buffer), one.buffer[0].sequence) == (BUFFERED_SAMPLES, 3)


@virtual_time
async def test_the_first_configuration_seen_becomes_the_baseline_unless_one_is_recorded():
    store = FakeStore()
    one = station(MESH, NODE, store, LoopClock())
    first = one.sample()
    assert "baseline" in first.missing
    await one.tick()
    async with store.unit() as uow:
        assert (await uow.meshes.baseline(MESH.name, NODE)).version == 1
    assert "baseline" not in one.sample().missing


@virtual_time
async def test_a_setting_away_from_the_recorded_baseline_shows_as_drift():
    store = FakeStore()
    recorded = replace(baseline_of(MESH, NODE), mtu={"to-n0": 1500, "to-n2": 1400})
    async with store.unit() as uow:
        await uow.meshes.record_baseline(MESH.name, recorded)
    one = station(MESH, NODE, store, LoopClock())
    await one.tick()
    assert one.sample().drifts == (Drift(DriftKind.MTU, "to-n2", "1400", "1500"),)


async def posted(store: FakeStore, clock: LoopClock) -> None:
    now = clock.now()
    element = Element.of_link(LINK)
    action = Action(NODE, Verb.SET_COST, {"interface": "to-n2", "cost": 5000}, element)
    order = Order(OPERATION, PlanHash("p" * 64), action, 1, now + timedelta(seconds=10), timedelta(seconds=20))
    record = OperationRecord(
        OPERATION, IncidentId("i1"), RemedyName.COST_OUT_LINK, order.plan_hash, action, ActionState.REQUESTED, now
    )
    async with store.unit() as uow:
        await uow.incidents.save(Incident(IncidentId("i1"), MESH.name, IncidentState.HEALING, now, ()))
        await uow.actions.request(MESH.name, record, Ed25519Signer(KEY).sign(order))


async def state(store: FakeStore) -> ActionState:
    async with store.unit() as uow:
        return (await uow.actions.get(OPERATION)).state


@virtual_time
async def test_an_order_is_carried_to_the_hands_and_their_answer_back():
    store, clock = FakeStore(), LoopClock()
    hands = Hands(NODE, KEY.public_key(), clock)
    await posted(store, clock)
    await station(MESH, NODE, store, clock, hands).carry()
    assert hands.settings == {"set-cost:to-n2": "5000"}
    assert await state(store) is ActionState.APPLIED


@virtual_time
async def test_while_the_hands_are_away_the_post_waits_for_later():
    store, clock = FakeStore(), LoopClock()
    hands = Hands(NODE, KEY.public_key(), clock, is_away=True)
    one = station(MESH, NODE, store, clock, hands)
    await posted(store, clock)
    await one.carry()
    await one.tell_leases()
    assert await state(store) is ActionState.REQUESTED
    hands.is_away = False
    await one.carry()
    assert await state(store) is ActionState.APPLIED


@virtual_time
async def test_orders_of_another_node_are_left_alone():
    store, clock = FakeStore(), LoopClock()
    await posted(store, clock)
    other = FakeActuator(MESH.nodes[0].id, KEY.public_key(), clock)
    await station(MESH, MESH.nodes[0].id, store, clock, other).carry()
    assert (other.writes, await state(store)) == (0, ActionState.REQUESTED)


@virtual_time
async def test_a_lease_that_ran_out_is_told():
    store, clock = FakeStore(), LoopClock()
    one = station(MESH, NODE, store, clock, Hands(NODE, KEY.public_key(), clock))
    await posted(store, clock)
    await one.carry()
    await asyncio.sleep(21)
    await one.tell_leases()
    assert await state(store) is ActionState.UNDONE


@virtual_time
async def test_the_courier_carries_as_soon_as_it_is_told_and_outlives_the_database():
    store, clock = FakeStore(), LoopClock()
    hands = Hands(NODE, KEY.public_key(), clock)
    courier = asyncio.create_task(station(MESH, NODE, store, clock, hands).run_courier())
    await asyncio.sleep(0.5)
    store.is_down = True
    await asyncio.sleep(5)
    store.is_down = False
    await asyncio.sleep(1.5)
    before = asyncio.get_running_loop().time()
    await posted(store, clock)
    while not hands.writes:  # noqa: ASYNC110 - the fake hands tell nobody what they do
        await asyncio.sleep(0.05)
    assert asyncio.get_running_loop().time() - before < 0.5
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)


@virtual_time
async def test_a_watch_only_node_carries_nothing():
    store, clock = FakeStore(), LoopClock()
    one = station(MESH, NODE, store, clock)
    await posted(store, clock)
    await one.carry()
    await one.tell_leases()
    assert await state(store) is ActionState.REQUESTED
