"""Do the providers agree: what each says of one transaction, weighed into transfers with their vouchers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from models.payment import Asset, Provider, Transfer
from models.payment_address import Address, Chain

BLOCK_TIME_TOLERANCE = timedelta(seconds=60)
"""Providers that differ by more over one block's time do not speak of one block; TRON re-mines within seconds."""

PROVIDERS_OF = {
    Chain.TRON: frozenset({Provider.TRONSCAN, Provider.TRONGRID}),
    Chain.TON: frozenset({Provider.TONAPI, Provider.TONCENTER}),
}


class TxState(StrEnum):
    """What a provider says of a transaction as a whole. FINAL and FAILED are conclusive."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    FINAL = "final"
    FAILED = "failed"

    @property
    def is_conclusive(self) -> bool:
        """Tell whether the provider will not say otherwise later, if it is honest."""
        return self in {TxState.FINAL, TxState.FAILED}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one provider says, at one time, of one transaction.

    Attributes:
        provider: Who says so.
        tx: The transaction, 32 bytes.
        state: Of the whole transaction.
        transfers: Those in it that pay addresses of ours, as this provider tells them; empty for FAILED and UNKNOWN.
        seen_at: When we heard it, aware UTC.
    """

    provider: Provider
    tx: bytes
    state: TxState
    transfers: tuple[Transfer, ...]
    seen_at: datetime

    @property
    def is_numbered(self) -> bool:
        """Tell whether every transfer has its event index."""
        return all(transfer.event_index is not None for transfer in self.transfers)


def weigh(sightings: Iterable[Sighting], *, unreachable: frozenset[Provider] = frozenset()) -> tuple[Transfer, ...]:
    """Join what all providers said of ONE transaction into its transfers, in event order.

    A provider that has not seen it, or not as final, delays and never contradicts. Two conclusive words that differ in
    state, asset, receiver, units, count, log index or (beyond a minute) time are a dispute. The order of the sightings
    and repetitions do not matter.

    Args:
        sightings: Any number, of any age, of one transaction.
        unreachable: Providers known to be away for long; noted on the transfers for the degraded path.

    Returns:
        Its transfers to us. `final` only when some provider is conclusive, all conclusive ones agree, and the event
        index is known; empty when nobody knows it or all conclusive ones say it failed.
    """
    heard = list(sightings)
    conclusive = [one for one in heard if one.state.is_conclusive]
    if not conclusive:
        return _best_told([one for one in heard if one.state is TxState.PENDING])
    told = _best_told([one for one in conclusive if one.state is TxState.FINAL])
    if _disagree(conclusive):
        return tuple(replace(transfer, disputed=True) for transfer in told)
    vouchers = frozenset(one.provider for one in conclusive)
    return tuple(
        replace(
            transfer,
            final=transfer.event_index is not None,
            vouched_by=vouchers,
            absent=(PROVIDERS_OF[transfer.chain] - vouchers) & unreachable,
        )
        for transfer in told
    )


def _best_told(sightings: Sequence[Sighting]) -> tuple[Transfer, ...]:
    """Return the transfers of the fullest telling: numbered before not, more before fewer, newest before older."""
    if not sightings:
        return ()
    best = max(sightings, key=lambda one: (one.is_numbered, len(one.transfers), one.seen_at, one.provider))
    return tuple(sorted(best.transfers, key=lambda one: (one.event_index or 0, one.receiver, one.units)))


_Essence = tuple[Asset, Address, int]


def _disagree(conclusive: Sequence[Sighting]) -> bool:
    first = conclusive[0]
    if any(one.state is not first.state or _essence(one) != _essence(first) for one in conclusive[1:]):
        return True
    numbered = {_numbers(one) for one in conclusive if one.is_numbered}
    times = [transfer.block_time for one in conclusive for transfer in one.transfers]
    return len(numbered) > 1 or (bool(times) and max(times) - min(times) > BLOCK_TIME_TOLERANCE)


def _essence(sighting: Sighting) -> Counter[_Essence]:
    return Counter((one.asset, one.receiver, one.units) for one in sighting.transfers)


def _numbers(sighting: Sighting) -> frozenset[tuple[int | None, Asset, Address, int]]:
    return frozenset((one.event_index, one.asset, one.receiver, one.units) for one in sighting.transfers)
