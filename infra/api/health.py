"""Is it alive, is it ready, and what does it count."""

from __future__ import annotations

import asyncio

import structlog
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from infra import metrics
from infra.api import problems
from infra.api.gateway import AnyGateway, Gateway
from infra.api.problems import documented
from infra.api.schemas import Alive, Ready
from models.errors import MeshError
from models.ports import LongRun

log = structlog.get_logger()
router = APIRouter(tags=["health"])

# The supervisor calls a long run dead after five seconds without a beat; ready means the same thing.
BEAT_YOUNG_SECONDS = 5.0
# A probe that waits longer than this has its answer: something is not there.
STORE_PATIENCE_SECONDS = 2.0


def watch_role(mesh: str) -> str:
    """Name the long run that turns symptoms into heals."""
    return f"watch-mesh:{mesh}"


@router.get("/health", summary="Is the process alive")
async def health() -> Alive:
    """Answer as long as the process can; asks nobody else."""
    return Alive(status="alive", version=metrics.version())


@router.get("/ready", summary="Can it serve", response_model=Ready, responses=documented(503))
async def ready(gateway: AnyGateway) -> Ready | Response:
    """Answer 200 when the database answers and the watch run's beat is young; else 503 with what is missing."""
    role = watch_role(gateway.settings.mesh)
    try:
        async with asyncio.timeout(STORE_PATIENCE_SECONDS):
            runs = await _long_runs(gateway)
    except (MeshError, TimeoutError) as error:
        reason = str(error) or f"no answer within {STORE_PATIENCE_SECONDS:g} s"
        return _not_ready([f"database: {reason}"])
    watch = {one.role: one for one in runs}.get(role)
    if watch is None:
        return _not_ready([f"{role}: no run ever took this role; start it with x0tta6bl4 up"])
    age = max(0.0, (gateway.clock.now() - watch.beat_at).total_seconds())
    if age > BEAT_YOUNG_SECONDS:
        return _not_ready([f"{role}: its last beat is {age:.1f} s old, more than {BEAT_YOUNG_SECONDS:g} s"])
    return Ready(status="ready", beat_age_seconds=age)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus text format.", "content": {"text/plain": {}}}},
)
async def exposition(gateway: AnyGateway) -> Response:
    """Write every metric of the control side; without a database it says so and gives the rest."""
    seen: metrics.StoreSnapshot | None = None
    try:
        async with asyncio.timeout(STORE_PATIENCE_SECONDS), gateway.store.unit() as unit:
            seen = await metrics.snapshot(unit, gateway.settings.mesh)
    except (MeshError, TimeoutError) as error:
        # Whatever is wrong with the store, the counters that an alert needs to see it must still come out.
        log.warning("scrape went without the store", error=str(error))
    text = gateway.metrics.expose(seen, now=gateway.clock.now())
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _long_runs(gateway: Gateway) -> list[LongRun]:
    async with gateway.store.unit() as unit:
        return await unit.long_runs.all()


def _not_ready(missing: list[str]) -> Response:
    retry = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)}
    return problems.answer(503, "not-ready", f"not ready: {'; '.join(missing)}", missing=missing, headers=retry)
