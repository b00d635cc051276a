"""Reconciling: the chains read anew by every provider, against what the ledger says was counted or set aside."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from models.errors import ChainUnavailable, ProviderKeyRefused
from models.payment import Provider, TransferKey
from models.payment_address import Address, Chain
from models.payment_looking import READERS
from models.payment_ports import IncompletePage, Page
from models.payment_quorum import Sighting, TxState
from models.ports import UnitOfWork
from tasks.payments import opened_chains
from tasks.payments_booking import alert
from tasks.payments_reading import open_cases
from tasks.wiring import adapters, deposits, payment_policy

log = structlog.get_logger()

MOST_ASIDE = 10_000
"""Transfers that wait for a person; a queue that long is its own alarm."""


@dataclass(frozen=True, slots=True)
class Differences:
    """What the chain and the ledger do not agree on.

    Attributes:
        chain: Which.
        since: From which block time on.
        looked_at: Final transactions that the providers told.
        unheard: Those the ledger had never heard of; their cases are open now, so that the scan takes them up.
        unbooked: Those it had heard of, that are neither counted, nor set aside, nor waiting.
        unread: Providers that could not be read whole, each with why: silence is no agreement.
    """

    chain: Chain
    since: datetime
    looked_at: int
    unheard: tuple[str, ...]
    unbooked: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Tell whether everything was read and nothing differs."""
        return not (self.unheard or self.unbooked or self.unread)

    def row(self) -> dict[str, str | int]:
        """Return it as a table's row for people."""
        return {
            "chain": self.chain.value,
            "since": self.since.isoformat(timespec="minutes"),
            "looked at": self.looked_at,
            "unheard": ", ".join(self.unheard),
            "unbooked": ", ".join(self.unbooked),
            "unread": "; ".join(self.unread),
        }


async def reconcile(chain: Chain, since: datetime) -> Differences:
    """Read every address anew by both providers and compare; what was missed is put before the scan.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    now = adapters().clock.now()
    pages, unread = await _read_all(chain, since)
    unheard: set[str] = set()
    unbooked: set[str] = set()
    final = {one.tx for _, page in pages for one in page.sightings if one.state is TxState.FINAL}
    for address, page in pages:
        told = [one for one in page.sightings if one.state is TxState.FINAL]
        async with adapters().store.unit() as uow:
            known = await uow.ledger.sightings(chain, [one.tx for one in told]) if told else {}
            waiting = {case.tx for case in await open_cases(uow, chain, now=now)}
            booked = await _booked(uow, known.values())
            missed = [one for one in told if one.tx not in known]
            lost = [
                one
                for one in told
                if one.tx in known and one.tx not in waiting and not _is_booked(one, known[one.tx], booked)
            ]
            await uow.ledger.sight(chain, address, missed, now=now)
            for one in lost:
                await uow.ledger.ask_for(chain, one.tx, address, now=now)
        unheard |= {one.tx.hex() for one in missed}
        unbooked |= {one.tx.hex() for one in lost}
    found = Differences(
        chain, since, len(final), tuple(sorted(unheard)), tuple(sorted(unbooked - unheard)), tuple(sorted(unread))
    )
    await _tell(found, now)
    return found


async def _read_all(chain: Chain, since: datetime) -> tuple[list[tuple[Address, Page]], list[str]]:
    pages: list[tuple[Address, Page]] = []
    unread: list[str] = []
    async with opened_chains() as chains:
        for address in deposits(chain):
            for provider in READERS[chain]:
                try:
                    page = await chains.all[provider].discover(address, since=since)
                except (ChainUnavailable, ProviderKeyRefused) as error:
                    unread.append(str(error))
                    continue
                pages.append((address, page))
                if isinstance(page, IncompletePage):
                    unread.append(f"{provider}: {page.reason}")
            if chain is Chain.TON:
                try:
                    pages.append((address, await chains.jettons.discover_jettons(address, since=since)))
                except (ChainUnavailable, ProviderKeyRefused) as error:
                    unread.append(f"{Provider.TONAPI} (USDT): {error}")
    return pages, unread


def _is_booked(one: Sighting, known: Sequence[Sighting], booked: Collection[TransferKey]) -> bool:
    """Tell whether all that a transaction brought is counted, set aside, or dust."""
    dust = payment_policy().dust
    worth = [it for it in one.transfers if it.units >= dust[it.asset]]
    return len({it.key for said in known for it in said.transfers} & set(booked)) >= len(worth)


async def _booked(uow: UnitOfWork, known: Iterable[Sequence[Sighting]]) -> set[TransferKey]:
    keys = {it.key for said in known for one in said for it in one.transfers if it.key is not None}
    aside = {one.transfer.key for one in await uow.ledger.aside(limit=MOST_ASIDE)}
    return set(await uow.ledger.credited_to(keys)) | (keys & aside)


async def _tell(found: Differences, now: datetime) -> None:
    if found.is_clean:
        log.info("the chain and the ledger agree", chain=found.chain, looked_at=found.looked_at)
        return
    log.warning(
        "the chain and the ledger differ",
        chain=found.chain,
        unheard=len(found.unheard),
        unbooked=len(found.unbooked),
        unread=list(found.unread),
    )
    async with adapters().store.unit() as uow:
        reason = f"{len(found.unheard)} unheard, {len(found.unbooked)} unbooked, {len(found.unread)} unread"
        await alert(uow, f"reconcile:{found.chain}:{now.date()}", "reconcile", now=now, reason=reason)
