"""What the fake store remembers: the port's promises in plain dictionaries, without any transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from infra.db.documents import closing_of
from models.chat import Button, Card
from models.errors import DecisionRefused, RefusedError, RemedyRejected, StaleEpoch
from models.fitting import Checkpoint
from models.incident import (
    Diagnosis,
    FaultKind,
    Incident,
    IncidentId,
    IncidentState,
    Outcome,
    OutcomeKind,
    Verdict,
    Verification,
)
from models.joining import JoinedNode, JoinToken
from models.ledger import BuyerId, Language
from models.mesh import Mesh, NodeId
from models.modelstore import ModelRecord
from models.payment import OrderId
from models.ports import HealRequest, IncidentStory, LongRun, Signed, Token
from models.remedy import (
    ActionReport,
    ActionState,
    Closing,
    Decision,
    GuardState,
    OperationId,
    OperationRecord,
    PlanHash,
    Prior,
    Remedy,
    RemedyName,
    Verb,
)
from models.telemetry import NodeBaseline, Sample
from models.validation import ValidationRecord
from tests.fakes.books import Books, SchemaRefusal

IN_FLIGHT = {ActionState.REQUESTED, ActionState.APPLIED}
FAILURES = {OutcomeKind.NO_EFFECT, OutcomeKind.WORSE_UNDONE, OutcomeKind.AMBIGUOUS}


@dataclass(frozen=True, slots=True)
class Posted:
    """An operation with its mesh and its post."""

    mesh: str
    record: OperationRecord
    order: Signed
    closing: Signed | None = None

    @property
    def closing_waits(self) -> bool:
        if self.closing is None:
            return False
        if closing_of(self.closing) is Closing.COMMIT:
            return self.record.state in IN_FLIGHT
        return self.record.state in IN_FLIGHT | {ActionState.COMMITTED}


@dataclass
class Memory:
    """Every method is one statement: it succeeds whole or changes nothing."""

    meshes: dict[str, Mesh] = field(default_factory=dict)
    baselines: dict[tuple[str, NodeId], tuple[NodeBaseline, ...]] = field(default_factory=dict)
    samples: dict[tuple[str, NodeId, int, int], tuple[int, Sample]] = field(default_factory=dict)
    stored: int = 0
    incidents: dict[IncidentId, Incident] = field(default_factory=dict)
    diagnoses: dict[tuple[IncidentId, datetime], Diagnosis] = field(default_factory=dict)
    remedies: dict[PlanHash, Remedy] = field(default_factory=dict)
    verifications: dict[tuple[IncidentId, str, datetime], Verification] = field(default_factory=dict)
    outcomes: dict[tuple[IncidentId, str], Outcome] = field(default_factory=dict)
    operations: dict[OperationId, Posted] = field(default_factory=dict)
    guards: dict[str, GuardState] = field(default_factory=dict)
    decisions: dict[PlanHash, tuple[Decision, bool]] = field(default_factory=dict)
    requests: dict[str, HealRequest] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    long_runs: dict[str, LongRun] = field(default_factory=dict)
    books: Books = field(default_factory=Books)
    languages: dict[int, Language] = field(default_factory=dict)
    buttons: dict[str, tuple[Button, bool]] = field(default_factory=dict)
    cards: dict[OrderId, Card] = field(default_factory=dict)
    duties: dict[tuple[str, NodeId, str], Any] = field(default_factory=dict)
    models: dict[str, ModelRecord] = field(default_factory=dict)
    fits: dict[str, tuple[Checkpoint, datetime]] = field(default_factory=dict)
    wishes: dict[tuple[BuyerId, str], tuple[bytes, OrderId, datetime]] = field(default_factory=dict)
    validations: dict[IncidentId, ValidationRecord] = field(default_factory=dict)
    join_tokens: dict[str, JoinToken] = field(default_factory=dict)
    joined: dict[tuple[str, str], JoinedNode] = field(default_factory=dict)

    def copy(self) -> Memory:
        """Copy the dictionaries; what they hold is frozen."""
        state = {one.name: getattr(self, one.name) for one in fields(self)}
        copied: dict[str, Any] = {
            name: value.copy() if isinstance(value, dict | Books) else value for name, value in state.items()
        }
        return Memory(**copied)

    # meshes and samples

    def save_mesh(self, mesh: Mesh) -> None:
        self.meshes[mesh.name] = mesh

    def record_baseline(self, mesh: str, baseline: NodeBaseline) -> NodeBaseline:
        known = self.baselines.get((mesh, baseline.node), ())
        for one in known:
            if one.recorded_at == baseline.recorded_at:
                return one
        recorded = replace(baseline, version=len(known) + 1)
        self.baselines[mesh, baseline.node] = (*known, recorded)
        return recorded

    def add_samples(self, mesh: str, samples: Sequence[Sample]) -> None:
        for one in samples:
            key = (mesh, one.node, one.epoch, one.sequence)
            if key not in self.samples:
                self.stored += 1
                self.samples[key] = (self.stored, one)

    def samples_of(self, mesh: str) -> list[tuple[int, Sample]]:
        return sorted((value for key, value in self.samples.items() if key[0] == mesh), key=lambda pair: pair[0])

    def delete_samples_before(self, instant: datetime) -> int:
        old = [key for key, (_, one) in self.samples.items() if one.at < instant]
        for key in old:
            del self.samples[key]
        return len(old)

    # incidents

    def save_incident(self, incident: Incident) -> None:
        if (incident.state is IncidentState.CLOSED) is (incident.closed_at is None):
            raise SchemaRefusal("an incident carries `closed_at` exactly when its state is closed")
        self.incidents[incident.id] = incident

    def incidents_of(self, mesh: str) -> list[Incident]:
        return sorted(
            (one for one in self.incidents.values() if one.mesh == mesh), key=lambda one: (one.opened_at, one.id)
        )

    def known_incident(self, incident: IncidentId) -> Incident:
        if incident not in self.incidents:
            raise SchemaRefusal(f"the schema refused the row: there is no incident {incident}")
        return self.incidents[incident]

    def record_diagnosis(self, diagnosis: Diagnosis) -> None:
        self.known_incident(diagnosis.incident)
        self.diagnoses[diagnosis.incident, diagnosis.at] = diagnosis

    def record_remedy(self, remedy: Remedy) -> None:
        self.known_incident(remedy.incident)
        known = self.remedies.get(remedy.plan_hash)
        if known is None or remedy.evidence_at >= known.evidence_at:
            self.remedies[remedy.plan_hash] = remedy

    def record_verification(self, verification: Verification) -> None:
        self.known_incident(verification.incident)
        self.verifications[verification.incident, verification.plan_hash, verification.at] = verification

    def record_outcome(self, outcome: Outcome) -> None:
        if outcome.incident is None:
            return
        self.known_incident(outcome.incident)
        if outcome.kind is None:
            raise RefusedError("an outcome of an incident must say how it ended")
        if outcome.kind is OutcomeKind.DRY_RUN:
            raise SchemaRefusal("a dry run is never stored as an outcome")
        proofs = {key[:2] for key, one in self.verifications.items() if one.verdict is Verdict.HEALED}
        key = (outcome.incident, outcome.plan_hash)
        if outcome.kind is OutcomeKind.FIXED and key not in proofs:
            raise SchemaRefusal("an outcome is 'fixed' only with a verification that says healed for the same plan")
        self.outcomes[key] = outcome

    def fixed_since(self, mesh: str, since: datetime) -> int:
        fixed = [one for one in self.outcomes.values() if one.kind is OutcomeKind.FIXED and one.at > since]
        return len({one.incident for one in fixed if one.incident and self.incidents[one.incident].mesh == mesh})

    def outcome_counts(self, mesh: str) -> dict[OutcomeKind, int]:
        kinds = [
            one.kind
            for (incident, _), one in self.outcomes.items()
            if self.incidents[incident].mesh == mesh and one.kind
        ]
        return dict(Counter(kinds))

    def story(self, incident: IncidentId) -> IncidentStory | None:
        if incident not in self.incidents:
            return None
        return IncidentStory(
            incident=self.incidents[incident],
            diagnoses=tuple(
                sorted((one for one in self.diagnoses.values() if one.incident == incident), key=lambda one: one.at)
            ),
            remedies=tuple(
                sorted(
                    (one for one in self.remedies.values() if one.incident == incident), key=lambda one: one.evidence_at
                )
            ),
            operations=tuple(one.record for one in self.operations.values() if one.record.incident == incident),
            verifications=tuple(
                sorted(
                    (one for one in self.verifications.values() if one.incident == incident),
                    key=lambda one: (one.at, one.plan_hash),
                )
            ),
            decisions=tuple(
                sorted(
                    (one for one, _ in self.decisions.values() if one.incident == incident),
                    key=lambda one: (one.decided_at, one.plan_hash),
                )
            ),
            outcomes=tuple(
                sorted(
                    (one for one in self.outcomes.values() if one.incident == incident),
                    key=lambda one: (one.at, one.plan_hash),
                )
            ),
        )

    def priors(self, mesh: str) -> dict[tuple[FaultKind, RemedyName], Prior]:
        counts: dict[tuple[FaultKind, RemedyName], Prior] = {}
        for (incident, plan_hash), outcome in self.outcomes.items():
            remedy = self.remedies.get(PlanHash(plan_hash))
            fixed, failed = outcome.kind is OutcomeKind.FIXED, outcome.kind in FAILURES
            if remedy is None or self.incidents[incident].mesh != mesh or not (fixed or failed):
                continue
            key = (remedy.cause.fault, remedy.name)
            before = counts.get(key, Prior())
            counts[key] = Prior(before.fixed + fixed, before.failed + failed)
        return counts

    # operations

    def request(self, mesh: str, record: OperationRecord, signed: Signed) -> None:
        self.known_incident(record.incident)
        if record.operation in self.operations:
            return
        rivals = [
            one
            for one in self.in_flight(mesh)
            if one.action.element == record.action.element and one.plan_hash != record.plan_hash
        ]
        if rivals and record.state in IN_FLIGHT:
            raise RemedyRejected(record.remedy, f"another operation in flight writes to {record.action.element}")
        self.operations[record.operation] = Posted(mesh, record, signed)

    def close(self, operation: OperationId, signed: Signed) -> None:
        closing_of(signed)
        if operation not in self.operations:
            raise RefusedError(f"operation {operation} is unknown; only a requested operation can be closed")
        self.operations[operation] = replace(self.operations[operation], closing=signed)

    def post_for(self, mesh: str, node: NodeId) -> list[tuple[OperationId, Signed]]:
        post: list[tuple[OperationId, Signed]] = []
        for name, one in self.operations.items():
            if one.mesh != mesh or one.record.action.node != node:
                continue
            if one.record.state is ActionState.REQUESTED:
                post.append((name, one.order))
            if one.closing is not None and one.closing_waits:
                post.append((name, one.closing))
        return post

    def report(self, mesh: str, node: NodeId, report: ActionReport) -> bool:
        known = self.operations.get(report.operation)
        if known is None or known.mesh != mesh or known.record.action.node != node:
            return False
        if known.record.report is not None and known.record.report.at >= report.at:
            return False
        record = replace(known.record, state=report.state, report=report)
        self.operations[report.operation] = replace(known, record=record)
        return True

    def operations_of(self, mesh: str) -> list[OperationRecord]:
        return [one.record for one in self.operations.values() if one.mesh == mesh]

    def in_flight(self, mesh: str) -> list[OperationRecord]:
        return [one for one in self.operations_of(mesh) if one.state in IN_FLIGHT]

    def standing(self, mesh: str) -> list[OperationRecord]:
        newest: dict[tuple[NodeId, str | int], OperationRecord] = {}
        for one in self.operations_of(mesh):
            if one.action.verb is not Verb.SET_COST or one.state is not ActionState.COMMITTED or one.report is None:
                continue
            key = (one.action.node, one.action.arguments["interface"])
            before = newest.get(key)
            if before is None or before.report is None or before.report.at <= one.report.at:
                newest[key] = one
        stand = {one.operation for one in newest.values() if one.remedy is not RemedyName.UNCOST_LINK}
        return [one for one in self.operations_of(mesh) if one.operation in stand]

    # decisions, guards, access

    def save_guards(self, mesh: str, state: GuardState) -> None:
        self.guards[mesh] = state

    def post_decision(self, decision: Decision) -> None:
        incident = self.incidents.get(decision.incident)
        remedy = self.remedies.get(decision.plan_hash)
        waits = incident is not None and incident.state is IncidentState.AWAITING_APPROVAL
        if not waits or remedy is None or remedy.incident != decision.incident:
            raise DecisionRefused(f"incident {decision.incident} does not wait for a decision on this plan")
        if decision.plan_hash in self.decisions:
            raise DecisionRefused("this plan was decided already; a decision is used once")
        self.decisions[decision.plan_hash] = (decision, False)

    def unused_decisions(self, mesh: str) -> list[Decision]:
        waiting = [
            one for one, used in self.decisions.values() if not used and self.incidents[one.incident].mesh == mesh
        ]
        return sorted(waiting, key=lambda one: (one.decided_at, one.plan_hash))

    def take_decision(self, plan_hash: PlanHash) -> Decision | None:
        decision, used = self.decisions.get(plan_hash, (None, True))
        if decision is None or used:
            return None
        self.decisions[plan_hash] = (decision, True)
        return decision

    def post_request(self, request: HealRequest) -> None:
        self.requests.setdefault(request.id, request)

    def waiting_requests(self, mesh: str) -> list[HealRequest]:
        waiting = [one for one in self.requests.values() if one.mesh == mesh and one.outcome is None]
        return sorted(waiting, key=lambda one: (one.asked_at, one.id))

    def finish_request(self, request: str, outcome: str) -> None:
        known = self.requests.get(request)
        if known is not None and known.outcome is None:
            self.requests[request] = replace(known, outcome=outcome)

    def add_token(self, token: Token) -> None:
        if any(one.digest == token.digest and one.name != token.name for one in self.tokens.values()):
            raise SchemaRefusal("another token has this digest already")
        self.tokens[token.name] = token

    def revoke_token(self, name: str) -> bool:
        return self.tokens.pop(name, None) is not None

    def claim(self, role: str, *, flow_run_id: str, pid: int, host: str, now: datetime) -> LongRun:
        known = self.long_runs.get(role)
        claimed = LongRun(role, known.epoch + 1 if known else 1, flow_run_id, pid, host, now)
        self.long_runs[role] = claimed
        return claimed

    def beat(self, role: str, epoch: int, now: datetime) -> None:
        known = self.long_runs.get(role)
        if known is None or known.epoch != epoch:
            raise StaleEpoch(role, epoch)
        self.long_runs[role] = replace(known, beat_at=now)
