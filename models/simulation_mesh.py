"""Simulated incidents on a random mesh (see models.simulation for what is declared)."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.simulation import Clean, Rng, Timing, gross_or_subtle, happens, how_many_roots, some, timing, wander
from models.snapshot import FloatArray, IntArray, Kind, SignalKind, SignalSpec

SIGNALS: Final = (
    SignalSpec("loss_worse", "share", 1, SignalKind.ERRORS),
    SignalSpec("loss_better", "share", 1, SignalKind.ERRORS),
    SignalSpec("large_loss", "share", 1, SignalKind.ERRORS),
    SignalSpec("rtt", "ms", 1, SignalKind.LATENCY),
    SignalSpec("packets", "1/s", 0, SignalKind.RATE),
    SignalSpec("cpu", "share", 1, SignalKind.GAUGE),
    SignalSpec("pressure", "share", 1, SignalKind.GAUGE),
    SignalSpec("retransmits", "1/s", 1, SignalKind.RATE),
    SignalSpec("drops", "1/s", 1, SignalKind.ERRORS),
    SignalSpec("syscall_p99", "ms", 1, SignalKind.LATENCY),
    SignalSpec("route_changes", "1/s", 1, SignalKind.RATE),
)
WORSE, BETTER, LARGE, RTT, PACKETS, CPU, PRESSURE, RETRANSMITS, DROPS, SYSCALL, ROUTES = range(len(SIGNALS))
LINK_FAULTS = ("loss", "grey", "one_way", "mtu", "delay", "rate_clamp", "link_down")
# Routing leaves a link that loses more than this; below it stays, which is what makes a link grey.
REROUTES_FROM = 0.5
NODE_FAULTS = ("cpu", "daemon_hung", "not_forwarding", "node_dead", "slow_disk")


def mesh_incident(rng: Rng) -> Clean:
    """Draw a mesh, let it run, and harm it."""
    nodes = int(rng.integers(4, 31))
    ends = _links(nodes, rng)
    count = nodes + len(ends)
    # Nodes come first: [node, link] for both ends of every link.
    edges = np.array([(end, nodes + place) for place, pair in enumerate(ends) for end in pair], dtype=np.int64)
    when = timing(rng)
    values = _quiet(nodes, len(ends), when.rows, rng)
    fault, roots = "none", _places(nodes, count, rng)
    for root in roots:
        if root < nodes:
            fault = str(rng.choice(NODE_FAULTS))
            _harm_node(values, root, edges[edges[:, 0] == root, 1], fault, when, rng=rng)
        else:
            fault = str(rng.choice(LINK_FAULTS))
            _harm_link(values, root, np.array(ends[root - nodes]), fault, when, rng=rng)
    values[:, :, [WORSE, BETTER, LARGE]] = np.minimum(values[:, :, [WORSE, BETTER, LARGE]], 1.0)
    touched = [int(node) for root in roots for node in edges[edges[:, 1] == root, 0]] or list(roots)
    target = int(rng.choice(touched)) if touched and happens(rng, 0.3) else None
    kinds = (Kind.NODE,) * nodes + (Kind.LINK,) * len(ends)
    return Clean(kinds, edges, SIGNALS, values, when.split, roots, fault, target)


def _links(nodes: int, rng: Rng) -> list[tuple[int, int]]:
    """Return a random connected mesh: a ring, a tree or a line with chords."""
    shape = rng.choice(["ring", "tree", "line"])
    if shape == "tree":
        found = {(int(rng.integers(0, node)), node) for node in range(1, nodes)}
    else:
        found = {(node, node + 1) for node in range(nodes - 1)}
        if shape == "ring":
            found.add((0, nodes - 1))
    for _ in range(int(rng.integers(0, nodes))):
        one, other = sorted(int(end) for end in rng.choice(nodes, size=2, replace=False))
        found.add((one, other))
    return sorted(found)


def _places(nodes: int, count: int, rng: Rng) -> tuple[int, ...]:
    """Choose what is at fault: a link as often as a node, though there are more links."""
    chosen: list[int] = []
    for _ in range(how_many_roots(rng)):
        low, high = (0, nodes) if happens(rng, 0.4) else (nodes, count)
        place = int(rng.integers(low, high))
        if place not in chosen:
            chosen.append(place)
    return tuple(chosen)


def _quiet(nodes: int, links: int, rows: int, rng: Rng) -> FloatArray:
    count = nodes + links
    values = np.full((rows, count, len(SIGNALS)), np.nan)
    load = np.exp(wander(rng, rows, 1, memory=0.9, sway=rng.uniform(0.02, 0.3)))

    def usual(width: int, mean: float, *, sway: float = 0.1) -> FloatArray:
        level = np.exp(rng.normal(np.log(mean), 0.5, size=width))
        return level * np.exp(wander(rng, rows, width, memory=0.5, sway=sway))

    lossy = np.where(some(rng, 0.2, links), rng.uniform(0, 0.01, size=links), 0.0)
    for column in (WORSE, BETTER, LARGE):
        values[:, nodes:, column] = lossy * np.exp(wander(rng, rows, links, memory=0.2, sway=0.6))
    values[:, nodes:, RTT] = usual(links, 2.0)
    values[:, nodes:, PACKETS] = usual(links, 500.0, sway=0.15) * load
    values[:, :nodes, CPU] = usual(nodes, 0.1, sway=0.2) * load
    values[:, :nodes, PRESSURE] = usual(nodes, 0.01, sway=0.3)
    values[:, :nodes, RETRANSMITS] = usual(nodes, 0.5, sway=0.5) * load
    values[:, :nodes, DROPS] = np.where(some(rng, 0.05, (rows, nodes)), rng.exponential(1.0, size=(rows, nodes)), 0.0)
    values[:, :nodes, SYSCALL] = usual(nodes, 0.5, sway=0.25)
    values[:, :nodes, ROUTES] = np.where(some(rng, 0.03, (rows, nodes)), 1.0, 0.0)
    return values


def _harm_link(values: FloatArray, link: int, ends: IntArray, fault: str, when: Timing, *, rng: Rng) -> None:
    acts, loss = when.strength, gross_or_subtle(rng, 0.03, 0.9)
    lost = 0.0
    if fault == "link_down":
        values[:, link, PACKETS] *= 1 - acts
        values[:, link, [WORSE, BETTER, LARGE]] += acts[:, None]
        lost = 1.0
    elif fault in {"loss", "grey", "one_way"}:
        lost = loss
        values[:, link, WORSE] += acts * loss
        values[:, link, LARGE] += acts * loss
        values[:, link, BETTER] += acts * loss * (0.0 if fault == "one_way" else rng.uniform(0.5, 1.0))
        values[:, link, PACKETS] *= 1 - acts * loss * rng.uniform(0.3, 1.0)
    elif fault == "mtu":
        lost = 0.5
        values[:, link, LARGE] += acts * rng.uniform(0.6, 1.0)
        values[:, link, PACKETS] *= 1 - acts * rng.uniform(0.0, 0.6)
    elif fault == "delay":
        values[:, link, RTT] *= 1 + acts * gross_or_subtle(rng, 0.5, 50.0)
    else:
        lost = 0.1
        values[:, link, PACKETS] *= 1 - acts * rng.uniform(0.4, 0.95)
        values[:, link, RTT] *= 1 + acts * gross_or_subtle(rng, 0.5, 20.0)
        values[:, link, LARGE] += acts * rng.uniform(0.0, 0.3)
    for end in ends:
        values[:, end, RETRANSMITS] *= 1 + acts * lost * rng.uniform(0.0, 20.0)
        if lost > REROUTES_FROM and happens(rng, 0.6):
            values[:, end, ROUTES] += acts * some(rng, 0.5, len(acts))


def _harm_node(values: FloatArray, node: int, links: IntArray, fault: str, when: Timing, *, rng: Rng) -> None:
    acts = when.strength
    if fault == "cpu":
        values[:, node, CPU] += acts * rng.uniform(0.2, 0.9)
        values[:, node, PRESSURE] += acts * rng.uniform(0.02, 0.6)
        values[:, node, SYSCALL] *= 1 + acts * gross_or_subtle(rng, 0.3, 20.0)
        values[:, links, RTT] *= 1 + acts[:, None] * rng.uniform(0.0, 2.0)
    elif fault == "slow_disk":
        values[:, node, PRESSURE] += acts * rng.uniform(0.05, 0.8)
        values[:, node, SYSCALL] *= 1 + acts * gross_or_subtle(rng, 1.0, 40.0)
    elif fault == "daemon_hung":
        values[:, node, ROUTES] += acts * rng.uniform(0.2, 2.0)
        values[:, links, PACKETS] *= 1 - acts[:, None] * rng.uniform(0.3, 1.0)
        values[:, links, WORSE] += acts[:, None] * rng.uniform(0.0, 0.4) * (some(rng, 0.5, len(links)))
    elif fault == "not_forwarding":
        values[:, node, DROPS] += acts * gross_or_subtle(rng, 5.0, 500.0)
        values[:, links, PACKETS] *= 1 - acts[:, None] * rng.uniform(0.2, 0.8, size=len(links))
        values[:, node, RETRANSMITS] *= 1 - acts * rng.uniform(0.0, 0.8)
    else:
        values[:, links, PACKETS] *= 1 - acts[:, None]
        values[:, links, WORSE] += acts[:, None]
        values[:, links, BETTER] += acts[:, None]
        values[:, links, LARGE] += acts[:, None]
        gone = acts > 0
        values[gone, node] = np.nan
        # Nobody but its peers can tell of the links; sometimes not even they.
        if happens(rng, 0.3):
            values[np.flatnonzero(gone)[:, None], links[: len(links) // 2]] = np.nan
