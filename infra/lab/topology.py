"""Shapes of lab meshes, with link costs that leave every pair one cheapest path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from ipaddress import IPv4Address
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import numpy as np

from models.errors import ConfigurationInvalid
from models.mesh import Interface, Link, LinkId, Mesh, Node, NodeId, RoutingDaemon

LOOPBACKS = "10.42.0.0/16"
LINKS = IPv4Address("10.43.0.0")
BASE_COST = 96  # babeld's own default for a wired interface
LEAST_GAP = 5  # a second-best path this much dearer does not win by rounding in any daemon
LARGEST = 250  # Babel's metric is 16 bit: a path across more nodes than this could reach infinity
THOROUGH = 16  # up to this many nodes the gap is searched for; past it one draw with a wide spread has to do
ATTEMPTS = 200  # draws of costs; the spread doubles every tenth of them
WIDEST = 1024  # a cost-out must stay dearer than any healthy path
Edge = tuple[int, int]


class Shape(StrEnum):
    """Which mesh to build."""

    RING_CHORD = "ring-chord"
    LINE = "line"
    GRID = "grid"
    RANDOM_GEOMETRIC = "random-geometric"


def mesh(
    shape: Shape,
    size: int = 6,
    *,
    name: str = "lab",
    seed: int = 0,
    daemon: RoutingDaemon = RoutingDaemon.BABELD,
) -> Mesh:
    """Return a mesh of `size` nodes whose cheapest paths are unique.

    Up to 16 nodes every pair's second-best path is at least 5 dearer than its best; beyond, costs are drawn once and
    ties are only unlikely.

    Args:
        shape: Which links there are. Ring-chord is the ring plus n1--n(1 + size//2).
        size: Number of nodes, 2..250; ring-chord needs 4.
        name: The lab's name.
        seed: Draws the costs, and the places of a random mesh.
        daemon: Runs on every node.

    Raises:
        ConfigurationInvalid: the size does not fit the shape.
    """
    least = 4 if shape is Shape.RING_CHORD else 2
    if not least <= size <= LARGEST:
        raise ConfigurationInvalid(f"a {shape} mesh of {size} nodes", f"choose {least} to {LARGEST} nodes")
    rng = np.random.default_rng(seed)
    edges = _SHAPES[shape](size, rng)
    costs = _costs(size, edges, rng)
    nodes = tuple(Node(id=NodeId(f"n{index}"), address=loopback(index), daemon=daemon) for index in range(size))
    links = tuple(_link(edge, cost) for edge, cost in zip(edges, costs, strict=True))
    return Mesh(name=name, nodes=nodes, links=links)


def loopback(index: int) -> str:
    """Return the loopback address of the node at this index: 10.42.x.y counts from 10.42.0.1."""
    return str(IPv4Address("10.42.0.0") + index + 1)


def management(index: int) -> str:
    """Return the management address of the node at this index: 10.44.x.y counts from 10.44.0.1."""
    return str(IPv4Address("10.44.0.0") + index + 1)


def link_addresses(index: int) -> tuple[str, str]:
    """Return the /31 pair of the link at this index, end `a` first."""
    return str(LINKS + 2 * index), str(LINKS + 2 * index + 1)


def cheapest_path(mesh: Mesh, source: NodeId, target: NodeId) -> tuple[NodeId, ...]:
    """Return the nodes of the cheapest path, both ends included.

    Raises:
        networkx.NetworkXNoPath: the two are not connected.
    """
    return tuple(nx.dijkstra_path(as_graph(mesh), source, target))


def next_hops(mesh: Mesh) -> dict[NodeId, dict[NodeId, NodeId]]:
    """Return {node: {target: neighbour}} of the cheapest paths, for every connected pair."""
    found: dict[NodeId, dict[NodeId, NodeId]] = {}
    for source, (_, paths) in nx.all_pairs_dijkstra(as_graph(mesh)):
        found[source] = {target: path[1] for target, path in paths.items() if target != source}
    return found


def link_between(mesh: Mesh, one: NodeId, other: NodeId) -> Link:
    """Return the link of two neighbours; KeyError when they have none."""
    for link in mesh.links:
        if {one, other} == set(link.nodes):
            return link
    message = f"{one} and {other} are no neighbours"
    raise KeyError(message)


def links_along(mesh: Mesh, path: Sequence[NodeId]) -> tuple[Link, ...]:
    """Return the links of a path of nodes, in order."""
    return tuple(link_between(mesh, one, other) for one, other in pairwise(path))


def as_graph(mesh: Mesh) -> nx.Graph[NodeId]:
    """Return the declared mesh as a graph; edges carry `weight`."""
    graph: nx.Graph[NodeId] = nx.Graph()
    graph.add_nodes_from(node.id for node in mesh.nodes)
    graph.add_weighted_edges_from((link.a.node, link.b.node, link.cost) for link in mesh.links)
    return graph


def with_name(mesh: Mesh, name: str) -> Mesh:
    """Return the same mesh under another name, so that several can run side by side."""
    return replace(mesh, name=name)


def _link(edge: Edge, cost: int) -> Link:
    one, other = (NodeId(f"n{index}") for index in edge)
    return Link(
        id=LinkId(f"{one}--{other}"), a=Interface(one, f"to-{other}"), b=Interface(other, f"to-{one}"), cost=cost
    )


def _ring_chord(size: int, _rng: np.random.Generator) -> tuple[Edge, ...]:
    # Between n1 and its opposite, so that the opposite pair n0, n(size/2) has three ways and no direct link.
    ring = [(index, index + 1) for index in range(size - 1)]
    return (*ring, (0, size - 1), (1, 1 + size // 2))


def _line(size: int, _rng: np.random.Generator) -> tuple[Edge, ...]:
    return tuple((index, index + 1) for index in range(size - 1))


def _grid(size: int, _rng: np.random.Generator) -> tuple[Edge, ...]:
    width = int(np.ceil(np.sqrt(size)))
    right = [(index, index + 1) for index in range(size - 1) if (index + 1) % width]
    down = [(index, index + width) for index in range(size - width)]
    return tuple(sorted(right + down))


def _random_geometric(size: int, rng: np.random.Generator) -> tuple[Edge, ...]:
    places = rng.random((size, 2))
    apart = np.linalg.norm(places[:, None] - places[None, :], axis=2)
    pairs = sorted(combinations(range(size), 2), key=lambda pair: float(apart[pair]))
    graph: nx.Graph[int] = nx.empty_graph(size)
    # The smallest radius at which no single link cuts the mesh: with a bridge there would be nothing to heal over.
    for pair in pairs:
        graph.add_edge(*pair)
        if min(degree for _, degree in graph.degree()) > 1 and nx.is_connected(graph) and not nx.has_bridges(graph):
            break
    return tuple(sorted((min(edge), max(edge)) for edge in graph.edges()))


_SHAPES: dict[Shape, Callable[[int, np.random.Generator], tuple[Edge, ...]]] = {
    Shape.RING_CHORD: _ring_chord,
    Shape.LINE: _line,
    Shape.GRID: _grid,
    Shape.RANDOM_GEOMETRIC: _random_geometric,
}


def _costs(size: int, edges: Sequence[Edge], rng: np.random.Generator) -> tuple[int, ...]:
    if size > THOROUGH:
        return tuple(int(BASE_COST + extra) for extra in rng.permutation(8 * len(edges))[: len(edges)])
    best: tuple[int, ...] = ()
    best_gap = -1.0
    for attempt in range(ATTEMPTS):
        spread = min(8 * len(edges) * 2 ** (attempt // (ATTEMPTS // 10)), max(WIDEST, len(edges)))
        costs = tuple(int(BASE_COST + extra) for extra in rng.choice(spread, size=len(edges), replace=False))
        graph: nx.Graph[int] = nx.Graph()
        graph.add_weighted_edges_from((*edge, cost) for edge, cost in zip(edges, costs, strict=True))
        gap = least_gap(graph)
        if gap > best_gap:
            best, best_gap = costs, gap
        if gap >= LEAST_GAP:
            break
    return best


def least_gap(graph: nx.Graph[Any]) -> float:
    """Return how much dearer the second-best simple path is than the best, at worst over all pairs.

    Returns:
        0 where some pair has a tie; `inf` where no pair has a second path. Below `LEAST_GAP`, the first that was found.
    """
    # A second-best simple path avoids some link of the best one, so leave out each in turn.
    gap = float("inf")
    for source, target in combinations(sorted(graph.nodes), 2):
        path = nx.dijkstra_path(graph, source, target)
        cost = nx.path_weight(graph, path, "weight")
        for edge in pairwise(path):
            kept = nx.restricted_view(graph, [], [edge])
            if nx.has_path(kept, source, target):
                gap = min(gap, nx.dijkstra_path_length(kept, source, target) - cost)
        if gap < LEAST_GAP:
            return gap
    return gap
