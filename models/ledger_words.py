"""What a provider's word is worth beside its earlier one, and what of it can be kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from models.payment import Transfer
from models.payment_quorum import Sighting

RESERVED_BEFORE = timedelta(minutes=10)
"""An exact amount is reserved from this long before its order was made to the end of its watch.

More than any sane `PaymentPolicy.skew`: then the windows of two orders of one amount never touch, and no block time,
however late its payment is told, can mean both.
"""

Told = TypeVar("Told", Transfer, Sighting)


def is_news(heard: Sighting, known: Sighting | None) -> bool:
    """Tell whether a provider's word replaces what the same provider said of the same transaction before.

    An older word never does, nor a doubt after a conclusion, nor the same without log indices after the same with them:
    a provider that both discovers and proves would otherwise change its word with every reading.
    """
    if known is None:
        return True
    if heard.seen_at < known.seen_at or (known.state.is_conclusive and not heard.state.is_conclusive):
        return False
    if heard.state is not known.state:
        return True
    if known.is_numbered and not heard.is_numbered:
        return _essence(heard) != _essence(known)
    return _whole(heard) != _whole(known)


def _essence(sighting: Sighting) -> Counter[object]:
    return Counter((one.asset, one.receiver, one.units) for one in sighting.transfers)


def _whole(sighting: Sighting) -> Counter[object]:
    return Counter(
        (one.event_index, one.asset, one.receiver, one.units, one.block_time, one.memo, one.caution)
        for one in sighting.transfers
    )


def storable(told: Told) -> Told:
    """Return it with comments that a database can hold.

    A stranger writes the comment. Postgres takes neither NUL nor half a surrogate pair, and one such payment must not
    stop the reading of all others. Order codes survive: `codes_in` passes over such characters as well.
    """
    if isinstance(told, Sighting):
        return replace(told, transfers=tuple(storable(one) for one in told.transfers))
    if told.memo is None:
        return told
    return replace(told, memo=told.memo.replace("\0", "").encode("utf-8", "replace").decode())
