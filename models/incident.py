"""What went wrong, why we think so, and how it ended: symptoms, incidents, diagnoses, verifications, outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from models.mesh import Element, NodeId

IncidentId = NewType("IncidentId", str)


class SymptomKind(StrEnum):
    """How an element strays from its own past."""

    LOSS = "loss"
    LARGE_LOSS = "large-loss"
    PROBE_LOSS = "probe-loss"
    DELAY = "delay"
    CARRIER_DOWN = "carrier-down"
    CARRIER_FLAP = "carrier-flap"
    ROUTING_SILENT = "routing-silent"
    DAEMON_STOPPED = "daemon-stopped"
    DAEMON_ABSENT = "daemon-absent"
    DRIFT = "drift"
    NOT_FORWARDING = "not-forwarding"
    UNREACHABLE = "unreachable"
    SILENT_NODE = "silent-node"


@dataclass(frozen=True, slots=True)
class Symptom:
    """An element that strays from its own past, with how far.

    Attributes:
        element: Which node or link.
        kind: In which way.
        since: First sample that showed it.
        at: Latest sample that showed it.
        strength: Distance from normal in robust standard deviations, >= 0 (`inf` where the past had no spread).
        facts: Numbers and names behind it, for people and for the rules (`loss`, `lost_packets`, `direction`, ...).
    """

    element: Element
    kind: SymptomKind
    since: datetime
    at: datetime
    strength: float
    facts: Mapping[str, float | str] = field(default_factory=dict)


class FaultKind(StrEnum):
    """What can be wrong with an element. The values are a stable contract (API, database, trial files)."""

    LINK_DOWN = "link_down"
    BLACKHOLE = "blackhole"
    ONE_WAY = "one_way"
    LOSS = "loss"
    GREY = "grey"
    MTU = "mtu"
    RATE_CLAMP = "rate_clamp"
    CARRIER_FLAP = "carrier_flap"
    NODE_DEAD = "node_dead"
    DAEMON_HUNG = "daemon_hung"
    DAEMON_KILLED = "daemon_killed"
    ROUTE_DRIFT = "route_drift"
    SYSCTL_DRIFT = "sysctl_drift"
    QDISC_DRIFT = "qdisc_drift"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One sentence an operator can check: the signal, what it says, and how far from normal.

    Attributes:
        signal: `deficit n1>n2 data/large`, `drift net.ipv4.ip_forward`, ...
        statement: Plain words with the numbers in them.
        strength: As Symptom.strength; None where it is a fact, not a distance.
    """

    signal: str
    statement: str
    strength: float | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """One candidate: element x fault kind x confidence.

    Attributes:
        element: None only when the fault is UNKNOWN.
        fault: Which fault.
        confidence: P(this is the cause | an incident), 0..1.
        evidence: Why, strongest first.
        subject: What exactly strayed (a sysctl's name, a prefix, an interface); empty when the element says it all.
    """

    element: Element | None
    fault: FaultKind
    confidence: float
    evidence: tuple[Evidence, ...] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Ranked causes of one incident.

    Attributes:
        incident: Whose.
        at: Aware UTC instant of the evidence (not of the computation).
        causes: Best first; confidences sum to at most 1; the remainder belongs to "unknown", which is listed too.
        method: `rules` or the digest of the model that answered.
    """

    incident: IncidentId
    at: datetime
    causes: tuple[Cause, ...]
    method: str

    @property
    def best(self) -> Cause:
        """The first-ranked cause; it may be "unknown"."""
        return self.causes[0]


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    HEALING = "healing"
    AWAITING_APPROVAL = "awaiting-approval"
    ESCALATED = "escalated"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """Symptoms that belong together, from first sign to closed.

    Attributes:
        id: Time-sortable and unique.
        mesh: Name of the mesh.
        state: Where it stands.
        opened_at: Aware UTC; when it was first seen. A symptom's `since` says when it may have begun.
        symptoms: At the latest look.
        closed_at: Set exactly when the state is CLOSED.
    """

    id: IncidentId
    mesh: str
    state: IncidentState
    opened_at: datetime
    symptoms: tuple[Symptom, ...]
    closed_at: datetime | None = None


class Verdict(StrEnum):
    """What the measured pairs say after acting."""

    HEALED = "healed"
    NOT_HEALED = "not-healed"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Verification:
    """Proof, or its absence, on the affected pairs after acting.

    Attributes:
        incident: Whose.
        plan_hash: Which remedy was on trial; empty when nothing was done (then HEALED means "by itself").
        at: Aware UTC end of the measured window.
        verdict: The conclusion.
        loss_before: Share of packets lost on the affected pairs before acting, 0..1; None if not measured.
        loss_after: The same after.
        control_before: Share lost on pairs that do not use the element, before.
        control_after: The same after.
        pairs: The affected pairs, (from, to).
        reason: One sentence.
    """

    incident: IncidentId
    plan_hash: str
    at: datetime
    verdict: Verdict
    loss_before: float | None
    loss_after: float | None
    control_before: float | None
    control_after: float | None
    pairs: tuple[tuple[NodeId, NodeId], ...]
    reason: str


class OutcomeKind(StrEnum):
    """How a turn of the cycle ended. Only these teach; a dry run is never stored as knowledge."""

    FIXED = "fixed"
    FIXED_BY_ITSELF = "fixed-by-itself"
    NO_EFFECT = "no-effect"
    WORSE_UNDONE = "worse-undone"
    AMBIGUOUS = "ambiguous"
    REFUSED = "refused"
    AWAITING_APPROVAL = "awaiting-approval"
    DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one turn of the cycle came to.

    Attributes:
        incident: None when there was nothing to heal (a quiet audit).
        kind: How it ended; None exactly when `incident` is None.
        reason: One sentence for the operator.
        plan_hash: The remedy it judges; empty when none was applied.
        at: Aware UTC.
    """

    incident: IncidentId | None
    kind: OutcomeKind | None
    reason: str
    plan_hash: str
    at: datetime
