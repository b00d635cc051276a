"""Turning a trial's "auto" into nodes and links of the mesh at hand. Pure."""

from __future__ import annotations

from infra.lab.build import Lab
from infra.lab.faults import PLACES, Harm, looping_neighbour
from infra.lab.flowhash import flow_class
from infra.lab.topology import cheapest_path, links_along
from infra.lab.traffic import SOURCE_PORT, TARGET_PORT
from infra.lab.trial import AUTO, FaultSpec, TrialSpec
from models.errors import ConfigurationInvalid
from models.incident import FaultKind
from models.mesh import Element, ElementKind, LinkId, Mesh, NodeId

BLACKHOLE = "blackhole"


def ends(spec: TrialSpec, mesh: Mesh) -> tuple[NodeId, NodeId]:
    """Return the traffic's source and target; auto is the node most hops away, the first of several."""
    source = NodeId(spec.traffic.source)
    if spec.traffic.target != AUTO:
        return source, NodeId(spec.traffic.target)
    return source, max(
        (node.id for node in mesh.nodes if node.id != source), key=lambda node: len(cheapest_path(mesh, source, node))
    )


def harm(spec: FaultSpec, lab: Lab, path: tuple[NodeId, ...]) -> Harm:
    """Return what to break, given the traffic's path from source to target.

    Raises:
        ConfigurationInvalid: the path has no middle node for a fault that needs one.
    """
    element = _element(spec, lab.mesh, path)
    via: NodeId | None = None
    if spec.kind is FaultKind.ROUTE_DRIFT and spec.via == AUTO:
        via = looping_neighbour(lab, NodeId(element.name), path[-1])
    elif spec.via not in {AUTO, BLACKHOLE}:
        via = NodeId(spec.via)
    return Harm(
        kind=spec.kind,
        element=element,
        percent=spec.percent,
        grey=spec.grey,
        flow_class=_flow_class(lab.mesh, path) if spec.flow_class == AUTO else spec.flow_class,
        toward=_toward(spec, lab.mesh, element, path),
        kbit=spec.kbit,
        period_s=spec.period_s,
        target=path[-1],
        via=via,
    )


def nodes_of(element: Element, mesh: Mesh) -> frozenset[NodeId]:
    """Return a link's two nodes, or the node itself."""
    if element.kind is ElementKind.LINK:
        return frozenset(mesh.link(LinkId(element.name)).nodes)
    return frozenset({NodeId(element.name)})


def _element(spec: FaultSpec, mesh: Mesh, path: tuple[NodeId, ...]) -> Element:
    if PLACES[spec.kind] is ElementKind.LINK:
        links = links_along(mesh, path)
        return Element.of_link(LinkId(spec.place) if spec.place != AUTO else links[(len(links) - 1) // 2].id)
    if spec.place != AUTO:
        return Element.of_node(NodeId(spec.place))
    inner = path[1:-1]
    if not inner:
        raise ConfigurationInvalid(
            f"the traffic's path {' '.join(path)} has no node between its ends", f"name a place for {spec.kind}"
        )
    return Element.of_node(inner[(len(inner) - 1) // 2])


def _after(path: tuple[NodeId, ...], node: NodeId) -> NodeId | None:
    return path[path.index(node) + 1] if node in path[:-1] else None


def _toward(spec: FaultSpec, mesh: Mesh, element: Element, path: tuple[NodeId, ...]) -> NodeId | None:
    if spec.kind not in {FaultKind.ONE_WAY, FaultKind.QDISC_DRIFT}:
        return None
    if spec.toward != AUTO:
        return NodeId(spec.toward)
    one, other = mesh.link(LinkId(element.name)).nodes
    return other if _after(path, one) == other else one


def _flow_class(mesh: Mesh, path: tuple[NodeId, ...]) -> int:
    source, target = mesh.node(path[0]).address, mesh.node(path[-1]).address
    return flow_class(source, target, source_port=SOURCE_PORT, target_port=TARGET_PORT)
