"""Monitor: read the mesh, and keep the list of incidents true to what is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from models.correlation import belongs, correlate, is_incident
from models.incident import Incident, IncidentId, IncidentState, Symptom
from models.mesh import Mesh
from models.ports import UnitOfWork
from models.remedy import Limits
from models.rules import RulesDiagnostician
from tasks.diary import stage
from tasks.known import costs_after
from tasks.wiring import adapters

log = structlog.get_logger()

# An escalated incident is called over by itself once its symptoms stayed away this long.
QUIET_BEFORE_CLOSING = timedelta(seconds=30)

# Evidence grows with every sample; a diagnosis that is still unsure after this long is reported as it is.
UNRIPE_FOR_AT_MOST = timedelta(seconds=4)


def incident_id(opened_at: datetime, symptom: Symptom) -> IncidentId:
    """Name an incident by its first moment and place: sortable, readable, the same however often it is computed."""
    return IncidentId(f"{opened_at:%Y%m%dT%H%M%S.%f}-{symptom.element.name}")


async def look(mesh: str) -> list[Incident]:
    """Look once: attach symptoms to open incidents, open new ones, close those that ended by themselves.

    Returns:
        Every incident to turn the cycle for, oldest first: seen now, not waiting for a person, and ripe, which is
        when one cause is sure enough to act on or when waiting for a clearer picture took long enough.
    """
    world = adapters()
    now = world.clock.now()
    observer = await world.observer(mesh)
    detector = await observer.refresh(now)
    symptoms = detector.symptoms(now)
    async with world.store.unit() as uow:
        # Locked: a turn beside us moves its incident on, and what we write must not take that back.
        incidents = await uow.incidents.open(mesh, for_update=True)
        if not symptoms and not incidents:
            return []
        standing = await uow.actions.standing(mesh)
        # Costed out: known to be ill, not news. Their paths moved; those of incidents at work are judged as they were.
        known_ill = {record.action.element for record in standing}
        costs = costs_after(standing, observer.mesh, world.limits)
        news = tuple(one for one in symptoms if one.element not in known_ill)
        kept: list[Incident] = []
        for incident in incidents:
            mine = tuple(one for one in news if belongs(incident, one, observer.mesh, costs=costs))
            news = tuple(one for one in news if one not in mine)
            seen = await _seen_again(uow, incident, mine, now=now, lease=world.limits.lease)
            kept.append(await _asked_too_early(uow, seen, observer.mesh, world.limits, now) if mine else seen)
        for group in correlate(news, observer.mesh, costs=costs):
            if not is_incident(group, now):
                continue
            incident = Incident(incident_id(now, group[0]), mesh, IncidentState.OPEN, now, group)
            await uow.incidents.save(incident)
            kept.append(incident)
    return [one for one in kept if _is_ripe(one, observer.mesh, world.limits, now)]


def _is_ripe(incident: Incident, mesh: Mesh, limits: Limits, now: datetime) -> bool:
    if incident.state not in {IncidentState.OPEN, IncidentState.HEALING} or not incident.symptoms:
        return False
    best = RulesDiagnostician().diagnose(incident, mesh, at=now).best
    return best.confidence >= limits.confidence_to_act or now - incident.opened_at >= UNRIPE_FOR_AT_MOST


async def _seen_again(
    uow: UnitOfWork, incident: Incident, symptoms: tuple[Symptom, ...], *, now: datetime, lease: timedelta
) -> Incident:
    if not incident.symptoms:
        # Giving a link back: what comes of it is that run's to judge; one that died leaves its lease to end it.
        if now - incident.opened_at <= QUIET_BEFORE_CLOSING + lease:
            return incident
        seen = replace(incident, state=IncidentState.CLOSED, closed_at=now)
    elif symptoms:
        seen = replace(incident, symptoms=symptoms)
    elif incident.state is not IncidentState.HEALING and now - _last_seen(incident) > QUIET_BEFORE_CLOSING:
        seen = replace(incident, state=IncidentState.CLOSED, closed_at=now)
    else:
        return incident
    await uow.incidents.save(seen)
    return seen


async def _asked_too_early(uow: UnitOfWork, incident: Incident, mesh: Mesh, limits: Limits, now: datetime) -> Incident:
    """Reopen an incident that was put to a person for want of evidence, once there is enough to act on."""
    if incident.state is not IncidentState.AWAITING_APPROVAL:
        return incident
    story = await uow.incidents.story(incident.id)
    asked = story.diagnoses[-1].best if story and story.diagnoses else None
    best = RulesDiagnostician().diagnose(incident, mesh, at=now).best
    if asked is None or asked.confidence >= limits.confidence_to_act or best.confidence < limits.confidence_to_act:
        return incident
    log.info("clearer than when it was asked", incident=incident.id, fault=best.fault, element=str(best.element))
    seen = replace(incident, state=IncidentState.OPEN)
    await uow.incidents.save(seen)
    return seen


def _last_seen(incident: Incident) -> datetime:
    return max((one.at for one in incident.symptoms), default=incident.opened_at)


@stage("monitor")
async def collect(mesh: str, incident: IncidentId | None) -> Incident | None:
    """Return the incident to work on: the one asked for if it is not over, else the oldest that nobody works on."""
    waiting = await look(mesh)
    if incident is not None:
        async with adapters().store.unit() as uow:
            asked_for = await uow.incidents.get(incident)
        return asked_for if asked_for and asked_for.state is not IncidentState.CLOSED else None
    return next((one for one in waiting if one.state is IncidentState.OPEN), None)
