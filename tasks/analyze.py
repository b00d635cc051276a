"""Analyze: turn symptoms into ranked causes. Pure thinking behind one port; this stage only reads and records."""

from __future__ import annotations

import structlog

from models.diagnosing import Ranking, combined, may_decide, of_ranking, second_opinion
from models.errors import MeshError
from models.incident import Diagnosis, Incident
from models.meshsnapshot import MeshWindow
from models.rules import RulesDiagnostician
from tasks.diary import stage
from tasks.wiring import Adapters, adapters

log = structlog.get_logger()


@stage("analyze")
async def diagnose(incident: Incident) -> Diagnosis:
    """Rank the causes of one incident from its latest symptoms, and store the ranking.

    The rules diagnose. An engine, where there is one, is asked too, and decides where it was measured better than they.
    """
    world = adapters()
    now = world.clock.now()
    observer = await world.observer(incident.mesh)
    diagnosis = RulesDiagnostician().diagnose(incident, observer.mesh, at=now)
    ranking = _second_opinion(world, observer.window, incident, now=now.timestamp())
    if ranking is not None:
        _compare(diagnosis, ranking)
        if may_decide(diagnosis.best.fault, world.measured):
            diagnosis = combined(diagnosis, ranking)
    async with world.store.unit() as uow:
        await uow.incidents.record_diagnosis(diagnosis)
    return diagnosis


def _second_opinion(world: Adapters, window: MeshWindow | None, incident: Incident, *, now: float) -> Ranking | None:
    """Ask the engine; None where there is none or it cannot say, for healing goes on by the rules."""
    if world.engine is None or window is None:
        return None
    try:
        return second_opinion(world.engine, window, incident, now=now)
    except MeshError as error:
        log.warning("engine gave no ranking", incident=incident.id, error=str(error))
        return None


def _compare(diagnosis: Diagnosis, ranking: Ranking) -> None:
    """Write down how the two compare: from these lines it is learned who may decide."""
    best, ranked = diagnosis.best, of_ranking(ranking)
    place, confidence = ranked[0] if ranked else (None, 0.0)
    log.info(
        "engine ranked beside the rules",
        incident=diagnosis.incident,
        engine=ranking.method,
        agrees=place == best.element,
        engine_element=str(place),
        engine_confidence=round(confidence, 4),
        no_visible_root=round(ranking.no_visible_root, 4),
        rules_element=str(best.element),
        rules_fault=best.fault.value,
        rules_confidence=best.confidence,
        drift=ranking.drift,
    )
