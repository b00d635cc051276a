"""How the chains are looked at: who reads, who is asked for a proof, and when to look again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from models.ledger import Case, Reach
from models.payment import Provider, Transfer
from models.payment_address import Chain
from models.payment_policy import PaymentPolicy
from models.payment_ports import CompletePage
from models.payment_quorum import Sighting, TxState, weigh

READERS: Mapping[Chain, tuple[Provider, Provider]] = MappingProxyType(
    {
        Chain.TRON: (Provider.TRONSCAN, Provider.TRONGRID),
        Chain.TON: (Provider.TONAPI, Provider.TONCENTER),
    }
)
"""Who discovers, and who proves; the second discovers too while the first is away."""

OVERLAP: Mapping[Chain, timedelta] = MappingProxyType(
    {Chain.TRON: timedelta(minutes=3), Chain.TON: timedelta(seconds=60)}
)
"""Read again each time: three times TRON's solidification; on TON the slowest index seen was half a minute late."""

TAKE_OVER_AFTER = timedelta(seconds=9)
"""Three ticks: a provider that fails for longer than its own retries help is read around."""

AWAY_AFTER = timedelta(seconds=60)
"""From then on a provider counts as unreachable for the quorum; the policy's `lone_age` comes on top."""

PROVE_AT_AGE: Mapping[Chain, timedelta] = MappingProxyType(
    {Chain.TRON: timedelta(seconds=63), Chain.TON: timedelta(seconds=5)}
)
"""A proof before this would say "not yet": TRON is solid after 19 blocks of three seconds, with a block to spare."""

FIRST_PAUSE_S = 3.0
LONGEST_PAUSE_S = 60.0
"""Between looks at a payment that is known: a customer waits for it."""

LONGEST_CLAIM_PAUSE_S = 900.0
DISPUTE_PAUSE = timedelta(minutes=15)
"""Two providers that contradict each other will not agree within seconds, and the order is held meanwhile."""

CLAIM_PATIENCE = timedelta(hours=2)
"""How long a hash that nobody knows is asked for. A payment to us is discovered anyway; this only hurries it."""

CASE_PATIENCE = timedelta(hours=48)
"""Longer than any order is watched: by then a person has it."""


@dataclass(frozen=True, slots=True)
class Told:
    """One transaction with all that providers said of it.

    Attributes:
        case: The open case.
        sightings: Each provider's newest word; empty for a hash that only a buyer named.
    """

    case: Case
    sightings: tuple[Sighting, ...]

    @property
    def tx(self) -> bytes:
        """Return which transaction."""
        return self.case.tx

    @property
    def is_concluded_empty(self) -> bool:
        """Tell whether somebody is conclusive and nobody says that it pays us."""
        heard = [one for one in self.sightings if one.state.is_conclusive]
        return bool(heard) and not any(one.transfers for one in heard)

    def transfers(self, *, unreachable: frozenset[Provider] = frozenset()) -> tuple[Transfer, ...]:
        """Return what all of it weighs: `payment_quorum.weigh`; in a dispute everything that anybody tells.

        Each order that either provider's word means must be held, not only that of the fuller word.
        """
        weighed = weigh(self.sightings, unreachable=unreachable)
        told = [it for one in self.sightings if one.state is TxState.FINAL for it in one.transfers]
        # A conclusive "nothing" beside a conclusive "something" may weigh nothing, and is a contradiction all the same.
        if any(one.disputed for one in weighed) or (told and not weighed):
            return tuple(dict.fromkeys(replace(one, disputed=True, final=False) for one in told))
        return weighed


def readers(chain: Chain, reaches: Mapping[Provider, Reach], now: datetime) -> tuple[Provider, ...]:
    """Return who reads now: the first, and the second beside it while the first is away."""
    first, second = READERS[chain]
    reach = reaches.get(first)
    return (first, second) if reach is not None and reach.is_away(now, after=TAKE_OVER_AFTER) else (first,)


def first_mark(
    oldest_order: datetime | None, others: Collection[Reach], now: datetime, policy: PaymentPolicy
) -> datetime:
    """Return from where a provider is read that never was: where another got to, else where our orders begin.

    Args:
        oldest_order: When the oldest order that is not closed was made.
        others: How far other providers were read for the same address.
        now: The present.
        policy: Windows; nothing older than all of them can reach an order.
    """
    if others:
        return max(one.mark.until for one in others)
    if oldest_order is None:
        return now
    return max(oldest_order - policy.skew, now - policy.window - policy.late_grace - policy.skew)


def whom_to_ask(told: Told, away: Collection[Provider], now: datetime) -> Provider | None:
    """Return whose proof is worth a call now: who has not spoken conclusively; else who can number the events.

    None while the block is so young that the answer would be "not yet".
    """
    first, second = READERS[told.case.chain]
    conclusive = {one.provider for one in told.sightings if one.state.is_conclusive}
    times = [transfer.block_time for one in told.sightings for transfer in one.transfers]
    if not conclusive and times and now - min(times) < PROVE_AT_AGE[told.case.chain]:
        return None
    missing = [one for one in (second, first) if one not in conclusive]
    reachable = [one for one in missing if one not in away]
    if reachable:
        return reachable[0]
    is_numbered = any(one.state is TxState.FINAL and one.is_numbered for one in told.sightings)
    if conclusive and not is_numbered:
        return min(conclusive - set(away) or conclusive)
    return missing[0] if missing else second


def look_again_at(told: Told, now: datetime, *, is_disputed: bool) -> datetime:
    """Return when an open case is worth another look; the pause grows with each."""
    if is_disputed:
        return now + DISPUTE_PAUSE
    longest = LONGEST_PAUSE_S if told.sightings else LONGEST_CLAIM_PAUSE_S
    # The exponent is capped where the longest pause is reached anyway.
    pause = timedelta(seconds=min(longest, FIRST_PAUSE_S * 2 ** min(told.case.tries, 10)))
    times = [transfer.block_time for one in told.sightings for transfer in one.transfers]
    if any(one.state.is_conclusive for one in told.sightings) or not times:
        return now + pause
    return max(now + pause, min(times) + PROVE_AT_AGE[told.case.chain])


def is_hopeless(told: Told, now: datetime) -> bool:
    """Tell whether a case has been open for so long that nothing more is expected of it."""
    return now - told.case.first_seen >= (CASE_PATIENCE if told.sightings else CLAIM_PATIENCE)


def vanished(page: CompletePage, cases: Sequence[Told]) -> tuple[Sighting, ...]:
    """Return the provider's new word, UNKNOWN, on what it told as pending and tells no more.

    Args:
        page: A complete one.
        cases: Open cases, as told before the page.
    """
    on_it = {one.tx for one in page.sightings}
    return tuple(
        Sighting(page.provider, told.tx, TxState.UNKNOWN, (), page.until)
        for told in cases
        if told.tx not in on_it and told.case.address == page.address
        for one in told.sightings
        if one.provider is page.provider
        and one.state is TxState.PENDING
        and one.transfers
        and min(transfer.block_time for transfer in one.transfers) >= page.since
    )
