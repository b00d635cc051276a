"""Collection: one node's station, which samples twice a second and carries signed orders to the node's actuator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import psutil
import structlog

from ebpf.bcc_backend import loader_for
from ebpf.collector import EbpfInterfaceCounters, PsutilInterfaceCounters
from ebpf.exposition import CountersExposition
from ebpf.libbpf import network_namespace
from ebpf.page import page
from ebpf.page_server import serve
from ebpf.sample_page import sample_families
from ebpf.tracing import Tracing
from ebpf.tracing_exposition import TracingExposition
from infra.node.actuator import ActuatorClient
from infra.node.drift import drifts
from infra.node.netns import entered
from infra.node.place import NodePlace
from infra.node.probing import EchoProber
from infra.node.senses import LinuxSenses
from models.errors import ConfigurationInvalid, KernelRefused, NodeUnavailable, SourceUnavailable, ToolMissing
from models.mesh import NodeId
from models.ports import Actuator, Clock, HostSenses, InterfaceCounters, KernelSignals, Prober, Store
from models.telemetry import NodeBaseline, Sample
from tasks.wiring import adapters

log = structlog.get_logger()

# Ten minutes at two samples a second: longer than any failover; older samples would tell the analysis nothing.
BUFFERED_SAMPLES = 1200
# NOTIFY may be lost, so the courier also looks this often.
POLL = timedelta(seconds=1)
# An order about an address takes 40 ms, 0.1 s where a thousand pass already; they must not keep a remedy waiting.
DUTIES_AT_ONCE = 10

Counters = EbpfInterfaceCounters | PsutilInterfaceCounters


@dataclass(slots=True)
class Station:
    """A node's adapters, opened, with what could not be stored yet, and the newest sample."""

    node: NodeId
    mesh: str
    epoch: int
    clock: Clock
    store: Store
    counters: InterfaceCounters
    prober: Prober
    senses: HostSenses
    actuator: Actuator | None
    kernel: KernelSignals | None = None
    baseline: NodeBaseline | None = None
    buffer: deque[Sample] = field(default_factory=lambda: deque(maxlen=BUFFERED_SAMPLES))
    newest: Sample | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sequence: int = 0

    async def tick(self) -> None:
        """Take a sample and store what is buffered; with no database it stays buffered.

        Raises:
            SourceUnavailable: the database does not answer.
        """
        self.sample()
        if self.baseline is None:
            await self._learn_baseline()
        await self.flush()

    async def _learn_baseline(self) -> None:
        async with self.store.unit() as uow:
            self.baseline = await uow.meshes.baseline(self.mesh, self.node)
            if self.baseline is None:
                self.baseline = await uow.meshes.record_baseline(self.mesh, self.senses.configuration())

    def sample(self) -> Sample:
        """Read everything once and put it into the buffer. No IO but reading kernel state."""
        probes, reach = self.prober.read()
        host = self.senses.host()
        if host is not None and self.kernel is not None:
            host = replace(host, kernel=self.kernel.read())
        missing = self.counters.missing() | (self.kernel.missing() if self.kernel else frozenset())
        if host is not None:
            missing |= host.missing()
        taken = Sample(
            node=self.node,
            epoch=self.epoch,
            sequence=self._sequence,
            at=self.clock.now(),
            interfaces=self.counters.read(),
            probes=probes,
            reach=reach,
            host=host,
            drifts=drifts(self.baseline, self.senses.configuration()) if self.baseline else (),
            missing=missing | (frozenset() if self.baseline else {"baseline"}),
        )
        self._sequence += 1
        self.newest = taken
        self.buffer.append(taken)
        return taken

    async def flush(self) -> int:
        """Store the buffered samples as one batch; return how many.

        Raises:
            SourceUnavailable: the database does not answer; the samples stay in the buffer.
        """
        # The database lets one write a mesh's samples at a time. Whoever shares this process, and so its connections,
        # waits before it takes one: twenty that waited with one each would leave none for anybody else.
        async with self.turn:
            batch = list(self.buffer)
            if not batch:
                return 0
            async with self.store.unit() as uow:
                await uow.samples.add(self.mesh, batch)
            for _ in batch:
                self.buffer.popleft()
            return len(batch)

    async def carry(self) -> None:
        """Hand waiting orders to the actuator and its answers back; those of a remedy before those about addresses."""
        if self.actuator is None:
            return
        while True:
            async with self.store.unit() as uow:
                post = await uow.actions.post_for(self.mesh, self.node)
                duties = dict((await uow.duties.post_for(self.mesh, self.node))[:DUTIES_AT_ONCE])
            for operation, signed in (*post, *duties.items()):
                try:
                    report = await self.actuator.execute(signed)
                except NodeUnavailable as error:
                    log.warning("actuator does not answer", node=self.node, operation=operation, error=str(error))
                    return
                async with self.store.unit() as uow:
                    answered = uow.duties if operation in duties else uow.actions
                    await answered.report(self.mesh, self.node, report)
            if len(duties) < DUTIES_AT_ONCE:
                return

    async def tell_leases(self) -> None:
        """Report what the actuator did by itself (leases that ran out, changes undone at its restart)."""
        if self.actuator is None:
            return
        try:
            reports = await self.actuator.reports()
        except NodeUnavailable:
            # Said already by `carry`, and by the supervisor that restarts it.
            return
        async with self.store.unit() as uow:
            for report in reports:
                await uow.actions.report(self.mesh, self.node, report)

    async def run_courier(self) -> None:
        """Carry orders as soon as they are posted, for ever; a lost hint costs at most a poll."""
        while True:
            try:
                await self.carry()
                await self.tell_leases()
                await self.store.wait("actions", at_most=POLL)
            except SourceUnavailable:
                # The tick says so once; the post waits in the database.
                await asyncio.sleep(POLL.total_seconds())


def open_counters(place: NodePlace) -> Counters:
    """Attach the programs to a node's mesh interfaces; on a machine that only watches itself, count as it allows.

    Raises:
        KernelRefused: the programs cannot be attached to a node of a mesh, whose losses nothing else can count.
    """
    interfaces = [one.interface for one in place.links] or own_interfaces()
    try:
        return EbpfInterfaceCounters(interfaces, loader=loader_for())
    except (KernelRefused, ToolMissing, ConfigurationInvalid) as error:
        if place.links:
            raise
        log.warning("counting without eBPF: no traffic classes, no loss", node=place.node, reason=str(error))
        return PsutilInterfaceCounters(interfaces)


def own_interfaces() -> list[str]:
    """Return this machine's interfaces, without the loopback."""
    return sorted(name for name, stats in psutil.net_if_stats().items() if "loopback" not in stats.flags)


def open_tracing(place: NodePlace) -> Tracing:
    """Attach the tracing programs for the calling thread's network namespace; what the kernel refuses is left out.

    System calls are the machine's, not a namespace's: of the nodes that share a machine as namespaces none times them.
    """
    return Tracing(namespace=network_namespace(), with_syscalls=place.netns is None)


def nothing_sampled() -> Sample | None:
    """Stand in for `newest` where counters are shown without a station."""
    return None


def serve_metrics(
    place: NodePlace,
    counters: Counters,
    tracing: Tracing,
    *,
    port: int,
    newest: Callable[[], Sample | None] = nothing_sampled,
    now: Callable[[], datetime] | None = None,
) -> Callable[[], None]:
    """Serve the node's /metrics, on the management network where there is one, else on this machine only.

    Counters are read at each scrape; what takes time to measure is the newest sample's.

    Returns:
        What stops it.
    """

    def missing() -> frozenset[str]:
        sample = newest()
        return tracing.missing() | (sample.missing if sample else frozenset())

    shown = CountersExposition(
        counters, programs=lambda: counters.programs() + tracing.programs(), missing=missing, now=now
    )
    traced = TracingExposition(tracing)
    return serve(
        lambda: page(chain(shown.families(), traced.families(), sample_families(newest()))),
        address=place.management or "127.0.0.1",
        port=port,
    )


@asynccontextmanager
async def opened(place_file: Path) -> AsyncIterator[Station]:
    """Open a node's station in its namespace: programs attached, sockets bound; all given back at the end.

    Raises:
        ConfigurationInvalid: no such place or namespace.
        KernelRefused: a program could not be attached.
    """
    world = adapters()
    place = NodePlace.load(place_file)
    with entered(place.netns):
        counters = open_counters(place)
        tracing = open_tracing(place)
        senses = LinuxSenses(place)
    station = Station(
        node=NodeId(place.node),
        mesh=place.mesh,
        # Counters and sequence start anew with this process; its start names them.
        epoch=int(world.clock.now().timestamp() * 1000),
        clock=world.clock,
        store=world.store,
        counters=counters,
        prober=EchoProber(place),
        senses=senses,
        actuator=ActuatorClient(place.actuator_socket) if place.daemon else None,
        kernel=tracing,
        turn=world.storing,
    )
    with entered(place.netns):
        stop_metrics = serve_metrics(
            place,
            counters,
            tracing,
            port=world.settings.node_metrics_port,
            newest=lambda: station.newest,
            now=world.clock.now,
        )
    try:
        await station.prober.start()
        yield station
    finally:
        await station.prober.close()
        await asyncio.to_thread(stop_metrics)
        tracing.close()
        counters.close()
        senses.close()
