"""The doors to the chains, and what may come through them. Adapters live in `infra/chains`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from models.payment import Provider, Transfer
from models.payment_address import Address
from models.payment_quorum import Sighting, TxState
from models.payment_rules import Ruling


@dataclass(frozen=True, slots=True)
class CompletePage:
    """Everything one provider knows of payments to one address since a time, with no gap.

    Attributes:
        provider: Who told it.
        address: Our address.
        since: From this block time on, inclusive.
        until: When the reading began; nothing older is missing unless the provider's index lags (see `head`).
        sightings: One per transaction that pays us, oldest first; each state FINAL or PENDING.
        remarks: How many rows were something else, by ruling; for metrics.
    """

    provider: Provider
    address: Address
    since: datetime
    until: datetime
    sightings: tuple[Sighting, ...]
    remarks: Mapping[Ruling, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IncompletePage:
    """What could be read before something went wrong. It may credit, but it never moves a watermark.

    Attributes:
        provider: Who told it.
        address: Our address.
        since: From this block time on, as far as it got.
        sightings: As in a complete page, with gaps.
        reason: What was in the way, one sentence.
        remarks: As in a complete page; DRIFT is an alert.
    """

    provider: Provider
    address: Address
    since: datetime
    sightings: tuple[Sighting, ...]
    reason: str
    remarks: Mapping[Ruling, int] = field(default_factory=dict)


Page = CompletePage | IncompletePage


@dataclass(frozen=True, slots=True)
class Proof:
    """What one provider says of the transaction that was asked for.

    Attributes:
        provider: Who told it.
        asked: The hash as asked.
        state: Of the transaction; FAILED and FINAL are conclusive.
        sightings: One per transaction that pays the address: the asked one, or on TON those the asked message or trace
            led to. Event indices are known.
        block_time: The block's time where the provider told one.
        remarks: Rulings that were no payment; DRIFT is an alert.
    """

    provider: Provider
    asked: bytes
    state: TxState
    sightings: tuple[Sighting, ...]
    block_time: datetime | None = None
    remarks: Mapping[Ruling, int] = field(default_factory=dict)

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """Return all transfers to us that it shows."""
        return tuple(transfer for sighting in self.sightings for transfer in sighting.transfers)


@dataclass(frozen=True, slots=True)
class Head:
    """How far a provider's own index reaches. An old head means blind, not quiet: nothing may expire by it."""

    provider: Provider
    height: int
    at: datetime


class ChainProvider(Protocol):
    """One provider. Each request to it ends within its deadline, retries included; every method is safe to repeat."""

    @property
    def provider(self) -> Provider:
        """Return which one it is."""

    async def discover(self, address: Address, *, since: datetime) -> Page:
        """Read the payments to an address with block time >= since, all assets the provider's main feed tells.

        Pages until nothing is missing; what was read before a failure comes back as an IncompletePage. Transactions
        that are not final yet are PENDING and may vanish from the next reading.

        Raises:
            ChainUnavailable: not even a first page (ChainBusy: wait that long; ChainAnswerInvalid: alert).
            ProviderKeyRefused: an operator must mend the key.
        """

    async def prove(self, tx: bytes, *, address: Address) -> Proof:
        """Read one transaction's execution, finality and events that pay the address.

        UNKNOWN is an answer (not indexed, or never happened), not an error.

        Raises:
            ChainUnavailable: as `discover`.
            ProviderKeyRefused: as `discover`.
        """

    async def head(self) -> Head:
        """Return the newest block the provider knows.

        Raises:
            ChainUnavailable: as `discover`.
            ProviderKeyRefused: as `discover`.
        """


class JettonFeed(Protocol):
    """A provider that tells USDT on TON, which we record for a person and never credit by ourselves."""

    async def discover_jettons(self, address: Address, *, since: datetime) -> Page:
        """Read transfers of USDT_TON to the owner, with or without a notification to it; as `discover` otherwise."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """Up to where one provider has been read without a gap for one address.

    Attributes:
        provider: Whose telling.
        address: Our address.
        until: Every final payment with an older block time has been seen.
    """

    provider: Provider
    address: Address
    until: datetime

    def after(self, page: Page) -> Watermark:
        """Return the mark after a page: forward only, by a complete page that joins it, never past what is pending.

        A page of another provider or address, an incomplete one, one that begins after the mark, and a stale one leave
        it as it was.
        """
        if isinstance(page, IncompletePage) or (page.provider, page.address) != (self.provider, self.address):
            return self
        if page.since > self.until:
            return self
        pending = [
            transfer.block_time
            for sighting in page.sightings
            if sighting.state is TxState.PENDING
            for transfer in sighting.transfers
        ]
        return replace(self, until=max(self.until, min([page.until, *pending])))


def newest_covered(watermark: Watermark, head: Head) -> datetime:
    """Return up to which block time nothing is missing: no further than the provider's own index reaches."""
    return min(watermark.until, head.at)
