"""Approve: take a person's decision for a plan, once and in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import structlog

from models.errors import DecisionRefused
from models.incident import Incident, IncidentId, IncidentState, Outcome, OutcomeKind
from models.ports import UnitOfWork
from models.remedy import Decision, DecisionKind, PlanHash, Remedy, RemedyName
from tasks.diary import stage
from tasks.wiring import adapters

log = structlog.get_logger()


@stage("await-approval")
async def ask(incident: Incident, remedy: Remedy) -> Outcome:
    """Leave the remedy for a person to decide; the run ends here and a decision starts another."""
    world = adapters()
    now = world.clock.now()
    until = now + world.limits.approval_expiry
    reason = f"{remedy.name} waits for a person until {until:%H:%M:%S} UTC: {remedy.reason}"
    outcome = Outcome(incident.id, OutcomeKind.AWAITING_APPROVAL, reason, remedy.plan_hash, now)
    async with world.store.unit() as uow:
        current = await uow.incidents.get(incident.id, for_update=True) or incident
        if current.state is not IncidentState.CLOSED:
            await uow.incidents.save(replace(current, state=IncidentState.AWAITING_APPROVAL))
        await uow.incidents.record_outcome(outcome)
    return outcome


@stage("take-decision")
async def take(plan: PlanHash, remedy: Remedy) -> None:
    """Use up the approval of a plan; it is good for that very plan, re-made from fresh evidence, and for no other.

    Where fresh evidence asks for nothing else, only for waiting, the approval stays good for as long as it was given.

    Raises:
        DecisionRefused: there is none, it was used, it came too late, it says no, nothing may act just now, or the plan
            has changed since.
    """
    world = adapters()
    async with world.store.unit() as uow:
        decision = await uow.decisions.take(plan)
        if _only_has_to_wait(decision, remedy):
            # What is raised in here undoes the taking.
            raise DecisionRefused(f"not just now, but the approval stands: {remedy.reason}")
    if decision is None:
        raise DecisionRefused("no unused decision for this plan")
    if decision.kind is DecisionKind.DENY:
        raise DecisionRefused(f"denied by {decision.decided_by}")
    if world.clock.now() >= decision.expires_at:
        raise DecisionRefused(f"expired at {decision.expires_at:%H:%M:%S} UTC")
    if remedy.plan_hash != plan:
        async with world.store.unit() as uow:
            await _reopen(uow, decision.incident)
        raise DecisionRefused(f"the evidence changed since it was asked; the plan would now be {remedy.name}")


def _only_has_to_wait(decision: Decision | None, remedy: Remedy) -> bool:
    """Tell whether a yes meets nothing but a limit that time ends, or evidence that a busy host blurs for a while."""
    if decision is None or decision.kind is not DecisionKind.APPROVE:
        return False
    return remedy.name is RemedyName.OBSERVE and adapters().clock.now() < decision.expires_at


async def _reopen(uow: UnitOfWork, incident: IncidentId) -> None:
    current = await uow.incidents.get(incident, for_update=True)
    if current is not None and current.state is IncidentState.AWAITING_APPROVAL:
        await uow.incidents.save(replace(current, state=IncidentState.OPEN))


async def decided(mesh: str) -> list[Decision]:
    """Return approvals to act on; hand on what was denied, and what nobody answered in time."""
    world = adapters()
    now = world.clock.now()
    async with world.store.unit() as uow:
        decisions = await uow.decisions.unused(mesh)
        for decision in decisions:
            if decision.kind is DecisionKind.DENY or now >= decision.expires_at:
                await uow.decisions.take(decision.plan_hash)
                await _escalate(uow, decision.incident)
        for incident in await uow.incidents.open(mesh):
            if incident.state is IncidentState.AWAITING_APPROVAL and await _is_overdue(uow, incident, now):
                await _escalate(uow, incident.id)
    return [one for one in decisions if one.kind is DecisionKind.APPROVE and now < one.expires_at]


async def _is_overdue(uow: UnitOfWork, incident: Incident, now: datetime) -> bool:
    story = await uow.incidents.story(incident.id)
    asked = [one.at for one in story.outcomes if one.kind is OutcomeKind.AWAITING_APPROVAL] if story else []
    return bool(asked) and now - max(asked) >= adapters().limits.approval_expiry


async def _escalate(uow: UnitOfWork, incident: IncidentId) -> None:
    """Hand an incident on to people: expiry and denial escalate, they never act."""
    current = await uow.incidents.get(incident, for_update=True)
    if current is not None and current.state is IncidentState.AWAITING_APPROVAL:
        await uow.incidents.save(replace(current, state=IncidentState.ESCALATED))
        log.warning("incident escalated without a decision", incident=incident)
