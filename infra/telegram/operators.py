"""What those who look after payments may ask and decide. They are spoken to in English, as by the command line."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from datetime import datetime

from infra.shop.shop import Shop
from infra.telegram.customers import Answers, Asked, Handler
from infra.telegram.screens import Screen
from infra.telegram.speech import Html
from models.ledger import AuditEntry, LedgerCounts, Reach, Sale, SetAside
from models.payment import Flag, Money, OrderId, Provider
from models.payment_quorum import PROVIDERS_OF
from models.payment_state import Decision
from models.ports import Clock, Store

# Telegram takes 4096 characters; the rest of a longer list is counted, and read with the command line.
LONGEST_LIST = 3500


def listed(lines: Iterable[str]) -> Screen:
    """Return lines as they stand, as many as fit into a message."""
    found = list(lines)
    shown: list[str] = []
    length = 0
    for line in found:
        safe = html.escape(line)
        length += len(safe) + 1
        if length > LONGEST_LIST:
            shown.append(f"... and {len(found) - len(shown)} more")
            break
        shown.append(safe)
    return Screen(Html("\n".join(shown)))


class Operators:
    """The payments' side of the bot for its admins. Every decision is the shop's, audited under `telegram:ID`."""

    def __init__(self, store: Store, clock: Clock, *, shop: Shop) -> None:
        self._store = store
        self._clock = clock
        self._shop = shop

    @property
    def commands(self) -> Mapping[str, Handler]:
        """Return what answers each command."""
        return {
            "pending": self.pending,
            "order": self.order,
            "unmatched": self.unmatched,
            "hold": self.hold,
            "confirm": self.confirm,
            "refund_note": self.refund_note,
            "providers": self.providers,
            "stats": self.stats,
        }

    async def pending(self, _: Asked) -> Answers:
        """List what waits for a person."""
        queue = await self._shop.queue()
        lines = [
            *(f"HOLD {_of_sale(one)}" for one in queue.held),
            *(f"REVIEW {_of_sale(one)}" for one in queue.in_review),
            *([f"{len(queue.aside)} transfers are no order's: /unmatched"] if queue.aside else []),
        ]
        return [listed(lines or ["nothing waits for a person"])]

    async def order(self, asked: Asked) -> Answers:
        """Show one order and its history."""
        if not asked.words:
            return [listed(["name the order: /order ORDER"])]
        order = OrderId(asked.words[0].lower())
        sale = await self._shop.sale(order)
        history = await self._shop.history(order)
        return [listed([_of_sale(sale), *(f"from {one}" for one in _credits(sale)), *map(_of_entry, history)])]

    async def unmatched(self, _: Asked) -> Answers:
        """List final transfers that are no order's."""
        queue = await self._shop.queue()
        return [listed([_of_aside(one) for one in queue.aside] or ["every transfer is some order's"])]

    async def hold(self, asked: Asked) -> Answers:
        """Put an order on hold; without one, list those that are."""
        if not asked.words:
            held = (await self._shop.queue()).held
            return [listed([_of_sale(one) for one in held] or ["no order is on hold: /hold ORDER REASON puts one"])]
        return await self._decided(asked, Decision.HOLD)

    async def confirm(self, asked: Asked) -> Answers:
        """Call an order paid, for a reason that is kept; it earns its licence."""
        return await self._decided(asked, Decision.CONFIRM)

    async def refund_note(self, asked: Asked) -> Answers:
        """Keep that an order's money was sent back, and how."""
        order, reason = _order_and_reason(asked)
        if not reason:
            return [listed(["say how: /refund_note ORDER HOW"])]
        sale = await self._shop.refund_note(order, actor=asked.buyer, note=reason)
        return [listed([_of_sale(sale)])]

    async def providers(self, _: Asked) -> Answers:
        """Tell how far each provider was read, and which one is away."""
        now = self._clock.now()
        lines: list[str] = []
        async with self._store.unit() as unit:
            for chain, deposit in self._shop.catalogue.deposits.items():
                for provider in sorted(PROVIDERS_OF[chain]):
                    lines.append(_of_reach(provider, await unit.ledger.reach(provider, deposit), now))  # noqa: PERF401 - it awaits
        return [listed(lines or ["no deposit address is set, so no provider is asked"])]

    async def stats(self, _: Asked) -> Answers:
        """Count orders, unmatched transfers, open cases and messages that wait."""
        return [listed(_of_counts(await self._shop.stats()))]

    async def _decided(self, asked: Asked, decision: Decision) -> Answers:
        order, reason = _order_and_reason(asked)
        if not reason:
            return [listed([f"give the order and the reason: /{decision} ORDER REASON"])]
        sale = await self._shop.decide(order, decision, actor=asked.buyer, reason=reason)
        return [listed([_of_sale(sale)])]


def _order_and_reason(asked: Asked) -> tuple[OrderId, str]:
    return OrderId(asked.words[0].lower() if asked.words else ""), " ".join(asked.words[1:])


def _of_sale(sale: Sale) -> str:
    order = sale.order
    flags = "".join(f" {flag}" for flag in sorted(order.flags, key=lambda one: one.value) if isinstance(flag, Flag))
    return (
        f"{order.id} {order.state}{flags}: {order.paid} of {order.amount}, {sale.plan.name} for {sale.buyer}, "
        f"made {order.created_at:%d %b %H:%M} UTC"
    )


def _credits(sale: Sale) -> list[str]:
    return [f"{one.transfer}: {Money(sale.order.amount.asset, one.units)}" for one in sale.order.credits]


def _of_entry(entry: AuditEntry) -> str:
    detail = f": {entry.detail}" if entry.detail else ""
    return f"{entry.at:%d %b %H:%M:%S} {entry.what} by {entry.actor}{detail}"


def _of_aside(one: SetAside) -> str:
    transfer = one.transfer
    memo = f", comment {transfer.memo!r}" if transfer.memo else ""
    return (
        f"{one.why.value}: {Money(transfer.asset, transfer.units)} at {transfer.block_time:%d %b %H:%M:%S}{memo}, "
        f"{transfer.chain.value} {transfer.tx.hex()}"
    )


def _of_reach(provider: Provider, reach: Reach | None, now: datetime) -> str:
    if reach is None:
        return f"{provider}: never read"
    if reach.failing_since is not None:
        return f"{provider}: away since {reach.failing_since:%d %b %H:%M:%S} UTC: {reach.reason}"
    if reach.scanned_at is None:
        return f"{provider}: not read completely yet"
    return f"{provider}: read {max(0.0, (now - reach.scanned_at).total_seconds()):.0f} s ago"


def _of_counts(counts: LedgerCounts) -> list[str]:
    parts = {
        "orders": counts.orders,
        "unmatched": counts.unmatched,
        "open cases": counts.cases,
        "undelivered": counts.undelivered,
    }
    return [
        f"{name}: {', '.join(f'{what} {number}' for what, number in sorted(found.items())) or 'none'}"
        for name, found in parts.items()
    ]
