"""Analyze: turn symptoms into ranked causes. Pure thinking behind one port; this stage only reads and records."""

from __future__ import annotations

from models.incident import Diagnosis, Incident
from models.rules import RulesDiagnostician
from tasks.diary import stage
from tasks.wiring import adapters


@stage("analyze")
async def diagnose(incident: Incident) -> Diagnosis:
    """Rank the causes of one incident from its latest symptoms, and store the ranking."""
    world = adapters()
    now = world.clock.now()
    observer = await world.observer(incident.mesh)
    diagnosis = RulesDiagnostician().diagnose(incident, observer.mesh, at=now)
    async with world.store.unit() as uow:
        await uow.incidents.record_diagnosis(diagnosis)
    return diagnosis
