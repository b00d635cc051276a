"""What the declared mesh's shape implies: what stays connected, what hangs on one node or link, who uses which path.

The only file that knows networkx.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import networkx as nx
from networkx.algorithms.community import kernighan_lin_bisection

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


def halves(mesh: Mesh, nodes: Sequence[NodeId]) -> tuple[frozenset[NodeId], frozenset[NodeId]]:
    """Part some of the nodes into two halves, equal but for one node, with few links between them.

    The same mesh and nodes, in the same order, give the same halves. Two nodes at least.

    Source: Kernighan and Lin (1970), begun from the nearer and the farther half of a walk through the mesh.
    """
    graph: nx.Graph[NodeId] = nx.Graph()
    graph.add_nodes_from(nodes)
    # Not of all links of the mesh: whoever cuts a large one asks for a thousand halves.
    graph.add_edges_from(link.nodes for node in nodes for link in mesh.links_of(node) if set(link.nodes) <= graph.nodes)
    walk: dict[NodeId, None] = {}
    for start in graph:
        if start not in walk:
            walk |= dict.fromkeys(nx.bfs_tree(graph, start))
    near = list(walk)[: len(walk) // 2]
    # The seed is for the order in which equal exchanges are tried, no more.
    one, other = kernighan_lin_bisection(graph, (near, list(walk)[len(near) :]), seed=1)
    return frozenset(one), frozenset(other)


def paths(mesh: Mesh, costs: Mapping[LinkId, int]) -> Mapping[Pair, tuple[LinkId, ...]]:
    """Return the cheapest path of every ordered pair that has one, worked out when a pair of its origin is asked for.

    Args:
        mesh: As declared.
        costs: The cost of a link now; a link left out has its declared cost.

    Returns:
        (from, to) -> links in travelling order. Ties go to fewer links, then to the order of declaration, so that
        the answer is the same each time (a routing daemon may choose otherwise among equals).
    """
    return _Paths(mesh, costs)


class _Paths(Mapping[Pair, tuple[LinkId, ...]]):
    """A mesh has the square of its nodes of pairs; whoever asks about a few should not wait for all."""

    def __init__(self, mesh: Mesh, costs: Mapping[LinkId, int]) -> None:
        self._best: dict[Pair, tuple[int, LinkId]] = {}
        self._graph: nx.Graph[NodeId] = nx.Graph()
        self._graph.add_nodes_from(node.id for node in mesh.nodes)
        self._found: dict[NodeId, dict[NodeId, tuple[LinkId, ...]]] = {}
        for link in mesh.links:
            cost = costs.get(link.id, link.cost)
            a, b = link.nodes
            if (a, b) not in self._best or cost < self._best[a, b][0]:
                self._best[a, b] = self._best[b, a] = (cost, link.id)
                # A thousandth of the least cost unit a hop prefers fewer hops without overruling any real difference.
                self._graph.add_edge(a, b, weight=cost * 1000 + 1)

    def __getitem__(self, pair: Pair) -> tuple[LinkId, ...]:
        return self._of(pair[0])[pair[1]]

    def __iter__(self) -> Iterator[Pair]:
        return ((source, target) for source in self._graph for target in self._of(source))

    def __len__(self) -> int:
        return sum(len(self._of(source)) for source in self._graph)

    def _of(self, source: NodeId) -> dict[NodeId, tuple[LinkId, ...]]:
        if source not in self._found:
            ways = nx.single_source_dijkstra_path(self._graph, source) if source in self._graph else {}
            self._found[source] = {
                target: tuple(self._best[step][1] for step in pairwise(way))
                for target, way in ways.items()
                if target != source
            }
        return self._found[source]


def affected_pairs(
    mesh: Mesh, element: Element, costs: Mapping[LinkId, int], *, among: Iterable[Pair] | None = None
) -> frozenset[Pair]:
    """Return the ordered pairs whose path uses the element: crosses the link, or starts, passes or ends at the node.

    Args:
        mesh: As declared.
        element: A link or a node.
        costs: As `paths`.
        among: The pairs to choose from; all of them otherwise, which a large mesh has too many of.
    """
    ways = paths(mesh, costs)
    links = (
        {LinkId(element.name)}
        if element.kind is ElementKind.LINK
        else {link.id for link in mesh.links_of(NodeId(element.name))}
    )
    return frozenset(pair for pair in (ways if among is None else among) if links & set(ways.get(pair, ())))
