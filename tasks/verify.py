"""Verify: prove on the affected pairs that acting helped, then commit; otherwise take it back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from models.incident import Cause, Incident, IncidentState, Verdict, Verification
from models.remedy import Closing, Remedy, RemedyName
from models.rules import RulesDiagnostician
from models.verification import Trial, judge
from models.verification import begin as begin_trial
from tasks import execute
from tasks.diary import stage
from tasks.execute import Execution
from tasks.known import costs_after
from tasks.monitor import look
from tasks.wiring import Adapters, adapters

REFUSED_WATCH = timedelta(seconds=3)
ASK_EVERY = timedelta(seconds=0.5)
# Commit must reach the node before its lease runs out: an answer takes up to execute.ANSWER_WITHIN.
BEFORE_LEASE_ENDS = execute.ANSWER_WITHIN


async def begin(incident: Incident, remedy: Remedy) -> Trial:
    """Measure the affected pairs and a control set before acting."""
    world = adapters()
    now = world.clock.now()
    observer = await world.observer(incident.mesh)
    detector = await observer.refresh(now)
    async with world.store.unit() as uow:
        operations = [*await uow.actions.in_flight(incident.mesh), *await uow.actions.standing(incident.mesh)]
    costs = costs_after(operations, observer.mesh, world.limits)
    return begin_trial(incident, remedy, observer.mesh, detector, costs=costs, now=now)


@stage("verify")
async def prove(incident: Incident, remedy: Remedy, trial: Trial, execution: Execution) -> Verification:
    """Ask the affected pairs until they answer clearly, or until the lease is nearly over; then commit or undo.

    Nothing applied: watch whether it passes by itself, and stop early when the evidence points elsewhere.
    """
    world = adapters()
    started = world.clock.now()
    trial = replace(trial, acted_at=started)
    if execution.was_applied:
        verification = await _judged(world, incident, trial, until=started + world.limits.lease - BEFORE_LEASE_ENDS)
    else:
        # What was refused is soon tried again; what nobody tried gets the time that routing may need.
        patience = REFUSED_WATCH if remedy.actions else world.limits.watch
        verification = await _watched(world, incident, remedy, trial, until=started + patience)
    # Written down before the commit: a change that stays must have its proof, whatever dies in between.
    await _record(world, verification)
    if not execution.was_applied:
        return verification
    healed = verification.verdict is Verdict.HEALED
    confirmed = await execute.close(execution.operations, Closing.COMMIT if healed else Closing.UNDO)
    if not healed or confirmed:
        return verification
    await execute.close(execution.operations, Closing.UNDO)
    unconfirmed = replace(
        verification,
        at=world.clock.now(),
        verdict=Verdict.INCONCLUSIVE,
        reason=f"{verification.reason}; but a node did not confirm that it keeps the change, so all of it is undone",
    )
    await _record(world, unconfirmed)
    return unconfirmed


async def _record(world: Adapters, verification: Verification) -> None:
    async with world.store.unit() as uow:
        await uow.incidents.record_verification(verification)


async def _judged(world: Adapters, incident: Incident, trial: Trial, *, until: datetime) -> Verification:
    observer = await world.observer(incident.mesh)
    while True:
        now = world.clock.now()
        verification = judge(trial, await observer.refresh(now), now=now)
        if verification.verdict is not Verdict.INCONCLUSIVE or now >= until:
            return verification
        await asyncio.sleep(ASK_EVERY.total_seconds())


async def _watched(
    world: Adapters, incident: Incident, remedy: Remedy, trial: Trial, *, until: datetime
) -> Verification:
    observer = await world.observer(incident.mesh)
    trial = replace(trial, plan_hash="")
    while True:
        now = world.clock.now()
        verification = judge(trial, await observer.refresh(now), now=now)
        await look(incident.mesh)
        async with world.store.unit() as uow:
            current = await uow.incidents.get(incident.id) or incident
        if verification.verdict is Verdict.HEALED or current.state is IncidentState.CLOSED:
            return replace(verification, verdict=Verdict.HEALED)
        clearer = RulesDiagnostician().diagnose(current, observer.mesh, at=now).best
        if _points_elsewhere(clearer, remedy, world) or now >= until or remedy.name is RemedyName.ESCALATE:
            return verification
        await asyncio.sleep(ASK_EVERY.total_seconds())


def _points_elsewhere(cause: Cause, remedy: Remedy, world: Adapters) -> bool:
    is_sure = cause.confidence >= world.limits.confidence_to_act
    return is_sure and (cause.element, cause.fault) != (remedy.cause.element, remedy.cause.fault)
