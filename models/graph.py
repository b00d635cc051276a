"""What the declared mesh's shape implies: what stays connected, what hangs on one node or link, who uses which path.

The only file that knows networkx.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

import networkx as nx

from models.mesh import Element, ElementKind, LinkId, Mesh, NodeId

Pair = tuple[NodeId, NodeId]


def _graph(
    mesh: Mesh, without: Collection[LinkId] = (), without_nodes: Collection[NodeId] = ()
) -> nx.MultiGraph[NodeId]:
    graph: nx.MultiGraph[NodeId] = nx.MultiGraph()
    graph.add_nodes_from(node.id for node in mesh.nodes if node.id not in without_nodes)
    for link in mesh.links:
        if link.id not in without and not set(link.nodes) & set(without_nodes):
            graph.add_edge(*link.nodes, key=link.id)
    return graph


def islands(
    mesh: Mesh, without: Collection[LinkId] = (), *, without_nodes: Collection[NodeId] = ()
) -> frozenset[frozenset[NodeId]]:
    """Return the sets of nodes that reach each other once some links and nodes are gone."""
    graph = _graph(mesh, without, without_nodes)
    return frozenset(frozenset(one) for one in nx.connected_components(graph))


def survives(
    mesh: Mesh,
    without: Collection[LinkId],
    *,
    already: Collection[LinkId] = (),
    without_nodes: Collection[NodeId] = (),
) -> bool:
    """Say whether taking links away leaves every pair connected that was connected before.

    Args:
        mesh: As declared.
        without: The links to be taken away.
        already: Links that carry nothing even before.
        without_nodes: Nodes that pass nothing on before and after; pairs that end there are not counted.
    """
    before = islands(mesh, already, without_nodes=without_nodes)
    return islands(mesh, {*already, *without}, without_nodes=without_nodes) == before


def articulation_nodes(mesh: Mesh, without: Collection[LinkId] = ()) -> frozenset[NodeId]:
    """Return the nodes whose loss would part others from each other."""
    simple: nx.Graph[NodeId] = nx.Graph(_graph(mesh, without))
    return frozenset(nx.articulation_points(simple))


def bridges(mesh: Mesh, without: Collection[LinkId] = ()) -> frozenset[LinkId]:
    """Return the links whose loss alone would part nodes from each other."""
    return frozenset(
        link.id for link in mesh.links if link.id not in without and not survives(mesh, {link.id}, already=without)
    )


def paths(mesh: Mesh, costs: Mapping[LinkId, int]) -> dict[Pair, tuple[LinkId, ...]]:
    """Return the cheapest path of every ordered pair that has one.

    Args:
        mesh: As declared.
        costs: The cost of a link now; a link left out has its declared cost.

    Returns:
        (from, to) -> links in travelling order. Ties go to fewer links, then to the order of declaration, so that
        the answer is the same each time (a routing daemon may choose otherwise among equals).
    """
    best: dict[Pair, tuple[int, LinkId]] = {}
    graph: nx.Graph[NodeId] = nx.Graph()
    graph.add_nodes_from(node.id for node in mesh.nodes)
    for link in mesh.links:
        cost = costs.get(link.id, link.cost)
        a, b = link.nodes
        if (a, b) not in best or cost < best[a, b][0]:
            best[a, b] = best[b, a] = (cost, link.id)
            # A thousandth of the least cost unit a hop prefers fewer hops without overruling any real difference.
            graph.add_edge(a, b, weight=cost * 1000 + 1)
    found: dict[Pair, tuple[LinkId, ...]] = {}
    for source, (_, ways) in nx.all_pairs_dijkstra(graph):
        for target, way in ways.items():
            if source != target:
                found[source, target] = tuple(best[step][1] for step in pairwise(way))
    return found


def affected_pairs(mesh: Mesh, element: Element, costs: Mapping[LinkId, int]) -> frozenset[Pair]:
    """Return the ordered pairs whose path uses the element: crosses the link, or starts, passes or ends at the node."""
    ways = paths(mesh, costs)
    if element.kind is ElementKind.LINK:
        return frozenset(pair for pair, way in ways.items() if element.name in way)
    touching = {link.id for link in mesh.links_of(NodeId(element.name))}
    return frozenset(pair for pair, way in ways.items() if touching & set(way))
