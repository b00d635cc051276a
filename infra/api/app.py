"""The gateway's one assembly: routes, errors, middleware, OpenAPI."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline

from infra.access import Access
from infra.api import (
    alerts,
    causal,
    decisions,
    healing,
    health,
    incidents,
    joining,
    licences,
    mesh,
    model,
    orders,
    payments,
    prefect,
    problems,
)
from infra.api.deadline import AnswerWithin
from infra.api.gateway import Trade, open_gateway
from infra.api.middleware import JsonBody, RequestRecord
from infra.join import Reception
from infra.metrics import GatewayMetrics, version
from infra.prefect_door import PrefectDoor
from infra.settings import Settings
from models.ports import Clock, Store

# A customer waits for this answer: 4.5 s is promised, and the last tenth is the network's.
VERIFY_SECONDS = 4.4

DESCRIPTION = """Watch a mesh heal itself, ask it to, and answer when it asks you. Buy access to it.

Every answer that is not a success is `application/problem+json` with one sentence in `detail`. Bodies are JSON,
whatever content type they carry. Tokens come from `x0tta6bl4 token create`; scope `operate` includes
`read` and `pay`. Amounts of money are whole base units.
"""


def create_app(
    store: Store,
    settings: Settings,
    clock: Clock,
    *,
    trade: Trade | None = None,
    access: Access | None = None,
    door: PrefectDoor | None = None,
) -> FastAPI:
    """Assemble the gateway over a store. Opens nothing: the store is its owner's to close.

    Args:
        store: The database.
        settings: As read once.
        clock: The one clock.
        trade: What is sold and how; None: nothing.
        access: Licences, used and taken back; None: not here.
        door: Where nodes reach Prefect; None: nowhere. Its owner closes it.
    """
    metrics = GatewayMetrics()
    app = FastAPIOffline(title="x0tta6bl4", version=version(), description=DESCRIPTION, redoc_url=None)
    app.state.gateway = open_gateway(store, settings, clock, trade=trade or Trade(), metrics=metrics, access=access)
    app.state.reception, app.state.prefect = Reception(store, clock, settings), door
    problems.register(app)
    shop = (orders, payments, licences)
    for part in (health, mesh, incidents, causal, model, healing, decisions, alerts, *shop, joining, prefect):
        app.include_router(part.router)
    app.add_api_route("/", _to_docs, include_in_schema=False)
    app.add_middleware(AnswerWithin, paths=frozenset({"/api/payment/verify"}), seconds=VERIFY_SECONDS)
    # The last added is the outermost: a body refused by JsonBody is recorded too.
    app.add_middleware(JsonBody)
    app.add_middleware(RequestRecord, metrics=metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


async def _to_docs() -> RedirectResponse:
    return RedirectResponse("/docs")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Write the OpenAPI document once, with the problem schema that every error refers to."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = problem.pop("$defs")
        document["components"]["schemas"] |= {"Problem": problem, **parts}
        app.openapi_schema = document
    return app.openapi_schema
