"""Diagnosis by explicit rules over the symptoms of one incident."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from models.correlation import dead_nodes, explains
from models.graph import paths
from models.incident import Cause, Diagnosis, Evidence, FaultKind, Incident, Symptom, SymptomKind
from models.linkrules import LOSSY, link_causes
from models.mesh import Element, ElementKind, Mesh, NodeId
from models.telemetry import DriftKind

_DRIFT_FAULTS = {
    DriftKind.MTU: FaultKind.MTU,
    DriftKind.ROUTE: FaultKind.ROUTE_DRIFT,
    DriftKind.SYSCTL: FaultKind.SYSCTL_DRIFT,
    DriftKind.QDISC: FaultKind.QDISC_DRIFT,
}
# A drift is a fact but maybe nobody's harm; with harm seen where it would do it, it is the cause.
_DRIFT_ALONE, _DRIFT_WITH_HARM, _DRIFT_WITH_ITS_OWN_HARM = 0.45, 0.88, 0.94
_STOPPED, _ABSENT, _SILENT, _CONFIRMED = 0.85, 0.85, 0.5, 0.95
_DEAD_NODE, _DEAD_LEAF = 0.92, 0.5
# A dead node's links do not all show at the same look: at the first one a dead link is not sure enough to act on.
A_LOOK = timedelta(seconds=0.4)
_ONE_OF_SEVERAL = 0.75


class RulesDiagnostician:
    """Ranks causes by rules an operator can read."""

    def diagnose(self, incident: Incident, mesh: Mesh, *, at: datetime) -> Diagnosis:
        """Rank the causes of an incident's latest symptoms.

        Args:
            incident: Its symptoms carry everything the rules look at.
            mesh: As declared.
            at: Aware UTC instant of the evidence.

        Returns:
            Causes, best first. A rule's confidence is what it would be alone; a cause ranked lower gets it only of
            what the better ones leave, so the sum never passes 1, and the remainder is "unknown", ranked by its size.
        """
        alone: dict[tuple[Element | None, FaultKind], Cause] = {}
        is_new = at - incident.opened_at < A_LOOK
        for one in _candidates(incident.symptoms, mesh, is_new=is_new):
            key = (one.element, one.fault)
            if key not in alone or one.confidence > alone[key].confidence:
                alone[key] = one
        # Ties go by fault, then by weight of evidence; a name decides only between causes alike in all else.
        ranked = sorted(alone.values(), key=lambda one: (-one.confidence, one.fault, -_weight(one), str(one.element)))
        causes: list[Cause] = []
        left = 1.0
        for one in ranked:
            confidence = round(one.confidence * left, 4)
            causes.append(replace(one, confidence=confidence))
            left -= confidence
        statement = f"{len(incident.symptoms)} symptoms; the rules explain {1 - left:.0%} of such incidents"
        causes.append(Cause(None, FaultKind.UNKNOWN, round(left, 4), (Evidence("rules", statement),)))
        causes.sort(key=lambda one: -one.confidence)
        return Diagnosis(incident.id, at, tuple(causes), "rules")


def _weight(cause: Cause) -> float:
    return max((one.strength or 0.0 for one in cause.evidence), default=0.0)


def _candidates(symptoms: Sequence[Symptom], mesh: Mesh, *, is_new: bool) -> Iterator[Cause]:
    dead = dead_nodes(symptoms, mesh)
    yield from _dead_nodes(symptoms, dead, mesh)
    yield from _daemons(symptoms, mesh)
    yield from _drifts(symptoms, mesh)
    for link in mesh.links:
        mine = [one for one in symptoms if one.element == Element.of_link(link.id)]
        explained = bool(set(link.nodes) & dead) or _has_drift(mine)
        for cause in link_causes(link, mine):
            may_be_its_node = is_new and cause.fault is FaultKind.BLACKHOLE
            weight = 0.3 if explained else _ONE_OF_SEVERAL if may_be_its_node else 1.0
            yield replace(cause, confidence=cause.confidence * weight)
    yield from _not_forwarding(symptoms)


def _has_drift(symptoms: Sequence[Symptom]) -> bool:
    return any(one.kind is SymptomKind.DRIFT for one in symptoms)


def _dead_nodes(symptoms: Sequence[Symptom], dead: frozenset[NodeId], mesh: Mesh) -> Iterator[Cause]:
    for node in sorted(dead):
        links = mesh.links_of(node)
        mine = [one for one in symptoms if one.element in {Element.of_link(link.id) for link in links}]
        silent = any(one.kind is SymptomKind.SILENT_NODE and one.element.name == node for one in symptoms)
        lost = {one.element.name for one in mine}
        statement = (
            f"nothing passes {', '.join(sorted(lost)) or 'any link'}: {len(lost)} of {len(links)} links of {node}"
        )
        if silent:
            statement += "; it sends no samples and answers no neighbour"
        # With one link only, the link may as well be the dead one; routing treats both alike.
        confidence = _DEAD_NODE if len(links) > 1 else _DEAD_LEAF
        yield Cause(Element.of_node(node), FaultKind.NODE_DEAD, confidence, (Evidence(f"links of {node}", statement),))


def _daemons(symptoms: Sequence[Symptom], mesh: Mesh) -> Iterator[Cause]:
    for node in mesh.nodes:
        element = Element.of_node(node.id)
        mine = {one.kind: one for one in symptoms if one.element == element}
        harm = SymptomKind.ROUTING_SILENT in mine or bool(_harmed_pairs(symptoms, element, mesh))
        for kind, fault, alone, words in (
            (SymptomKind.DAEMON_STOPPED, FaultKind.DAEMON_HUNG, _STOPPED, "is stopped (state T)"),
            (SymptomKind.DAEMON_ABSENT, FaultKind.DAEMON_KILLED, _ABSENT, "is not running"),
        ):
            if kind in mine:
                statement = f"{node.daemon} on {node.id} {words} since {mine[kind].since:%H:%M:%S} UTC"
                evidence = (Evidence(f"process {node.daemon} on {node.id}", statement), *_silence(mine))
                yield Cause(element, fault, _CONFIRMED if harm else alone, evidence)
        if (
            SymptomKind.ROUTING_SILENT in mine
            and not {SymptomKind.DAEMON_STOPPED, SymptomKind.DAEMON_ABSENT} & mine.keys()
        ):
            confirmed = bool(_harmed_pairs(symptoms, element, mesh))
            yield Cause(element, FaultKind.DAEMON_HUNG, 0.8 if confirmed else _SILENT, _silence(mine))


def _silence(mine: dict[SymptomKind, Symptom]) -> tuple[Evidence, ...]:
    one = mine.get(SymptomKind.ROUTING_SILENT)
    if one is None:
        return ()
    statement = (
        f"no routing packet left {one.element.name} for {one.facts['seconds']} s, "
        f"where {one.facts['expected_packets']} were due"
    )
    return (Evidence(f"routing from {one.element.name}", statement, one.strength),)


def _drifts(symptoms: Sequence[Symptom], mesh: Mesh) -> Iterator[Cause]:
    for one in symptoms:
        if one.kind is not SymptomKind.DRIFT:
            continue
        facts = one.facts
        drift = DriftKind(str(facts["drift"]))
        on_link = one.element.kind is ElementKind.LINK
        subject = f"{facts['node']}:{facts['subject']}" if on_link else str(facts["subject"])
        statement = f"{subject} is {facts['actual'] or 'missing'}, recorded {facts['expected'] or 'as absent'}"
        confidence, harm = _harm(one, drift, symptoms, mesh)
        evidence = (Evidence(f"drift {subject}", statement), *harm)
        yield Cause(one.element, _DRIFT_FAULTS[drift], confidence, evidence, subject)


def _harm(
    drift: Symptom, kind: DriftKind, symptoms: Sequence[Symptom], mesh: Mesh
) -> tuple[float, tuple[Evidence, ...]]:
    """Look for the harm a drift would do, where it would do it."""
    own = [
        one
        for one in symptoms
        if one.element == drift.element and one.kind in {*LOSSY, SymptomKind.DELAY, SymptomKind.NOT_FORWARDING}
    ]
    if own:
        told = ", ".join(sorted({one.kind.value for one in own}))
        return _DRIFT_WITH_ITS_OWN_HARM, (Evidence("harm", f"{told} on {drift.element.name}", own[0].strength),)
    pairs = _harmed_pairs(symptoms, drift.element, mesh)
    if pairs:
        told = ", ".join(f"{one.facts['from']}>{one.facts['to']}" for one in pairs[:4])
        statement = f"{len(pairs)} pairs by way of {drift.element.name} do not reach each other ({told})"
        return _DRIFT_WITH_HARM, (Evidence("harm", statement, pairs[0].strength),)
    if kind is DriftKind.MTU and any(one.kind is SymptomKind.LARGE_LOSS for one in symptoms):
        return _DRIFT_WITH_HARM, ()
    return _DRIFT_ALONE, ()


def _harmed_pairs(symptoms: Sequence[Symptom], element: Element, mesh: Mesh) -> list[Symptom]:
    unreachable = [one for one in symptoms if one.kind is SymptomKind.UNREACHABLE]
    if not unreachable:
        return []
    ways = paths(mesh, {})
    return [one for one in unreachable if explains(element, one, mesh, ways)]


def _not_forwarding(symptoms: Sequence[Symptom]) -> Iterator[Cause]:
    for one in symptoms:
        drifted = any(other.kind is SymptomKind.DRIFT and other.element == one.element for other in symptoms)
        if one.kind is SymptomKind.NOT_FORWARDING and not drifted:
            statement = f"{one.element.name} refused {one.facts['refused_packets']:.0f} packets it should forward"
            evidence = (Evidence(f"forwarding on {one.element.name}", statement, one.strength),)
            yield Cause(one.element, FaultKind.SYSCTL_DRIFT, 0.5, evidence)
