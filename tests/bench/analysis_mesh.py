"""A mesh of any size whose window is full, and in which some links are always disturbed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import perf_counter

import numpy as np

from models.mesh import Element, Interface, Link, LinkId, Mesh, Node, NodeId
from models.meshsignals import EndCount, EndState, NodeCount
from models.meshsnapshot import OPEN_ROWS, ROWS, STEP_SECONDS, MeshWindow
from models.snapshot import Snapshot
from models.telemetry import (
    DaemonState,
    Direction,
    HostReading,
    InterfaceReading,
    LinkProbeReading,
    ProbeKind,
    Protocol,
    Sample,
    SizeClass,
    TrafficClass,
    TrafficCount,
)

_ILL_ROWS = 4
_FIRST = 1_000_000


def mesh_of_size(nodes: int, rng: np.random.Generator) -> Mesh:
    """Return a ring with as many chords as nodes: two links a node, connected."""
    pairs = {(index, (index + 1) % nodes) for index in range(nodes)}
    while len(pairs) < 2 * nodes:
        one, other = sorted(int(end) for end in rng.choice(nodes, size=2, replace=False))
        pairs.add((one, other))
    links = tuple(
        Link(
            LinkId(f"n{a}--n{b}"),
            Interface(NodeId(f"n{a}"), f"to-n{b}"),
            Interface(NodeId(f"n{b}"), f"to-n{a}"),
            96,
        )
        for a, b in sorted(pairs)
    )
    return Mesh("bench", tuple(Node(NodeId(f"n{index}"), "10.42.0.1") for index in range(nodes)), links)


class BusyMesh:
    """A watcher's window on a busy mesh: a minute is gathered, and a new incident begins every four seconds.

    Attributes:
        window: What the watcher asks.
        now: Its newest second.
        since: When the incident in view began.
        ill: What it disturbs: links that lose all data on both ways, as many as `share` of the nodes, at least one.
    """

    def __init__(self, mesh: Mesh, share: float, rng: np.random.Generator) -> None:
        self.window = MeshWindow(mesh)
        self.ill: frozenset[str] = frozenset()
        self.now = self.since = float(_FIRST)
        self._mesh, self._share, self._rng = mesh, share, rng
        self._ill_links = np.empty(0, dtype=np.int64)
        for _ in range(ROWS + OPEN_ROWS):
            self.begin_second()
            self.receive()

    def begin_second(self) -> None:
        """Let the next second begin, as its first sample does: one row is closed, a slice of what is normal renewed."""
        self.now += STEP_SECONDS
        self.window._advance_to(int(self.now))

    def receive(self) -> None:
        """Put in what the samples of all nodes say of the newest second and, as they do, touch the one before."""
        rng, row, links = self._rng, int(self.now), len(self._mesh.links)
        if row % _ILL_ROWS == 0:
            count = max(1, round(self._share * len(self._mesh.nodes)))
            self._ill_links = rng.choice(links, size=count, replace=False)
            self.ill = frozenset(str(Element.of_link(self._mesh.links[one].id)) for one in self._ill_links)
            self.since = self.now - STEP_SECONDS / 2
        raw, window = row % OPEN_ROWS, self.window
        counts = window._end_counts[raw].reshape(links, 2, len(EndCount))
        sent = rng.poisson(30, size=(links, 2, 4)).astype(np.float32)
        counts[:, :, :4], counts[:, :, 4:8] = sent, sent[:, ::-1]
        judged = rng.poisson(3, size=(links, 2, 4)).astype(np.float32)
        counts[:, :, 8:12], counts[:, :, 12:16] = judged, judged
        counts[:, :, EndCount.CARRIER_CHANGES] = 0
        counts[self._ill_links, :, EndCount.HEARD_DATA_SMALL : EndCount.JUDGED_NEIGHBOUR_SMALL] = 0
        states = window._end_states[raw]
        states[:] = 0
        states[:, EndState.RTT_MS] = rng.normal(2.0, 0.1, size=len(states))
        nodes = window._node_counts[raw]
        nodes[:] = 0
        nodes[:, [NodeCount.FORWARDED, NodeCount.ROUTING_SENT]] = rng.poisson(100, size=(len(nodes), 2))
        nodes[:, [NodeCount.REACH_JUDGED, NodeCount.REACH_ANSWERED]] = 10
        window._node_states[raw] = 0
        window._touch(row - 1)

    def snapshot(self) -> Snapshot:
        """Ask as the watcher asks about an incident."""
        return self.window.snapshot(self.now, since=self.since)


def cost_of_taking(mesh: Mesh) -> float:
    """Return what one decoded sample costs to take in, in us, of a node that has as many links as nodes have here."""
    node = mesh.nodes[0].id
    window = MeshWindow(mesh)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    samples = [_sample(mesh, node, number, at + timedelta(seconds=number / 2)) for number in range(400)]
    started = perf_counter()
    window.observe(samples[:40])
    # The rows of a large mesh are worked out once a second for all nodes: with one node reporting they would be billed
    # to it alone, so time passes no more from here on.
    last = samples[39].at
    frozen = [_sample(mesh, node, 40 + one, last + timedelta(microseconds=one)) for one in range(360)]
    started = perf_counter()
    window.observe(frozen)
    return 1e6 * (perf_counter() - started) / len(frozen)


def _sample(mesh: Mesh, node: NodeId, number: int, at: datetime) -> Sample:
    counts = tuple(
        TrafficCount(direction, traffic, size, Protocol.UDP, 10 * number, 1000 * number)
        for direction in Direction
        for traffic in TrafficClass
        for size in SizeClass
    )
    ends = [(one.end_at(node).name, one.far_end(one.end_at(node)).node) for one in mesh.links_of(node)]
    interfaces = tuple(InterfaceReading(name, True, 1, 1500, counts) for name, _ in ends)
    probes = tuple(
        LinkProbeReading(name, peer, kind, size, number, number, number, number, 0.4)
        for name, peer in ends
        for kind in ProbeKind
        for size in (SizeClass.SMALL, SizeClass.LARGE)
    )
    return Sample(node, 1, number, at, interfaces, probes, (), HostReading(0.1, 0, 0, 0, DaemonState.RUNNING))
