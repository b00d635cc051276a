"""A licence opens the gate of a real gateway node for real packets, and nothing else does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows.commands import licence
from infra.access import Access, earn
from infra.clock import SystemClock
from infra.lab import build, kernel, names
from infra.lab.clients import CLIENT, CLIENT6, GATEWAY, GATEWAY6
from infra.lab.topology import Shape, mesh
from infra.licences import create_licence_key, load_signer
from infra.node.actuator import ActuatorClient
from infra.node.signing import Ed25519Signer, create_key, load_private_key
from infra.settings import Settings
from models.errors import ConfigurationInvalid, LicenceRefused
from models.mesh import NodeId
from models.remedy import Limits
from tasks.access import keep_admissions
from tasks.collection import Station
from tasks.wiring import Adapters, using
from tests.fakes.store import FakeStore
from tests.infra.lab.packets import between_loopbacks
from tests.infra.node.conftest import eventually
from tests.infra.test_access import settled
from tests.tasks.world import station

pytestmark = pytest.mark.kernel

NAME = f"c{os.getpid()}"
NODE, FAR = NodeId("n0"), "10.42.0.3"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def gated(lab_state):
    """Three nodes in a line, the first a gateway with a client behind it; routing settled."""

    async def bring_up():
        made = await build.up(mesh(Shape.LINE, 3, name=NAME), state=lab_state, gateway=NODE)
        await made.settled(timeout_s=90)
        return made

    made = asyncio.run(bring_up())
    yield made
    asyncio.run(made.down())


@dataclass
class Counter:
    """A shop, the control side and the node's courier, over a lab's own actuator."""

    lab: build.Lab
    store: FakeStore
    access: Access
    world: Adapters
    courier: Station

    async def sold(self, name: str, *, bought_at: datetime | None = None) -> str:
        """Return the text of a licence of one day."""
        at = bought_at or SystemClock().now()
        sale = await settled(self.store, at, name=name, days=1)
        async with self.store.unit() as unit:
            return self.access.text_of(await earn(unit, sale, now=at))

    async def keep(self) -> None:
        """Do what the watch and the collector do at one look."""
        with using(self.world):
            await keep_admissions(self.lab.name)
        await self.courier.carry()
        async with self.store.unit() as unit:
            assert await unit.duties.post_for(self.lab.name, NODE) == []

    def passes(self, target: str) -> bool:
        """Whether the client gets an echo back from there."""
        words = ["ip", "netns", "exec", self.lab.client, "ping", "-n", "-q", "-c", "1", "-W", "1", target]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def reach(self) -> list[bool]:
        """Whether it reaches the far end of the mesh, the gateway's own address, and that by IPv6."""
        return [self.passes(one) for one in (FAR, GATEWAY, GATEWAY6)]


@pytest.fixture
async def counter(gated: build.Lab, tmp_path: Path) -> AsyncIterator[Counter]:
    place = gated.places[NODE]
    key, store, clock = create_key(tmp_path), FakeStore(), SystemClock()
    signer = load_signer(create_licence_key(tmp_path))
    world = Adapters(
        settings=Settings(mesh=gated.name, gateway_node=NODE, state=tmp_path),
        clock=clock,
        store=store,
        database="",
        signer=Ed25519Signer(load_private_key(key)),
        limits=Limits(),
        epoch=1,
    )
    words = ["-m", "infra.node.actuator", "--place", str(place.folder / "node.json"), "--key"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, str(key.with_suffix(".pub")), stdout=subprocess.DEVNULL
    )
    try:
        assert await asyncio.to_thread(eventually, place.actuator_socket.exists, 30)
        access = Access(store, clock, licences=signer, mesh=gated.name, gateway_node=NODE)
        courier = station(gated.mesh, NODE, store, clock, ActuatorClient(place.actuator_socket))
        yield Counter(gated, store, access, world, courier)
    finally:
        process.terminate()
        await process.wait()


async def test_without_a_licence_nothing_passes_with_one_everything_and_after_its_revocation_nothing(counter: Counter):
    await counter.keep()
    assert counter.reach() == [False, False, False]
    text = await counter.sold("o1")
    await counter.access.activate(text, CLIENT)
    await counter.keep()
    assert counter.reach() == [True, True, False]
    await counter.access.activate(text, CLIENT6)
    await counter.keep()
    assert counter.reach() == [True, True, True]
    await counter.access.revoke("lic-o1", actor="cli:root", reason="charged back")
    await counter.keep()
    assert counter.reach() == [False, False, False]
    with pytest.raises(LicenceRefused):
        await counter.access.activate(text, CLIENT)


async def test_after_its_hour_nothing_passes_though_nobody_does_anything(counter: Counter):
    text = await counter.sold("o2", bought_at=SystemClock().now() - DAY + timedelta(seconds=6))
    await counter.access.activate(text, CLIENT)
    await counter.keep()
    assert counter.reach() == [True, True, False]
    assert await asyncio.to_thread(eventually, lambda: not counter.passes(FAR))
    assert counter.reach() == [False, False, False]
    with pytest.raises(LicenceRefused, match="expired"):
        await counter.access.activate(text, CLIENT)


async def test_a_released_address_is_out_and_may_come_back(counter: Counter):
    text = await counter.sold("o3")
    for _ in range(2):
        await counter.access.activate(text, CLIENT)
        await counter.keep()
        assert counter.passes(FAR)
        await counter.access.release(text, CLIENT)
        await counter.keep()
        assert not counter.passes(FAR)


def test_a_shut_gate_holds_nothing_of_the_mesh_up(gated: build.Lab):
    assert between_loopbacks(gated, NODE, NodeId("n2"), count=20) == 20
    assert between_loopbacks(gated, NodeId("n2"), NODE, count=20) == 20


def test_the_lab_reads_back_with_its_gateway_and_takes_the_client_down_with_it(gated: build.Lab):
    assert build.load(gated.name, state=gated.state) == gated
    assert gated.places[NODE].gate is not None
    assert [one for one, place in gated.places.items() if place.gate is not None] == [NODE]
    assert gated.client in kernel.namespaces(names.prefix(gated.name))


async def test_a_gateway_that_is_no_node_is_refused_before_anything_is_made(lab_state):
    with pytest.raises(ConfigurationInvalid, match="X0_GATEWAY_NODE"):
        await build.up(mesh(Shape.LINE, 2, name=f"{NAME}g"), state=lab_state, gateway=NodeId("n9"))
    assert kernel.namespaces(names.prefix(f"{NAME}g")) == ()


async def test_whoever_types_where_a_lab_stands_need_not_name_its_gateway(gated: build.Lab):
    create_licence_key(gated.state)
    store, settings = FakeStore(), Settings(mesh=gated.name, state=gated.state)
    sale = await settled(store, SystemClock().now())
    async with store.unit() as unit:
        text = load_signer(gated.state / "licence.key").text_of(await earn(unit, sale, now=SystemClock().now()))
    assert (await licence.let_in(text, CLIENT, store=store, settings=settings)).node == NODE
