"""A closed loop in memory: simulated nodes report, the stages act, couriers carry, actuators move the paths.

Everything between the ports is the real thing: stages, couriers, signatures, the detector, the guards. Only the
network, the nodes' hands and the database are simulated, and time leaps (`virtual_time`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.node.place import LinkEnd, NodePlace, Reach
from infra.node.signing import Ed25519Signer
from infra.settings import Settings
from models.graph import paths
from models.incident import Incident, IncidentId, IncidentState
from models.mesh import LinkId, Mesh, NodeId
from models.ports import IncidentStory, Signed, UnitOfWork
from models.remedy import ActionReport, ActionState, GuardState, Limits
from models.telemetry import InterfaceReading, NodeBaseline
from tasks import monitor
from tasks.collection import Station
from tasks.diary import unreported
from tasks.wiring import Adapters, using
from tests.fakes.node import FakeActuator, FakeProber, FakeSenses
from tests.fakes.store import FakeStore
from tests.models.samples import DATA, START, Flow, World, lossy, mesh_of
from tests.tasks.virtual_time import LoopClock

# A link is judged from ten samples of either end; a second more for the last of them to arrive.
WARM_UP_SECONDS = 6.0
TICK = 0.5
PATIENT_SECONDS = 60.0
# A babeld cost change with its read-back takes 0.3-2 s.
HANDS_SECONDS = 0.3
LIMITS = Limits()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

Harm = Callable[..., float]


def ring() -> Mesh:
    """Four nodes; traffic from n0 to n2 goes by way of n1, and can go by way of n3."""
    return mesh_of(("n0", "n1", 96), ("n1", "n2", 101), ("n2", "n3", 107), ("n0", "n3", 113))


def line() -> Mesh:
    """Three nodes; everything depends on n1."""
    return mesh_of(("n0", "n1", 96), ("n1", "n2", 101))


LINK = LinkId("n1--n2")


@dataclass
class FakeCounters:
    """Interfaces that count nothing."""

    names: tuple[str, ...]
    is_closed: bool = False

    def read(self) -> tuple[InterfaceReading, ...]:
        return tuple(InterfaceReading(name, True, 1, 1500, ()) for name in self.names)

    def missing(self) -> frozenset[str]:
        return frozenset()

    def close(self) -> None:
        self.is_closed = True


def place_of(mesh: Mesh, node: NodeId) -> NodePlace:
    """Return the place of a simulated node."""
    ends = tuple(
        LinkEnd(
            interface=one.end_at(node).name,
            address="10.43.0.1",
            peer=one.far_end(one.end_at(node)).node,
            peer_address="10.43.0.2",
            peer_loopback=mesh.node(one.far_end(one.end_at(node)).node).address,
            cost=one.cost,
        )
        for one in mesh.links_of(node)
    )
    reach = tuple(Reach(node=one.id, address=one.address) for one in mesh.nodes if one.id != node)
    return NodePlace(
        mesh=mesh.name, node=node, address=mesh.node(node).address, folder=Path("/nowhere"), links=ends, reach=reach
    )


def baseline_of(mesh: Mesh, node: NodeId) -> NodeBaseline:
    """Return the configuration of a simulated node when it is well."""
    return FakeSenses.healthy(place_of(mesh, node)).baseline


class Hands(FakeActuator):
    """An actuator that takes its time, as a daemon does: what it reports is never as old as what it was asked."""

    async def execute(self, signed: Signed) -> ActionReport:
        await asyncio.sleep(HANDS_SECONDS)
        return await super().execute(signed)


@dataclass
class ClosedLoop:
    """The whole: bend `simulated.harm` and `simulated.reading`, the actuators and the guards as a test needs it."""

    mesh: Mesh
    simulated: World
    store: FakeStore
    clock: LoopClock
    adapters: Adapters
    actuators: dict[NodeId, FakeActuator]
    stations: dict[NodeId, Station]
    is_deaf: bool = False
    costs: dict[LinkId, int] | None = None

    # --- what the mesh does

    @property
    def seconds(self) -> float:
        """Simulated seconds, as harms know them."""
        return (self.clock.now() - START).total_seconds()

    def break_link(self, link: LinkId = LINK, share: float = 1.0) -> None:
        """Plant a grey fault: data dies, hellos and neighbour probes pass."""
        self.simulated.harm = lossy(link, share, start=0, classes=[DATA])

    def mend(self) -> None:
        """End every fault."""
        self.simulated.harm = lambda *_: 0.0

    async def run(self) -> None:
        """Deliver samples as they come due, and let routing follow the costs that the actuators hold."""
        ahead = self.clock.ahead.total_seconds()
        early = []
        for now, samples in self.simulated.run(PATIENT_SECONDS * 60):
            early.extend(samples)
            if now < ahead:
                continue
            await asyncio.sleep(now - self.seconds)
            async with self.store.unit() as uow:
                await uow.samples.add(self.mesh.name, early)
            early = []
            self._route()

    def _route(self) -> None:
        costs = {one.id: one.cost for one in self.mesh.links}
        for one in self.mesh.links:
            held = [self.actuators[end.node].settings.get(f"set-cost:{end.name}") or one.cost for end in (one.a, one.b)]
            costs[one.id] = max(int(cost) for cost in held) if min(int(cost) for cost in held) > one.cost else one.cost
        if costs != self.costs and not self.is_deaf:
            self.costs = costs
            self.simulated.routes = paths(self.mesh, costs)

    def is_costed_out(self, link: LinkId = LINK) -> bool:
        """Tell whether both ends hold the high cost now."""
        ends = (self.mesh.link(link).a, self.mesh.link(link).b)
        held = {self.actuators[end.node].settings.get(f"set-cost:{end.name}") for end in ends}
        return held == {str(LIMITS.cost_out)}

    def settings(self) -> dict[str, str]:
        """Return every setting that an actuator holds away from where it was."""
        return {
            f"{node} {name}": value
            for node, one in self.actuators.items()
            for name, value in one.settings.items()
            if value
        }

    @property
    def writes(self) -> int:
        """How often any actuator wrote."""
        return sum(one.writes for one in self.actuators.values())

    # --- what the stages see

    async def until_costed_out(self) -> None:
        while not self.is_costed_out():  # noqa: ASYNC110 - the fake hands tell nobody what they do
            await asyncio.sleep(TICK / 5)

    async def seen(self, *, at_least: int = 1) -> list[Incident]:
        """Look as the watch does until so many incidents are ripe."""
        for _ in range(round(PATIENT_SECONDS / TICK)):
            incidents = await monitor.look(self.mesh.name)
            if len(incidents) >= at_least:
                return incidents
            await asyncio.sleep(TICK)
        message = f"no {at_least} incidents within {PATIENT_SECONDS} s"
        raise AssertionError(message)

    async def looking(self, seconds: float) -> list[Incident]:
        """Look twice a second for so long; return what was ripe at the last look."""
        incidents: list[Incident] = []
        for _ in range(round(seconds / TICK)):
            await asyncio.sleep(TICK)
            incidents = await monitor.look(self.mesh.name)
        return incidents

    async def story(self, incident: IncidentId) -> IncidentStory:
        async with self.store.unit() as uow:
            story = await uow.incidents.story(incident)
        assert story is not None
        return story

    async def state(self, incident: IncidentId) -> IncidentState:
        return (await self.story(incident)).incident.state

    async def states(self, incident: IncidentId) -> list[ActionState]:
        return [one.state for one in (await self.story(incident)).operations]

    async def guards(self) -> GuardState:
        async with self.store.unit() as uow:
            return await uow.guards.load(self.mesh.name)

    async def pause(self, *, paused: bool = True) -> None:
        async with self.store.unit() as uow:
            guards = await uow.guards.load(self.mesh.name)
            await uow.guards.save(self.mesh.name, replace(guards, paused=paused))

    def unit(self) -> UnitOfWork:
        return self.store.unit()


@asynccontextmanager
async def closed_loop(
    mesh: Mesh | None = None, *, limits: Limits = LIMITS, flow: Flow | None = None
) -> AsyncIterator[ClosedLoop]:
    """Run a closed loop in which every stage is the plain function it is."""
    async with reported_loop(mesh, limits=limits, flow=flow) as loop:
        with unreported():
            yield loop


@asynccontextmanager
async def reported_loop(
    mesh: Mesh | None = None, *, limits: Limits = LIMITS, flow: Flow | None = None
) -> AsyncIterator[ClosedLoop]:
    """Run a healthy mesh, its couriers and its actuators until the body ends; `adapters()` shows it."""
    mesh = mesh or ring()
    clock = LoopClock(ahead=timedelta(seconds=WARM_UP_SECONDS))
    store = FakeStore()
    actuators = {one.id: Hands(one.id, KEY.public_key(), clock) for one in mesh.nodes}  # type: ignore[arg-type]
    stations = {one.id: station(mesh, one.id, store, clock, actuators[one.id]) for one in mesh.nodes}
    adapters = Adapters(
        settings=Settings(), clock=clock, store=store, database="", signer=Ed25519Signer(KEY), limits=limits, epoch=1
    )
    flow = flow or Flow("n0", "n2", 50)
    simulated = World(mesh, np.random.default_rng(1), flows=[flow])
    loop = ClosedLoop(mesh, simulated, store, clock, adapters, actuators, stations)
    async with store.unit() as uow:
        await uow.meshes.save(mesh)
        for one in mesh.nodes:
            await uow.meshes.record_baseline(mesh.name, baseline_of(mesh, one.id))
    jobs = [asyncio.create_task(one.run_courier()) for one in stations.values()]
    jobs.append(asyncio.create_task(loop.run()))
    await asyncio.sleep(TICK)
    try:
        with using(adapters):
            yield loop
    finally:
        for job in jobs:
            job.cancel()
        ended = await asyncio.gather(*jobs, return_exceptions=True)
        broken = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
        assert not broken, broken


def station(
    mesh: Mesh, node: NodeId, store: FakeStore, clock: LoopClock, actuator: FakeActuator | None = None
) -> Station:
    """Return a station on fakes."""
    place = place_of(mesh, node)
    return Station(
        node=node,
        mesh=mesh.name,
        epoch=1,
        clock=clock,
        store=store,
        counters=FakeCounters(tuple(one.interface for one in place.links)),
        prober=FakeProber(place),
        senses=FakeSenses.healthy(place),
        actuator=actuator,
    )
