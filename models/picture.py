"""An incident as a picture, before anything is drawn: what stands where, in which colour, with which words.

Read in five seconds: the first line names the element, the fault and the confidence; the rest is why. What an incident
consists of is drawn whole up to a bound, and what is left out is counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.incident import Cause, Symptom
from models.mesh import Element, ElementKind, Mesh, NodeId
from models.ports import IncidentStory

WIDTH, HEIGHT = 1120, 760
# More is no picture but a list, which the API has.
NODES, CAUSES, SYMPTOMS, SIGNALS = 24, 4, 6, 5
_GRAPH_X, _GRAPH_Y, _GRAPH_RADIUS = 290, 305, 150
_TIME_X, _TIME_WIDTH = 210, 330
_BAR_WIDTH = 300
_LINE_CHARACTERS = 66


class Role(StrEnum):
    """What an element is in the incident; the drawing knows a colour for each."""

    ROOT = "root"
    SUSPECT = "suspect"
    SYMPTOM = "symptom"
    WELL = "well"


@dataclass(frozen=True, slots=True)
class Spot:
    """A node on the graph: centre in pixels, name, role, and its confidence in words (empty for none)."""

    x: float
    y: float
    name: str
    role: Role
    note: str


@dataclass(frozen=True, slots=True)
class Line:
    """A link on the graph, between two spots; the note stands at its middle."""

    x1: float
    y1: float
    x2: float
    y2: float
    role: Role
    note: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A row with a bar: what it says, how long the bar is in pixels, and the words behind it."""

    label: str
    length: float
    note: str
    role: Role


@dataclass(frozen=True, slots=True)
class Stretch:
    """A symptom in time: a bar from `x` on, in pixels."""

    label: str
    x: float
    length: float
    note: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant on the timeline."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is drawn.

    Attributes:
        headline: Element and fault, or that it is unknown.
        confidence: Of the headline, 0..1.
        subtitle: Which incident, since when, in which state, by which method.
        why: The strongest evidence, in one sentence; empty without any.
        is_sure: Whether the confidence is one that may act by itself.
        spots: Nodes.
        lines: Links.
        unseen_nodes: How many nodes were left out.
        causes: Candidates with their confidence.
        timeline: Symptoms.
        marks: When it was opened, diagnosed, how it ended.
        signals: What decided.
    """

    headline: str
    confidence: float
    subtitle: str
    why: str
    is_sure: bool
    spots: tuple[Spot, ...]
    lines: tuple[Line, ...]
    unseen_nodes: int
    causes: tuple[Bar, ...]
    timeline: tuple[Stretch, ...]
    marks: tuple[Mark, ...]
    signals: tuple[Bar, ...]


# Above this the healing cycle may act without asking (Limits.confidence_to_act).
_SURE = 0.7


def picture_of(story: IncidentStory, mesh: Mesh) -> Picture:
    """Lay out one incident.

    Args:
        story: What is known of it; its newest diagnosis is drawn.
        mesh: As declared.
    """
    incident = story.incident
    diagnosis = story.diagnoses[-1] if story.diagnoses else None
    causes = diagnosis.causes if diagnosis else ()
    best = causes[0] if causes else None
    spots, lines, unseen = _graph(mesh, causes, incident.symptoms)
    method = f"diagnosed by {diagnosis.method[:16]}" if diagnosis else "not diagnosed yet"
    timeline, marks = _timeline(story)
    return Picture(
        headline=_headline(best),
        confidence=best.confidence if best else 0.0,
        subtitle=f"{incident.id} on {incident.mesh} · {incident.state} · "
        f"opened {incident.opened_at:%d %b %H:%M:%S} UTC · {method}",
        why=_cut(best.evidence[0].statement, 120) if best and best.evidence else "",
        is_sure=best is not None and best.element is not None and best.confidence >= _SURE,
        spots=spots,
        lines=lines,
        unseen_nodes=unseen,
        causes=tuple(_cause_bar(one, is_best=one is best) for one in causes[:CAUSES]),
        timeline=timeline,
        marks=marks,
        signals=_signals(best),
    )


def _headline(best: Cause | None) -> str:
    if best is None:
        return "no diagnosis yet"
    if best.element is None:
        return "cause unknown"
    return _cut(f"{best.element.kind} {best.element.name}: {_plain(best.fault)}", 60)


def _cause_bar(cause: Cause, *, is_best: bool) -> Bar:
    what = "unknown" if cause.element is None else f"{cause.element.name}: {_plain(cause.fault)}"
    role = Role.WELL if cause.element is None else Role.ROOT if is_best else Role.SUSPECT
    return Bar(_cut(what, 44), _BAR_WIDTH * _share(cause.confidence), f"{cause.confidence:.0%}", role)


# --- the graph


def _graph(
    mesh: Mesh, causes: Sequence[Cause], symptoms: Sequence[Symptom]
) -> tuple[tuple[Spot, ...], tuple[Line, ...], int]:
    roles, notes = _roles(causes, symptoms)
    shown = _nodes_to_show(mesh, roles)
    place: dict[NodeId, tuple[float, float]] = {}
    for index, node in enumerate(shown):
        # Clockwise from the top, in the order in which they are declared.
        angle = 2 * math.pi * index / len(shown) - math.pi / 2
        radius = _GRAPH_RADIUS if len(shown) > 1 else 0.0
        place[node] = (
            round(_GRAPH_X + 1.25 * radius * math.cos(angle), 1),
            round(_GRAPH_Y + radius * math.sin(angle), 1),
        )
    lines = []
    for link in mesh.links:
        a, b = link.nodes
        if a in place and b in place:
            element = Element.of_link(link.id)
            role = roles.get(element, Role.WELL)
            lines.append(Line(*place[a], *place[b], role, notes.get(element, "")))
    spots = tuple(
        Spot(*place[node], node, roles.get(Element.of_node(node), Role.WELL), notes.get(Element.of_node(node), ""))
        for node in shown
    )
    # The ill ones are drawn last, on top.
    lines.sort(key=lambda one: (_RANK[one.role], one.x1, one.y1, one.x2, one.y2), reverse=True)
    return spots, tuple(lines), len(mesh.nodes) - len(shown)


_RANK = {role: rank for rank, role in enumerate(Role)}


def _roles(causes: Sequence[Cause], symptoms: Sequence[Symptom]) -> tuple[dict[Element, Role], dict[Element, str]]:
    roles: dict[Element, Role] = {one.element: Role.SYMPTOM for one in symptoms}
    confidence: dict[Element, float] = {}
    for one in causes:
        if one.element is not None:
            confidence[one.element] = confidence.get(one.element, 0.0) + one.confidence
            roles[one.element] = Role.SUSPECT
    best = causes[0].element if causes else None
    if best is not None:
        roles[best] = Role.ROOT
    return roles, {element: f"{share:.0%}" for element, share in confidence.items()}


def _nodes_to_show(mesh: Mesh, roles: dict[Element, Role]) -> list[NodeId]:
    """Choose the nodes: those of the incident, then their neighbours, then the rest, up to the bound."""
    involved = {NodeId(one.name) for one in roles if one.kind is ElementKind.NODE}
    names = {one.name for one in roles if one.kind is ElementKind.LINK}
    involved |= {node for link in mesh.links if link.id in names for node in link.nodes}
    beside = {node for link in mesh.links if set(link.nodes) & involved for node in link.nodes}
    ranked = sorted(mesh.nodes, key=lambda one: 0 if one.id in involved else 1 if one.id in beside else 2)
    chosen = {one.id for one in ranked[:NODES]}
    return [one.id for one in mesh.nodes if one.id in chosen]


# --- the rest


def _timeline(story: IncidentStory) -> tuple[tuple[Stretch, ...], tuple[Mark, ...]]:
    incident = story.incident
    symptoms = sorted(incident.symptoms, key=lambda one: (one.since, str(one.element), one.kind))
    ends = [one.at for one in symptoms]
    happened: list[tuple[datetime, str]] = [(incident.opened_at, "opened")]
    happened += [(one.at, "diagnosed") for one in story.diagnoses[-1:]]
    happened += [(one.at, str(one.kind)) for one in story.outcomes[-1:]]
    if incident.closed_at is not None:
        happened.append((incident.closed_at, "closed"))
    begin = min([*(one.since for one in symptoms), *(at for at, _ in happened)])
    end = max([*ends, *(at for at, _ in happened)])
    whole = max((end - begin).total_seconds(), 1.0)

    def x(at: datetime) -> float:
        return round(_TIME_X + _TIME_WIDTH * (at - begin).total_seconds() / whole, 1)

    stretches = tuple(
        Stretch(
            _cut(f"{one.element.name} {_plain(one.kind)}", 26),
            x(one.since),
            max(3.0, round(x(one.at) - x(one.since), 1)),
            f"{(one.at - one.since).total_seconds():.1f} s",
        )
        for one in symptoms[:SYMPTOMS]
    )
    seconds = {at: (at - begin).total_seconds() for at, _ in happened}
    return stretches, tuple(Mark(x(at), f"{label} +{seconds[at]:.1f} s") for at, label in happened)


def _signals(best: Cause | None) -> tuple[Bar, ...]:
    if best is None:
        return ()
    evidence = best.evidence[:SIGNALS]
    measured = [one.strength for one in evidence if one.strength is not None and math.isfinite(one.strength)]
    most = max(measured, default=0.0)

    def length(strength: float | None) -> float:
        if strength is None:
            return 0.0
        # An infinite strength is a past without any spread: as long as a bar gets.
        return _BAR_WIDTH * (_share(strength / most) if math.isfinite(strength) and most > 0 else 1.0)

    return tuple(
        Bar(
            _cut(one.statement, _LINE_CHARACTERS),
            round(length(one.strength), 1),
            "" if one.strength is None else _figure(one.strength),
            Role.ROOT,
        )
        for one in evidence
    )


def _figure(strength: float) -> str:
    return f"{strength:.1f}" if math.isfinite(strength) else "past without spread"


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 3)


def _plain(word: str) -> str:
    return str(word).replace("_", " ").replace("-", " ")


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
