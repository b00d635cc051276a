"""Alerts that somebody else's rules raised: written down, and a reason for the watch to look. Never evidence.

What Alertmanager sends carries no measurement that the detectors could weigh, so nothing is made of it but a request
for one turn of the cycle, as an audit is: what is acted on is what the watch itself measured.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from infra.api.gateway import AnyGateway, Operator
from infra.api.problems import documented
from infra.api.schemas import View
from models.ports import HealRequest

log = structlog.get_logger()
router = APIRouter(prefix="/api/v1", tags=["alerts"])

ASKER = "alert:"
MESH_LABEL = "mesh"
NAME_LABEL = "alertname"
# A caller chooses how many alerts it sends, and what they are called; our log lines stay of a size.
ALERTS_LOGGED = 20
TEXT_LENGTH = 200
# Some thirty names; the record says who asked, it is no copy of the notification.
ASKED_BY_LENGTH = 200
# Half of a SHA-256 in hexadecimal: no two notifications share it by chance.
ID_LENGTH = 32


class AlertStatus(StrEnum):
    """Whether an alert began or ended."""

    FIRING = "firing"
    RESOLVED = "resolved"


def _speakable(value: Any) -> Any:
    """Keep of a text what a log line and the database take: a strange label is no reason to lose an alert."""
    if isinstance(value, str):
        return "".join(one if one.isprintable() else "?" for one in value)[:TEXT_LENGTH]
    return value


Label = Annotated[str, BeforeValidator(_speakable)]


class Incoming(BaseModel):
    """Part of somebody else's format: what we do not know of it is left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Alert(Incoming):
    """One alert of a notification."""

    status: AlertStatus
    labels: dict[Label, Label] = Field(examples=[{"alertname": "CarrierDown", "node": "n1", "area": "mesh"}])
    starts_at: Label = Field(alias="startsAt", description="When it began to fire; with the labels its identity.")


class Notification(Incoming):
    """What Alertmanager's webhook sends, version 4; the fields we read."""

    alerts: list[Alert]


class AlertsTaken(View):
    """What was made of a notification."""

    firing: int = Field(description="Alerts of this mesh, or of none by name, that fire.")
    resolved: int = Field(description="Alerts that ended; they ask for nothing.")
    request: str | None = Field(description="The turn that was asked for, or that waits already; null: none.")
    status_url: str | None = Field(examples=["/api/v1/heal/2f1c6c1d0f7f4b0a9d3e5a7b8c9d0e1f"])


@router.post(
    "/alerts",
    summary="Take alerts from Alertmanager",
    status_code=202,
    responses=documented(401, 403, 408, 413, 422, 500, 503),
)
async def take(gateway: AnyGateway, token: Operator, note: Notification, response: Response) -> AlertsTaken:
    """Write alerts down and ask the watch for one turn of the cycle while any of them fires.

    The same alerts notified again ask nothing anew, and while a turn asked for by an alert waits no other is asked for.
    """
    mesh = gateway.settings.mesh
    ours = [one for one in note.alerts if one.labels.get(MESH_LABEL, mesh) == mesh]
    firing = [one for one in ours if one.status is AlertStatus.FIRING]
    log.info(
        "alerts taken",
        firing=len(firing),
        resolved=len(ours) - len(firing),
        labels=[one.labels for one in ours[:ALERTS_LOGGED]],
        by=token.name,
    )
    asked = None
    if firing:
        request = HealRequest(
            id=f"{ASKER}{_identity(firing)}",
            mesh=mesh,
            # As the scheduled audit: it changes something only upon an incident of the watch's own.
            dry_run=False,
            asked_by=asker(firing),
            asked_at=gateway.clock.now(),
        )
        async with gateway.store.unit() as unit:
            waiting = [one.id for one in await unit.requests.waiting(mesh) if one.asked_by.startswith(ASKER)]
            if not waiting:
                await unit.requests.post(request)
        asked = waiting[0] if waiting else request.id
        response.headers["Location"] = f"/api/v1/heal/{asked}"
    return AlertsTaken(
        firing=len(firing),
        resolved=len(ours) - len(firing),
        request=asked,
        status_url=f"/api/v1/heal/{asked}" if asked else None,
    )


def asker(firing: list[Alert]) -> str:
    """Say for the record which alerts ask, each name once: `alert:CarrierDown,NodeSilent`."""
    return (ASKER + ",".join(sorted({_name(one) for one in firing})))[:ASKED_BY_LENGTH]


def _name(alert: Alert) -> str:
    return alert.labels.get(NAME_LABEL, "unnamed")


def _identity(firing: list[Alert]) -> str:
    """Name these firings, in whatever order they come: the same alert that fires again later is another."""
    each = sorted(repr((sorted(one.labels.items()), one.starts_at)) for one in firing)
    return hashlib.sha256("\n".join(each).encode()).hexdigest()[:ID_LENGTH]
