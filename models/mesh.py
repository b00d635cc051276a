"""What a mesh is made of: nodes, links, the interfaces at a link's two ends, and the elements a cause may name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NewType

NodeId = NewType("NodeId", str)
LinkId = NewType("LinkId", str)


class RoutingDaemon(StrEnum):
    """The routing daemon a node runs. We sit above it and never replace it."""

    BABELD = "babeld"
    BIRD = "bird"


@dataclass(frozen=True, slots=True, order=True)
class Interface:
    """One end of a link: a named interface of one node. Written `n0:to-n1`."""

    node: NodeId
    name: str

    def __str__(self) -> str:
        return f"{self.node}:{self.name}"


@dataclass(frozen=True, slots=True)
class Node:
    """A mesh host.

    Attributes:
        id: Short name, unique in the mesh.
        address: IPv4 address of the loopback, announced into the mesh (`10.42.0.1`, no prefix length).
        daemon: Which routing daemon runs here.
    """

    id: NodeId
    address: str
    daemon: RoutingDaemon = RoutingDaemon.BABELD


@dataclass(frozen=True, slots=True)
class Link:
    """An undirected pair of interfaces.

    Attributes:
        id: `n0--n1`, the ends' names in order; unique in the mesh.
        a: One end.
        b: The other.
        cost: The configured routing cost when healthy, the same at both ends.
    """

    id: LinkId
    a: Interface
    b: Interface
    cost: int

    @property
    def nodes(self) -> tuple[NodeId, NodeId]:
        """Both ends' nodes, `a` first."""
        return self.a.node, self.b.node

    def end_at(self, node: NodeId) -> Interface:
        """Return this link's interface at `node`; ValueError when the link does not touch it."""
        if node == self.a.node:
            return self.a
        if node == self.b.node:
            return self.b
        message = f"link {self.id} does not touch node {node}"
        raise ValueError(message)

    def far_end(self, interface: Interface) -> Interface:
        """Return the interface at the other side of `interface`."""
        return self.b if interface == self.a else self.a


@dataclass(frozen=True)
class Mesh:
    """The nodes and links of one installation, as declared (not as measured)."""

    name: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    def node(self, node: NodeId) -> Node:
        """Return the node of that name; KeyError when there is none."""
        return self._nodes[node]

    def link(self, link: LinkId) -> Link:
        """Return the link of that id; KeyError when there is none."""
        return self._links[link]

    def links_of(self, node: NodeId) -> tuple[Link, ...]:
        """Return the links that touch `node`, in declared order."""
        return self._links_at.get(node, ())

    @cached_property
    def _nodes(self) -> dict[NodeId, Node]:
        return {one.id: one for one in self.nodes}

    @cached_property
    def _links(self) -> dict[LinkId, Link]:
        return {one.id: one for one in self.links}

    @cached_property
    def _links_at(self) -> dict[NodeId, tuple[Link, ...]]:
        found: dict[NodeId, list[Link]] = {}
        for link in self.links:
            for node in dict.fromkeys(link.nodes):
                found.setdefault(node, []).append(link)
        return {node: tuple(links) for node, links in found.items()}


class ElementKind(StrEnum):
    """What a symptom, a cause or a guard may point at."""

    NODE = "node"
    LINK = "link"


@dataclass(frozen=True, slots=True, order=True)
class Element:
    """A node or a link, by name: the thing that is ill, acted on, or cooled down. Written `link:n0--n1`."""

    kind: ElementKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def of_node(cls, node: NodeId) -> Element:
        """Name a node as an element."""
        return cls(ElementKind.NODE, node)

    @classmethod
    def of_link(cls, link: LinkId) -> Element:
        """Name a link as an element."""
        return cls(ElementKind.LINK, link)
