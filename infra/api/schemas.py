"""What goes over the wire. Views mirror domain types by attribute; a test fails when one of them falls behind."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from infra.api.problems import speakable
from models.incident import FaultKind, IncidentState, OutcomeKind, SymptomKind, Verdict
from models.mesh import ElementKind, RoutingDaemon
from models.remedy import ActionState, DecisionKind, RemedyName, Tier, Verb

# Text ids come from us or from an operator's own scripts; anything else is a mistake worth naming.
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
PLAN_HASH_PATTERN = r"^[0-9a-f]{64}$"
PLAN_HASH_EXAMPLE = "3f5a0c1e" * 8

Measure = Annotated[float | str, BeforeValidator(speakable), Field(description="A number; `inf` is spelled out.")]


class View(BaseModel):
    """Something to read: made from a domain object's attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Ask(BaseModel):
    """Something to write: unknown fields are a mistake, not a wish."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ElementView(View):
    """A node or a link."""

    kind: ElementKind
    name: str = Field(examples=["n1--n2"])


class SymptomView(View):
    """An element that strays from its own past."""

    element: ElementView
    kind: SymptomKind
    since: datetime
    at: datetime
    strength: Measure = Field(description="Robust standard deviations from normal; `inf` where the past had no spread.")
    facts: dict[str, Measure]


class IncidentView(View):
    """Symptoms that belong together, from first sign to closed."""

    id: str
    mesh: str
    state: IncidentState
    opened_at: datetime
    closed_at: datetime | None
    symptoms: list[SymptomView]


class IncidentPage(View):
    """The newest incidents, closed ones included."""

    incidents: list[IncidentView]


class PageAsk(Ask):
    """How much of the list to show."""

    # A page a person can read; the cap keeps one answer under a few hundred kilobytes.
    limit: int = Field(default=50, ge=1, le=500, description="At most this many.")


class EvidenceView(View):
    """One sentence an operator can check."""

    signal: str
    statement: str
    strength: Measure | None


class CauseView(View):
    """One candidate: element, fault, confidence."""

    element: ElementView | None
    fault: FaultKind
    confidence: float = Field(description="Probability that this is the cause, 0..1.")
    evidence: list[EvidenceView]
    subject: str


class DiagnosisView(View):
    """Ranked causes, best first; "unknown" is one of them."""

    at: datetime
    method: str
    causes: list[CauseView]


class ActionView(View):
    """One reversible step on one node."""

    node: str
    verb: Verb
    arguments: dict[str, str | int]
    element: ElementView


class RefusedRemedy(View):
    """A better-ranked remedy that a limit refused."""

    name: RemedyName
    limit: str


class RemedyView(View):
    """The chosen plan for one cause."""

    plan_hash: str = Field(description="What a decision binds to.", examples=[PLAN_HASH_EXAMPLE])
    name: RemedyName
    tier: Tier = Field(description="0 observes, 1 acts by itself, 3 waits for a person.")
    reason: str
    cause: CauseView
    actions: list[ActionView]
    evidence_at: datetime
    refused: list[RefusedRemedy]
    attempt: int = Field(description="How often the same plan was sent before in this incident and no node kept it.")


class ReportView(View):
    """A node's answer: what it did and what it reads back."""

    state: ActionState
    before: str
    after: str
    message: str
    at: datetime
    lease_until: datetime | None


class OperationView(View):
    """An operation as the ledger of actions knows it."""

    operation: str
    incident: str
    remedy: RemedyName
    plan_hash: str
    action: ActionView
    state: ActionState
    requested_at: datetime
    report: ReportView | None


class VerificationView(View):
    """Proof, or its absence, on the affected pairs after acting."""

    plan_hash: str
    at: datetime
    verdict: Verdict
    loss_before: float | None
    loss_after: float | None
    control_before: float | None
    control_after: float | None
    pairs: list[tuple[str, str]]
    reason: str


class DecisionView(View):
    """A person's answer, bound to a plan and stale after its expiry."""

    incident: str
    plan_hash: str
    kind: DecisionKind
    decided_by: str
    decided_at: datetime
    expires_at: datetime


class OutcomeView(View):
    """What one turn of the cycle came to."""

    kind: OutcomeKind | None
    reason: str
    plan_hash: str
    at: datetime


class StoryView(View):
    """One incident from first sign to closed, each part in the order it happened."""

    incident: IncidentView
    diagnoses: list[DiagnosisView]
    remedies: list[RemedyView]
    operations: list[OperationView]
    verifications: list[VerificationView]
    decisions: list[DecisionView]
    outcomes: list[OutcomeView]


class NodeView(View):
    """A mesh host and how fresh our knowledge of it is."""

    id: str
    address: str
    daemon: RoutingDaemon
    sample_age_seconds: float | None = Field(description="None until it first reports.")
    missing: list[str] = Field(description="Signals this node cannot measure.")


class LinkEndView(View):
    """One end of a link and the routing cost it has been given."""

    node: str
    interface: str
    cost: int = Field(description="As last committed; the link's own cost when nothing stands.")


class LinkView(View):
    """An undirected pair of interfaces."""

    id: str
    cost: int = Field(description="Configured when healthy.")
    ends: list[LinkEndView]
    is_costed_out: bool


class MeshView(View):
    """The mesh as it stands: what is declared, what changed, what is open."""

    name: str
    paused: bool = Field(description="Whether the operator's pause switch is on.")
    nodes: list[NodeView]
    links: list[LinkView]
    standing: list[OperationView] = Field(description="Committed cost changes that still stand.")
    open_incidents: list[IncidentView]


class HealAsk(Ask):
    """Ask for a turn of the cycle."""

    # Strict: the difference between looking and acting must not hang on how "0" or "off" is read.
    dry_run: StrictBool = Field(default=True, description="Only plan; change nothing.")
    id: str | None = Field(
        default=None,
        pattern=ID_PATTERN,
        description="Your own id, so that asking twice asks once; made for you when left out.",
        examples=["monday-check-1"],
    )


class HealAccepted(View):
    """The request is stored; the watch run takes it up at its next tick."""

    id: str
    status_url: str = Field(examples=["/api/v1/heal/monday-check-1"])


class HealView(View):
    """A request to heal and what became of it."""

    id: str
    dry_run: bool
    asked_by: str
    asked_at: datetime
    is_done: bool
    outcome: str | None = Field(description="One sentence per incident looked at, once done.")


class DecisionAsk(Ask):
    """A person's answer to a plan that waits."""

    plan_hash: str = Field(pattern=PLAN_HASH_PATTERN, examples=[PLAN_HASH_EXAMPLE])
    decision: DecisionKind


class PauseView(View):
    """The operator's pause switch."""

    paused: bool


class Alive(View):
    """The process answers."""

    status: str = Field(examples=["alive"])
    version: str = Field(examples=["0.1.0"])


class Ready(View):
    """Everything that serving needs is there."""

    status: str = Field(examples=["ready"])
    beat_age_seconds: float = Field(description="Age of the watch run's newest beat.")
