"""Booking: what was told of transactions becomes credits, states, licences and messages, in one transaction.

Everything here may run twice: credits, set-asides, licences and messages each have a key of their own in the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from infra.access import earn_many
from models.ledger import AuditEntry, Message, MessageKind, SetAside
from models.payment import CLOSED, Flag, Money, Order, OrderId, OrderState, Transfer, TransferKey
from models.payment_matching import Unmatched, codes_in, match
from models.payment_policy import PaymentPolicy
from models.payment_state import advance, surplus
from models.ports import UnitOfWork
from models.shop import changed

ACTOR = "scan-chain"
ADMINS = "admins"

_NEEDS_PERSON = frozenset({OrderState.HOLD, OrderState.REVIEW})


@dataclass(frozen=True, slots=True)
class Telling:
    """What is known of one transaction now.

    Attributes:
        tx: Which.
        transfers: Weighed; empty when nobody says any more that it pays us.
        before: What it was believed to bring; finds the orders of a payment that vanished.
    """

    tx: bytes
    transfers: tuple[Transfer, ...]
    before: tuple[Transfer, ...] = ()


@dataclass(slots=True)
class Booked:
    """What one booking did.

    Attributes:
        done: Transactions that need no further look.
        disputed: Those over which two providers contradict each other.
        changed: Orders as they are now.
        credited: Transfers that were newly counted.
        aside: Final transfers that are nobody's.
    """

    done: set[bytes] = field(default_factory=set)
    disputed: set[bytes] = field(default_factory=set)
    changed: list[Order] = field(default_factory=list)
    credited: list[Transfer] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)


class _Index:
    """The orders a transfer may mean, found without looking at all of them: a burst brings hundreds of both."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._by_amount: dict[Money, list[Order]] = {}
        self._by_code: dict[str, Order] = {}
        for order in orders:
            self._by_amount.setdefault(order.amount, []).append(order)
            if order.code is not None:
                self._by_code[order.code] = order

    def by(self, transfer: Transfer) -> list[Order]:
        """Return them, each once."""
        named = [self._by_code[code] for code in codes_in(transfer.memo) if code in self._by_code]
        exact = self._by_amount.get(Money(transfer.asset, transfer.units), [])
        return list({order.id: order for order in (*named, *exact)}.values())


async def book(
    uow: UnitOfWork, tellings: Sequence[Telling], *, now: datetime, policy: PaymentPolicy, scanned_until: datetime
) -> Booked:
    """Match, credit, set aside, and tell whom it concerns.

    Args:
        uow: The transaction; the orders concerned are locked in it.
        tellings: One per transaction.
        now: The present.
        policy: Quorum and windows.
        scanned_until: See `payment_state.advance`.

    Raises:
        TransferSpent: another booking was faster; read again.
        RefusedError: the schema says no.
    """
    booked = Booked()
    orders = {
        order.id: order
        for order in await uow.ledger.candidates([one for it in tellings for one in (*it.transfers, *it.before)])
    }
    meant = _Index(orders.values())
    theirs: dict[OrderId, list[Transfer]] = {}
    aside: list[tuple[Transfer, Unmatched]] = []
    for telling in tellings:
        for transfer in telling.before:
            owner = match(transfer, meant.by(transfer), policy=policy)
            if not isinstance(owner, Unmatched):
                theirs.setdefault(owner, [])
        for transfer in telling.transfers:
            owner = match(transfer, meant.by(transfer), policy=policy)
            if isinstance(owner, Unmatched):
                aside.append((transfer, owner))
            else:
                theirs.setdefault(owner, []).append(transfer)
    moved = {
        owner: advance(orders[owner], transfers, now, policy=policy, scanned_until=scanned_until)
        for owner, transfers in sorted(theirs.items())
    }
    for owner, transfers in theirs.items():
        aside += [(one, Unmatched.ORDER_CLOSED) for one in _left_over(moved[owner], transfers)]
    final = [(one, why) for one, why in aside if one.final and one.key is not None and not one.disputed]
    await uow.ledger.set_aside(final, now=now)
    booked.aside = [SetAside(one, why, now) for one, why in final]
    changes = [(orders[owner], order, theirs[owner]) for owner, order in moved.items() if order != orders[owner]]
    await commit(uow, changes, booked, now=now)
    _judge(tellings, moved.values(), dict(aside), booked)
    await _warn(uow, booked, aside, now=now)
    return booked


async def commit(
    uow: UnitOfWork, changes: Sequence[tuple[Order, Order, Sequence[Transfer]]], booked: Booked, *, now: datetime
) -> None:
    """Write orders that moved (before, after, their transfers), and what follows from it."""
    settled = []
    for before, after, transfers in changes:
        known = {credit.transfer for credit in before.credits}
        fresh = _credited(after, transfers, known)
        booked.credited += fresh
        settled.append((after, fresh))
    if not settled:
        return
    await uow.ledger.save_many(settled)
    booked.changed += [after for after, _ in settled]
    await _tell(uow, [(before, after) for before, after, _ in changes], now=now)


def _credited(order: Order, transfers: Iterable[Transfer], known: set[TransferKey]) -> list[Transfer]:
    counted = {credit.transfer for credit in order.credits} - known
    by_key = {one.key: one for one in transfers if one.final and one.key in counted}
    return [by_key[key] for key in sorted(key for key in by_key if key is not None)]


def _left_over(order: Order, transfers: Sequence[Transfer]) -> tuple[Transfer, ...]:
    """Return final transfers that matched and are more than was due: a person's to place."""
    if order.state in CLOSED:
        return surplus(order, transfers)
    if order.paid.units < order.amount.units:
        return ()
    counted = {credit.transfer for credit in order.credits}
    return tuple(one for one in transfers if one.final and not one.disputed and one.key not in counted)


def _judge(
    tellings: Sequence[Telling], moved: Iterable[Order], nobodys: Mapping[Transfer, Unmatched], booked: Booked
) -> None:
    """Note which transactions are done with: all they brought is counted, set aside, or too little to matter."""
    counted = {credit.transfer for order in moved for credit in order.credits}
    for telling in tellings:
        if any(one.disputed for one in telling.transfers):
            booked.disputed.add(telling.tx)
        # Dust is not worth a call for its proof, and without one it has no number to be set aside under.
        elif telling.transfers and all(
            nobodys.get(one) is Unmatched.DUST or (one.final and (one.key in counted or one in nobodys))
            for one in telling.transfers
        ):
            booked.done.add(telling.tx)


async def _tell(uow: UnitOfWork, moves: Sequence[tuple[Order, Order]], *, now: datetime) -> None:
    """Write the licences, the buyers' messages, the alerts and the audit that follow from orders that moved."""
    known = {one.order.id: one for one in await uow.ledger.sales([after.id for _, after in moves])}
    sales = {after.id: replace(known[after.id], order=after) for _, after in moves}
    await uow.outbox.put_many([changed(one, now=now) for one in sales.values()])
    earning = [
        sales[after.id]
        for before, after in moves
        if after.state is OrderState.SETTLED and before.state is not OrderState.SETTLED
    ]
    if earning:
        await earn_many(uow, earning, now=now)
    await uow.ledger.record_many(
        [
            AuditEntry(now, after.id, ACTOR, after.state.lower(), f"{after.paid} of {after.amount}")
            for before, after in moves
            if after.state is not before.state
        ]
    )
    await uow.outbox.put_many(
        [
            alarm(f"order:{after.id}:{what}", what, now=now, order=after.id, reason=f"{after.paid} came in")
            for before, after in moves
            if (what := _alarming(before, after)) is not None
        ]
    )


def _alarming(before: Order, after: Order) -> str | None:
    if after.state in _NEEDS_PERSON and before.state not in _NEEDS_PERSON:
        return "disputed" if after.state is OrderState.HOLD else "review"
    return "degraded" if Flag.DEGRADED in after.flags - before.flags else None


async def _warn(uow: UnitOfWork, booked: Booked, aside: Sequence[tuple[Transfer, Unmatched]], *, now: datetime) -> None:
    """Tell people of money that is nobody's, and of contradictions over money that is nobody's."""
    alarms = []
    for one in booked.aside:
        if one.why.needs_person:
            reason = f"{one.why}: {one.transfer.units} base units of {one.transfer.asset}"
            key = str(one.transfer.key)
            alarms.append(alarm(f"unmatched:{key}", "unmatched", now=now, transfer=key, reason=reason))
    for transfer, why in aside:
        if transfer.disputed and why.needs_person:
            tx, reason = transfer.tx.hex(), f"{transfer.units} units, {why}"
            alarms.append(alarm(f"dispute:{tx}", "disputed", now=now, transfer=tx, reason=reason))
    await uow.outbox.put_many(alarms)


async def alert(
    uow: UnitOfWork, key: str, what: str, *, now: datetime, order: OrderId | None = None, **facts: str
) -> None:
    """Write a message to the administrators, once per key."""
    await uow.outbox.put(alarm(key, what, now=now, order=order, **facts))


def alarm(key: str, what: str, *, now: datetime, order: OrderId | None = None, **facts: str) -> Message:
    """Return a message to the administrators."""
    told: dict[str, str | int | bool] = {"what": what, **facts}
    if order is not None:
        told["order"] = order
    return Message(f"alert:{key}", MessageKind.ALERT, ADMINS, order, told, now)
