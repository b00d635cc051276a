"""How often one token may ask the shop."""

from __future__ import annotations

import math

from aiolimiter import AsyncLimiter

MINUTE_S = 60.0
# As many as an installation's own settings allow unless it says otherwise: see `ShopSettings.shop_calls_per_minute`.
CALLS_PER_MINUTE = 600


class Pace:
    """A leaky bucket for each token: a minute's calls at once, then evenly. Holds for one process and event loop.

    Args:
        calls_per_minute: For each token.
    """

    def __init__(self, calls_per_minute: int) -> None:
        self.calls_per_minute = calls_per_minute
        # Bounded by the number of tokens: only names that were found in the database come here.
        self._buckets: dict[str, AsyncLimiter] = {}

    async def take(self, name: str) -> float:
        """Count a call of this token.

        Returns:
            0 when it may be answered, else the whole seconds until one may.
        """
        bucket = self._buckets.setdefault(name, AsyncLimiter(self.calls_per_minute, MINUTE_S))
        if not bucket.has_capacity():
            return math.ceil(MINUTE_S / self.calls_per_minute)
        await bucket.acquire()  # never waits: nothing else ran since the look
        return 0
