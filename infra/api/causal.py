"""What caused it: of a posted node or snapshot, and of an incident, in numbers and as a picture."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Response
from fastapi.exceptions import RequestValidationError

from infra.api.causal_schemas import AnalysisView, AnalyzeAsk, CausesView, SnapshotAsk, SuspectView
from infra.api.gateway import AnyGateway, Gateway, Reader
from infra.api.problems import documented
from infra.api.schemas import ID_PATTERN, DiagnosisView
from infra.api.validation_schemas import ValidationView
from infra.pictures import svg
from models.causalengine import METHOD, CausalEngine
from models.diagnosing import Ranking
from models.errors import NotEnoughHistory, SnapshotInvalid
from models.incident import Incident, IncidentId
from models.mesh import Mesh
from models.meshsignals import SIGNALS
from models.meshsnapshot import LEAST_PAST, ROWS, STEP_SECONDS, MeshWindow
from models.picture import picture_of
from models.ports import IncidentStory
from models.snapshot import Kind, SignalKind, SignalSpec, Snapshot
from models.telemetry import Sample

router = APIRouter(prefix="/api/v1", tags=["causes"])
ENGINE = CausalEngine()
# Below this an element is named by nobody; a list of every healthy element helps no one.
_WORTH_SHOWING = 0.005
_DRAWN: dict[int | str, dict[str, Any]] = {200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}}}
_AnyIncident = Annotated[str, Path(pattern=ID_PATTERN, description="An incident's id, from the list.")]


@router.post(
    "/causal/analyze",
    summary="Which element is the root",
    responses=documented(401, 403, 408, 409, 413, 422, 500, 503),
)
async def analyze(gateway: AnyGateway, _: Reader, wish: AnalyzeAsk) -> AnalysisView:
    """Rank the elements of a snapshot, or judge what one node shows against its own past.

    A metric without a past is not judged, and said so: nobody guesses what is normal for it.
    """
    if wish.snapshot is not None:
        for name in ("node_id", "metrics", "history"):
            if getattr(wish, name) is not None:
                raise _invalid(name, "give either a snapshot, or node_id and metrics")
        return await _answer(gateway, snapshot_of(wish.snapshot), {})
    if wish.node_id is None:
        raise _invalid("node_id", "give node_id and metrics, or a snapshot")
    if not wish.metrics:
        raise _invalid("metrics", "give at least one")
    for name in wish.history or {}:
        if name not in wish.metrics:
            raise _invalid(f"history.{name}", "its value of now is missing from metrics")
    pasts = await _pasts(gateway, wish.node_id) | (wish.history or {})
    judged = {name: pasts[name] for name in wish.metrics if len(pasts.get(name, [])) >= LEAST_PAST}
    not_judged = {
        name: str(NotEnoughHistory(len(pasts.get(name, [])), LEAST_PAST)) for name in wish.metrics if name not in judged
    }
    if not judged:
        return AnalysisView(
            suspects=[], no_visible_root=1.0, candidates=[], method=METHOD, drift=None, not_judged=not_judged
        )
    return await _answer(gateway, _node_snapshot(wish.node_id, wish.metrics, judged), not_judged)


@router.get(
    "/incidents/{incident}/causes", summary="What caused one", responses=documented(401, 403, 404, 422, 500, 503)
)
async def causes(gateway: AnyGateway, _: Reader, incident: _AnyIncident) -> CausesView:
    """Show the newest diagnosis, the engine's own ranking while the samples around the incident are kept.

    And what offline validation found of the dependencies behind them, once that was done.
    """
    story, mesh = await _told(gateway, incident)
    diagnosis = DiagnosisView.model_validate(story.diagnoses[-1]) if story.diagnoses else None
    analysis, why_not = None, ""
    try:
        analysis = await _answer(gateway, await _around(gateway, mesh, story.incident), {})
    except NotEnoughHistory as error:
        why_not = str(error)
    async with gateway.store.unit() as unit:
        record = await unit.validations.of(IncidentId(incident))
    validation = None if record is None else ValidationView.model_validate(record)
    return CausesView(incident=incident, diagnosis=diagnosis, analysis=analysis, why_not=why_not, validation=validation)


@router.get(
    "/incidents/{incident}/causes.svg",
    summary="What caused one, as a picture",
    response_class=Response,
    responses={**_DRAWN, **documented(401, 403, 404, 422, 500, 503)},
)
async def picture(gateway: AnyGateway, _: Reader, incident: _AnyIncident) -> Response:
    """Draw the causes with their confidence, the symptoms in time, and the signals that decided."""
    story, mesh = await _told(gateway, incident)
    # A name from the outside may stand in the picture: nothing in it may run or load anything.
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(svg(picture_of(story, mesh)), media_type="image/svg+xml", headers=headers)


async def _told(gateway: Gateway, incident: str) -> tuple[IncidentStory, Mesh]:
    name = gateway.settings.mesh
    async with gateway.store.unit() as unit:
        story = await unit.incidents.story(IncidentId(incident))
        mesh = await unit.meshes.load(name)
    if story is None or story.incident.mesh != name or mesh is None:
        raise HTTPException(404, f"there is no incident {incident}")
    return story, mesh


async def _answer(gateway: Gateway, snapshot: Snapshot, not_judged: dict[str, str]) -> AnalysisView:
    # Arrays take milliseconds by the hundred elements: not on the loop that answers payments.
    ranking = await asyncio.to_thread(ENGINE.rank, snapshot)
    gateway.metrics.analysed(ranking.drift)
    return shown(ranking, not_judged)


def shown(ranking: Ranking, not_judged: dict[str, str]) -> AnalysisView:
    """Return a ranking as the outside sees it."""
    ranked = sorted(ranking.confidence.items(), key=lambda pair: (-pair[1], pair[0]))
    return AnalysisView(
        suspects=[
            SuspectView(
                element=name,
                confidence=confidence,
                because=list(ranking.because.get(name, ())),
                against=list(ranking.against.get(name, ())),
            )
            for name, confidence in ranked
            if confidence >= _WORTH_SHOWING
        ],
        no_visible_root=ranking.no_visible_root,
        candidates=list(ranking.candidates),
        method=ranking.method,
        drift=ranking.drift,
        not_judged=not_judged,
    )


# --- from samples


async def _samples(gateway: Gateway, start: datetime, end: datetime) -> list[Sample]:
    async with gateway.store.unit() as unit:
        return await unit.samples.between(gateway.settings.mesh, start, end)


async def _around(gateway: Gateway, mesh: Mesh, incident: Incident) -> Snapshot:
    """Return the minute up to the newest symptom.

    Raises:
        NotEnoughHistory: its samples were dropped by retention, or were never there.
    """
    if not incident.symptoms:
        raise NotEnoughHistory(0, LEAST_PAST)
    first = min(incident.symptoms, key=lambda one: (one.since, one.element))
    end = max(one.at for one in incident.symptoms) + timedelta(seconds=STEP_SECONDS)
    samples = await _samples(gateway, end - timedelta(seconds=ROWS * STEP_SECONDS), end)

    def read() -> Snapshot:
        window = MeshWindow(mesh)
        window.observe(samples)
        return window.snapshot(end.timestamp(), since=first.since.timestamp(), target=first.element)

    return await asyncio.to_thread(read)


async def _pasts(gateway: Gateway, node: str) -> dict[str, list[float]]:
    """Return what the mesh measured of a node in the last minute, by signal; nothing for a node it does not know."""
    async with gateway.store.unit() as unit:
        mesh = await unit.meshes.load(gateway.settings.mesh)
    alone = None if mesh is None else Mesh(mesh.name, tuple(one for one in mesh.nodes if one.id == node), ())
    if alone is None or not alone.nodes:
        return {}
    now = gateway.clock.now()
    samples = await _samples(gateway, now - timedelta(seconds=ROWS * STEP_SECONDS), now)
    window = MeshWindow(alone)
    window.observe(samples)
    try:
        seen = window.snapshot(now.timestamp(), since=now.timestamp(), at_most=None)
    except NotEnoughHistory:
        return {}
    columns = {spec.name: seen.values[:, 0, index] for index, spec in enumerate(seen.signals)}
    return {name: column[np.isfinite(column)].tolist() for name, column in columns.items()}


def _node_snapshot(node: str, metrics: dict[str, float], pasts: dict[str, list[float]]) -> Snapshot:
    known = {one.spec.name: one.spec for one in SIGNALS}
    rows = max(len(one) for one in pasts.values())
    values = np.full((rows + 1, 1, len(pasts)), np.nan)
    for column, (name, past) in enumerate(pasts.items()):
        values[rows - len(past) : rows, 0, column] = past
        values[rows, 0, column] = metrics[name]
    return Snapshot(
        elements=(f"node:{node}",),
        kinds=(Kind.NODE,),
        edges=np.empty((0, 2), dtype=np.int64),
        signals=tuple(known.get(name, SignalSpec(name, "", 1, SignalKind.GAUGE)) for name in pasts),
        times=np.arange(rows + 1, dtype=np.float64),
        values=values,
        split=rows,
        target=0,
    )


# --- from a body


def snapshot_of(wish: SnapshotAsk) -> Snapshot:
    """Read a posted snapshot.

    Raises:
        RequestValidationError: it names the field that cannot be used.
    """
    names = [one.id for one in wish.elements]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise _invalid("snapshot.elements", f"{twice[0]} is there twice")
    place = {name: index for index, name in enumerate(names)}
    for one in wish.dependencies:
        for name in (one.element, one.depends_on):
            if name not in place:
                raise _invalid("snapshot.dependencies", f"{name} is no element of the snapshot")
    if wish.target is not None and wish.target not in place:
        raise _invalid("snapshot.target", f"{wish.target} is no element of the snapshot")
    shape = (len(wish.times), len(names), len(wish.signals))
    fits = len(wish.values) == shape[0] and all(
        len(row) == shape[1] and all(len(cells) == shape[2] for cells in row) for row in wish.values
    )
    if not fits:
        raise _invalid("snapshot.values", f"give {shape[0]} times of {shape[1]} elements of {shape[2]} signals")
    edges = {(place[one.element], place[one.depends_on]) for one in wish.dependencies}
    try:
        return Snapshot(
            elements=tuple(names),
            kinds=tuple(one.kind for one in wish.elements),
            edges=np.array(sorted(edges), dtype=np.int64).reshape(-1, 2),
            signals=tuple(SignalSpec(one.name, one.unit, one.worse, one.kind) for one in wish.signals),
            times=np.array(wish.times, dtype=np.float64),
            values=np.array(wish.values, dtype=np.float64),
            split=wish.split,
            target=None if wish.target is None else place[wish.target],
        )
    except SnapshotInvalid as error:
        raise _invalid(f"snapshot.{error.field}", str(error)) from error


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", *field.split(".")), "msg": message}])
