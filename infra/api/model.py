"""Which learned model serves, after loading it: weights that cannot be read are told here, not during an incident."""

from __future__ import annotations

import asyncio
from datetime import datetime
from time import perf_counter

from fastapi import APIRouter
from pydantic import Field

from infra.api.gateway import AnyGateway, Reader
from infra.api.problems import documented
from infra.api.schemas import View
from infra.shipped import shipped_weights
from models.graphsage import GraphSAGEAnomalyDetector

router = APIRouter(prefix="/api/v1", tags=["causes"])


class ModelView(View):
    """The weights that the flow analyze-incident asks."""

    is_loaded: bool = Field(description="They were read just now and are what their digest says.")
    source: str = Field(description="promoted: fitted here and better than what served before; shipped: as installed.")
    digest: str = Field(description="SHA-256 of the weights.")
    promoted_at: datetime | None = Field(description="null for shipped ones.")
    verdict: str = Field(description="Why they were promoted; empty for shipped ones.")
    load_ms: float = Field(ge=0, description="How long reading and checking them took.")


@router.get("/model", summary="Which learned model serves", responses=documented(401, 403, 500, 503))
async def model(gateway: AnyGateway, _: Reader) -> ModelView:
    """Load the promoted weights, or the shipped ones where none was promoted. 500 when they are damaged."""
    async with gateway.store.unit() as unit:
        serving = await unit.models.promoted()
    raw, digest = (serving.weights, serving.digest) if serving is not None else shipped_weights()
    started = perf_counter()
    detector = await asyncio.to_thread(GraphSAGEAnomalyDetector.loaded, raw, digest=digest)
    return ModelView(
        is_loaded=detector.model is not None,
        source="shipped" if serving is None else "promoted",
        digest=digest,
        promoted_at=None if serving is None else serving.promoted_at,
        verdict="" if serving is None else serving.verdict,
        load_ms=(perf_counter() - started) * 1000,
    )
