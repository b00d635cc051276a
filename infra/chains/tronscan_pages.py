"""Reading TronScan's transfer feed to its end, although it truncates pages and its totals lie.

Pages go back in time by their own oldest row: each asks for what is not younger than the last page's oldest second, so
that rows which appear or vanish meanwhile shift nothing. Only a second that fills a page is read by offset.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.chains.door import Door
from models.errors import ChainAnswerInvalid, ChainUnavailable
from models.payment_address import Address
from models.payment_rules import USDT_TRON_CONTRACT

PAGE_ROWS = 50
"""TronScan's cap on this feed, whatever limit is asked."""

SURELY_LAST_ROWS = 10
"""A page shorter than this is the last. A cap that was lowered silently would have to fall below it to be missed;
between this and a full page one more call makes sure."""

LAST_OFFSET = 10_000
"""Beyond it TronScan answers 400."""

MOST_PAGES = 400
"""20,000 transfers: a flood of dust over a long outage, four minutes at five pages a second and a half."""


@dataclass(slots=True)
class Reading:
    """The rows as they came, each as often as one window showed it; `trouble` says why there may be more."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    trouble: str = ""


@dataclass(slots=True)
class TronScanPages:
    """One reading of the feed of one address since a time."""

    door: Door
    address: Address
    since: datetime

    async def read(self) -> Reading:
        """Read until nothing older remains.

        Raises:
            ChainUnavailable: the first page did not come; later failures end the reading as incomplete.
        """
        reading = Reading()
        most: Counter[str] = Counter()
        window: Counter[str] = Counter()
        until_s: int | None = None
        offset = 0
        for number in range(MOST_PAGES):
            try:
                rows = await self._page(until_s, offset)
            except ChainUnavailable as error:
                if number == 0:
                    raise
                reading.trouble = f"page {number + 1}: {error.detail}"
                return reading
            window.update(map(_identity, rows))
            for row in rows:
                name = _identity(row)
                if most[name] < window[name]:
                    most[name] += 1
                    reading.rows.append(row)
            if len(rows) < SURELY_LAST_ROWS:
                return reading
            oldest_s = min(_second_of(row) for row in rows)
            if oldest_s < int(self.since.timestamp()):
                return reading
            if oldest_s == until_s:
                offset += len(rows)
            else:
                until_s, offset = oldest_s, 0
                window.clear()
            if offset > LAST_OFFSET:
                reading.trouble = f"more than {LAST_OFFSET} transfers in one second"
                return reading
        reading.trouble = f"more than {MOST_PAGES} pages"
        return reading

    async def _page(self, until_s: int | None, offset: int) -> list[dict[str, Any]]:
        bounds = {} if until_s is None else {"end_timestamp": until_s * 1000}
        answer = await self.door.get(
            "/api/token_trc20/transfers",
            relatedAddress=str(self.address),
            contract_address=str(USDT_TRON_CONTRACT),
            start_timestamp=max(1, int(self.since.timestamp())) * 1000,  # 0 would ask for all history
            limit=PAGE_ROWS,
            start=offset,
            filterTokenValue=0,
            **bounds,
        )
        rows = answer.get("token_transfers")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ChainAnswerInvalid(self.door.provider, "its feed holds no token_transfers")
        if any(not isinstance(row.get("block_ts"), int) for row in rows):
            raise ChainAnswerInvalid(self.door.provider, "a transfer has no block_ts")
        return rows


def _identity(row: dict[str, Any]) -> str:
    """Name a row by all that stays the same when it is confirmed; two equal transfers of one call are told by count."""
    return "|".join(
        str(row.get(key)) for key in ("transaction_id", "contract_address", "from_address", "to_address", "quant")
    )


def _second_of(row: dict[str, Any]) -> int:
    return int(row["block_ts"]) // 1000
