"""What becomes of an order: the one transition that money drives, and the few that a person may."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from models.errors import PaymentMismatch
from models.payment import CLOSED, Credit, Flag, Money, Order, OrderState, Transfer
from models.payment_matching import in_window
from models.payment_policy import PaymentPolicy

_HELD = frozenset({OrderState.HOLD, OrderState.REVIEW})


def advance(
    order: Order, transfers: Iterable[Transfer], now: datetime, *, policy: PaymentPolicy, scanned_until: datetime
) -> Order:
    """Move an order by what is known of the transfers that match it.

    Seen twice equals seen once, and the order of the transfers does not matter. Credits only grow. SETTLED never goes
    back; HOLD and REVIEW are left only by a person, though money that comes meanwhile is still counted.

    Args:
        order: As it was.
        transfers: All transfers `payment_matching.match` gave to this order, final or not; others are passed over.
        now: The present, for the age of blocks that one provider alone vouches for.
        policy: Quorum, windows, what settles late.
        scanned_until: Up to which block time the chain was read completely. Nothing expires beyond it, however late
            it is: never while blind.

    Returns:
        The order as it is now; the same one when nothing changed.
    """
    if order.state in CLOSED:
        return order
    fitting = [one for one in _newest_word(transfers) if _fits(one, order, policy)]
    counted = [one for one in fitting if _counts(one, order, now, policy)]
    credited = _credit(order, counted)
    chosen = [one for one in counted if one.key in {credit.transfer for credit in credited.credits}]
    waiting = any(not one.disputed and one not in counted for one in fitting)
    moved = replace(credited, flags=_flags(credited, chosen, now, policy))
    return replace(
        moved,
        state=_state(
            moved, disputed=any(one.disputed for one in fitting), waiting=waiting, policy=policy, until=scanned_until
        ),
    )


def _newest_word(transfers: Iterable[Transfer]) -> list[Transfer]:
    """Return each transfer once, by the furthest telling, in the chain's order; drop unnumbered ones once numbered."""
    told = list(transfers)
    numbered = {one.tx for one in told if one.event_index is not None}
    best: dict[tuple[bytes, int | None, int], Transfer] = {}
    for one in told:
        if one.event_index is None and one.tx in numbered and not one.disputed:
            continue
        place = (one.tx, one.event_index, one.units)
        held = best.get(place)
        if held is None or _weight(one) > _weight(held):
            best[place] = one
    return sorted(best.values(), key=lambda one: (one.block_time, one.tx, one.event_index or 0))


def _weight(transfer: Transfer) -> tuple[bool, bool, int, int, datetime]:
    return (
        transfer.disputed,
        transfer.final,
        len(transfer.vouched_by),
        len(transfer.absent),
        transfer.block_time,
    )


def _fits(transfer: Transfer, order: Order, policy: PaymentPolicy) -> bool:
    return (
        transfer.asset is order.amount.asset
        and transfer.receiver == order.deposit
        and transfer.units >= policy.dust[transfer.asset]
        and in_window(order, transfer.block_time, policy)
    )


def _counts(transfer: Transfer, order: Order, now: datetime, policy: PaymentPolicy) -> bool:
    if not transfer.final or transfer.disputed or transfer.key is None:
        return False
    return len(transfer.vouched_by) >= policy.quorum(order.amount) or _counts_alone(transfer, order, now, policy)


def _counts_alone(transfer: Transfer, order: Order, now: datetime, policy: PaymentPolicy) -> bool:
    """Tell whether one provider may do, because the other is away and the block is old."""
    return (
        len(transfer.absent) > 0
        and len(transfer.vouched_by) > 0
        and order.amount.units <= policy.lone_up_to[order.amount.asset]
        and now - transfer.block_time >= policy.lone_age
    )


def _credit(order: Order, counted: list[Transfer]) -> Order:
    """Add credits in the chain's order until the amount is reached; what comes after that is for a person."""
    counted_for = {credit.transfer: credit for credit in order.credits}
    paid = order.paid.units
    for one in counted:
        if one.key is None or one.key in counted_for or paid >= order.amount.units:
            continue
        counted_for[one.key] = Credit(one.key, one.units)
        paid += one.units
    return replace(order, credits=tuple(sorted(counted_for.values())))


def _flags(order: Order, chosen: list[Transfer], now: datetime, policy: PaymentPolicy) -> frozenset[Flag]:
    paid, due = order.paid.units, order.amount.units
    flags = order.flags - {Flag.PARTIAL}
    if 0 < paid < due:
        flags |= {Flag.PARTIAL}
    if paid > due:
        flags |= {Flag.OVER}
    if any(one.block_time > order.expires_at for one in chosen):
        flags |= {Flag.LATE}
    needed = policy.quorum(order.amount)
    if any(len(one.vouched_by) < needed and _counts_alone(one, order, now, policy) for one in chosen):
        flags |= {Flag.DEGRADED}
    return flags


def _state(order: Order, *, disputed: bool, waiting: bool, policy: PaymentPolicy, until: datetime) -> OrderState:
    if order.state in _HELD:
        return order.state
    if disputed:
        return OrderState.HOLD
    if order.paid.units >= order.amount.units:
        settles = Flag.LATE not in order.flags or order.amount.asset in policy.late_settles
        return OrderState.SETTLED if settles else OrderState.REVIEW
    return _unpaid_state(order, waiting=waiting, until=until)


def _unpaid_state(order: Order, *, waiting: bool, until: datetime) -> OrderState:
    """Return where an order stands that lacks money; what is in it or on its way at the watch's end needs a person."""
    if until > order.watched_until and (order.credits or waiting):
        return OrderState.REVIEW
    if waiting:
        return OrderState.PROCESSING
    if until > order.expires_at:
        return OrderState.EXPIRED
    return OrderState.PROCESSING if order.credits else OrderState.NEW


class Decision(StrEnum):
    """What a person may do with an order; each is recorded with who and why by the ledger."""

    CONFIRM = "confirm"
    HOLD = "hold"
    CANCEL = "cancel"
    REFUND = "refund"


_ALLOWED = {
    Decision.CONFIRM: (frozenset(OrderState) - CLOSED, OrderState.SETTLED),
    Decision.HOLD: (frozenset(OrderState) - CLOSED, OrderState.HOLD),
    Decision.CANCEL: (frozenset({OrderState.NEW, OrderState.HOLD, OrderState.REVIEW}), OrderState.CANCELLED),
    Decision.REFUND: (frozenset(OrderState) - {OrderState.CANCELLED, OrderState.NEW}, OrderState.REFUNDED),
}


def decide(order: Order, decision: Decision) -> Order:
    """Apply a person's decision. Deciding the same twice is deciding once.

    Raises:
        PaymentMismatch: the order's state does not allow it; a cancelled order with money in it must be refunded.
    """
    before, after = _ALLOWED[decision]
    if order.state is after:
        return order
    if order.state not in before:
        raise PaymentMismatch(order.id, f"it is {order.state} and cannot be changed by {decision}")
    if decision is Decision.CANCEL and order.credits:
        raise PaymentMismatch(order.id, f"{order.paid} have come in; refund it instead")
    flags = order.flags | {Flag.MANUAL} if decision is Decision.CONFIRM else order.flags
    return replace(order, state=after, flags=flags)


def surplus(order: Order, transfers: Iterable[Transfer]) -> tuple[Transfer, ...]:
    """Return the final transfers that matched an order and were not counted, once it is closed: a person's to place."""
    if order.state not in CLOSED:
        return ()
    counted = {credit.transfer for credit in order.credits}
    return tuple(one for one in _newest_word(transfers) if one.final and one.key not in counted)


def due(order: Order) -> Money:
    """Return what a customer should be asked for now: the rest of an open order, nothing of a closed one."""
    return Money(order.amount.asset, 0) if order.state in CLOSED else order.remainder
