"""A person's answer to a plan that waits."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, HTTPException

from infra.api.gateway import AnyGateway, Operator
from infra.api.problems import documented
from infra.api.schemas import DecisionAsk, DecisionView
from models.approval import decide
from models.remedy import Limits, PlanHash

log = structlog.get_logger()
router = APIRouter(prefix="/api/v1", tags=["decisions"])


@router.post(
    "/decisions",
    summary="Approve or deny a plan",
    status_code=201,
    responses=documented(401, 403, 404, 408, 409, 413, 422, 500, 503),
)
async def answer(gateway: AnyGateway, token: Operator, wish: DecisionAsk) -> DecisionView:
    """Store the decision: bound to exactly this plan, used once, stale after ten minutes.

    An approval starts a new run that re-checks the evidence before it acts; it never acts on what was true before.
    """
    plan = PlanHash(wish.plan_hash)
    async with gateway.store.unit() as unit:
        remedy = await unit.incidents.remedy(plan)
        told = None if remedy is None else await unit.incidents.story(remedy.incident)
        if told is None or told.incident.mesh != gateway.settings.mesh:
            raise HTTPException(404, f"there is no plan {plan}")
        decision = decide(
            told,
            plan,
            kind=wish.decision,
            decided_by=f"api:{token.name}",
            now=gateway.clock.now(),
            expiry=Limits().approval_expiry,
        )
        await unit.decisions.post(decision)
    log.info("plan decided", plan=plan, decision=wish.decision.value, by=decision.decided_by)
    return DecisionView.model_validate(decision)
