"""What providers said, what is nobody's, and how far the chains were read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.repositories_money_orders import TRANSFER_COLUMNS, keep, transfer_of
from infra.db.tables_money import CaseRow, CreditRow, ReachRow, SetAsideRow, SightingRow, TransferRow
from infra.db.transaction import Transaction, among
from models.errors import RefusedError
from models.ledger import Case, Reach, SetAside
from models.ledger_words import is_news, storable
from models.payment import Provider, Transfer
from models.payment_address import Address, Chain
from models.payment_matching import Unmatched
from models.payment_ports import Watermark
from models.payment_quorum import Sighting, TxState

# A credit has the last word: whoever counts a transfer need not know that somebody put it aside at the same instant.
NOT_CREDITED = ~exists().where(
    and_(
        CreditRow.chain == SetAsideRow.chain,
        CreditRow.tx == SetAsideRow.tx,
        CreditRow.event_index == SetAsideRow.event_index,
    )
)


def _sighting_of(row: Row[Any]) -> Sighting:
    return Sighting(Provider(row.provider), row.tx, TxState(row.state), row.transfers, row.seen_at)


class LedgerTellings:
    """The half of the ledger that comes from the chains and is no order's yet."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def sight(
        self, chain: Chain, address: Address, sightings: Sequence[Sighting], *, now: datetime
    ) -> set[bytes]:
        """Keep what is news, and make it due."""
        heard: dict[tuple[bytes, Provider], Sighting] = {}
        known = {
            (tx, said.provider): said
            for tx, all_said in (await self.sightings(chain, {one.tx for one in sightings})).items()
            for said in all_said
        }
        for one in map(storable, sightings):
            key = (one.tx, one.provider)
            if is_news(one, heard.get(key) or known.get(key)):
                heard[key] = one
        if not heard:
            return set()
        row = insert(SightingRow)
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["chain", "tx", "provider"],
                set_={
                    "state": row.excluded.state,
                    "seen_at": row.excluded.seen_at,
                    "transfers": row.excluded.transfers,
                },
                where=SightingRow.seen_at <= row.excluded.seen_at,
            ),
            [
                {
                    "chain": chain,
                    "tx": tx,
                    "provider": provider,
                    "state": heard[tx, provider].state,
                    "seen_at": heard[tx, provider].seen_at,
                    "transfers": heard[tx, provider].transfers,
                }
                for tx, provider in sorted(heard)
            ],
        )
        news = {tx for tx, _ in heard}
        await self._open_cases(chain, sorted(news), address, now)
        return news

    async def sightings(self, chain: Chain, txs: Collection[bytes]) -> Mapping[bytes, tuple[Sighting, ...]]:
        """Return all that was said."""
        if not txs:
            return {}
        found = await self._transaction.run(
            select(SightingRow.provider, SightingRow.tx, SightingRow.state, SightingRow.transfers, SightingRow.seen_at)
            .where(SightingRow.chain == chain, among(SightingRow.tx, txs))
            .order_by(SightingRow.tx, SightingRow.provider)
        )
        said: dict[bytes, tuple[Sighting, ...]] = {}
        for row in found:
            said[row.tx] = (*said.get(row.tx, ()), _sighting_of(row))
        return said

    async def ask_for(self, chain: Chain, tx: bytes, address: Address, *, now: datetime) -> None:
        """Open a case that is due."""
        await self._open_cases(chain, [tx], address, now)
        self._transaction.hint("orders")

    async def cases(self, chain: Chain, *, now: datetime, limit: int = 100) -> list[Case]:
        """Return what is due, longest due first."""
        found = await self._transaction.run(
            select(CaseRow.tx, CaseRow.address, CaseRow.first_seen, CaseRow.tries, CaseRow.next_at)
            .where(CaseRow.chain == chain, CaseRow.next_at <= now)
            .order_by(CaseRow.next_at, CaseRow.tx)
            .limit(limit)
        )
        return [
            Case(chain, row.tx, Address(chain, row.address), row.first_seen, row.tries, row.next_at) for row in found
        ]

    async def postpone(self, case: Case, *, until: datetime) -> None:
        """Count a try, and look again then."""
        await self._transaction.run(
            update(CaseRow)
            .where(CaseRow.chain == case.chain, CaseRow.tx == case.tx)
            .values(tries=CaseRow.tries + 1, next_at=until)
        )

    async def conclude(self, chain: Chain, txs: Collection[bytes]) -> None:
        """Close cases."""
        if txs:
            await self._transaction.run(delete(CaseRow).where(CaseRow.chain == chain, among(CaseRow.tx, txs)))

    async def set_aside(self, transfers: Sequence[tuple[Transfer, Unmatched]], *, now: datetime) -> None:
        """Keep the transfers, and say why they are nobody's."""
        if any(one.key is None for one, _ in transfers):
            self._transaction.spoil()
            raise RefusedError("only a final transfer is set aside")
        reasons = {one.key: why for one, why in transfers if one.key is not None}
        if not reasons:
            return
        await keep(self._transaction, {one.key: one for one, _ in transfers}.values())
        row = insert(SetAsideRow)
        await self._transaction.run(
            row.on_conflict_do_update(index_elements=["chain", "tx", "event_index"], set_={"why": row.excluded.why}),
            [
                {"chain": key.chain, "tx": key.tx, "event_index": key.event_index, "why": reasons[key], "at": now}
                for key in sorted(reasons)
            ],
        )

    async def aside(self, limit: int = 100) -> list[SetAside]:
        """Return what needs a person, oldest first."""
        for_people = [why for why in Unmatched if why.needs_person]
        found = await self._transaction.run(
            select(*TRANSFER_COLUMNS, SetAsideRow.why, SetAsideRow.at)
            .join(
                SetAsideRow,
                and_(
                    SetAsideRow.chain == TransferRow.chain,
                    SetAsideRow.tx == TransferRow.tx,
                    SetAsideRow.event_index == TransferRow.event_index,
                ),
            )
            .where(SetAsideRow.why.in_(for_people), NOT_CREDITED)
            .order_by(SetAsideRow.at, SetAsideRow.chain, SetAsideRow.tx, SetAsideRow.event_index)
            .limit(limit)
        )
        return [SetAside(transfer_of(row), Unmatched(row.why), row.at) for row in found]

    async def reach(self, provider: Provider, address: Address) -> Reach | None:
        """Return how far a provider was read."""
        found = await self._transaction.run(
            select(ReachRow.until, ReachRow.scanned_at, ReachRow.failing_since, ReachRow.reason).where(
                ReachRow.provider == provider, ReachRow.address == address.raw
            )
        )
        row = found.one_or_none()
        if row is None:
            return None
        return Reach(Watermark(provider, address, row.until), row.scanned_at, row.failing_since, row.reason)

    async def save_reach(self, reach: Reach) -> None:
        """Write it, forward only."""
        row = insert(ReachRow).values(
            provider=reach.mark.provider,
            address=reach.mark.address.raw,
            until=reach.mark.until,
            scanned_at=reach.scanned_at,
            failing_since=reach.failing_since,
            reason=reach.reason,
        )
        new = row.excluded
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["provider", "address"],
                set_={
                    "until": func.greatest(ReachRow.until, new.until),
                    "scanned_at": func.greatest(ReachRow.scanned_at, new.scanned_at),
                    "failing_since": new.failing_since,
                    "reason": new.reason,
                },
            )
        )
        self._transaction.hint("orders")

    async def _open_cases(self, chain: Chain, txs: Sequence[bytes], address: Address, now: datetime) -> None:
        row = insert(CaseRow)
        await self._transaction.run(
            row.on_conflict_do_update(
                index_elements=["chain", "tx"], set_={"next_at": func.least(CaseRow.next_at, row.excluded.next_at)}
            ),
            [
                {"chain": chain, "tx": tx, "address": address.raw, "first_seen": now, "tries": 0, "next_at": now}
                for tx in txs
            ],
        )
