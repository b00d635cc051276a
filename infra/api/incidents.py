"""What went wrong, and the whole story of each."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from infra.api.gateway import AnyGateway, Reader
from infra.api.problems import documented
from infra.api.schemas import (
    ID_PATTERN,
    DecisionView,
    DiagnosisView,
    IncidentPage,
    IncidentView,
    OperationView,
    OutcomeView,
    PageAsk,
    RefusedRemedy,
    RemedyView,
    StoryView,
    VerificationView,
)
from models.incident import IncidentId
from models.ports import IncidentStory
from models.remedy import Remedy

router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"])


@router.get("", summary="The newest incidents", responses=documented(401, 403, 422, 500, 503))
async def newest(
    gateway: AnyGateway,
    _: Reader,
    page: Annotated[PageAsk, Query()],
) -> IncidentPage:
    """List incidents, newest first, closed ones included."""
    async with gateway.store.unit() as unit:
        found = await unit.incidents.recent(gateway.settings.mesh, page.limit)
    return IncidentPage(incidents=[IncidentView.model_validate(one) for one in found])


@router.get("/{incident}", summary="The whole story of one", responses=documented(401, 403, 404, 422, 500, 503))
async def story(
    gateway: AnyGateway,
    _: Reader,
    incident: Annotated[str, Path(pattern=ID_PATTERN, description="An incident's id, from the list.")],
) -> StoryView:
    """Tell one incident: symptoms, diagnoses, remedies, operations, verifications, decisions, outcomes."""
    async with gateway.store.unit() as unit:
        told = await unit.incidents.story(IncidentId(incident))
    if told is None or told.incident.mesh != gateway.settings.mesh:
        raise HTTPException(404, f"there is no incident {incident}")
    return _story(told)


def _story(told: IncidentStory) -> StoryView:
    return StoryView(
        incident=IncidentView.model_validate(told.incident),
        diagnoses=[DiagnosisView.model_validate(one) for one in told.diagnoses],
        remedies=[_remedy(one) for one in told.remedies],
        operations=[OperationView.model_validate(one) for one in told.operations],
        verifications=[VerificationView.model_validate(one) for one in told.verifications],
        decisions=[DecisionView.model_validate(one) for one in told.decisions],
        outcomes=[OutcomeView.model_validate(one) for one in told.outcomes],
    )


def _remedy(remedy: Remedy) -> RemedyView:
    """The port's pairs (remedy, limit) become objects with names: a stranger reads those without a manual."""
    return RemedyView(
        plan_hash=remedy.plan_hash,
        name=remedy.name,
        tier=remedy.tier,
        reason=remedy.reason,
        cause=remedy.cause,
        actions=remedy.actions,
        evidence_at=remedy.evidence_at,
        refused=[RefusedRemedy(name=name, limit=limit) for name, limit in remedy.refused],
        attempt=remedy.attempt,
    )
