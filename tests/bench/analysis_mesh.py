"""A mesh of any size whose window is full, with some links disturbed in the last seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import perf_counter

import numpy as np

from models.mesh import Element, Interface, Link, LinkId, Mesh, Node, NodeId
from models.meshsignals import EndCount, EndState, NodeCount
from models.meshsnapshot import OPEN_ROWS, ROWS, MeshWindow
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


def busy_window(mesh: Mesh, share: float, rng: np.random.Generator) -> tuple[MeshWindow, float, frozenset[str], float]:
    """Fill a window row by row, as a watcher's is after a minute.

    Returns:
        The window, its newest second, the disturbed elements, and what one decoded sample costs to take in, in us.
    """
    window = MeshWindow(mesh)
    per_sample_us = _cost_of_taking(mesh)
    links = len(mesh.links)
    ill = rng.choice(links, size=max(1, round(share * len(mesh.nodes))), replace=False)
    for row in range(_FIRST, _FIRST + ROWS + OPEN_ROWS):
        window._advance_to(row)
        raw = row % OPEN_ROWS
        counts = window._end_counts[raw].reshape(links, 2, len(EndCount))
        sent = rng.poisson(30, size=(links, 2, 4)).astype(np.float32)
        counts[:, :, :4], counts[:, :, 4:8] = sent, sent[:, ::-1]
        judged = rng.poisson(3, size=(links, 2, 4)).astype(np.float32)
        counts[:, :, 8:12], counts[:, :, 12:16] = judged, judged
        counts[:, :, EndCount.CARRIER_CHANGES] = 0
        if row >= _FIRST + ROWS + OPEN_ROWS - _ILL_ROWS:
            counts[ill, :, EndCount.HEARD_DATA_SMALL : EndCount.JUDGED_NEIGHBOUR_SMALL] = 0
        states = window._end_states[raw]
        states[:] = 0
        states[:, EndState.RTT_MS] = rng.normal(2.0, 0.1, size=len(states))
        window._node_counts[raw] = 0
        window._node_counts[raw][:, [NodeCount.FORWARDED, NodeCount.ROUTING_SENT]] = rng.poisson(
            100, size=(len(mesh.nodes), 2)
        )
        window._node_counts[raw][:, [NodeCount.REACH_JUDGED, NodeCount.REACH_ANSWERED]] = 10
        window._node_states[raw] = 0
    now = float(_FIRST + ROWS + OPEN_ROWS - 1)
    return window, now, frozenset(str(Element.of_link(mesh.links[one].id)) for one in ill), per_sample_us


def _cost_of_taking(mesh: Mesh) -> float:
    """Take 400 samples of one node in, which has as many links as nodes have here."""
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
