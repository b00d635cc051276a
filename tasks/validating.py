"""Validating: test offline, with dowhy, what an incident's causes rest on, and keep what comes of it."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import structlog
from prefect.artifacts import acreate_markdown_artifact

from models.errors import ConfigurationInvalid, NotEnoughHistory
from models.incident import IncidentId
from models.validating import validate
from models.validation import Validation, ValidationRecord, told
from tasks.diary import is_reported, stage
from tasks.learning import snapshot_of
from tasks.wiring import adapters

log = structlog.get_logger()

SEED = 1
# A dozen elements take half of it on a quiet core; who asks by hand waits no longer.
BUDGET = timedelta(seconds=60)


@stage("find-unvalidated")
async def lacking(mesh: str, *, limit: int) -> list[IncidentId]:
    """Return closed incidents that were not validated while their samples are still kept, the longest closed first."""
    world = adapters()
    since = world.clock.now() - timedelta(seconds=world.settings.sample_retention_seconds)
    async with world.store.unit() as uow:
        return await uow.validations.lacking(mesh, since=since, limit=limit)


@stage("validate-incident")
async def validate_incident(incident: IncidentId, *, seed: int = SEED, budget: timedelta = BUDGET) -> ValidationRecord:
    """Validate one incident's dependencies and keep the result; where nothing can be tested, keep why.

    Raises:
        ConfigurationInvalid: no such incident.
        ToolMissing: dowhy is not installed.
    """
    world = adapters()
    began = world.clock.now()
    async with world.store.unit() as uow:
        story = await uow.incidents.story(incident)
    if story is None:
        raise ConfigurationInvalid(f"there is no incident {incident}", "`x0tta6bl4 incidents` lists them")
    causes = story.diagnoses[-1].causes if story.diagnoses else ()
    around = tuple(str(one.element) for one in causes if one.element is not None)
    # It warns of every sample below a hundred, which the record says better.
    logging.getLogger("dowhy").setLevel(logging.ERROR)
    found: Validation | None = None
    why_not = ""
    try:
        snapshot = await snapshot_of(incident)
        # In a thread: the run's heart goes on beating meanwhile.
        found = await asyncio.to_thread(
            validate, snapshot, around=around, seed=seed, is_over=lambda: world.clock.now() - began > budget
        )
    except NotEnoughHistory as error:
        why_not = str(error)
    now = world.clock.now()
    record = ValidationRecord(incident, now, (now - began).total_seconds(), found, why_not)
    async with world.store.unit() as uow:
        await uow.validations.keep(record)
    log.info("causes validated", incident=incident, standing="" if found is None else found.standing, why_not=why_not)
    if is_reported():
        lines = "\n".join([f"Incident {incident}", "```", *told(record), "```"])
        await acreate_markdown_artifact(key="validation", markdown=lines)
    return record
