"""`models.ports.Store` on Postgres."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.db.connections import pooled_engine
from infra.db.door import at_the_door
from infra.db.hints import Hints
from infra.db.repositories_access import PostgresHealRequests, PostgresLongRuns, PostgresTokens
from infra.db.repositories_action import PostgresActions, PostgresDecisions, PostgresGuards
from infra.db.repositories_chat import PostgresChats
from infra.db.repositories_duty import PostgresDuties
from infra.db.repositories_incident import PostgresIncidents, PostgresKnowledge
from infra.db.repositories_licence import PostgresLicences, PostgresOutbox
from infra.db.repositories_model import PostgresModels
from infra.db.repositories_money import PostgresLedger
from infra.db.repositories_telemetry import PostgresMeshes, PostgresSamples
from infra.db.repositories_validation import PostgresValidations
from infra.db.repositories_wishes import PostgresWishes
from infra.db.roles import PostgresJoins
from infra.db.transaction import Transaction
from models.chat import ChatRepository
from models.joining import JoinRepository
from models.ledger import LedgerRepository, LicenceRepository, OutboxRepository
from models.modelstore import ModelRepository
from models.ports import (
    ActionRepository,
    DecisionRepository,
    DutyRepository,
    GuardRepository,
    HealRequestRepository,
    IncidentRepository,
    KnowledgeRepository,
    LongRunRepository,
    MeshRepository,
    SampleRepository,
    TokenRepository,
)
from models.validation import ValidationRepository
from models.wishes import WishRepository


class PostgresUnit:
    """One transaction. It begins with the first statement; use it from one task only, and only once."""

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
    chats: ChatRepository
    duties: DutyRepository
    models: ModelRepository
    licences: LicenceRepository
    validations: ValidationRepository
    wishes: WishRepository
    joins: JoinRepository

    _connection: AsyncConnection
    _transaction: Transaction

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def __aenter__(self) -> Self:
        """Take a connection."""
        with at_the_door():
            self._connection = await self._engine.connect()
        transaction = self._transaction = Transaction(self._connection)
        self.meshes = PostgresMeshes(transaction)
        self.samples = PostgresSamples(transaction)
        self.incidents = PostgresIncidents(transaction)
        self.actions = PostgresActions(transaction)
        self.knowledge = PostgresKnowledge(transaction)
        self.guards = PostgresGuards(transaction)
        self.decisions = PostgresDecisions(transaction)
        self.requests = PostgresHealRequests(transaction)
        self.tokens = PostgresTokens(transaction)
        self.long_runs = PostgresLongRuns(transaction)
        self.ledger = PostgresLedger(transaction)
        self.outbox = PostgresOutbox(transaction)
        self.chats = PostgresChats(transaction)
        self.duties = PostgresDuties(transaction)
        self.models = PostgresModels(transaction)
        self.licences = PostgresLicences(transaction)
        self.validations = PostgresValidations(transaction)
        self.wishes = PostgresWishes(transaction)
        self.joins = PostgresJoins(transaction)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit on a clean exit, else roll back; give the connection back in any case."""
        try:
            if kind is None:
                await self._transaction.commit()
        finally:
            # Closing rolls back what was not committed.
            with at_the_door():
                await self._connection.close()


class PostgresStore:
    """The database at `url` (`postgresql+asyncpg://...`). Connects on first use; belongs to one event loop."""

    def __init__(self, url: str) -> None:
        self._engine = pooled_engine(url)
        self._hints = Hints(url)

    def unit(self) -> PostgresUnit:
        """Return a new unit of work."""
        return PostgresUnit(self._engine)

    async def wait(self, channel: str, *, at_most: timedelta) -> bool:
        """Wait for a hint on a channel."""
        return await self._hints.wait(channel, at_most=at_most)

    async def close(self) -> None:
        """Give back every connection."""
        await self._hints.close()
        await self._engine.dispose()
