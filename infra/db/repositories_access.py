"""Requests to heal, API tokens, and who holds which role."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables import HealRequestRow, LongRunRow, TokenRow
from infra.db.transaction import Transaction
from models.errors import StaleEpoch
from models.ports import HealRequest, LongRun, Scope, Token

REQUEST_COLUMNS = (
    HealRequestRow.id,
    HealRequestRow.mesh,
    HealRequestRow.dry_run,
    HealRequestRow.asked_by,
    HealRequestRow.asked_at,
    HealRequestRow.outcome,
)
LONG_RUN_COLUMNS = (
    LongRunRow.role,
    LongRunRow.epoch,
    LongRunRow.flow_run_id,
    LongRunRow.pid,
    LongRunRow.host,
    LongRunRow.beat_at,
)


def _request_of(row: Row[Any]) -> HealRequest:
    return HealRequest(*row)


def _long_run_of(row: Row[Any]) -> LongRun:
    return LongRun(*row)


class PostgresHealRequests:
    """`models.ports.HealRequestRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def post(self, request: HealRequest) -> None:
        """Store, unless the id is known."""
        await self._transaction.run(
            insert(HealRequestRow)
            .values(
                id=request.id,
                mesh=request.mesh,
                dry_run=request.dry_run,
                asked_by=request.asked_by,
                asked_at=request.asked_at,
                outcome=request.outcome,
            )
            .on_conflict_do_nothing()
        )
        self._transaction.hint("requests")

    async def get(self, request: str) -> HealRequest | None:
        """Return one."""
        row = (await self._transaction.run(select(*REQUEST_COLUMNS).where(HealRequestRow.id == request))).one_or_none()
        return None if row is None else _request_of(row)

    async def waiting(self, mesh: str) -> list[HealRequest]:
        """Return those without an outcome, oldest first."""
        found = await self._transaction.run(
            select(*REQUEST_COLUMNS)
            .where(HealRequestRow.mesh == mesh, HealRequestRow.outcome.is_(None))
            .order_by(HealRequestRow.asked_at, HealRequestRow.id)
        )
        return [_request_of(row) for row in found]

    async def finish(self, request: str, outcome: str) -> None:
        """Write the outcome where there is none yet."""
        await self._transaction.run(
            update(HealRequestRow)
            .where(HealRequestRow.id == request, HealRequestRow.outcome.is_(None))
            .values(outcome=outcome)
        )


class PostgresTokens:
    """`models.ports.TokenRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, token: Token) -> None:
        """Insert or replace the token of that name."""
        row = insert(TokenRow).values(
            name=token.name, digest=token.digest, scope=token.scope, created_at=token.created_at
        )
        new = row.excluded
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["name"],
                set_={"digest": new.digest, "scope": new.scope, "created_at": new.created_at},
            )
        )

    async def find(self, digest: str) -> Token | None:
        """Return the token with this digest."""
        found = await self._transaction.run(
            select(TokenRow.name, TokenRow.digest, TokenRow.scope, TokenRow.created_at).where(TokenRow.digest == digest)
        )
        row = found.one_or_none()
        return None if row is None else Token(row.name, row.digest, Scope(row.scope), row.created_at)

    async def revoke(self, name: str) -> bool:
        """Forget a token."""
        return (await self._transaction.run(delete(TokenRow).where(TokenRow.name == name))).rowcount > 0


class PostgresLongRuns:
    """`models.ports.LongRunRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def claim(self, role: str, *, flow_run_id: str, pid: int, host: str, now: datetime) -> LongRun:
        """Take the next epoch of a role; the first is 1."""
        row = insert(LongRunRow).values(role=role, epoch=1, flow_run_id=flow_run_id, pid=pid, host=host, beat_at=now)
        new = row.excluded
        claimed = await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["role"],
                set_={
                    "epoch": LongRunRow.epoch + 1,
                    "flow_run_id": new.flow_run_id,
                    "pid": new.pid,
                    "host": new.host,
                    "beat_at": new.beat_at,
                },
            ).returning(*LONG_RUN_COLUMNS)
        )
        return _long_run_of(claimed.one())

    async def beat(self, role: str, epoch: int, now: datetime) -> None:
        """Write the beat, if the epoch is still the newest."""
        beaten = await self._transaction.run(
            update(LongRunRow).where(LongRunRow.role == role, LongRunRow.epoch == epoch).values(beat_at=now)
        )
        if beaten.rowcount == 0:
            raise StaleEpoch(role, epoch)

    async def all(self) -> list[LongRun]:
        """Return every role's newest holder, by role."""
        found = await self._transaction.run(select(*LONG_RUN_COLUMNS).order_by(LongRunRow.role))
        return [_long_run_of(row) for row in found]
