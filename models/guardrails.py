"""Guardrails: why a remedy may not act now, and how the guards' memory moves on.

Undo is never asked about here: taking back one's own change is always allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from models.graph import islands, survives
from models.incident import FaultKind, Incident, IncidentState, OutcomeKind, SymptomKind
from models.mesh import Element, ElementKind, LinkId, Mesh, NodeId
from models.remedy import (
    Action,
    ActionState,
    GuardState,
    Limits,
    OperationRecord,
    PlanHash,
    Prior,
    Remedy,
    RemedyName,
    Verb,
)
from models.telemetry import NodeBaseline

_HOUR = timedelta(hours=1)
# Doubling a cool-down with every repeat ends here (facts on production systems).
_LONGEST_COOLDOWN = _HOUR
# Two incidents at once are not a storm, however small the mesh.
_NO_STORM = 2
# Three times what a detector looks back over; a busy host's samples come as late as that.
_SYMPTOMS_LAST = timedelta(seconds=10)
_CONSEQUENCES = {SymptomKind.UNREACHABLE, SymptomKind.DELAY}


@dataclass(frozen=True, slots=True)
class Known:
    """What planning and the guards know beside the diagnosis.

    Attributes:
        priors: Verified counts per (fault, remedy).
        guards: The guards' memory.
        in_flight: Operations requested or applied, not yet closed.
        standing: Committed cost changes that nothing replaced.
        open_incidents: How many, or which ones (then links and nodes known to be dead count as gone).
        baselines: Each node's recorded configuration.
        management: The node the controller speaks through, when it speaks over the mesh itself.
        spent: Plans this incident sent of which nothing stands: refused, failed or undone on every node.
        tried: Plans this incident saw fail: the same plan acts once, so asking again would change nothing.
    """

    priors: Mapping[tuple[FaultKind, RemedyName], Prior] = field(default_factory=dict)
    guards: GuardState = field(default_factory=GuardState)
    in_flight: tuple[OperationRecord, ...] = ()
    standing: tuple[OperationRecord, ...] = ()
    open_incidents: int | tuple[Incident, ...] = ()
    baselines: Mapping[NodeId, NodeBaseline] = field(default_factory=dict)
    management: NodeId | None = None
    tried: frozenset[PlanHash] = frozenset()
    spent: frozenset[PlanHash] = frozenset()


_Held = TypeVar("_Held")


class Patience(StrEnum):
    """Whether a refusal ends by waiting, or a person has to look."""

    WAIT = "wait"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guard's no: the sentence, and what to do about it."""

    sentence: str
    then: Patience


def refusal(remedy: Remedy, mesh: Mesh, known: Known, limits: Limits, *, now: datetime) -> str | None:
    """Return the sentence of the first guard that refuses the remedy now, or None when all let it pass."""
    first = next(refusals(remedy, mesh, known, limits, now=now), None)
    return first.sentence if first else None


def refusals(remedy: Remedy, mesh: Mesh, known: Known, limits: Limits, *, now: datetime) -> Iterator[Refusal]:
    """Yield every guard's no, the weightiest first. A remedy without actions is never refused."""
    if not remedy.actions:
        return
    yield from _graph_guards(remedy, mesh, known)
    yield from _memory_guards(remedy, known, limits, now)
    yield from _moment_guards(remedy, mesh, known, limits, now)


def costed_out(operations: Collection[OperationRecord], mesh: Mesh) -> frozenset[LinkId]:
    """Return the links that operations, applied or asked for, take traffic off."""
    return frozenset(
        link
        for one in operations
        if one.state in {ActionState.REQUESTED, ActionState.APPLIED, ActionState.COMMITTED}
        for link in _costs_out(one.action, mesh)
    )


def _costs_out(action: Action, mesh: Mesh) -> Iterator[LinkId]:
    if action.verb is not Verb.SET_COST or action.element.kind is not ElementKind.LINK:
        return
    link = LinkId(action.element.name)
    if int(action.arguments["cost"]) > mesh.link(link).cost:
        yield link


def _graph_guards(remedy: Remedy, mesh: Mesh, known: Known) -> Iterator[Refusal]:
    others = [one for one in (*known.in_flight, *known.standing) if one.plan_hash != remedy.plan_hash]
    already = costed_out(others, mesh) | _dead_links(remedy, mesh, known)
    planned = {link for one in remedy.actions for link in _costs_out(one, mesh)} - costed_out(others, mesh)
    restarting = {
        NodeId(one.action.element.name)
        for one in known.in_flight
        if one.action.verb is Verb.RESTART_DAEMON and one.plan_hash != remedy.plan_hash
    }
    for nodes in ((), *((one,) for one in sorted(restarting))):
        if planned and not survives(mesh, planned, already=already, without_nodes=nodes):
            yield Refusal(f"taking traffic off {', '.join(sorted(planned))} would cut the mesh", Patience.ESCALATE)
            break
    restarted = {NodeId(one.element.name) for one in remedy.actions if one.verb is Verb.RESTART_DAEMON}
    for node in sorted(restarted):
        if known.management is not None and _parts_from(known.management, node, mesh, already):
            yield Refusal(f"a restart on {node} would cut the controller's way to other nodes", Patience.ESCALATE)


def _dead_links(remedy: Remedy, mesh: Mesh, known: Known) -> frozenset[LinkId]:
    """Links that other open incidents show as down: they carry nothing, whatever their cost."""
    if isinstance(known.open_incidents, int):
        return frozenset()
    declared = {link.id for link in mesh.links}
    gone: set[LinkId] = set()
    for incident in known.open_incidents:
        for one in incident.symptoms:
            if incident.id == remedy.incident:
                continue
            if one.kind is SymptomKind.CARRIER_DOWN:
                gone.add(LinkId(one.element.name))
            elif one.kind is SymptomKind.SILENT_NODE:
                gone |= {link.id for link in mesh.links_of(NodeId(one.element.name))}
    return frozenset(gone & declared)


def _parts_from(management: NodeId, node: NodeId, mesh: Mesh, already: Collection[LinkId]) -> bool:
    if management == node:
        return True
    reached = next(one for one in islands(mesh, already) if management in one)
    kept = next(one for one in islands(mesh, already, without_nodes=(node,)) if management in one)
    return bool(reached - kept - {node})


def _memory_guards(remedy: Remedy, known: Known, limits: Limits, now: datetime) -> Iterator[Refusal]:
    guards = known.guards
    strikes = guards.strikes.get(strike_key(remedy), 0)
    if strikes >= limits.strikes_before_escalation:
        yield Refusal(f"{strikes} attempts on {strike_key(remedy)} failed; a person decides", Patience.ESCALATE)
    if remedy.plan_hash in known.tried:
        yield Refusal("this very plan was tried in this incident and did not help", Patience.ESCALATE)
    if remedy.attempt >= limits.attempts_before_escalation:
        yield Refusal(f"the nodes did not take this plan {remedy.attempt} times; a person decides", Patience.ESCALATE)
    for name in _elements(remedy):
        until = guards.cooldown_until.get(name)
        if until is not None and now < until:
            yield Refusal(f"{name} cools down until {until:%H:%M:%S} UTC", Patience.WAIT)
        # Holding a link out is the safe side of flapping; giving it back, or restarting things, is the flapping side.
        if remedy.name is not RemedyName.COST_OUT_LINK and is_suppressed(guards, name, limits, now=now):
            yield Refusal(f"{name} flaps: figure of merit {merit(guards, name, limits, now=now):.0f}", Patience.WAIT)
    last_hour = [one for one in guards.recent if now - one < _HOUR]
    if len(last_hour) >= limits.max_actions_per_hour:
        yield Refusal(f"{len(last_hour)} actions in the last hour are the limit", Patience.ESCALATE)


def _moment_guards(remedy: Remedy, mesh: Mesh, known: Known, limits: Limits, now: datetime) -> Iterator[Refusal]:
    if known.guards.paused:
        yield Refusal("an operator paused all actions", Patience.WAIT)
    count = known.open_incidents if isinstance(known.open_incidents, int) else _ill_elements(known.open_incidents, now)
    if count > max(_NO_STORM, limits.storm_share * len(mesh.nodes)):
        yield Refusal(f"storm: {count} elements are ill at once; only observing", Patience.WAIT)
    age = now - remedy.evidence_at
    if age > limits.evidence_max_age:
        yield Refusal(f"the evidence is {age.total_seconds():.1f} s old; look again", Patience.WAIT)
    elements = _elements(remedy)
    for one in known.in_flight:
        if one.plan_hash != remedy.plan_hash and str(one.action.element) in elements:
            yield Refusal(f"operation {one.operation} is still at work on {one.action.element}", Patience.WAIT)
            return


def _ill_elements(incidents: Collection[Incident], now: datetime) -> int:
    """Count incidents that show an illness of their own; pairs that cannot talk and slow links are consequences.

    One that waits, for a person too, counts while its symptoms last: what is over is no part of a storm.
    """

    def is_ill(incident: Incident) -> bool:
        own = [one for one in incident.symptoms if one.kind not in _CONSEQUENCES]
        lasts = any(now - one.at <= _SYMPTOMS_LAST for one in own)
        return bool(own) and (lasts or incident.state is IncidentState.HEALING)

    return sum(is_ill(one) for one in incidents)


# --- memory ----------------------------------------------------------------------------------------------------------


def strike_key(remedy: Remedy) -> str:
    """Name what strikes are counted on: the element and the fault; a cause without an element counts per incident."""
    element = remedy.cause.element
    return f"{element or 'incident:' + remedy.incident}|{remedy.cause.fault}"


def merit(state: GuardState, element: str, limits: Limits, *, now: datetime) -> float:
    """Return an element's figure of merit, decayed to now.

    Source: RFC 2439, 4.2: a penalty a flap, halved every half-life.
    """
    value, at = state.flap.get(element, (0.0, now))
    return float(value * 0.5 ** max(0.0, (now - at) / limits.flap_half_life))


def is_suppressed(state: GuardState, element: str, limits: Limits, *, now: datetime) -> bool:
    """Say whether an element flapped so much that it has to rest: from the suppress limit down to the reuse limit."""
    value, _ = state.flap.get(element, (0.0, now))
    return value >= limits.flap_suppress and merit(state, element, limits, now=now) > limits.flap_reuse


def after_action(state: GuardState, remedy: Remedy, limits: Limits, *, now: datetime) -> GuardState:
    """Return the state once a remedy was sent off: one more action, and a penalty on each element it heals."""
    if not remedy.actions:
        return state
    recent = tuple(one for one in (*state.recent, now) if now - one < _HOUR)
    flap = dict(state.flap)
    # Giving a link back is the end of a heal, not another one.
    if remedy.name is not RemedyName.UNCOST_LINK:
        for name in _elements(remedy):
            flap[name] = (merit(state, name, limits, now=now) + limits.flap_penalty, now)
    return replace(state, recent=recent, flap=flap)


def after_outcome(
    state: GuardState, remedy: Remedy, kind: OutcomeKind, limits: Limits, *, now: datetime, applied: bool = True
) -> GuardState:
    """Return the state once a turn of the cycle was judged.

    A verified fix clears the strikes and cools its elements down briefly. A failed attempt adds a strike and cools
    down longer, twice as long with each repeat, an hour at most. What was refused, waits, or was only planned
    changes nothing.

    Args:
        state: Before.
        remedy: What was on trial.
        kind: How it ended.
        limits: Times.
        now: Aware UTC.
        applied: Whether the nodes applied it; a remedy without actions never cools anything down.
    """
    if not remedy.actions and remedy.refused:
        # Nothing was tried because a guard said wait; waiting is no failure of anything.
        return state
    key = strike_key(remedy)
    strikes, cooldown = dict(state.strikes), dict(state.cooldown_until)
    if kind in {OutcomeKind.FIXED, OutcomeKind.FIXED_BY_ITSELF}:
        strikes.pop(key, None)
        rest = limits.cooldown_after_success
    elif kind in {OutcomeKind.NO_EFFECT, OutcomeKind.WORSE_UNDONE, OutcomeKind.AMBIGUOUS}:
        strikes[key] = strikes.get(key, 0) + 1
        rest = min(_LONGEST_COOLDOWN, limits.cooldown_after_failure * 2 ** (strikes[key] - 1))
    else:
        return state
    if remedy.actions and applied:
        cooldown |= dict.fromkeys(_elements(remedy), now + rest)
    cooldown = {name: until for name, until in cooldown.items() if until > now}
    return replace(state, strikes=strikes, cooldown_until=cooldown)


def forgiven(state: GuardState, element: str) -> GuardState:
    """Forget an element's strikes, rest and flaps: a person mended what made acting on it fail."""

    def others(kept: Mapping[str, _Held]) -> dict[str, _Held]:
        return {name: value for name, value in kept.items() if name.partition("|")[0] != element}

    return replace(
        state,
        strikes=others(state.strikes),
        cooldown_until=others(state.cooldown_until),
        flap=others(state.flap),
    )


def _elements(remedy: Remedy) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(one.element) for one in remedy.actions))


def touches_articulation(remedy: Remedy, articulation: Collection[NodeId]) -> bool:
    """Say whether an action is on a node (not merely on one of its links) that others depend on."""
    return any(one.element in {Element.of_node(node) for node in articulation} for one in remedy.actions)
