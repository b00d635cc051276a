"""A small mesh, two secrets, a clock that stands still, and one incident told from end to end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.access import Access
from infra.api.gateway import Gateway, Trade, open_gateway
from infra.licences import LicenceSigner
from infra.metrics import GatewayMetrics
from infra.settings import Settings
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
from models.ports import Clock, Signed, Store
from models.remedy import (
    Action,
    ActionReport,
    ActionState,
    OperationRecord,
    Remedy,
    RemedyName,
    Tier,
    Verb,
)
from tests.infra.shop.counter import CATALOGUE

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LINK = LinkId("n0--n1")
READ, OPERATE, PAY = "read-secret-7c1f", "operate-secret-90ab", "pay-secret-55de"
AS_READER = {"Authorization": f"Bearer {READ}"}
AS_OPERATOR = {"Authorization": f"Bearer {OPERATE}"}
AS_BUYER = {"Authorization": f"Bearer {PAY}"}
SIGNER = LicenceSigner(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
TRADE = Trade(CATALOGUE, signer=SIGNER)

MESH = Mesh(
    "lab",
    (Node(NodeId("n0"), "10.42.0.1"), Node(NodeId("n1"), "10.42.0.2"), Node(NodeId("n2"), "10.42.0.3")),
    (
        Link(LINK, Interface(NodeId("n0"), "to-n1"), Interface(NodeId("n1"), "to-n0"), 96),
        Link(LinkId("n1--n2"), Interface(NodeId("n1"), "to-n2"), Interface(NodeId("n2"), "to-n1"), 97),
    ),
)


def over(store: Store, *, trade: Trade = TRADE) -> Gateway:
    """Return what the routes of an app work on, over another store; making an app takes longer than asking it."""
    settings = Settings(mesh="lab")
    return open_gateway(
        store, settings, StandingClock(), trade=trade, metrics=GatewayMetrics(), access=access(store, StandingClock())
    )


def access(store: Store, clock: Clock) -> Access:
    """Return the licences' counter over a store; n0 is the gateway node."""
    return Access(store, clock, licences=SIGNER, mesh="lab", gateway_node="n0")


@dataclass
class StandingClock:
    """Time moves when a test says so."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


class BrokenStore:
    """A store that cannot begin a unit of work, for the error it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def unit(self):
        return self

    async def __aenter__(self):
        raise self.error

    async def __aexit__(self, *_):
        return None


def cause(confidence: float = 0.9) -> Cause:
    evidence = Evidence("deficit n0>n1 data/large", "40 of 100 packets did not arrive", float("inf"))
    return Cause(Element.of_link(LINK), FaultKind.GREY, confidence, (evidence,), "to-n1")


def incident(
    name: str = "i-1", *, state: IncidentState = IncidentState.AWAITING_APPROVAL, opened_at: datetime = NOW
) -> Incident:
    symptom = Symptom(
        Element.of_link(LINK), SymptomKind.LOSS, opened_at, NOW, float("inf"), {"loss": 0.4, "direction": "n0>n1"}
    )
    closed = NOW if state is IncidentState.CLOSED else None
    return Incident(IncidentId(name), "lab", state, opened_at, (symptom,), closed)


def remedy(of: str = "i-1", *, cost: int = 5000) -> Remedy:
    actions = tuple(
        Action(NodeId(node), Verb.SET_COST, {"interface": interface, "cost": cost}, Element.of_link(LINK))
        for node, interface in (("n0", "to-n1"), ("n1", "to-n0"))
    )
    return Remedy(
        IncidentId(of),
        RemedyName.COST_OUT_LINK,
        cause(),
        actions,
        Tier.APPROVAL,
        "first in the catalogue for grey; 3 of 3 fixed before",
        NOW,
        ((RemedyName.RESTART_DAEMON, "the daemon runs"),),
    )


async def tell_a_story(store: Store, *, state: IncidentState = IncidentState.AWAITING_APPROVAL) -> Remedy:
    """Store one incident with every part there is; return its remedy."""
    plan = remedy()
    operation = plan.operation_id(0)
    report = ActionReport(operation, ActionState.COMMITTED, "96", "5000", "cost read back", NOW, None)
    async with store.unit() as unit:
        await unit.incidents.save(incident(state=state))
        await unit.incidents.record_diagnosis(
            Diagnosis(IncidentId("i-1"), NOW, (cause(), Cause(None, FaultKind.UNKNOWN, 0.1)), "rules")
        )
        await unit.incidents.record_remedy(plan)
        await unit.incidents.record_outcome(
            Outcome(IncidentId("i-1"), OutcomeKind.AWAITING_APPROVAL, "waits", plan.plan_hash, NOW)
        )
        await unit.actions.request(
            "lab",
            OperationRecord(
                operation, IncidentId("i-1"), plan.name, plan.plan_hash, plan.actions[0], ActionState.REQUESTED, NOW
            ),
            Signed(b"{}", b"signature"),
        )
        await unit.actions.report("lab", NodeId("n0"), report)
        await unit.incidents.record_verification(
            Verification(
                IncidentId("i-1"),
                plan.plan_hash,
                NOW,
                Verdict.HEALED,
                0.4,
                0.0,
                0.0,
                0.0,
                ((NodeId("n0"), NodeId("n2")),),
                "loss fell from 40 % to 0 %",
            )
        )
    return plan
