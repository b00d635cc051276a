"""Errors as the outside sees them: problem+json (RFC 9457), one sentence each, the status decided by the branch."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from infra.api.gateway import gateway_of
from models.errors import BrokenError, MeshError, OrderUnknown, RefusedError, TransientError

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"
# A supervisor restarts the database or a long run within two seconds or so; asking sooner only adds load.
RETRY_AFTER_SECONDS = 2
# A caller chooses the names of unknown fields; without these bounds it would choose the size of our answer too.
FAULTS_SHOWN = 20
NAME_SHOWN = 80

# The first that fits.
BRANCHES: tuple[tuple[type[MeshError], HTTPStatus, str], ...] = (
    (OrderUnknown, HTTPStatus.NOT_FOUND, "not-found"),
    (TransientError, HTTPStatus.SERVICE_UNAVAILABLE, "transient"),
    (RefusedError, HTTPStatus.CONFLICT, "refused"),
    (BrokenError, HTTPStatus.INTERNAL_SERVER_ERROR, "broken"),
)


class FieldFault(BaseModel):
    """One field of a request that cannot be used."""

    field: str = Field(description="Where it stands: `plan_hash`, `limit`, or `body` when the body is not JSON.")
    message: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """Why a request was not answered as asked (RFC 9457)."""

    type: str = Field(description="Stable name of the sort of problem.", examples=["urn:x0tta6bl4:problem:refused"])
    title: str = Field(description="The HTTP status in words.", examples=["Conflict"])
    status: int = Field(description="The HTTP status.", examples=[409])
    detail: str = Field(description="One sentence for a person.", examples=["decision refused: used before"])
    errors: list[FieldFault] = Field(default_factory=list, description="Which fields, for a 422.")
    missing: list[str] = Field(default_factory=list, description="What is not there yet, for a /ready of 503.")


MEANINGS: Mapping[int, str] = {
    401: "No valid token was presented.",
    403: "The token's scope does not reach this far; the sentence names the scope needed.",
    404: "There is nothing by that id.",
    408: "The body did not arrive in time.",
    409: "Our rules refuse it; the sentence says why.",
    413: "The body is larger than one mebibyte.",
    422: "A field cannot be used; `errors` names it.",
    429: "This token asks too often; try again after `Retry-After` seconds.",
    500: "We or the configuration are wrong; the sentence says what to mend.",
    503: "Something we need does not answer; try again after `Retry-After` seconds.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these problem statuses for a route's OpenAPI entry."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {one: {"description": MEANINGS[one], "content": {PROBLEM_JSON: schema}} for one in statuses}


def answer(
    status: int,
    sort: str,
    detail: str,
    *,
    errors: list[FieldFault] | None = None,
    missing: list[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the problem+json response."""
    problem = Problem(
        type=f"urn:x0tta6bl4:problem:{sort}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=errors or [],
        missing=missing or [],
    )
    return JSONResponse(problem.model_dump(), status, headers=dict(headers or {}), media_type=PROBLEM_JSON)


def branch_of(error: MeshError) -> tuple[HTTPStatus, str]:
    """Say which status and which name an error's branch has; an unsorted MeshError counts as broken."""
    for branch, status, name in BRANCHES:
        if isinstance(error, branch):
            return status, name
    return HTTPStatus.INTERNAL_SERVER_ERROR, "broken"


def register(app: FastAPI) -> None:
    """Make the app answer every error as a problem."""
    app.add_exception_handler(MeshError, _mesh_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _unforeseen)


async def _mesh_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, MeshError):
        raise error
    status, name = branch_of(error)
    gateway_of(request).metrics.error_met(name)
    headers = {}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("source did not answer a request", error=str(error))
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request met a broken part", error=str(error), exception=_traceback(error))
    return answer(status.value, name, str(error), headers=headers)


async def _invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [FieldFault(field=field_of(one["loc"]), message=one["msg"]) for one in error.errors()[:FAULTS_SHOWN]]
    named = ", ".join(sorted({one.field for one in faults}))
    return answer(422, "invalid", f"cannot use {named}", errors=faults)


async def _plain(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI says 400 to a body it cannot even decode (wrong encoding, nested without end); to a caller that
        # is the same mistake as bad JSON.
        fault = FieldFault(field="body", message="not JSON in UTF-8")
        return answer(422, "invalid", "cannot use body", errors=[fault])
    sort = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return answer(error.status_code, sort, error.detail, headers=error.headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    gateway_of(request).metrics.error_met("unforeseen")
    log.error("request met a defect", exception=_traceback(error))
    return answer(500, "defect", "this is a defect of ours; the gateway's log has the traceback")


def _traceback(error: Exception) -> str:
    """Write where it happened, without the values of variables: among them are the request's headers and the token."""
    return "".join(traceback.format_exception(error))


def field_of(location: tuple[int | str, ...]) -> str:
    """Name a field as its sender wrote it: `plan_hash` for ("body", "plan_hash"), `body` for a body that is no JSON."""
    names = [str(one) for one in location[1:] if not isinstance(one, int)]
    return ".".join(names)[:NAME_SHOWN] or str(location[0])


def speakable(value: float | str) -> float | str:
    """Return a number JSON can carry: infinities and NaN become their names."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)
