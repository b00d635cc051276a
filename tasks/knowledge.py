"""Knowledge: recall what past incidents taught, and record what this one teaches."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from models.guardrails import Known, after_outcome
from models.incident import Incident, IncidentState, Outcome, OutcomeKind, Verdict, Verification
from models.ports import UnitOfWork
from models.remedy import ActionState, Remedy, RemedyName
from tasks.diary import stage
from tasks.execute import Execution
from tasks.known import known_in
from tasks.wiring import adapters

ENDS = {OutcomeKind.FIXED, OutcomeKind.FIXED_BY_ITSELF}


@stage("recall")
async def recall(incident: Incident) -> Known:
    """Recall priors, guards, baselines, what is in flight or standing, and what this incident saw fail."""
    async with adapters().store.unit() as uow:
        return await known_in(uow, incident.mesh, incident.id)


def nothing_to_heal() -> Outcome:
    """Say that no incident waits: the quiet end of an audit."""
    return Outcome(None, None, "no incident waits", "", adapters().clock.now())


def planned_only(remedy: Remedy) -> Outcome:
    """Say what would have been done."""
    steps = ", ".join(f"{one.verb} on {one.node}" for one in remedy.actions) or "nothing to change"
    reason = f"would {remedy.name} ({steps}): {remedy.reason}"
    return Outcome(remedy.incident, OutcomeKind.DRY_RUN, reason, remedy.plan_hash, adapters().clock.now())


@stage("learn")
async def record(incident: Incident, remedy: Remedy, execution: Execution, verification: Verification) -> Outcome:
    """Judge the turn, store the outcome, update the guards, and close or hand on the incident."""
    world = adapters()
    now = world.clock.now()
    kind = _kind(remedy, execution, verification)
    outcome = Outcome(incident.id, kind, _reason(remedy, execution, verification), remedy.plan_hash, now)
    async with world.store.unit() as uow:
        current = await uow.incidents.get(incident.id, for_update=True) or incident
        await uow.incidents.record_outcome(outcome)
        await _say_for_the_dead(uow, incident, now)
        guards = await uow.guards.load(incident.mesh)
        await uow.guards.save(
            incident.mesh, after_outcome(guards, remedy, kind, world.limits, now=now, applied=execution.was_applied)
        )
        # Giving a link back is over either way: the next attempt is an incident of its own.
        if kind in ENDS or remedy.name is RemedyName.UNCOST_LINK:
            current = replace(current, state=IncidentState.CLOSED, closed_at=now)
        elif remedy.name is RemedyName.ESCALATE:
            current = replace(current, state=IncidentState.ESCALATED)
        else:
            current = replace(current, state=IncidentState.OPEN)
        await uow.incidents.save(current)
    return outcome


async def _say_for_the_dead(uow: UnitOfWork, incident: Incident, now: datetime) -> None:
    """Record as fixed what an earlier run proved and committed, and died before it could say so."""
    story = await uow.incidents.story(incident.id)
    if story is None:
        return
    committed = {one.plan_hash for one in story.operations if one.state is ActionState.COMMITTED}
    left = committed - {one.plan_hash for one in story.outcomes}
    for one in story.verifications:
        if one.verdict is Verdict.HEALED and one.plan_hash in left:
            reason = f"{one.reason}; the run that proved it ended before it was judged"
            await uow.incidents.record_outcome(Outcome(incident.id, OutcomeKind.FIXED, reason, one.plan_hash, now))


def _kind(remedy: Remedy, execution: Execution, verification: Verification) -> OutcomeKind:
    if remedy.actions and not execution.was_applied:
        healed = verification.verdict is Verdict.HEALED
        return OutcomeKind.FIXED_BY_ITSELF if healed else OutcomeKind.REFUSED
    if verification.verdict is Verdict.HEALED:
        return OutcomeKind.FIXED if remedy.actions else OutcomeKind.FIXED_BY_ITSELF
    if verification.verdict is Verdict.WORSE:
        return OutcomeKind.WORSE_UNDONE
    if verification.verdict is Verdict.INCONCLUSIVE:
        return OutcomeKind.AMBIGUOUS
    return OutcomeKind.NO_EFFECT


def _reason(remedy: Remedy, execution: Execution, verification: Verification) -> str:
    if remedy.actions and not execution.was_applied:
        return execution.reason
    return verification.reason
