"""Correlation: which symptoms are one incident.

Two symptoms belong together when one element explains both: the same link or node, a dead node and its links, a pair
that cannot talk and the element its path uses. What no element explains stays apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from models.graph import paths
from models.incident import Incident, Symptom, SymptomKind
from models.linkview import LinkView
from models.mesh import Element, ElementKind, LinkId, Mesh, NodeId

# A node is dead as a whole within this time; links that died further apart died one by one.
TOGETHER = timedelta(seconds=5)
# Routing repairs most of what pairs notice alone within this time; what lasts longer is worth a look.
PAIRS_WAIT = timedelta(seconds=8)
# Counted or probed, next to nothing passes a dead link.
_DEAD_SHARE = 0.85
_DEAD_LINKS = 2

# Kinds that point at their own element; an unreachable pair only says that something on its way is wrong.
_POINTING = frozenset(SymptomKind) - {SymptomKind.UNREACHABLE}


def correlate(
    symptoms: Sequence[Symptom], mesh: Mesh, *, costs: Mapping[LinkId, int] | None = None
) -> list[tuple[Symptom, ...]]:
    """Group symptoms into incidents.

    Args:
        symptoms: Any order.
        mesh: As declared.
        costs: Links' costs now where they differ from the declared ones; decides whose path a pair uses.

    Returns:
        One group per suspect, the suspect's own symptoms first; every symptom is in exactly one group. Pairs that
        no suspect explains share one group, last.
    """
    ways = paths(mesh, costs or {})
    pointing = [one for one in symptoms if one.kind in _POINTING]
    groups: dict[Element, list[Symptom]] = {}
    dead = dead_nodes(pointing, mesh)
    for one in pointing:
        groups.setdefault(_suspect(one, dead, mesh), []).append(one)
    groups = _merged(groups, mesh)
    orphans: list[Symptom] = []
    for one in symptoms:
        if one.kind in _POINTING:
            continue
        suspect = next((suspect for suspect in groups if explains(suspect, one, mesh, ways)), None)
        if suspect is None:
            orphans.append(one)
        else:
            groups[suspect].append(one)
    found = [_ordered(suspect, group) for suspect, group in groups.items()]
    return [*found, tuple(orphans)] if orphans else found


def belongs(incident: Incident, symptom: Symptom, mesh: Mesh, *, costs: Mapping[LinkId, int] | None = None) -> bool:
    """Say whether a symptom is another sign of an open incident."""
    own = {one.element for one in incident.symptoms if one.kind in _POINTING}
    if symptom.kind in _POINTING:
        return symptom.element in own or any(_same_fault(one, symptom, mesh) for one in incident.symptoms)
    if symptom.element in {one.element for one in incident.symptoms}:
        return True
    ways = paths(mesh, costs or {})
    return any(explains(one, symptom, mesh, ways) for one in own) or not own


def dead_nodes(symptoms: Collection[Symptom], mesh: Mesh) -> frozenset[NodeId]:
    """Return nodes that are silent, or all of whose links (two at least) died at about the same time."""
    silent = {NodeId(one.element.name) for one in symptoms if one.kind is SymptomKind.SILENT_NODE}
    died = {one.element.name: one.since for one in symptoms if is_dead(one)}
    for node in mesh.nodes:
        mine = [died.get(link.id) for link in mesh.links_of(node.id)]
        moments = [one for one in mine if one is not None]
        if len(moments) == len(mine) >= _DEAD_LINKS and max(moments) - min(moments) <= TOGETHER:
            silent.add(node.id)
    return frozenset(silent)


def is_dead(symptom: Symptom) -> bool:
    """Say whether a symptom shows a link over which nothing passes, routing included."""
    if symptom.element.kind is not ElementKind.LINK:
        return False
    if symptom.kind is SymptomKind.CARRIER_DOWN:
        return True
    view = LinkView.of_facts(symptom.facts)
    counted, probed = view.traffic(), view.probes()
    if counted.sent > 0:
        return counted.share >= _DEAD_SHARE
    return probed.sent > 0 and probed.share >= _DEAD_SHARE


def explains(
    suspect: Element, pair: Symptom, mesh: Mesh, ways: Mapping[tuple[NodeId, NodeId], tuple[LinkId, ...]]
) -> bool:
    """Say whether a pair that cannot talk has the suspect on its path, there or back."""
    ends = NodeId(str(pair.facts.get("from", ""))), NodeId(str(pair.facts.get("to", "")))
    used = {*ways.get(ends, ()), *ways.get((ends[1], ends[0]), ())}
    if suspect.kind is ElementKind.LINK:
        return suspect.name in used
    touching = {link.id for link in mesh.links_of(NodeId(suspect.name))}
    return suspect.name in ends or bool(touching & used)


def _suspect(symptom: Symptom, dead: Collection[NodeId], mesh: Mesh) -> Element:
    if symptom.element.kind is ElementKind.LINK:
        for node in mesh.link(LinkId(symptom.element.name)).nodes:
            if node in dead:
                return Element.of_node(node)
    return symptom.element


def _merged(groups: Mapping[Element, list[Symptom]], mesh: Mesh) -> dict[Element, list[Symptom]]:
    """Let a node's own trouble (no daemon, not forwarding) take in the delays of its links; nothing else spreads."""
    merged: dict[Element, list[Symptom]] = {one: list(group) for one, group in groups.items()}
    for element in list(merged):
        if element.kind is ElementKind.LINK and all(one.kind is SymptomKind.DELAY for one in merged[element]):
            link = mesh.link(LinkId(element.name))
            owner = next((Element.of_node(node) for node in link.nodes if Element.of_node(node) in merged), None)
            if owner is not None:
                merged[owner].extend(merged.pop(element))
    return merged


def _same_fault(known: Symptom, fresh: Symptom, mesh: Mesh) -> bool:
    """Say whether two elements fell ill together: a node and its link, or two dead links of one node."""
    if {known.element.kind, fresh.element.kind} == {ElementKind.NODE, ElementKind.LINK}:
        node, link = (known, fresh) if known.element.kind is ElementKind.NODE else (fresh, known)
        touches = node.element.name in mesh.link(LinkId(link.element.name)).nodes
        return touches and node.kind is SymptomKind.SILENT_NODE
    if known.element.kind is ElementKind.NODE or not (is_dead(known) and is_dead(fresh)):
        return False
    ends = set(mesh.link(LinkId(known.element.name)).nodes) & set(mesh.link(LinkId(fresh.element.name)).nodes)
    return bool(ends) and abs(known.since - fresh.since) <= TOGETHER


def is_incident(group: Sequence[Symptom], now: datetime) -> bool:
    """Say whether a group of symptoms is worth an incident yet.

    Delay without loss is how a busy host looks from outside, and nothing in the catalogue answers it. Pairs are the
    last to know where it hurts: alone they wait for the links and nodes on their way to speak.
    """
    kinds = {one.kind for one in group}
    if kinds <= {SymptomKind.DELAY}:
        return False
    waited = now - min(one.since for one in group)
    return not kinds <= {SymptomKind.DELAY, SymptomKind.UNREACHABLE} or waited >= PAIRS_WAIT


def _ordered(suspect: Element, group: Sequence[Symptom]) -> tuple[Symptom, ...]:
    return tuple(sorted(group, key=lambda one: (one.element != suspect, one.kind not in _POINTING, one.since)))
