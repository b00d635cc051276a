"""A small mesh and its troubles, for the store's contracts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from infra.node.signing import encode
from models.incident import (
    Cause,
    Diagnosis,
    Evidence,
    FaultKind,
    Incident,
    IncidentId,
    IncidentState,
    Outcome,
    OutcomeKind,
    Symptom,
    SymptomKind,
    Verdict,
    Verification,
)
from models.mesh import Element, Interface, Link, LinkId, Mesh, Node, NodeId
from models.ports import HealRequest, Signed
from models.remedy import (
    Action,
    ActionReport,
    ActionState,
    Closing,
    ClosingOrder,
    Decision,
    DecisionKind,
    OperationId,
    OperationRecord,
    Order,
    PlanHash,
    Remedy,
    RemedyName,
    Tier,
    Verb,
)
from models.telemetry import (
    DaemonState,
    Direction,
    Drift,
    DriftKind,
    HostReading,
    InterfaceReading,
    LinkProbeReading,
    NodeBaseline,
    ProbeKind,
    Protocol,
    ReachReading,
    Sample,
    SizeClass,
    TrafficClass,
    TrafficCount,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESH = "lab"
N0, N1 = NodeId("n0"), NodeId("n1")
LINK = Element.of_link(LinkId("n0--n1"))
OTHER_LINK = Element.of_link(LinkId("n1--n2"))


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def mesh(cost: int = 96) -> Mesh:
    ends = Interface(N0, "to-n1"), Interface(N1, "to-n0")
    return Mesh(MESH, (Node(N0, "10.42.0.1"), Node(N1, "10.42.0.2")), (Link(LinkId("n0--n1"), *ends, cost),))


def baseline(at: datetime = START, mtu: int = 1500) -> NodeBaseline:
    return NodeBaseline(
        N0,
        0,
        at,
        {"to-n1": mtu},
        {"to-n1": "noqueue"},
        {"net.ipv4.ip_forward": "1"},
        frozenset({"default via 1.2.3.4"}),
    )


def sample(node: NodeId = N0, sequence: int = 0, *, epoch: int = 1, at: datetime | None = None) -> Sample:
    """Return a full sample, with something in every field."""
    count = TrafficCount(Direction.RX, TrafficClass.DATA, SizeClass.LARGE, Protocol.TCP, 2**40 + sequence, 2**50)
    probe = LinkProbeReading("to-n1", N1, ProbeKind.TRANSIT, SizeClass.SMALL, 5, 4, 3, 2, 0.25)
    return Sample(
        node,
        epoch,
        sequence,
        at or after(sequence / 2),
        interfaces=(InterfaceReading("to-n1", has_carrier=True, carrier_changes=2, mtu=1500, counts=(count,)),),
        probes=(probe,),
        reach=(ReachReading(N1, SizeClass.LARGE, 5, 4, 3, None),),
        host=HostReading(0.5, 10, 0, 0, DaemonState.RUNNING),
        drifts=(Drift(DriftKind.MTU, "to-n1", "1500", "1280"),),
        missing=frozenset({"counters"}),
    )


def incident(
    name: str = "i1", state: IncidentState = IncidentState.OPEN, *, at: datetime = START, mesh_name: str = MESH
) -> Incident:
    symptom = Symptom(
        LINK,
        SymptomKind.LOSS,
        START,
        after(1),
        float("inf"),
        {"loss": 0.4, "ratio": float("inf"), "direction": "n0>n1"},
    )
    closed_at = after(60) if state is IncidentState.CLOSED else None
    return Incident(IncidentId(name), mesh_name, state, at, (symptom,), closed_at)


def cause(fault: FaultKind = FaultKind.GREY, element: Element = LINK) -> Cause:
    evidence = (Evidence("deficit n0>n1", "lost 40 of 100", float("inf")), Evidence("drift", "none"))
    return Cause(element, fault, 0.9, evidence, "to-n1")


def diagnosis(name: str = "i1", *, at: datetime = START) -> Diagnosis:
    return Diagnosis(IncidentId(name), at, (cause(), Cause(None, FaultKind.UNKNOWN, 0.1)), "rules")


def set_cost(node: NodeId = N0, interface: str = "to-n1", cost: int = 5000, element: Element = LINK) -> Action:
    return Action(node, Verb.SET_COST, {"interface": interface, "cost": cost}, element)


def remedy(
    name: str = "i1",
    *,
    kind: RemedyName = RemedyName.COST_OUT_LINK,
    actions: tuple[Action, ...] | None = None,
    fault: FaultKind = FaultKind.GREY,
    at: datetime = START,
) -> Remedy:
    both_ends = (set_cost(), set_cost(N1, "to-n0"))
    return Remedy(
        IncidentId(name),
        kind,
        cause(fault),
        both_ends if actions is None else actions,
        Tier.AUTO,
        "it worked before",
        at,
        ((RemedyName.RESTART_DAEMON, "cools down"),),
    )


def verification(chosen: Remedy, verdict: Verdict = Verdict.HEALED, *, at: datetime | None = None) -> Verification:
    return Verification(
        chosen.incident, chosen.plan_hash, at or after(10), verdict, 0.4, 0.0, 0.0, None, ((N0, N1),), "clean again"
    )


def outcome(chosen: Remedy, kind: OutcomeKind = OutcomeKind.FIXED, *, at: datetime | None = None) -> Outcome:
    return Outcome(chosen.incident, kind, "as verified", chosen.plan_hash, at or after(11))


def operation(chosen: Remedy, index: int = 0, *, at: datetime = START) -> OperationRecord:
    return OperationRecord(
        chosen.operation_id(index),
        chosen.incident,
        chosen.name,
        chosen.plan_hash,
        chosen.actions[index],
        ActionState.REQUESTED,
        at,
    )


def signed_order(record: OperationRecord) -> Signed:
    order = Order(record.operation, record.plan_hash, record.action, 1, after(10), timedelta(seconds=20))
    return Signed(encode(order), b"\x00\xff signature")


def signed_closing(record: OperationRecord, closing: Closing = Closing.COMMIT, *, epoch: int = 1) -> Signed:
    order = ClosingOrder(record.operation, record.action.node, closing, epoch, after(30))
    return Signed(encode(order), b"another signature")


def report(
    record: OperationRecord, state: ActionState = ActionState.APPLIED, *, at: datetime | None = None
) -> ActionReport:
    return ActionReport(record.operation, state, "cost 96", "cost 5000", "read back", at or after(1), after(20))


def decision(chosen: Remedy, kind: DecisionKind = DecisionKind.APPROVE) -> Decision:
    return Decision(chosen.incident, chosen.plan_hash, kind, "api:alice", after(5), after(605))


def request(name: str = "r1", *, at: datetime = START) -> HealRequest:
    return HealRequest(name, MESH, dry_run=True, asked_by="cli:root", asked_at=at)


UNKNOWN_OPERATION = OperationId("nobody-0")
UNKNOWN_PLAN = PlanHash("nothing")
