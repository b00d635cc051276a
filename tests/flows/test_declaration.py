"""A mesh that was built anew forgets what stood on the old one, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.declaration import declare
from models.incident import Cause, FaultKind, Incident, IncidentId, IncidentState
from models.mesh import Element, Interface, Link, LinkId, Mesh, Node, NodeId
from models.ports import Signed
from models.remedy import (
    Action,
    ActionReport,
    ActionState,
    GuardState,
    OperationRecord,
    PlanHash,
    Remedy,
    RemedyName,
    Tier,
    Verb,
)
from models.telemetry import NodeBaseline
from tests.fakes.store import FakeStore

THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)
A, B = NodeId("n0"), NodeId("n1")
LINK = Link(LinkId("n0--n1"), Interface(A, "to-n1"), Interface(B, "to-n0"), 100)
MESH = Mesh("lab", (Node(A, "10.42.0.1"), Node(B, "10.42.0.2")), (LINK,))
ID = IncidentId("inc-1")


@pytest.fixture
async def store() -> FakeStore:
    """An older mesh's store: one open incident, one committed cost-out, a paused guard with a memory."""
    one = FakeStore()
    cause = Cause(Element.of_link(LINK.id), FaultKind.GREY, 0.9)
    action = Action(A, Verb.SET_COST, {"interface": "to-n1", "cost": 5000}, Element.of_link(LINK.id))
    remedy = Remedy(ID, RemedyName.COST_OUT_LINK, cause, (action,), Tier.AUTO, "first", THEN)
    operation = remedy.operation_id(0)
    async with one.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.incidents.save(Incident(ID, "lab", IncidentState.ESCALATED, THEN, ()))
        await unit.incidents.record_remedy(remedy)
        record = OperationRecord(
            operation, ID, remedy.name, PlanHash(remedy.plan_hash), action, ActionState.REQUESTED, THEN
        )
        await unit.actions.request("lab", record, Signed(b"{}", b""))
    for seconds, state in enumerate((ActionState.APPLIED, ActionState.COMMITTED)):
        async with one.unit() as unit:
            at = THEN + timedelta(seconds=seconds)
            await unit.actions.report("lab", A, ActionReport(operation, state, "100", "5000", "", at))
    async with one.unit() as unit:
        await unit.guards.save("lab", GuardState(paused=True, strikes={"x": 1}))
    return one


async def test_what_stood_on_the_old_mesh_no_longer_stands(store: FakeStore) -> None:
    async with store.unit() as unit:
        assert len(await unit.actions.standing("lab")) == 1
    await declare(store, MESH, baselines=(), now=NOW)
    async with store.unit() as unit:
        assert await unit.actions.standing("lab") == []
        assert await unit.actions.in_flight("lab") == []


async def test_open_incidents_are_closed_now(store: FakeStore) -> None:
    await declare(store, MESH, baselines=(), now=NOW)
    async with store.unit() as unit:
        assert await unit.incidents.open("lab") == []
        closed = await unit.incidents.get(ID)
    assert closed is not None
    assert closed.closed_at == NOW


async def test_an_operators_pause_outlives_the_mesh_but_strikes_do_not(store: FakeStore) -> None:
    await declare(store, MESH, baselines=(), now=NOW)
    async with store.unit() as unit:
        assert await unit.guards.load("lab") == GuardState(paused=True)


async def test_the_new_mesh_and_its_baselines_are_known(store: FakeStore) -> None:
    wider = Mesh("lab", (*MESH.nodes, Node(NodeId("n2"), "10.42.0.3")), MESH.links)
    async with store.unit() as unit:
        before = await unit.meshes.record_baseline("lab", baseline(mtu=9000, at=THEN))
    await declare(store, wider, baselines=[baseline(mtu=1500, at=NOW)], now=NOW)
    async with store.unit() as unit:
        assert await unit.meshes.load("lab") == wider
        after = await unit.meshes.baseline("lab", A)
    assert after is not None
    assert after.version > before.version
    assert after.mtu == {"to-n1": 1500}


def baseline(*, mtu: int, at: datetime) -> NodeBaseline:
    return NodeBaseline(node=A, version=0, recorded_at=at, mtu={"to-n1": mtu}, qdisc={}, sysctl={}, routes=frozenset())
