"""The mesh as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from fastapi import APIRouter, HTTPException

from infra.api.gateway import AnyGateway, Reader
from infra.api.problems import documented
from infra.api.schemas import IncidentView, LinkEndView, LinkView, MeshView, NodeView, OperationView
from models.mesh import Interface, Link, Node
from models.remedy import OperationRecord
from models.telemetry import Sample

router = APIRouter(prefix="/api/v1", tags=["mesh"])


@router.get("/mesh", summary="Nodes, links, costs and what is open", responses=documented(401, 403, 404, 500, 503))
async def show(gateway: AnyGateway, _: Reader) -> MeshView:
    """Show the declared mesh with the age of each node's newest sample, standing cost-outs and open incidents."""
    name = gateway.settings.mesh
    async with gateway.store.unit() as unit:
        mesh = await unit.meshes.load(name)
        latest = await unit.samples.latest(name)
        standing = await unit.actions.standing(name)
        incidents = await unit.incidents.open(name)
        # Last: reading the guards' state locks it until the unit ends, and a heal may be waiting for it.
        guards = await unit.guards.load(name)
    if mesh is None:
        raise HTTPException(404, f"no mesh is declared under the name {name}; start one with x0tta6bl4 up")
    now = gateway.clock.now()
    costs = standing_costs(standing)
    return MeshView(
        name=mesh.name,
        paused=guards.paused,
        nodes=[_node(one, latest.get(one.id), now) for one in mesh.nodes],
        links=[_link(one, costs) for one in mesh.links],
        standing=[OperationView.model_validate(one) for one in standing],
        open_incidents=[IncidentView.model_validate(one) for one in incidents],
    )


def standing_costs(standing: Sequence[OperationRecord]) -> dict[Interface, int]:
    """Read from standing SET_COST operations which interface has which cost now."""
    return {
        Interface(one.action.node, str(one.action.arguments["interface"])): int(one.action.arguments["cost"])
        for one in standing
    }


def _node(node: Node, sample: Sample | None, now: datetime) -> NodeView:
    return NodeView(
        id=node.id,
        address=node.address,
        daemon=node.daemon,
        sample_age_seconds=None if sample is None else max(0.0, (now - sample.at).total_seconds()),
        missing=[] if sample is None else sorted(sample.missing),
    )


def _link(link: Link, costs: Mapping[Interface, int]) -> LinkView:
    ends = [LinkEndView(node=end.node, interface=end.name, cost=costs.get(end, link.cost)) for end in (link.a, link.b)]
    return LinkView(id=link.id, cost=link.cost, ends=ends, is_costed_out=any(one.cost > link.cost for one in ends))
