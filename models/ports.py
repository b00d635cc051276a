"""The doors to the world. Adapters implement these; fake and adapter pass one contract class in tests/contracts.

Errors that may cross a port are those of `models.errors`; an adapter translates everything else at the door.
All instants are aware UTC. All IO ports are async except the two that read kernel memory in microseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from models.chat import ChatRepository
from models.gate import Duty
from models.incident import Diagnosis, FaultKind, Incident, IncidentId, Outcome, OutcomeKind, Verification
from models.joining import JoinRepository
from models.ledger import LedgerRepository, LicenceRepository, OutboxRepository
from models.mesh import Mesh, NodeId
from models.modelstore import ModelRepository
from models.remedy import (
    ActionReport,
    ActionState,
    ClosingOrder,
    Decision,
    GuardState,
    OperationId,
    OperationRecord,
    Order,
    PlanHash,
    Prior,
    Remedy,
    RemedyName,
)
from models.telemetry import (
    HostReading,
    InterfaceReading,
    KernelReading,
    LinkProbeReading,
    NodeBaseline,
    ReachReading,
    Sample,
)
from models.validation import ValidationRepository
from models.wishes import WishRepository


class Clock(Protocol):
    """The one source of now."""

    def now(self) -> datetime:
        """Return the present, aware UTC."""


# --- on a node -------------------------------------------------------------------------------------------------------


class InterfaceCounters(Protocol):
    """The counters of one node's mesh interfaces, cumulative since opening."""

    def read(self) -> tuple[InterfaceReading, ...]:
        """Read all interfaces at once, in name order. An interface that vanished is left out, not reported as zero."""

    def missing(self) -> frozenset[str]:
        """Name the signals this backend cannot measure (psutil cannot tell traffic classes)."""

    def close(self) -> None:
        """Detach what this object attached, and nothing else. Safe to call twice."""


class KernelSignals(Protocol):
    """What tracing programs count for one node, cumulative since opening."""

    def read(self) -> KernelReading:
        """Read all signals; None for each that `missing` names. Resets only what is "since the previous sample"."""

    def missing(self) -> frozenset[str]:
        """Name the signals that are not measured here, of `drops`, `retransmits`, `tcp-states` and `syscalls`."""

    def close(self) -> None:
        """Detach what this object attached, and nothing else. Safe to call twice."""


class Prober(Protocol):
    """Active echo probes of one node; running from `start` to `close`."""

    async def start(self) -> None:
        """Begin answering the peers' probes and sending our own."""

    def read(self) -> tuple[tuple[LinkProbeReading, ...], tuple[ReachReading, ...]]:
        """Return cumulative counts; resets only the RTT medians."""

    async def close(self) -> None:
        """Stop; free sockets and the policy rules made for pinning. Safe to call twice."""


class HostSenses(Protocol):
    """What a node can see of itself."""

    def host(self) -> HostReading | None:
        """Read pressure, forwarding counters and the daemon's state; None where the platform has none of it."""

    def configuration(self) -> NodeBaseline:
        """Read the configuration as it is now, shaped like a baseline (version 0)."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Canonical JSON of an Order or ClosingOrder, and the control key's Ed25519 signature over exactly those bytes."""

    payload: bytes
    signature: bytes


class Signer(Protocol):
    """The control key. Only the control side holds it."""

    def sign(self, order: Order | ClosingOrder) -> Signed:
        """Sign; the payload says which of the two it is."""


class Actuator(Protocol):
    """A node's hands, seen from that node."""

    async def execute(self, signed: Signed) -> ActionReport:
        """Apply a signed Order, or close one by a signed ClosingOrder, once.

        Returns:
            The report; state APPLIED only after a read-back that matches. An operation seen before returns its
            recorded report and acts no second time. REFUSED and FAILED are reports, not exceptions.

        Raises:
            NodeUnavailable: the actuator's socket does not answer.
        """

    async def reports(self) -> tuple[ActionReport, ...]:
        """Return the latest report of every operation in the journal (leases that ran out show as UNDONE)."""


# --- in Postgres -----------------------------------------------------------------------------------------------------


class MeshRepository(Protocol):
    """Declared meshes and the nodes' recorded baselines."""

    async def save(self, mesh: Mesh) -> None:
        """Insert or replace the mesh of that name."""

    async def load(self, name: str) -> Mesh | None:
        """Return the mesh, or None when none was declared under that name."""

    async def record_baseline(self, mesh: str, baseline: NodeBaseline) -> NodeBaseline:
        """Store as the next version and return it with that version."""

    async def baseline(self, mesh: str, node: NodeId) -> NodeBaseline | None:
        """Return the newest baseline of that node."""


class SampleReader(Protocol):
    """The recent past, to be read. Where samples come from elsewhere than Postgres, this is all there is."""

    async def between(
        self, mesh: str, start: datetime, end: datetime, *, nodes: Collection[NodeId] | None = None
    ) -> list[Sample]:
        """Return samples with start <= at < end of some nodes (None: of all), ordered by (at, node)."""

    async def stored_after(self, mesh: str, cursor: int, *, limit: int = 5000) -> tuple[list[Sample], int]:
        """Return samples in order of storage after `cursor`, and the new cursor; late batches are not skipped.

        Where storage has no order of its own, some that were read shortly before come again, as they were.
        """

    async def newest_cursor(self, mesh: str) -> int:
        """Return the cursor of the newest sample stored (0 when none)."""

    async def latest(self, mesh: str) -> dict[NodeId, Sample]:
        """Return each node's newest sample."""


class SampleRepository(SampleReader, Protocol):
    """The recent past, as Postgres keeps it: bounded by retention."""

    async def add(self, mesh: str, samples: Sequence[Sample]) -> None:
        """Store a batch; a sample already stored (node, epoch, sequence) is left as it is. Notifies `samples`."""

    async def delete_before(self, instant: datetime) -> int:
        """Delete samples with at < instant, of all meshes; return how many."""


class IncidentRepository(Protocol):
    """Incidents and everything told about them. All writes are upserts on natural keys: a task may run twice."""

    async def save(self, incident: Incident) -> None:
        """Insert or update by id. Notifies `incidents`."""

    async def get(self, incident: IncidentId, *, for_update: bool = False) -> Incident | None:
        """Return one; with `for_update` the row is locked until the unit of work ends."""

    async def open(self, mesh: str, *, for_update: bool = False) -> list[Incident]:
        """Return those not CLOSED, oldest first; with `for_update` locked until the unit of work ends."""

    async def recent(self, mesh: str, limit: int = 50) -> list[Incident]:
        """Return the newest first, closed ones included."""

    async def record_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Key: (incident, at)."""

    async def record_remedy(self, remedy: Remedy) -> None:
        """Key: plan hash."""

    async def remedy(self, plan_hash: PlanHash) -> Remedy | None:
        """Return the remedy as it was chosen."""

    async def record_verification(self, verification: Verification) -> None:
        """Key: (incident, plan hash, at)."""

    async def record_outcome(self, outcome: Outcome) -> None:
        """Key: (incident, plan hash). FIXED without a HEALED verification row, and DRY_RUN, are refused by the schema.

        Raises:
            RefusedError: the schema's constraint said no.
        """

    async def fixed_since(self, mesh: str, since: datetime) -> int:
        """Count incidents with an outcome `fixed`, which has its proof, later than `since`."""

    async def outcome_counts(self, mesh: str) -> Mapping[OutcomeKind, int]:
        """Count every outcome ever recorded, by kind; kinds never seen are left out."""

    async def story(self, incident: IncidentId) -> IncidentStory | None:
        """Return everything known of one incident, for people; None when there is no such incident."""


@dataclass(frozen=True, slots=True)
class IncidentStory:
    """One incident from first sign to closed, each part in the order it happened."""

    incident: Incident
    diagnoses: tuple[Diagnosis, ...]
    remedies: tuple[Remedy, ...]
    operations: tuple[OperationRecord, ...]
    verifications: tuple[Verification, ...]
    decisions: tuple[Decision, ...]
    outcomes: tuple[Outcome, ...]


class ActionRepository(Protocol):
    """The ledger of operations, and the post between control and nodes."""

    async def request(self, mesh: str, record: OperationRecord, signed: Signed) -> None:
        """Write ahead: store the operation and its order. Known operation: no change. Notifies `actions`.

        Raises:
            RemedyRejected: another operation in flight writes to the same element (one writer per element).
        """

    async def close(self, operation: OperationId, signed: Signed) -> None:
        """Post a signed closing order for an operation. Idempotent. Notifies `actions`."""

    async def post_for(self, mesh: str, node: NodeId) -> list[tuple[OperationId, Signed]]:
        """Return the orders and closing orders this node has not reported on yet, oldest first."""

    async def report(self, mesh: str, node: NodeId, report: ActionReport) -> None:
        """Store a node's report if it is newer than the stored one. Notifies `reports`."""

    async def get(self, operation: OperationId) -> OperationRecord | None:
        """Return one operation."""

    async def of_plan(self, plan_hash: PlanHash) -> list[OperationRecord]:
        """Return a plan's operations in order."""

    async def in_flight(self, mesh: str) -> list[OperationRecord]:
        """Return operations REQUESTED or APPLIED: not closed yet."""

    async def state_counts(self, mesh: str) -> Mapping[ActionState, int]:
        """Count every operation ever requested, by the state it is in now; states never seen are left out."""

    async def standing(self, mesh: str) -> list[OperationRecord]:
        """Return committed SET_COST operations that no later committed operation on the same interface replaced.

        One that put the cost back (UNCOST_LINK) replaces, and does not stand itself.
        """


class DutyRepository(Protocol):
    """The post between control and a gateway node about client addresses: one row an address, the newest order counts.

    Apart from the ledger of operations: nothing that counts, guards or judges healing ever sees a duty.
    """

    async def request(self, mesh: str, duty: Duty, signed: Signed) -> None:
        """Write ahead, in place of what was asked about this address before. Notifies `actions`."""

    async def of_node(self, mesh: str, node: NodeId) -> list[Duty]:
        """Return the newest duty of each address, in the order in which they were asked for."""

    async def post_for(self, mesh: str, node: NodeId) -> list[tuple[OperationId, Signed]]:
        """Return the orders this node has not answered yet, oldest first."""

    async def report(self, mesh: str, node: NodeId, report: ActionReport) -> None:
        """Store the node's answer; one to an order that was replaced or answered before changes nothing."""

    async def forget(self, mesh: str, node: NodeId, addresses: Collection[str]) -> None:
        """Drop what is over."""


class KnowledgeRepository(Protocol):
    """What past incidents taught."""

    async def priors(self, mesh: str) -> Mapping[tuple[FaultKind, RemedyName], Prior]:
        """Count outcomes per (fault, remedy): FIXED as fixed; NO_EFFECT, WORSE_UNDONE and AMBIGUOUS as failed."""


class GuardRepository(Protocol):
    """The guards' memory."""

    async def load(self, mesh: str) -> GuardState:
        """Return the state, locked until the unit of work ends; an empty one when none was saved."""

    async def save(self, mesh: str, state: GuardState) -> None:
        """Replace the state."""


class DecisionRepository(Protocol):
    """People's answers."""

    async def post(self, decision: Decision) -> None:
        """Store one decision per plan. Notifies `decisions`.

        Raises:
            DecisionRefused: the plan does not wait for one, or was decided already.
        """

    async def unused(self, mesh: str) -> list[Decision]:
        """Return decisions that no run has taken yet, oldest first (expired ones too; the taker judges)."""

    async def take(self, plan_hash: PlanHash) -> Decision | None:
        """Mark the decision as used and return it; None when there is none or it was used before."""


@dataclass(frozen=True, slots=True)
class HealRequest:
    """A person or a program asked for a turn of the cycle; the watch run turns it into one.

    Attributes:
        id: Unique; given by the asker, so that asking twice asks once.
        mesh: Which mesh.
        dry_run: Plan only.
        asked_by: Who, for the record (`api:alice`, `cli:root`).
        asked_at: Aware UTC.
        outcome: One sentence per incident looked at, once done; None while it waits.
    """

    id: str
    mesh: str
    dry_run: bool
    asked_by: str
    asked_at: datetime
    outcome: str | None = None


class HealRequestRepository(Protocol):
    """Requests to heal that arrived over the API, the CLI or Telegram."""

    async def post(self, request: HealRequest) -> None:
        """Store; a known id is left as it is. Notifies `requests`."""

    async def get(self, request: str) -> HealRequest | None:
        """Return one."""

    async def waiting(self, mesh: str) -> list[HealRequest]:
        """Return those without an outcome, oldest first."""

    async def finish(self, request: str, outcome: str) -> None:
        """Write the outcome, once."""


class Scope(StrEnum):
    """What a token's bearer may do. OPERATE includes the others; PAY buys and reads nothing of the mesh."""

    READ = "read"
    PAY = "pay"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as we keep it: never the secret, only its SHA-256."""

    name: str
    digest: str
    scope: Scope
    created_at: datetime


class TokenRepository(Protocol):
    """Who may call the API."""

    async def add(self, token: Token) -> None:
        """Insert or replace the token of that name."""

    async def find(self, digest: str) -> Token | None:
        """Return the token with this digest, if it was not revoked."""

    async def revoke(self, name: str) -> bool:
        """Forget a token; False when there was none."""


@dataclass(frozen=True, slots=True)
class LongRun:
    """Who holds a role: one row per role, the newest epoch wins."""

    role: str
    epoch: int
    flow_run_id: str
    pid: int
    host: str
    beat_at: datetime


class LongRunRepository(Protocol):
    """Roles, epochs and beats. The advisory lock itself is held by `infra.db.longrun`, on a connection of its own."""

    async def claim(self, role: str, *, flow_run_id: str, pid: int, host: str, now: datetime) -> LongRun:
        """Take the next epoch of a role."""

    async def beat(self, role: str, epoch: int, now: datetime) -> None:
        """Say we live.

        Raises:
            StaleEpoch: a successor claimed the role.
        """

    async def all(self) -> list[LongRun]:
        """Return every role's newest holder."""


class UnitOfWork(Protocol):
    """One transaction. Commits on a clean exit, rolls back on an exception; nothing else commits."""

    meshes: MeshRepository
    samples: SampleRepository
    incidents: IncidentRepository
    actions: ActionRepository
    knowledge: KnowledgeRepository
    guards: GuardRepository
    decisions: DecisionRepository
    requests: HealRequestRepository
    tokens: TokenRepository
    long_runs: LongRunRepository
    ledger: LedgerRepository
    outbox: OutboxRepository
    licences: LicenceRepository
    chats: ChatRepository
    duties: DutyRepository
    models: ModelRepository
    validations: ValidationRepository
    wishes: WishRepository
    joins: JoinRepository

    async def __aenter__(self) -> Self:
        """Begin."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit or roll back."""


class Store(Protocol):
    """The database: units of work, and hints that something changed."""

    def unit(self) -> UnitOfWork:
        """Return a new unit of work.

        Raises (on entering):
            SourceUnavailable: the database does not answer.
        """

    async def wait(self, channel: str, *, at_most: timedelta) -> bool:
        """Wait for a NOTIFY; False on time-out.

        Channels: `samples`, `actions`, `reports`, `incidents`, `decisions`, `requests`, `orders`, `outbox`. A hint
        only: it may be lost or spurious, so whoever waits also polls.
        """

    async def close(self) -> None:
        """Give back every connection."""
