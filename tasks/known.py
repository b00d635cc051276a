"""Everything planning and the guards look at, read in one transaction."""

from __future__ import annotations

from collections.abc import Iterable

from models.guardrails import Known, costed_out
from models.incident import IncidentId, OutcomeKind
from models.mesh import LinkId, Mesh
from models.ports import UnitOfWork
from models.remedy import ActionState, Limits, OperationRecord, PlanHash

_NOTHING_STANDS = {ActionState.REFUSED, ActionState.FAILED, ActionState.UNDONE}
_DID_NOT_HELP = {OutcomeKind.NO_EFFECT, OutcomeKind.WORSE_UNDONE, OutcomeKind.AMBIGUOUS}


async def known_in(uow: UnitOfWork, mesh: str, incident: IncidentId) -> Known:
    """Read priors, guards, operations, incidents and baselines; the guard state stays locked until the unit ends."""
    declared = await uow.meshes.load(mesh)
    nodes = declared.nodes if declared else ()
    baselines = {node.id: await uow.meshes.baseline(mesh, node.id) for node in nodes}
    story = await uow.incidents.story(incident)
    tried = [one.plan_hash for one in story.outcomes if one.kind in _DID_NOT_HELP] if story else []
    operations: dict[PlanHash, set[ActionState]] = {}
    for one in story.operations if story else ():
        operations.setdefault(one.plan_hash, set()).add(one.state)
    return Known(
        priors=await uow.knowledge.priors(mesh),
        guards=await uow.guards.load(mesh),
        in_flight=tuple(await uow.actions.in_flight(mesh)),
        standing=tuple(await uow.actions.standing(mesh)),
        open_incidents=tuple(await uow.incidents.open(mesh)),
        baselines={node: baseline for node, baseline in baselines.items() if baseline is not None},
        tried=frozenset(PlanHash(one) for one in tried),
        spent=frozenset(plan for plan, states in operations.items() if states <= _NOTHING_STANDS),
    )


def costs_after(operations: Iterable[OperationRecord], mesh: Mesh, limits: Limits) -> dict[LinkId, int]:
    """Return the routing costs that differ from the declared ones once these operations took effect."""
    return dict.fromkeys(costed_out(tuple(operations), mesh), limits.cost_out)
