"""Planning: from ranked causes to one remedy within the limits.

The catalogue is data: each fault's remedies in the order an experienced operator would try them. Verified counts
may demote one that failed again and again; the guards may refuse it; a person may have to agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from models.bandit import expected_success
from models.graph import articulation_nodes
from models.guardrails import Known, Patience, Refusal, costed_out, refusals, strike_key, touches_articulation
from models.incident import Cause, Diagnosis, FaultKind, IncidentId
from models.mesh import Element, ElementKind, Interface, Link, LinkId, Mesh, NodeId
from models.remedy import Action, Limits, Prior, Remedy, RemedyName, Tier, Verb

__all__ = ["CATALOGUE", "Known", "choose", "cost_actions"]

_COST_OUT = (RemedyName.COST_OUT_LINK,)

CATALOGUE: Mapping[FaultKind, tuple[RemedyName, ...]] = {
    FaultKind.LOSS: _COST_OUT,
    FaultKind.GREY: _COST_OUT,
    FaultKind.ONE_WAY: _COST_OUT,
    FaultKind.BLACKHOLE: _COST_OUT,
    FaultKind.RATE_CLAMP: _COST_OUT,
    FaultKind.CARRIER_FLAP: _COST_OUT,
    FaultKind.MTU: (RemedyName.RESTORE_MTU, RemedyName.COST_OUT_LINK),
    FaultKind.QDISC_DRIFT: (RemedyName.RESTORE_QDISC, RemedyName.COST_OUT_LINK),
    FaultKind.ROUTE_DRIFT: (RemedyName.RESTORE_ROUTE,),
    FaultKind.SYSCTL_DRIFT: (RemedyName.RESTORE_SYSCTL,),
    FaultKind.DAEMON_HUNG: (RemedyName.RESTART_DAEMON,),
    FaultKind.DAEMON_KILLED: (RemedyName.RESTART_DAEMON,),
    # Routing repairs these in under a second, and there is nothing of ours that could do better.
    FaultKind.LINK_DOWN: (RemedyName.OBSERVE,),
    FaultKind.NODE_DEAD: (RemedyName.OBSERVE,),
    FaultKind.UNKNOWN: (RemedyName.OBSERVE,),
}
"""Fault -> remedies, best first. After the last one comes ESCALATE, for every fault."""


def choose(diagnosis: Diagnosis, mesh: Mesh, known: Known, limits: Limits, *, now: datetime) -> Remedy:
    """Choose the remedy for the best-ranked cause that is sure enough to act on, or to ask about.

    Args:
        diagnosis: Ranked causes.
        mesh: As declared.
        known: Priors, guards, what is in flight or standing, baselines.
        limits: Guardrails as data.
        now: Aware UTC.

    Returns:
        The remedy, with every better-ranked one a guard refused. OBSERVE when nobody is sure, when waiting ends the
        refusal, or when routing repairs it; ESCALATE when nothing allowed is left.
    """
    cause = next((one for one in diagnosis.causes if one.fault is not FaultKind.UNKNOWN), diagnosis.best)
    if cause.confidence < limits.confidence_to_ask:
        cause = diagnosis.best
        if cause.fault is not FaultKind.UNKNOWN:
            reason = f"{_named(cause)} is at {cause.confidence:.2f} only; below {limits.confidence_to_ask:.2f} we watch"
            return _idle(RemedyName.OBSERVE, diagnosis, cause, reason)
    if _is_costed_out_already(cause, mesh, known):
        return _idle(RemedyName.OBSERVE, diagnosis, cause, "the link carries no traffic any more; probing goes on")
    refused: list[tuple[RemedyName, str]] = []
    ends: list[Patience] = []
    for name, success, counts in _ranked(cause.fault, known):
        remedy = Remedy(diagnosis.incident, name, cause, (), Tier.OBSERVE, "", diagnosis.at)
        if name is not RemedyName.OBSERVE:
            actions = _actions(name, cause, mesh, known, limits)
            if not actions:
                refused.append((name, "the recorded baseline does not say what to restore here"))
                ends.append(Patience.ESCALATE)
                continue
            remedy = replace(remedy, actions=actions, tier=_tier(cause, limits))
            if touches_articulation(remedy, articulation_nodes(mesh, costed_out(known.standing, mesh))):
                remedy = replace(remedy, tier=Tier.APPROVAL)
        remedy = _not_sent_before(remedy, known)
        no = _first_refusal(remedy, mesh, known, limits, now)
        if no is None:
            reason = f"{name} for {_named(cause)} at {cause.confidence:.2f}; expected success {success:.2f} ({counts})"
            return replace(remedy, reason=reason, refused=tuple(refused))
        refused.append((name, no.sentence))
        ends.append(no.then)
    # One remedy that only has to wait is reason enough to wait; without any, a person has to look.
    last = RemedyName.OBSERVE if Patience.WAIT in ends else RemedyName.ESCALATE
    why = "; ".join(f"{name}: {sentence}" for name, sentence in refused)
    return replace(
        _idle(last, diagnosis, cause, f"no remedy may act on {_named(cause)} now: {why}"), refused=tuple(refused)
    )


def cost_actions(link: Link, cost: int) -> tuple[Action, ...]:
    """Set a link's routing cost at both ends: routing takes a path's cost from each end on its own."""
    return tuple(
        Action(end.node, Verb.SET_COST, {"interface": end.name, "cost": cost}, Element.of_link(link.id))
        for end in (link.a, link.b)
    )


def _not_sent_before(remedy: Remedy, known: Known) -> Remedy:
    """Number the attempt: a node answers for an operation it knows with what became of it, and acts no second time."""
    while remedy.plan_hash in known.spent - known.tried:
        remedy = replace(remedy, attempt=remedy.attempt + 1)
    return remedy


def _first_refusal(remedy: Remedy, mesh: Mesh, known: Known, limits: Limits, now: datetime) -> Refusal | None:
    if not remedy.actions:
        # Watching is no action, but watching without end is no remedy either.
        strikes = known.guards.strikes.get(strike_key(remedy), 0)
        if strikes < limits.strikes_before_escalation:
            return None
        return Refusal(f"watched {strikes} times and it did not pass", Patience.ESCALATE)
    return next(refusals(remedy, mesh, known, limits, now=now), None)


def _ranked(fault: FaultKind, known: Known) -> list[tuple[RemedyName, float, str]]:
    ranked = []
    for place, name in enumerate(CATALOGUE[fault]):
        counts = known.priors.get((fault, name), Prior())
        told = f"{counts.fixed} fixed, {counts.failed} failed before; place {place + 1} in the catalogue"
        ranked.append((name, expected_success(place, counts), told))
    return sorted(ranked, key=lambda one: -one[1])


def _tier(cause: Cause, limits: Limits) -> Tier:
    return Tier.AUTO if cause.confidence >= limits.confidence_to_act else Tier.APPROVAL


def _idle(name: RemedyName, diagnosis: Diagnosis, cause: Cause, reason: str) -> Remedy:
    return Remedy(IncidentId(diagnosis.incident), name, cause, (), Tier.OBSERVE, reason, diagnosis.at)


def _named(cause: Cause) -> str:
    return f"{cause.fault} of {cause.element or 'nothing in particular'}"


def _is_costed_out_already(cause: Cause, mesh: Mesh, known: Known) -> bool:
    if cause.element is None or cause.element.kind is not ElementKind.LINK:
        return False
    only_cost_out = CATALOGUE[cause.fault] == _COST_OUT
    return only_cost_out and cause.element.name in costed_out(known.standing, mesh)


def _actions(name: RemedyName, cause: Cause, mesh: Mesh, known: Known, limits: Limits) -> tuple[Action, ...]:
    """Spell a remedy out for a cause; empty when the baseline does not say what to restore."""
    element = cause.element
    if element is None:
        return ()
    if name is RemedyName.COST_OUT_LINK:
        if element.kind is not ElementKind.LINK:
            return ()
        link = mesh.link(LinkId(element.name))
        return cost_actions(link, max(limits.cost_out, link.cost + 1))
    if name is RemedyName.RESTART_DAEMON:
        return (Action(NodeId(element.name), Verb.RESTART_DAEMON, {}, element),)
    if name in {RemedyName.RESTORE_MTU, RemedyName.RESTORE_QDISC}:
        return _restore_on_interface(name, cause, element, known)
    return _restore_on_node(name, cause, element, known)


def _restore_on_interface(name: RemedyName, cause: Cause, element: Element, known: Known) -> tuple[Action, ...]:
    node, _, interface = cause.subject.partition(":")
    baseline = known.baselines.get(Interface(NodeId(node), interface).node)
    if baseline is None:
        return ()
    if name is RemedyName.RESTORE_MTU and interface in baseline.mtu:
        arguments: dict[str, str | int] = {"interface": interface, "mtu": baseline.mtu[interface]}
        return (Action(NodeId(node), Verb.SET_MTU, arguments, element),)
    if name is RemedyName.RESTORE_QDISC and interface in baseline.qdisc:
        arguments = {"interface": interface, "kind": baseline.qdisc[interface]}
        return (Action(NodeId(node), Verb.RESTORE_QDISC, arguments, element),)
    return ()


def _restore_on_node(name: RemedyName, cause: Cause, element: Element, known: Known) -> tuple[Action, ...]:
    node = NodeId(element.name)
    baseline = known.baselines.get(node)
    if baseline is None or not cause.subject:
        return ()
    if name is RemedyName.RESTORE_SYSCTL and cause.subject in baseline.sysctl:
        arguments: dict[str, str | int] = {"name": cause.subject, "value": baseline.sysctl[cause.subject]}
        return (Action(node, Verb.SET_SYSCTL, arguments, element),)
    if name is RemedyName.RESTORE_ROUTE:
        lines = sorted(line for line in baseline.routes if line.split()[:1] == [cause.subject])
        return (Action(node, Verb.RESTORE_ROUTE, {"prefix": cause.subject, "expected": "".join(lines[:1])}, element),)
    return ()
