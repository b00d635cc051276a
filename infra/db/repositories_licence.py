"""What must be told, what a settled order earned, and whom it lets in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.documents import encode
from infra.db.tables_money import FACTS, AdmissionRow, LicenceRow, OutboxRow
from infra.db.transaction import Transaction, among
from models.errors import BrokenError
from models.ledger import Admission, IssuedLicence, Message, MessageKind
from models.payment import OrderId

MESSAGE_COLUMNS = (
    OutboxRow.key,
    OutboxRow.kind,
    OutboxRow.recipient,
    OutboxRow.order_id,
    OutboxRow.facts,
    OutboxRow.written_at,
    OutboxRow.tries,
)
LICENCE_COLUMNS = (
    LicenceRow.id,
    LicenceRow.order_id,
    LicenceRow.plan,
    LicenceRow.devices,
    LicenceRow.issued_at,
    LicenceRow.expires_at,
    LicenceRow.revoked_at,
)
ADMISSION_COLUMNS = (
    AdmissionRow.licence,
    AdmissionRow.mesh,
    AdmissionRow.node,
    AdmissionRow.address,
    AdmissionRow.until,
    AdmissionRow.closed_at,
)

# Rows as arrays, here and below: one statement for any number of them, planned once.
PUT = text("""
INSERT INTO outbox (key, kind, recipient, order_id, facts, written_at, next_at, tries)
SELECT key, kind, recipient, order_id, CAST(facts AS jsonb), written_at, written_at, tries
FROM unnest(CAST(:key AS text[]), CAST(:kind AS text[]), CAST(:recipient AS text[]), CAST(:order_id AS text[]),
            CAST(:facts AS text[]), CAST(:written_at AS timestamptz[]), CAST(:tries AS bigint[]))
    WITH ORDINALITY AS told (key, kind, recipient, order_id, facts, written_at, tries, turn)
ORDER BY turn
ON CONFLICT DO NOTHING
""")
ISSUE = text("""
INSERT INTO licences (id, order_id, plan, devices, issued_at, expires_at, revoked_at)
SELECT * FROM unnest(CAST(:id AS text[]), CAST(:order_id AS text[]), CAST(:plan AS text[]),
                     CAST(:devices AS bigint[]), CAST(:issued_at AS timestamptz[]),
                     CAST(:expires_at AS timestamptz[]), CAST(:revoked_at AS timestamptz[]))
ON CONFLICT (order_id) DO NOTHING
""")


def _message_of(row: Row[Any]) -> Message:
    return Message(
        key=row.key,
        kind=MessageKind(row.kind),
        to=row.recipient,
        order=None if row.order_id is None else OrderId(row.order_id),
        facts=row.facts,
        written_at=row.written_at,
        tries=row.tries,
    )


def _licence_of(row: Row[Any]) -> IssuedLicence:
    return IssuedLicence(*row)


class PostgresOutbox:
    """`models.ledger.OutboxRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def put(self, message: Message) -> None:
        """Write, unless the key is known."""
        await self.put_many([message])

    async def put_many(self, messages: Sequence[Message]) -> None:
        """Write those whose key is not known, in this order."""
        if not messages:
            return
        await self._transaction.run(
            PUT,
            {
                "key": [one.key for one in messages],
                "kind": [one.kind for one in messages],
                "recipient": [one.to for one in messages],
                "order_id": [one.order for one in messages],
                "facts": [encode(FACTS, dict(one.facts)) for one in messages],
                "written_at": [one.written_at for one in messages],
                "tries": [one.tries for one in messages],
            },
        )
        self._transaction.hint("outbox")

    async def waiting(
        self,
        *,
        now: datetime,
        limit: int = 50,
        kinds: Collection[MessageKind] | None = None,
        to: Collection[str] = (),
    ) -> list[Message]:
        """Return and lock what is due and nobody holds, oldest first."""
        query = (
            select(*MESSAGE_COLUMNS)
            .where(OutboxRow.delivered_at.is_(None), OutboxRow.next_at <= now)
            .order_by(OutboxRow.written_at, OutboxRow.number)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        if kinds is not None:
            query = query.where(OutboxRow.kind.in_(kinds))
        if to:
            query = query.where(or_(*(OutboxRow.recipient.startswith(one, autoescape=True) for one in to)))
        return [_message_of(row) for row in await self._transaction.run(query)]

    async def delivered(self, key: str, *, now: datetime) -> None:
        """Mark as told, once."""
        await self._transaction.run(
            update(OutboxRow).where(OutboxRow.key == key, OutboxRow.delivered_at.is_(None)).values(delivered_at=now)
        )

    async def retry(self, key: str, *, at: datetime, reason: str) -> None:
        """Count the try and put the message off."""
        await self._transaction.run(
            update(OutboxRow)
            .where(OutboxRow.key == key, OutboxRow.delivered_at.is_(None))
            .values(tries=OutboxRow.tries + 1, next_at=at, reason=reason)
        )


class PostgresLicences:
    """`models.ledger.LicenceRepository` on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def issue(self, licence: IssuedLicence) -> IssuedLicence:
        """Insert, or return what this order earned before."""
        return (await self.issue_many([licence]))[0]

    async def issue_many(self, licences: Sequence[IssuedLicence]) -> list[IssuedLicence]:
        """Insert those that were not earned before; that is looked at first, for an order may be refunded by now."""
        asked = {one.order: one for one in licences}
        earned = await self._of_orders(asked)
        fresh = [one for order, one in sorted(asked.items()) if order not in earned]
        if fresh:
            await self._transaction.run(
                ISSUE,
                {
                    "id": [one.id for one in fresh],
                    "order_id": [one.order for one in fresh],
                    "plan": [one.plan for one in fresh],
                    "devices": [one.devices for one in fresh],
                    "issued_at": [one.issued_at for one in fresh],
                    "expires_at": [one.expires_at for one in fresh],
                    "revoked_at": [one.revoked_at for one in fresh],
                },
            )
            earned |= await self._of_orders([one.order for one in fresh])
        lost = [one.id for one in fresh if one.order not in earned]
        if lost:
            raise BrokenError(f"licence {lost[0]} was written and is not there")
        return [earned[one.order] for one in licences]

    async def get(self, licence: str, *, for_update: bool = False) -> IssuedLicence | None:
        """Return one."""
        query = select(*LICENCE_COLUMNS).where(LicenceRow.id == licence)
        row = (await self._transaction.run(query.with_for_update() if for_update else query)).one_or_none()
        return None if row is None else _licence_of(row)

    async def of_order(self, order: OrderId) -> IssuedLicence | None:
        """Return an order's."""
        return (await self._of_orders([order])).get(order)

    async def _of_orders(self, orders: Collection[OrderId]) -> dict[OrderId, IssuedLicence]:
        if not orders:
            return {}
        found = await self._transaction.run(select(*LICENCE_COLUMNS).where(among(LicenceRow.order_id, orders)))
        return {row.order_id: _licence_of(row) for row in found}

    async def revoke(self, licence: str, *, now: datetime) -> bool:
        """Take it back, once."""
        revoked = await self._transaction.run(
            update(LicenceRow).where(LicenceRow.id == licence, LicenceRow.revoked_at.is_(None)).values(revoked_at=now)
        )
        return revoked.rowcount > 0

    async def admit(self, admission: Admission) -> None:
        """Insert, or prolong what stands."""
        row = insert(AdmissionRow).values(
            licence=admission.licence,
            mesh=admission.mesh,
            node=admission.node,
            address=admission.address,
            until=admission.until,
        )
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["licence", "mesh", "node", "address"],
                index_where=AdmissionRow.closed_at.is_(None),
                set_={"until": row.excluded.until},
            )
        )

    async def admissions(self, *, licence: str | None = None, node: str | None = None) -> list[Admission]:
        """Return what stands, oldest first."""
        query = select(*ADMISSION_COLUMNS).where(AdmissionRow.closed_at.is_(None)).order_by(AdmissionRow.number)
        if licence is not None:
            query = query.where(AdmissionRow.licence == licence)
        if node is not None:
            query = query.where(AdmissionRow.node == node)
        return [Admission(*row) for row in await self._transaction.run(query)]

    async def close(self, admission: Admission, *, now: datetime) -> None:
        """Mark what stands as over."""
        await self._transaction.run(
            update(AdmissionRow)
            .where(
                AdmissionRow.licence == admission.licence,
                AdmissionRow.mesh == admission.mesh,
                AdmissionRow.node == admission.node,
                AdmissionRow.address == admission.address,
                AdmissionRow.closed_at.is_(None),
            )
            .values(closed_at=now)
        )
