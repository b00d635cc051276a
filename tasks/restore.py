"""Restore: give a costed-out link its traffic back once it has been clean long enough, one link at a time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from models.incident import Incident, IncidentId, IncidentState, Outcome, Verdict, Verification
from models.mesh import LinkId
from models.remedy import Closing, Remedy
from models.restoring import clean_since, due
from tasks import execute, knowledge
from tasks.diary import stage
from tasks.known import known_in
from tasks.wiring import Adapters, adapters

# A link that is still ill shows it within the detector's slowest promise (2.5 s idle), thrice over.
TRIAL = timedelta(seconds=8)
LOOK_EVERY = timedelta(seconds=0.5)


class Restorer:
    """Follows since when each costed-out link has been clean, and gives links back when they are due."""

    def __init__(self, mesh: str) -> None:
        self._mesh = mesh
        self._clean: dict[LinkId, datetime] = {}

    async def next_due(self) -> Remedy | None:
        """Look at every costed-out link; return the remedy that gives one back, or None."""
        world = adapters()
        now = world.clock.now()
        async with world.store.unit() as uow:
            standing = await uow.actions.standing(self._mesh)
        if not standing:
            self._clean.clear()
            return None
        observer = await world.observer(self._mesh)
        self._clean = clean_since(self._clean, standing, observer.mesh, observer.detector, now=now)
        if all(now - since < world.limits.clean_before_restore for since in self._clean.values()):
            return None
        incident = IncidentId(f"{now:%Y%m%dT%H%M%S.%f}-restore")
        async with world.store.unit() as uow:
            known = await known_in(uow, self._mesh, incident)
        return due(standing, observer.mesh, known, world.limits, now=now, clean_since=self._clean, incident=incident)


async def give_back(mesh: str, remedy: Remedy) -> Outcome:
    """Give one link its traffic back; take it off again when that hurts."""
    now = adapters().clock.now()
    incident = Incident(remedy.incident, mesh, IncidentState.HEALING, now, ())
    await _open(incident, remedy)
    execution = await execute.apply(incident, remedy)
    verification = await watch_link(incident, remedy, execution)
    return await knowledge.record(incident, remedy, execution, verification)


async def _open(incident: Incident, remedy: Remedy) -> None:
    async with adapters().store.unit() as uow:
        await uow.incidents.save(incident)
        await uow.incidents.record_remedy(remedy)


@stage("verify")
async def watch_link(incident: Incident, remedy: Remedy, execution: execute.Execution) -> Verification:
    """Watch the link carry traffic for some seconds; commit when it stays without symptom, else undo."""
    world = adapters()
    verification = await _watched(world, incident, remedy)
    async with world.store.unit() as uow:
        await uow.incidents.record_verification(verification)
    healed = verification.verdict is Verdict.HEALED
    await execute.close(execution.operations, Closing.COMMIT if healed else Closing.UNDO)
    return verification


async def _watched(world: Adapters, incident: Incident, remedy: Remedy) -> Verification:
    observer = await world.observer(incident.mesh)
    until = world.clock.now() + TRIAL
    while True:
        now = world.clock.now()
        detector = await observer.refresh(now)
        ill = [one for one in detector.symptoms(now) if one.element == remedy.cause.element]
        if ill or now >= until:
            break
        await asyncio.sleep(LOOK_EVERY.total_seconds())
    verdict = Verdict.WORSE if ill else Verdict.HEALED
    reason = (
        f"{ill[0].kind} came back on {ill[0].element}" if ill else f"{remedy.cause.element} carries traffic cleanly"
    )
    return Verification(incident.id, remedy.plan_hash, now, verdict, None, None, None, None, (), reason)
