"""What the nodes of a large mesh would report: counters that grow evenly, until one link turns grey.

Far simpler than a mesh: nothing is bursty, late or lost but on that link. It is for measuring what watching costs, and
says nothing of how well it sees; `bench scale` compares it with real meshes where those can be had.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import networkx as nx
import numpy as np

from models.mesh import Interface, Link, LinkId, Mesh, Node, NodeId
from models.telemetry import (
    DaemonState,
    Direction,
    HostReading,
    InterfaceReading,
    LinkProbeReading,
    ProbeKind,
    Protocol,
    ReachReading,
    Sample,
    SizeClass,
    TrafficClass,
    TrafficCount,
)
from tests.models.samples import PROBE_RATES

START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD_S = 0.5
TIMEOUT_S = 0.8
RTT_MS = 0.4
TARGETS = 8  # reach probes of a node, as everywhere
# Packets a second and direction of a link at rest: hellos, then requests and answers of probes, then some traffic.
RATES = {
    (TrafficClass.ROUTING, SizeClass.SMALL): 1.0,
    (TrafficClass.PROBE, SizeClass.SMALL): 4.0,
    (TrafficClass.PROBE, SizeClass.LARGE): 2.0,
    (TrafficClass.DATA, SizeClass.SMALL): 8.0,
    (TrafficClass.DATA, SizeClass.LARGE): 4.0,
    (TrafficClass.DATA, SizeClass.MEDIUM): 50.0,
}
REACH = {SizeClass.SMALL: 2.0, SizeClass.LARGE: 1.0}


def instant(seconds: float) -> datetime:
    """Return a moment of the made-up time."""
    return START + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports of a mesh in which one link loses all that is in transit from some moment on."""

    mesh: Mesh
    grey: Link
    fault_s: float
    seed: int

    def until(self, seconds: float, *, nodes: Collection[NodeId] | None = None) -> Iterator[tuple[float, list[Sample]]]:
        """Yield (now, what every node, or every one of these, reported in the last half second)."""
        phases = np.random.default_rng(self.seed).uniform(0, PERIOD_S, len(self.mesh.nodes)).tolist()
        told = [
            (index, phase) for index, phase in enumerate(phases) if nodes is None or self.mesh.nodes[index].id in nodes
        ]
        for tick in range(int(seconds / PERIOD_S)):
            begin = tick * PERIOD_S
            yield begin + PERIOD_S, [self._sample(index, tick, begin + phase) for index, phase in told]

    def _sample(self, index: int, tick: int, at: float) -> Sample:
        node = self.mesh.nodes[index].id
        links = self.mesh.links_of(node)
        others = len(self.mesh.nodes) - 1
        step = max(1, others // TARGETS)
        far = [self.mesh.nodes[(index + 1 + one * step) % (others + 1)].id for one in range(min(TARGETS, others))]
        host = HostReading(0.05, int(100 * at), 0, 0, DaemonState.RUNNING)
        interfaces = tuple(self._interface(node, link, at) for link in links)
        probes = tuple(one for link in links for one in self._probes(node, link, at))
        reach = tuple(
            ReachReading(target, size, *(int(rate * one) for one in (at, *[max(0.0, at - TIMEOUT_S)] * 2)), RTT_MS)
            for target in far
            for size, rate in REACH.items()
        )
        return Sample(node, 1, tick, instant(at), interfaces, probes, reach, host, (), frozenset())

    def _interface(self, node: NodeId, link: Link, at: float) -> InterfaceReading:
        counts = []
        for (traffic, size), rate in RATES.items():
            passed = min(at, self.fault_s) if self._is_lost(link, traffic) else at
            for direction, seconds in ((Direction.TX, at), (Direction.RX, passed)):
                packets = int(rate * seconds)
                counts.append(TrafficCount(direction, traffic, size, Protocol.UDP, packets, 100 * packets))
        return InterfaceReading(link.end_at(node).name, True, 1, 1500, tuple(counts))

    def _probes(self, node: NodeId, link: Link, at: float) -> Iterator[LinkProbeReading]:
        end = link.end_at(node)
        settled_s = max(0.0, at - TIMEOUT_S)
        for (kind, size), rate in PROBE_RATES.items():
            is_lost = kind is ProbeKind.TRANSIT and self._is_lost(link, TrafficClass.DATA)
            answered_s = min(settled_s, self.fault_s) if is_lost else settled_s
            counts = (int(rate * one) for one in (at, settled_s, answered_s, answered_s))
            yield LinkProbeReading(end.name, link.far_end(end).node, kind, size, *counts, RTT_MS)

    def _is_lost(self, link: Link, traffic: TrafficClass) -> bool:
        return link == self.grey and traffic is TrafficClass.DATA


def grid(size: int, *, seed: int) -> Mesh:
    """Return a nearly square grid of any size, the last row perhaps shorter; a lab's ends at 250."""
    rows = math.isqrt(size)
    full = nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, math.ceil(size / rows)), ordering="sorted")
    graph = full.subgraph(range(size)).copy()
    costs = np.random.default_rng(seed).integers(96, 1024, graph.number_of_edges()).tolist()
    nodes = tuple(Node(NodeId(f"n{one}"), f"10.{one >> 16}.{(one >> 8) & 255}.{one & 255}") for one in graph)
    links = tuple(
        Link(
            LinkId(f"n{a}--n{b}"),
            Interface(NodeId(f"n{a}"), f"to-n{b}"),
            Interface(NodeId(f"n{b}"), f"to-n{a}"),
            cost,
        )
        for (a, b), cost in zip(graph.edges, costs, strict=True)
    )
    return Mesh("scale", nodes, links)
