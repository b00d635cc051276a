"""Regions: a mesh cut into parts that a detector each watches, and what those detectors tell each other.

One detector's cost grows with the links it watches. Nearly all it does looks at one link or one node, and needs the
samples of that node and its neighbours only. Three things do not; they are small, and travel as an `Outlook`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

from models.graph import halves
from models.incident import Symptom
from models.mesh import LinkId, Mesh, NodeId

# When more links than this lose probes at once, the prober's host is the likelier cause (a dead node has few links).
_MANY_LINKS, _MANY_SHARE = 4, 0.6

# Where a symptom stands in the whole mesh's list: links by their counters, nodes by their samples, silent nodes; then
# the element's place in the declaration.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Region:
    """What one detector watches.

    Attributes:
        nodes: Its own nodes, in declared order; each node of a mesh is in one region.
        links: Its own links, in declared order: those whose first end is its own; each link is in one region.
        seen: Whose samples it needs, in declared order: its own nodes, and their neighbours at the other ends of
            links that cross the border, which two detectors therefore read.
    """

    nodes: tuple[NodeId, ...]
    links: tuple[LinkId, ...]
    seen: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a detector must know of nodes and links that it does not watch, at one moment.

    Attributes:
        patience: The busiest node's factor, 1 or more: a dead node's other links are judged as late as that.
        losing: Links that lost probes of late.
        links: Links watched.
        answers_from: POSIX seconds since when each node's answers can be missed (`NodeHistory.answers_from`).
    """

    patience: float
    losing: int
    links: int
    answers_from: Mapping[NodeId, float]

    @property
    def most_links_lose_probes(self) -> bool:
        """Whether so many links lose probes at once that the host is busy, not every link broken."""
        return self.losing >= max(_MANY_LINKS, _MANY_SHARE * self.links)


def whole(mesh: Mesh) -> Region:
    """Return a mesh as one region."""
    nodes = tuple(node.id for node in mesh.nodes)
    return Region(nodes=nodes, links=tuple(link.id for link in mesh.links), seen=nodes)


def regions(mesh: Mesh, *, most_nodes: int) -> tuple[Region, ...]:
    """Cut a mesh into regions of about equal size with few links between them.

    Args:
        mesh: As declared; the same mesh gives the same regions.
        most_nodes: A region has at most so many nodes of its own, and more than half as many where there are as many
            in all; 1 or more.

    Returns:
        In the order of their first nodes' declaration; none for a mesh without nodes.
    """
    place = {node.id: index for index, node in enumerate(mesh.nodes)}
    uncut, found = [tuple(place)] if place else [], []
    while uncut:
        nodes = uncut.pop()
        if len(nodes) <= most_nodes:
            found.append(nodes)
        else:
            uncut.extend(tuple(sorted(half, key=place.__getitem__)) for half in halves(mesh, nodes))
    found.sort(key=lambda one: place[one[0]])
    number = {link.id: index for index, link in enumerate(mesh.links)}
    return tuple(_region(mesh, one, place, number) for one in found)


def together(outlooks: Iterable[Outlook]) -> Outlook:
    """Return what all regions of a mesh know at one moment, from what each knows of its own part."""
    all_of_them = tuple(outlooks)
    return Outlook(
        patience=max((one.patience for one in all_of_them), default=1.0),
        losing=sum(one.losing for one in all_of_them),
        links=sum(one.links for one in all_of_them),
        answers_from=dict(chain.from_iterable(one.answers_from.items() for one in all_of_them)),
    )


def joined(found: Iterable[Iterable[tuple[Place, Symptom]]]) -> tuple[Symptom, ...]:
    """Return all regions' symptoms of one moment as one detector of the whole mesh would list them."""
    return tuple(symptom for _, symptom in sorted(chain.from_iterable(found), key=itemgetter(0)))


def _region(mesh: Mesh, nodes: tuple[NodeId, ...], place: Mapping[NodeId, int], number: Mapping[LinkId, int]) -> Region:
    """Return the region of these nodes; `place` and `number` are the order of declaration."""
    touching = [link for node in nodes for link in mesh.links_of(node)]
    own, seen = set(nodes), {*nodes, *(end for link in touching for end in link.nodes)}
    return Region(
        nodes=nodes,
        links=tuple(sorted({link.id for link in touching if link.a.node in own}, key=number.__getitem__)),
        seen=tuple(sorted(seen, key=place.__getitem__)),
    )
