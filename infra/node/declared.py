"""The mesh that a set of node places adds up to: what one machine each was told about itself, read together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.node.place import LinkEnd, NodePlace
from models.errors import ConfigurationInvalid
from models.mesh import Interface, Link, LinkId, Mesh, Node, NodeId, RoutingDaemon


def read_places(folder: Path, *, mesh: str) -> tuple[NodePlace, ...]:
    """Read every `<node>.json` of a folder, in order of names; none where there is no folder.

    Raises:
        ConfigurationInvalid: a file is no place, or is another node's or another mesh's.
    """
    return tuple(read_place(path, mesh=mesh) for path in sorted(folder.glob("*.json")))


def read_place(path: Path, *, mesh: str) -> NodePlace:
    """Read `<node>.json`.

    Raises:
        ConfigurationInvalid: as in `read_places`.
    """
    place = NodePlace.load(path)
    if (place.mesh, place.node) != (mesh, path.stem):
        raise ConfigurationInvalid(
            f"{path} is the place of node {place.node} of mesh {place.mesh}, not of {path.stem} of {mesh}",
            "name the file after its node, and the mesh as X0_MESH does",
        )
    return place


def mesh_of(name: str, places: Sequence[NodePlace]) -> Mesh:
    """Put places together.

    Raises:
        ConfigurationInvalid: an end of a link has no counterpart that says the same, or two links join one pair.
    """
    ends = {(place.node, end.peer): end for place in places for end in place.links}
    if len(ends) != sum(len(place.links) for place in places):
        raise ConfigurationInvalid(f"two links of mesh {name} join the same nodes", "declare one of them")
    nodes = tuple(
        Node(NodeId(place.node), place.address, place.daemon.kind if place.daemon else RoutingDaemon.BABELD)
        for place in places
    )
    links = tuple(
        _link(a, b, mine=ends[a, b], other=ends.get((b, a)))
        for a, b in ends
        # Each link once, from its first end; an end whose counterpart is missing is looked at too, and refused.
        if a < b or (b, a) not in ends
    )
    return Mesh(name, nodes, links)


def _link(a: str, b: str, *, mine: LinkEnd, other: LinkEnd | None) -> Link:
    mirrored = other and (other.peer_address, other.address, other.cost)
    if other is None or mirrored != (mine.address, mine.peer_address, mine.cost):
        raise ConfigurationInvalid(
            f"{a} declares a link to {b} ({mine.address} to {mine.peer_address}, cost {mine.cost}), and {b} does not",
            f"write the same link into {b}'s place, or take it out of {a}'s",
        )
    return Link(
        LinkId(f"{a}--{b}"), Interface(NodeId(a), mine.interface), Interface(NodeId(b), other.interface), mine.cost
    )
