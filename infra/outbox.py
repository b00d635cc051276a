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
# Looked at in one go; where all of them are somebody else's, ours may stand behind, and twice as many are looked at.
BATCH = 50


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
    recipients: Callable[[str], bool] | None = None,
) -> int:
    """Deliver every message that is due and ours, each in a transaction of its own; return how many were.

    The row stays locked while it is sent, so that of two deliverers one sends. One that dies between sending and
    marking leaves the message due: its recipient may get it twice, and tells by `Message.key` that it is one.

    Args:
        store: The outbox.
        clock: Now.
        send: Delivers one message; a MeshError means that it did not, and it is tried again later.
        kinds: Which kinds are ours; None: all.
        recipients: Which recipients are ours; None: all.

    Raises:
        SourceUnavailable: the database does not answer.
        Exception: whatever else `send` raises; its message stays due.
    """
    delivered = 0
    limit = BATCH
    seen: set[str] = set()
    while True:
        async with store.unit() as uow:
            waiting = await uow.outbox.waiting(now=clock.now(), limit=limit)
            message = next((one for one in waiting if one.key not in seen and _is_ours(one, kinds, recipients)), None)
            if message is None and len(waiting) < limit:
                return delivered
            if message is None:
                limit *= 2
                continue
            seen.add(message.key)
            try:
                await send(message)
            except MeshError as error:
                at = clock.now() + pause_after(message.tries)
                await uow.outbox.retry(message.key, at=at, reason=str(error))
                log.warning("delivery failed", message=message.key, tries=message.tries + 1, reason=str(error))
            else:
                await uow.outbox.delivered(message.key, now=clock.now())
                delivered += 1


def _is_ours(message: Message, kinds: Collection[MessageKind] | None, recipients: Callable[[str], bool] | None) -> bool:
    return (kinds is None or message.kind in kinds) and (recipients is None or recipients(message.to))
