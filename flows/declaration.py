"""Telling the database of a mesh that was just built: it exists, it is whole, and nothing of an older one stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from models.incident import IncidentState
from models.mesh import Mesh
from models.ports import Store
from models.remedy import ActionReport, ActionState, GuardState, OperationRecord
from models.telemetry import NodeBaseline


def forgotten(operation: OperationRecord, *, now: datetime) -> ActionReport:
    """Return the report of an operation whose node no longer exists: its change went with the node."""
    last = operation.report
    return ActionReport(
        operation=operation.operation,
        state=ActionState.UNDONE,
        before=last.before if last else "",
        after=last.before if last else "",
        message="the mesh was built anew, the change went with the old one",
        at=now,
    )


async def declare(store: Store, mesh: Mesh, *, baselines: Iterable[NodeBaseline], now: datetime) -> None:
    """Store a newly built mesh and its nodes' baselines; close what an older mesh of that name left open.

    Without this a link that was costed out on the old mesh would count as costed out on the new one, and the guards
    would refuse to heal. What was learnt stays, and so does an operator's pause.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    async with store.unit() as unit:
        await unit.meshes.save(mesh)
        for baseline in baselines:
            await unit.meshes.record_baseline(mesh.name, baseline)
        for operation in [*await unit.actions.in_flight(mesh.name), *await unit.actions.standing(mesh.name)]:
            await unit.actions.report(mesh.name, operation.action.node, forgotten(operation, now=now))
        for incident in await unit.incidents.open(mesh.name):
            await unit.incidents.save(replace(incident, state=IncidentState.CLOSED, closed_at=now))
        guards = await unit.guards.load(mesh.name)
        await unit.guards.save(mesh.name, GuardState(paused=guards.paused))
