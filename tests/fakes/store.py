"""An in-memory `Store`: same promises as Postgres (tests/contracts/store.py), no server.

Like READ COMMITTED: a unit sees what others committed and what it wrote itself; its writes are done once more on the
common memory when it commits. Row locks (`for_update`, the guards) are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

from models.chat import ChatRepository
from models.errors import BrokenError, SourceUnavailable, TransferSpent
from models.incident import (
    Diagnosis,
    FaultKind,
    Incident,
    IncidentId,
    IncidentState,
    Outcome,
    OutcomeKind,
    Verification,
)
from models.joining import JoinRepository
from models.ledger import LedgerRepository, LicenceRepository, OutboxRepository
from models.mesh import Mesh, NodeId
from models.modelstore import ModelRepository
from models.ports import (
    ActionRepository,
    DecisionRepository,
    DutyRepository,
    GuardRepository,
    HealRequest,
    HealRequestRepository,
    IncidentRepository,
    IncidentStory,
    KnowledgeRepository,
    LongRun,
    LongRunRepository,
    MeshRepository,
    SampleRepository,
    Signed,
    Token,
    TokenRepository,
)
from models.remedy import (
    ActionReport,
    ActionState,
    Decision,
    GuardState,
    OperationId,
    OperationRecord,
    PlanHash,
    Prior,
    Remedy,
    RemedyName,
)
from models.telemetry import NodeBaseline, Sample
from models.validation import ValidationRepository
from models.wishes import WishRepository
from tests.fakes.books import SchemaRefusal
from tests.fakes.chats import FakeChats
from tests.fakes.duties import FakeDuties
from tests.fakes.joins import FakeJoins
from tests.fakes.ledger import FakeLedger, FakeLicences, FakeOutbox
from tests.fakes.memory import Memory
from tests.fakes.models import FakeModels
from tests.fakes.validations import FakeValidations
from tests.fakes.wishes import FakeWishes

CHANNELS = ("samples", "actions", "reports", "incidents", "decisions", "requests", "orders", "outbox")

Result = TypeVar("Result")


class Desk:
    """One unit's view of the memory, its writes so far, its locks, and the hints it will send."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._writes: list[Callable[[Memory], object]] = []
        self._channels: set[str] = set()
        self._view: tuple[int, Memory] | None = None
        self._locked: set[str] = set()
        self._is_spoiled = False
        self.locks = AsyncExitStack()

    @property
    def seen(self) -> Memory:
        """What a statement of this unit sees now."""
        if not self._writes:
            return self._store.memory
        if self._view is None or self._view[0] != self._store.commits:
            view = self._store.memory.copy()
            for write in self._writes:
                write(view)
            self._view = (self._store.commits, view)
        return self._view[1]

    def write(self, write: Callable[[Memory], Result], *channels: str) -> Result:
        """Do a write in this unit's view and keep it for the commit."""
        base = self.seen
        view = base if self._writes else base.copy()
        try:
            result = write(view)
        except (SchemaRefusal, TransferSpent):
            self._is_spoiled = True
            raise
        self._writes.append(write)
        self._view = (self._store.commits, view)
        self._channels.update(channels)
        return result

    async def lock(self, row: str) -> None:
        """Hold a row until the unit ends."""
        if row not in self._locked:
            await self.locks.enter_async_context(self._store.locks.setdefault(row, asyncio.Lock()))
            self._locked.add(row)

    def is_free(self, row: str) -> bool:
        """Tell whether no other unit holds a row."""
        lock = self._store.locks.get(row)
        return row in self._locked or lock is None or not lock.locked()

    async def commit(self) -> None:
        """Do the writes once more, on what everybody sees: all of them, or none."""
        if self._is_spoiled:
            raise BrokenError("the fake refused a statement of this unit of work; let its error leave the unit")
        if self._writes:
            after = self._store.memory.copy()
            for write in self._writes:
                write(after)
            self._store.memory = after
            self._store.commits += 1
        await self._store.ring(*self._channels)


class FakeMeshes:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def save(self, mesh: Mesh) -> None:
        self._desk.write(lambda memory: memory.save_mesh(mesh))

    async def load(self, name: str) -> Mesh | None:
        return self._desk.seen.meshes.get(name)

    async def record_baseline(self, mesh: str, baseline: NodeBaseline) -> NodeBaseline:
        await self._desk.lock(f"baseline {mesh}/{baseline.node}")
        return self._desk.write(lambda memory: memory.record_baseline(mesh, baseline))

    async def baseline(self, mesh: str, node: NodeId) -> NodeBaseline | None:
        return next(reversed(self._desk.seen.baselines.get((mesh, node), ())), None)


class FakeSamples:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def add(self, mesh: str, samples: Sequence[Sample]) -> None:
        if not samples:
            return
        await self._desk.lock(f"samples {mesh}")
        batch = tuple(samples)
        self._desk.write(lambda memory: memory.add_samples(mesh, batch), "samples")

    async def between(
        self, mesh: str, start: datetime, end: datetime, *, nodes: Collection[NodeId] | None = None
    ) -> list[Sample]:
        found = [
            one
            for _, one in self._desk.seen.samples_of(mesh)
            if start <= one.at < end and (nodes is None or one.node in nodes)
        ]
        return sorted(found, key=lambda one: (one.at, one.node, one.epoch, one.sequence))

    async def stored_after(self, mesh: str, cursor: int, *, limit: int = 5000) -> tuple[list[Sample], int]:
        found = [pair for pair in self._desk.seen.samples_of(mesh) if pair[0] > cursor][:limit]
        return [one for _, one in found], found[-1][0] if found else cursor

    async def newest_cursor(self, mesh: str) -> int:
        return max((stored for stored, _ in self._desk.seen.samples_of(mesh)), default=0)

    async def latest(self, mesh: str) -> dict[NodeId, Sample]:
        of_mesh = [one for _, one in self._desk.seen.samples_of(mesh)]
        return {one.node: one for one in sorted(of_mesh, key=lambda one: (one.node, one.epoch, one.sequence))}

    async def delete_before(self, instant: datetime) -> int:
        return self._desk.write(lambda memory: memory.delete_samples_before(instant))


class FakeIncidents:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def save(self, incident: Incident) -> None:
        self._desk.write(lambda memory: memory.save_incident(incident), "incidents")

    async def get(self, incident: IncidentId, *, for_update: bool = False) -> Incident | None:
        if for_update:
            await self._desk.lock(f"incident {incident}")
        return self._desk.seen.incidents.get(incident)

    async def open(self, mesh: str, *, for_update: bool = False) -> list[Incident]:
        if for_update:
            for one in self._open(mesh):
                await self._desk.lock(f"incident {one.id}")
        return self._open(mesh)

    def _open(self, mesh: str) -> list[Incident]:
        return [one for one in self._desk.seen.incidents_of(mesh) if one.state is not IncidentState.CLOSED]

    async def recent(self, mesh: str, limit: int = 50) -> list[Incident]:
        return self._desk.seen.incidents_of(mesh)[::-1][:limit]

    async def record_diagnosis(self, diagnosis: Diagnosis) -> None:
        self._desk.write(lambda memory: memory.record_diagnosis(diagnosis), "incidents")

    async def record_remedy(self, remedy: Remedy) -> None:
        self._desk.write(lambda memory: memory.record_remedy(remedy), "incidents")

    async def remedy(self, plan_hash: PlanHash) -> Remedy | None:
        return self._desk.seen.remedies.get(plan_hash)

    async def record_verification(self, verification: Verification) -> None:
        self._desk.write(lambda memory: memory.record_verification(verification), "incidents")

    async def record_outcome(self, outcome: Outcome) -> None:
        self._desk.write(lambda memory: memory.record_outcome(outcome), "incidents")

    async def fixed_since(self, mesh: str, since: datetime) -> int:
        return self._desk.seen.fixed_since(mesh, since)

    async def outcome_counts(self, mesh: str) -> Mapping[OutcomeKind, int]:
        return self._desk.seen.outcome_counts(mesh)

    async def story(self, incident: IncidentId) -> IncidentStory | None:
        return self._desk.seen.story(incident)


class FakeActions:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def request(self, mesh: str, record: OperationRecord, signed: Signed) -> None:
        self._desk.write(lambda memory: memory.request(mesh, record, signed), "actions")

    async def close(self, operation: OperationId, signed: Signed) -> None:
        self._desk.write(lambda memory: memory.close(operation, signed), "actions")

    async def post_for(self, mesh: str, node: NodeId) -> list[tuple[OperationId, Signed]]:
        return self._desk.seen.post_for(mesh, node)

    async def report(self, mesh: str, node: NodeId, report: ActionReport) -> None:
        self._desk.write(lambda memory: memory.report(mesh, node, report), "reports")

    async def get(self, operation: OperationId) -> OperationRecord | None:
        known = self._desk.seen.operations.get(operation)
        return None if known is None else known.record

    async def of_plan(self, plan_hash: PlanHash) -> list[OperationRecord]:
        return [one.record for one in self._desk.seen.operations.values() if one.record.plan_hash == plan_hash]

    async def in_flight(self, mesh: str) -> list[OperationRecord]:
        return self._desk.seen.in_flight(mesh)

    async def state_counts(self, mesh: str) -> Mapping[ActionState, int]:
        counts: dict[ActionState, int] = {}
        for one in self._desk.seen.operations_of(mesh):
            counts[one.state] = counts.get(one.state, 0) + 1
        return counts

    async def standing(self, mesh: str) -> list[OperationRecord]:
        return self._desk.seen.standing(mesh)


class FakeKnowledge:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def priors(self, mesh: str) -> Mapping[tuple[FaultKind, RemedyName], Prior]:
        return self._desk.seen.priors(mesh)


class FakeGuards:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def load(self, mesh: str) -> GuardState:
        await self._desk.lock(f"guards {mesh}")
        return self._desk.seen.guards.get(mesh, GuardState())

    async def save(self, mesh: str, state: GuardState) -> None:
        self._desk.write(lambda memory: memory.save_guards(mesh, state))


class FakeDecisions:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def post(self, decision: Decision) -> None:
        self._desk.write(lambda memory: memory.post_decision(decision), "decisions")

    async def unused(self, mesh: str) -> list[Decision]:
        return self._desk.seen.unused_decisions(mesh)

    async def take(self, plan_hash: PlanHash) -> Decision | None:
        await self._desk.lock(f"decision {plan_hash}")
        return self._desk.write(lambda memory: memory.take_decision(plan_hash))


class FakeHealRequests:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def post(self, request: HealRequest) -> None:
        self._desk.write(lambda memory: memory.post_request(request), "requests")

    async def get(self, request: str) -> HealRequest | None:
        return self._desk.seen.requests.get(request)

    async def waiting(self, mesh: str) -> list[HealRequest]:
        return self._desk.seen.waiting_requests(mesh)

    async def finish(self, request: str, outcome: str) -> None:
        self._desk.write(lambda memory: memory.finish_request(request, outcome))


class FakeTokens:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def add(self, token: Token) -> None:
        self._desk.write(lambda memory: memory.add_token(token))

    async def find(self, digest: str) -> Token | None:
        return next((one for one in self._desk.seen.tokens.values() if one.digest == digest), None)

    async def revoke(self, name: str) -> bool:
        return self._desk.write(lambda memory: memory.revoke_token(name))


class FakeLongRuns:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def claim(self, role: str, *, flow_run_id: str, pid: int, host: str, now: datetime) -> LongRun:
        await self._desk.lock(f"role {role}")
        return self._desk.write(lambda memory: memory.claim(role, flow_run_id=flow_run_id, pid=pid, host=host, now=now))

    async def beat(self, role: str, epoch: int, now: datetime) -> None:
        self._desk.write(lambda memory: memory.beat(role, epoch, now))

    async def all(self) -> list[LongRun]:
        return [one for _, one in sorted(self._desk.seen.long_runs.items())]


class FakeUnit:
    """One transaction over the fake's memory."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        desk = self._desk = Desk(store)
        self.meshes: MeshRepository = FakeMeshes(desk)
        self.samples: SampleRepository = FakeSamples(desk)
        self.incidents: IncidentRepository = FakeIncidents(desk)
        self.actions: ActionRepository = FakeActions(desk)
        self.knowledge: KnowledgeRepository = FakeKnowledge(desk)
        self.guards: GuardRepository = FakeGuards(desk)
        self.decisions: DecisionRepository = FakeDecisions(desk)
        self.requests: HealRequestRepository = FakeHealRequests(desk)
        self.tokens: TokenRepository = FakeTokens(desk)
        self.long_runs: LongRunRepository = FakeLongRuns(desk)
        self.ledger: LedgerRepository = FakeLedger(desk)
        self.outbox: OutboxRepository = FakeOutbox(desk)
        self.licences: LicenceRepository = FakeLicences(desk)
        self.chats: ChatRepository = FakeChats(desk)
        self.duties: DutyRepository = FakeDuties(desk)
        self.models: ModelRepository = FakeModels(desk)
        self.validations: ValidationRepository = FakeValidations(desk)
        self.wishes: WishRepository = FakeWishes(desk)
        self.joins: JoinRepository = FakeJoins(desk)

    async def __aenter__(self) -> Self:
        if self._store.is_down:
            raise SourceUnavailable("the database", "the fake was told to be down")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._desk.locks:
            if kind is None:
                await self._desk.commit()


@dataclass
class FakeStore:
    """The whole fake.

    Attributes:
        memory: What is committed.
        commits: How many units wrote something.
        is_down: Set it, and entering a unit raises SourceUnavailable.
    """

    memory: Memory = field(default_factory=Memory)
    commits: int = 0
    is_down: bool = False
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _bells: dict[str, set[asyncio.Event]] = field(default_factory=lambda: {one: set() for one in CHANNELS})
    _came: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHANNELS, 0))
    _seen: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHANNELS, 0))

    def unit(self) -> FakeUnit:
        return FakeUnit(self)

    async def wait(self, channel: str, *, at_most: timedelta) -> bool:
        # A bell for each who waits: in Python 3.11 a Condition whose waiters are cancelled may stay locked for ever.
        if self._came[channel] == self._seen[channel]:
            bell = asyncio.Event()
            self._bells[channel].add(bell)
            try:
                async with asyncio.timeout(at_most.total_seconds()):
                    await bell.wait()
            except TimeoutError:
                return False
            finally:
                self._bells[channel].discard(bell)
        self._seen[channel] = self._came[channel]
        return True

    async def ring(self, *channels: str) -> None:
        for channel in channels:
            self._came[channel] += 1
            for bell in self._bells[channel]:
                bell.set()

    async def close(self) -> None:
        """Nothing to give back."""
