"""Reading a TON account's transactions back to a time, with proof that none is missing.

Each transaction names the hash of the account's one before it, so an unbroken chain of hashes is a complete reading,
whatever a provider's pages and totals say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from models.errors import ChainUnavailable
from models.payment import Provider, Transfer
from models.payment_address import Address
from models.payment_ports import CompletePage, IncompletePage, Page
from models.payment_quorum import Sighting, TxState
from models.payment_rules import Ruling, TonTransaction, rule_ton_transaction, transfer_of

MOST_PAGES = 400
"""20,000 transactions at 50 a page, as on TRON."""

ReadPage = Callable[[int | None], Awaitable[list[TonTransaction]]]
"""Read the newest transactions older than a logical time (None: the newest of all), newest first."""


@dataclass(slots=True)
class TonReading:
    """Transactions with time >= since, newest first; `trouble` says why there may be more."""

    transactions: list[TonTransaction] = field(default_factory=list)
    trouble: str = ""


async def read_back(read_page: ReadPage, since: datetime) -> TonReading:
    """Follow the chain of hashes back to `since`, or to the account's first transaction.

    Raises:
        ChainUnavailable: the first page did not come; later failures end the reading as incomplete.
    """
    reading = TonReading()
    before: int | None = None
    expected: bytes | None = None
    for number in range(MOST_PAGES):
        try:
            page = await read_page(before)
        except ChainUnavailable as error:
            if number == 0:
                raise
            reading.trouble = f"page {number + 1}: {error.detail}"
            return reading
        for transaction in page:
            if expected is not None and transaction.tx != expected:
                reading.trouble = f"the transaction before {before} is missing"
                return reading
            if transaction.at < since:
                return reading
            reading.transactions.append(transaction)
            if transaction.previous is None:
                return reading
            before, expected = transaction.logical_time, transaction.previous
        if not page:
            reading.trouble = "" if expected is None else "its history ends too soon"
            return reading
    reading.trouble = f"more than {MOST_PAGES} pages"
    return reading


def page_of(reading: TonReading, provider: Provider, address: Address, *, since: datetime, began: datetime) -> Page:
    """Judge what was read and make it a page."""
    remarks: Counter[Ruling] = Counter()
    sightings = []
    for transaction in reversed(reading.transactions):
        sighting = sighting_of(transaction, provider, address, seen_at=began)
        if sighting.transfers:
            sightings.append(sighting)
        remarks.update(remarks_on(transaction, address))
    if reading.trouble:
        return IncompletePage(provider, address, since, tuple(sightings), reading.trouble, dict(remarks))
    return CompletePage(provider, address, since, began, tuple(sightings), dict(remarks))


def sighting_of(transaction: TonTransaction, provider: Provider, address: Address, *, seen_at: datetime) -> Sighting:
    """Return what a transaction says about money to us; final without transfers when it is no payment."""
    transfer = transfer_of(transaction, address)
    transfers: tuple[Transfer, ...] = () if transfer is None else (transfer,)
    return Sighting(
        provider, transaction.tx, TxState.FINAL if transaction.final else TxState.PENDING, transfers, seen_at
    )


def remarks_on(transaction: TonTransaction, address: Address) -> list[Ruling]:
    """Return what should be counted about a transaction."""
    ruling = rule_ton_transaction(transaction, address)
    if ruling not in {Ruling.CREDIT, Ruling.WAIT}:
        return [ruling]
    return [Ruling.FROZEN_ACCOUNT] if transaction.end_status in {"frozen", "nonexist"} else []
