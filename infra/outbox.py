"""Delivering what the outbox holds: at least once, marked once, tried again with a growing pause."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

import structlog

from models.errors import MeshError
from models.ledger import Message, MessageKind
from models.ports import Clock, Store

log = structlog.get_logger()

FIRST_PAUSE = timedelta(seconds=2)
# A messenger that is away for a night is asked twelve times an hour, and finds everything within five minutes.
LONGEST_PAUSE = timedelta(minutes=5)


def pause_after(tries: int) -> timedelta:
    """Return how long to wait after so many failed deliveries: 2 s, 4 s, 8 s, ... 5 min."""
    # 2 s * 2**8 is past the longest already; more doublings would only make a large number.
    return min(FIRST_PAUSE * (1 << min(tries, 8)), LONGEST_PAUSE)


async def deliver_due(
    store: Store,
    clock: Clock,
    send: Callable[[Message], Awaitable[None]],
    *,
    kinds: Collection[MessageKind] | None = None,
    recipients: Collection[str] = (),
) -> int:
    """Deliver every message that is due and ours, each in a transaction of its own; return how many were.

    The row stays locked while it is sent, so that of two deliverers one sends. One that dies between sending and
    marking leaves the message due: its recipient may get it twice, and tells by `Message.key` that it is one.

    Args:
        store: The outbox.
        clock: Now.
        send: Delivers one message; a MeshError means that it did not, and it is tried again later.
        kinds: Which kinds are ours; None: all.
        recipients: How those begin that are ours (`telegram:`, `admins`); empty: all.

    Raises:
        SourceUnavailable: the database does not answer.
        Exception: whatever else `send` raises; its message stays due.
    """
    delivered = 0
    # What fails is put off beyond this instant, so that the round ends.
    started = clock.now()
    while True:
        async with store.unit() as uow:
            waiting = await uow.outbox.waiting(now=started, limit=1, kinds=kinds, to=recipients)
            if not waiting:
                return delivered
            message = waiting[0]
            try:
                await send(message)
            except MeshError as error:
                at = clock.now() + pause_after(message.tries)
                await uow.outbox.retry(message.key, at=at, reason=str(error))
                log.warning("delivery failed", message=message.key, tries=message.tries + 1, reason=str(error))
            else:
                await uow.outbox.delivered(message.key, now=clock.now())
                delivered += 1
