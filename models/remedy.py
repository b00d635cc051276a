"""What can be done about a cause: the closed set of verbs, signed actions, remedies, and the limits that bind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NewType

from models.incident import Cause, IncidentId
from models.mesh import Element, NodeId

OperationId = NewType("OperationId", str)
PlanHash = NewType("PlanHash", str)


class Verb(StrEnum):
    """Everything an actuator can do. It does nothing else.

    Arguments (all values are strings or integers):
        SET_COST: interface, cost.
        RESTART_DAEMON: none.
        SET_MTU: interface, mtu.
        RESTORE_ROUTE: prefix, expected (an `ip route` line of the baseline; empty deletes the stray route).
        SET_SYSCTL: name, value.
        RESTORE_QDISC: interface, kind (the baseline's root qdisc).
        ADMIT: address (canonical text), until (Unix seconds, when the kernel forgets it).
        EXPEL: address.
    """

    SET_COST = "set-cost"
    RESTART_DAEMON = "restart-daemon"
    SET_MTU = "set-mtu"
    RESTORE_ROUTE = "restore-route"
    SET_SYSCTL = "set-sysctl"
    RESTORE_QDISC = "restore-qdisc"
    ADMIT = "admit"
    EXPEL = "expel"


DUTIES = frozenset({Verb.ADMIT, Verb.EXPEL})
"""Verbs that end by themselves: their orders carry no lease, and nobody commits them (docs/decisions/0018)."""


class RemedyName(StrEnum):
    """The catalogue. OBSERVE and ESCALATE change nothing."""

    OBSERVE = "observe"
    ESCALATE = "escalate"
    COST_OUT_LINK = "cost-out-link"
    UNCOST_LINK = "uncost-link"
    RESTART_DAEMON = "restart-daemon"
    RESTORE_MTU = "restore-mtu"
    RESTORE_ROUTE = "restore-route"
    RESTORE_SYSCTL = "restore-sysctl"
    RESTORE_QDISC = "restore-qdisc"


class Tier(IntEnum):
    """Who decides: nobody needs to, we do, or a person does."""

    OBSERVE = 0
    AUTO = 1
    APPROVAL = 3


@dataclass(frozen=True, slots=True)
class Action:
    """One reversible step on one node.

    Attributes:
        node: Where.
        verb: What.
        arguments: As the verb's docstring says.
        element: The node or link it writes to (one writer per element).
    """

    node: NodeId
    verb: Verb
    arguments: Mapping[str, str | int]
    element: Element


@dataclass(frozen=True, slots=True)
class Remedy:
    """The chosen plan for one cause.

    Attributes:
        incident: Whose.
        name: From the catalogue.
        cause: What it answers.
        actions: In order; empty for OBSERVE and ESCALATE.
        tier: Who decides.
        reason: Why this one, with the prior's counts.
        evidence_at: Instant of the evidence it rests on; stale evidence is refused before acting.
        refused: Better-ranked remedies that a limit refused, as (remedy, limit's sentence).
        attempt: Counts up when the same plan was sent before and no node kept it, so that its operations are new.
    """

    incident: IncidentId
    name: RemedyName
    cause: Cause
    actions: tuple[Action, ...]
    tier: Tier
    reason: str
    evidence_at: datetime
    refused: tuple[tuple[RemedyName, str], ...] = ()
    attempt: int = 0

    @property
    def plan_hash(self) -> PlanHash:
        """SHA-256 over incident, name, attempt and actions: what an approval and a signature bind to."""
        content = [
            self.incident,
            self.name,
            self.attempt,
            [[one.node, one.verb, sorted(one.arguments.items()), str(one.element)] for one in self.actions],
        ]
        return PlanHash(hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest())

    def operation_id(self, index: int) -> OperationId:
        """Name the action at `index` for ever: the same plan seen twice has the same operations."""
        return OperationId(f"{self.plan_hash[:24]}-{index}")


@dataclass(frozen=True, slots=True)
class Order:
    """What the control key signs: one action, bound to its plan, its writer's epoch and a moment.

    Attributes:
        operation: Idempotency key.
        plan_hash: The remedy it belongs to.
        action: What to do.
        epoch: Fencing token of the control run; a node refuses one older than the newest it has seen.
        expires_at: After this instant the node refuses it.
        lease: How long it stands unless committed; zero for a duty, which stands at once.
    """

    operation: OperationId
    plan_hash: PlanHash
    action: Action
    epoch: int
    expires_at: datetime
    lease: timedelta


class Closing(StrEnum):
    """How a leased operation is closed by the controller."""

    COMMIT = "commit"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class ClosingOrder:
    """What the control key signs to end a lease (or to take a committed change back)."""

    operation: OperationId
    node: NodeId
    closing: Closing
    epoch: int
    expires_at: datetime


class ActionState(StrEnum):
    """Where an operation stands, as the node itself reports it."""

    REQUESTED = "requested"
    APPLIED = "applied"
    COMMITTED = "committed"
    UNDONE = "undone"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ActionReport:
    """A node's answer: what it did, and what the kernel or the daemon says it looks like now.

    Attributes:
        operation: Which.
        state: APPLIED only when the read-back matched.
        before: Captured state that the undo will restore.
        after: Read-back after acting.
        message: One sentence; for REFUSED and FAILED the reason.
        at: Aware UTC.
        lease_until: When the node will undo by itself; None once closed.
    """

    operation: OperationId
    state: ActionState
    before: str
    after: str
    message: str
    at: datetime
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """An operation as the ledger of actions knows it."""

    operation: OperationId
    incident: IncidentId
    remedy: RemedyName
    plan_hash: PlanHash
    action: Action
    state: ActionState
    requested_at: datetime
    report: ActionReport | None = None


class DecisionKind(StrEnum):
    """A person's answer to a remedy that waits."""

    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's answer: bound to the plan, used once, and stale after its expiry."""

    incident: IncidentId
    plan_hash: PlanHash
    kind: DecisionKind
    decided_by: str
    decided_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Prior:
    """What past incidents taught of one (fault, remedy): verified counts only."""

    fixed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Guardrails as data. Times are wall-clock; defaults from facts on production systems (3.3)."""

    confidence_to_act: float = 0.7
    confidence_to_ask: float = 0.4
    evidence_max_age: timedelta = timedelta(seconds=5)
    cooldown_after_success: timedelta = timedelta(seconds=60)
    cooldown_after_failure: timedelta = timedelta(minutes=5)
    flap_half_life: timedelta = timedelta(minutes=15)
    flap_penalty: float = 1000.0
    flap_suppress: float = 2000.0
    flap_reuse: float = 750.0
    strikes_before_escalation: int = 2
    attempts_before_escalation: int = 3
    storm_share: float = 0.34
    max_actions_per_hour: int = 30
    lease: timedelta = timedelta(seconds=20)
    # babeld with default timers needs up to 44 s for a lossy link; whoever waits for routing waits about that long.
    watch: timedelta = timedelta(seconds=30)
    approval_expiry: timedelta = timedelta(minutes=10)
    clean_before_restore: timedelta = timedelta(minutes=10)
    cost_out: int = 5000


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guards remember; kept in Postgres so that it survives a restart.

    Attributes:
        paused: The operator's switch.
        cooldown_until: Element -> no new action before this instant.
        strikes: (element, fault) -> unverified attempts in a row.
        flap: Element -> (figure of merit, as of).
        recent: Instants of actions in the last hour, oldest first.
    """

    paused: bool = False
    cooldown_until: Mapping[str, datetime] = field(default_factory=dict)
    strikes: Mapping[str, int] = field(default_factory=dict)
    flap: Mapping[str, tuple[float, datetime]] = field(default_factory=dict)
    recent: tuple[datetime, ...] = ()
