"""What an operator may turn about payments, with the reason for each default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from models.payment import Asset, Money


def _per_asset(*, usdt: int, ton: int) -> Mapping[Asset, int]:
    return MappingProxyType({Asset.USDT_TRON: usdt, Asset.USDT_TON: usdt, Asset.TON: ton})


@dataclass(frozen=True, slots=True)
class PaymentPolicy:
    """The rules that are a choice. Amounts are base units per asset.

    Attributes:
        window: How long an order may be paid on time.
        late_grace: How long after that a payment still finds its order, and its amount stays reserved.
        skew: Clocks may differ by this much; a payment this much older than its order still counts.
        two_of_two_from: Orders from this amount on need both providers; a lie about less costs less than a wait.
        lone_up_to: Orders up to this amount may be settled by one provider while the other is known to be away.
        lone_age: How old a block must be then: ten times TRON's solidification of about a minute.
        dust: Transfers below this are poisoning, not payments: counted, never matched.
        late_settles: Assets whose late payment settles by itself; TON's price may have moved since the quote.
        tail_step: Unit of the unique tail, small enough that nobody minds 20,000 of them.
        tails: How many tails there are, so that 10,000 open orders at one price fill half.
    """

    window: timedelta = timedelta(hours=1)
    late_grace: timedelta = timedelta(hours=24)
    skew: timedelta = timedelta(seconds=120)
    two_of_two_from: Mapping[Asset, int] = field(
        default_factory=lambda: _per_asset(usdt=50_000_000, ton=20_000_000_000)
    )
    lone_up_to: Mapping[Asset, int] = field(default_factory=lambda: _per_asset(usdt=500_000_000, ton=200_000_000_000))
    lone_age: timedelta = timedelta(minutes=10)
    dust: Mapping[Asset, int] = field(default_factory=lambda: _per_asset(usdt=10_000, ton=10_000_000))
    late_settles: frozenset[Asset] = frozenset({Asset.USDT_TRON})
    tail_step: Mapping[Asset, int] = field(default_factory=lambda: _per_asset(usdt=1, ton=1_000))
    tails: int = 20_000

    def quorum(self, amount: Money) -> int:
        """Return how many providers must vouch for a payment of an order of this amount."""
        return 2 if amount.units >= self.two_of_two_from[amount.asset] else 1
