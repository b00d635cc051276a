"""Reconciling: the chains read anew by every provider, against what the ledger says was counted or set aside.

Both ways: what a chain has and the ledger does not goes to the scan; what was counted and a chain has no more is told
to a person. Nothing is ever un-credited by itself: who bought in good faith has a licence, and a provider may be wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from infra.chains.providers import ChainProviders
from models.errors import ChainUnavailable, ProviderKeyRefused
from models.payment import OrderId, Provider, Transfer, TransferKey
from models.payment_address import Address, Chain
from models.payment_looking import OVERLAP, READERS
from models.payment_ports import CompletePage, IncompletePage, Page, Proof
from models.payment_quorum import BLOCK_TIME_TOLERANCE, Sighting, TxState
from models.ports import UnitOfWork
from tasks.payments import opened_chains
from tasks.payments_booking import alert
from tasks.payments_reading import open_cases
from tasks.wiring import adapters, deposits, payment_policy

log = structlog.get_logger()

MOST_ASIDE = 10_000
"""Transfers that wait for a person; a queue that long is its own alarm."""

MOST_ASKED = 100
"""Proofs asked for at each address, at worst: more at once than that went missing is its own alarm."""


@dataclass(frozen=True, slots=True)
class Differences:
    """What the chain and the ledger do not agree on.

    Attributes:
        chain: Which.
        since: From which block time on.
        looked_at: Final transactions that the providers told.
        unheard: Those the ledger had never heard of; their cases are open now, so that the scan takes them up.
        unbooked: Those it had heard of, that are neither counted, nor set aside, nor waiting.
        gone: What was counted and the proving provider has no more, as "ORDER: TRANSACTION"; after a deep
            reorganisation of the chain, or if it lies.
        unread: What could not be read or asked for, each with why: silence is no agreement.
    """

    chain: Chain
    since: datetime
    looked_at: int
    unheard: tuple[str, ...]
    unbooked: tuple[str, ...]
    gone: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Tell whether everything was read and nothing differs."""
        return not (self.unheard or self.unbooked or self.gone or self.unread)

    def row(self) -> dict[str, str | int]:
        """Return it as a table's row for people."""
        return {
            "chain": self.chain.value,
            "since": self.since.isoformat(timespec="minutes"),
            "looked at": self.looked_at,
            "unheard": ", ".join(self.unheard),
            "unbooked": ", ".join(self.unbooked),
            "gone": ", ".join(self.gone),
            "unread": "; ".join(self.unread),
        }


async def reconcile(chain: Chain, since: datetime) -> Differences:
    """Read every address anew by both providers and compare; what was missed is put before the scan.

    What was counted and is told no more is asked of the proving provider, where at least one told a page without a gap.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    now = adapters().clock.now()
    async with opened_chains() as chains:
        pages, unread = await _read_all(chains, chain, since)
        gone = await _gone(chains, chain, since, pages, unread)
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
        chain,
        since,
        len(final),
        unheard=tuple(sorted(unheard)),
        unbooked=tuple(sorted(unbooked - unheard)),
        gone=tuple(f"{order}: {transfer.tx.hex()}" for order, transfer in gone),
        unread=tuple(sorted(unread)),
    )
    await _tell_gone(gone, now)
    await _tell(found, now)
    return found


async def _read_all(
    chains: ChainProviders, chain: Chain, since: datetime
) -> tuple[list[tuple[Address, Page]], list[str]]:
    pages: list[tuple[Address, Page]] = []
    unread: list[str] = []
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


async def _gone(
    chains: ChainProviders, chain: Chain, since: datetime, pages: Sequence[tuple[Address, Page]], unread: list[str]
) -> list[tuple[OrderId, Transfer]]:
    """Return what was counted and the chain has no more; what could not be asked goes to `unread`."""
    gone: list[tuple[OrderId, Transfer]] = []
    prover = chains.all[READERS[chain][1]]
    for address in deposits(chain):
        of_address = [page for at, page in pages if at == address]
        whole = [one.until for one in of_address if isinstance(one, CompletePage) and one.provider in READERS[chain]]
        if not whole:
            continue  # `unread` says so
        told = {one.tx for page in of_address for one in page.sightings if one.state is TxState.FINAL}
        async with adapters().store.unit() as uow:
            beside = await uow.ledger.credited_beside(
                address,
                told,
                # At the edges a provider's clock and a lagging index may tell a transfer or not.
                since=since + BLOCK_TIME_TOLERANCE,
                until=min(whole) - OVERLAP[chain],
                limit=MOST_ASKED + 1,
            )
        if len(beside) > MOST_ASKED:
            unread.append(f"{address}: more than {MOST_ASKED} credits are told no more, the others were not asked for")
        for order, transfer in beside[:MOST_ASKED]:
            try:
                proof = await prover.prove(transfer.tx, address=address)
            except (ChainUnavailable, ProviderKeyRefused) as error:
                unread.append(f"{order}: {transfer.tx.hex()} is told no more, and {error}")
                continue
            if not _shows(proof, transfer):
                gone.append((order, transfer))
    return gone


def _shows(proof: Proof, transfer: Transfer) -> bool:
    """Tell whether a proof has this very transfer, for good."""
    final = [it for one in proof.sightings if one.state is TxState.FINAL for it in one.transfers]
    return (transfer.key, transfer.receiver, transfer.units) in {(it.key, it.receiver, it.units) for it in final}


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
        gone=list(found.gone),
        unread=list(found.unread),
    )
    async with adapters().store.unit() as uow:
        reason = (
            f"{len(found.unheard)} unheard, {len(found.unbooked)} unbooked, {len(found.gone)} gone, "
            f"{len(found.unread)} unread"
        )
        await alert(uow, f"reconcile:{found.chain}:{now.date()}", "reconcile", now=now, reason=reason)


async def _tell_gone(gone: Sequence[tuple[OrderId, Transfer]], now: datetime) -> None:
    """Alert once for each; what it earned stands until a person decides."""
    if not gone:
        return
    async with adapters().store.unit() as uow:
        for order, one in gone:
            tx = one.tx.hex()
            await alert(
                uow,
                f"gone:{one.chain}:{tx}",
                "credit-gone",
                now=now,
                order=order,
                transaction=tx,
                chain=one.chain.value,
            )
