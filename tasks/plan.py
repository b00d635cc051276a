"""Plan: choose a remedy within the limits. All of it is pure; this stage adds the clock."""

from __future__ import annotations

from models.guardrails import Known
from models.incident import Diagnosis
from models.planning import choose
from models.remedy import Remedy
from tasks.diary import stage
from tasks.wiring import adapters


@stage("plan")
async def select(mesh: str, diagnosis: Diagnosis, known: Known) -> Remedy:
    """Choose the best remedy that no limit refuses, and store it with those that were refused and why."""
    world = adapters()
    observer = await world.observer(mesh)
    remedy = choose(diagnosis, observer.mesh, known, world.limits, now=world.clock.now())
    async with world.store.unit() as uow:
        await uow.incidents.record_remedy(remedy)
    return remedy
