"""Whose payment is it: by the comment's code, else by the exact unique amount, else nobody's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from models.errors import PaymentInvalid, PaymentMismatch
from models.payment import CLOSED, Asset, Caution, Money, Order, OrderId, Transfer, TransferKey
from models.payment_policy import PaymentPolicy

CODE_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
"""No 0, 1, i, l or o, which people confuse."""

CODE_LENGTH = 8
CODE_PREFIX = "ord-"

_CODE = re.compile(rf"(?<![0-9a-z]){CODE_PREFIX}([{CODE_LETTERS}]{{{CODE_LENGTH}}})(?![0-9a-z])")
_LOOKALIKES = str.maketrans("авсеткмнорух", "abcetkmhopyx")
"""Cyrillic letters that a Russian keyboard puts where Latin ones were meant."""

_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))  # noqa: RUF001 - the very characters to be folded


def code_from(number: int) -> str:
    """Return the order code of a random number; distinct for numbers below 31**8 (about 8.5e11)."""
    letters = []
    for _ in range(CODE_LENGTH):
        number, place = divmod(number, len(CODE_LETTERS))
        letters.append(CODE_LETTERS[place])
    return CODE_PREFIX + "".join(letters)


def codes_in(memo: str | None) -> frozenset[str]:
    """Return the order codes in a comment, however it was typed.

    Folds case, width, look-alike letters and dashes, and drops invisible characters; words around a code do not matter.
    """
    if memo is None:
        return frozenset()
    folded = unicodedata.normalize("NFKC", memo).casefold().translate(_LOOKALIKES).translate(_DASHES)
    visible = "".join(
        letter for letter in folded if unicodedata.category(letter) not in {"Cf", "Cc"} or letter.isspace()
    )
    return frozenset(CODE_PREFIX + found for found in _CODE.findall(visible))


def unique_amount(price: Money, taken: Collection[int], *, start: int, policy: PaymentPolicy) -> Money:
    """Return the price with a small tail that no watched order on this address has.

    Args:
        price: What the plan costs.
        taken: Units of every order of this asset and address whose amount is still reserved.
        start: Where to begin looking, any number >= 0; a random one keeps two makers of orders apart.
        policy: Step and number of tails.

    Raises:
        PaymentInvalid: every tail is taken.
    """
    step = policy.tail_step[price.asset]
    for offset in range(policy.tails):
        units = price.units + (1 + (start + offset) % policy.tails) * step
        if units not in taken:
            return Money(price.asset, units)
    raise PaymentInvalid(
        f"the price {price}", "every amount near it is reserved; add a deposit address or wait an hour"
    )


class Unmatched(StrEnum):
    """Why a transfer is no order's. All but DUST go to a person."""

    DUST = "dust"
    ASSET_FOR_REVIEW = "asset_for_review"
    CAUTION = "caution"
    NO_ORDER = "no_order"
    AMBIGUOUS = "ambiguous"
    ORDER_CLOSED = "order_closed"
    WRONG_ADDRESS = "wrong_address"
    WRONG_ASSET = "wrong_asset"
    OUTSIDE_WINDOW = "outside_window"

    @property
    def needs_person(self) -> bool:
        """Tell whether it belongs in the review queue."""
        return self is not Unmatched.DUST


def in_window(order: Order, at: datetime, policy: PaymentPolicy) -> bool:
    """Tell whether a block time can reach an order: from its making (less the skew) to the end of its watch."""
    return order.created_at - policy.skew <= at <= order.watched_until


def match(transfer: Transfer, orders: Iterable[Order], *, policy: PaymentPolicy) -> OrderId | Unmatched:
    """Return the order a transfer belongs to, or why it is nobody's.

    A code wins over an amount, since it may be partial; an amount must be exact to the unit. Payer and symbol never
    matter, and of two candidates none is taken. A transfer seen twice gets the same answer as long as the orders do.

    Args:
        transfer: To an address of ours.
        orders: All orders that the code or the amount may mean, closed ones included.
        policy: Dust, windows, thresholds.
    """
    aside = _set_aside(transfer, policy)
    if aside is not None:
        return aside
    known = list(orders)
    codes = codes_in(transfer.memo)
    named = [order for order in known if order.code in codes]
    if len(codes) > 1 or len(named) > 1:
        return Unmatched.AMBIGUOUS
    if named:
        return _fit(transfer, named[0], policy)
    return _match_amount(transfer, known, policy)


def _set_aside(transfer: Transfer, policy: PaymentPolicy) -> Unmatched | None:
    if transfer.units < policy.dust[transfer.asset]:
        return Unmatched.DUST
    if transfer.asset is Asset.USDT_TON:
        return Unmatched.ASSET_FOR_REVIEW
    return Unmatched.CAUTION if _needs_look(transfer, policy) else None


def _match_amount(transfer: Transfer, orders: Iterable[Order], policy: PaymentPolicy) -> OrderId | Unmatched:
    paid = Money(transfer.asset, transfer.units)
    exact = [order for order in orders if order.amount == paid and order.deposit == transfer.receiver]
    reached = [order for order in exact if in_window(order, transfer.block_time, policy)]
    if len(reached) > 1:
        return Unmatched.AMBIGUOUS
    if not reached:
        return Unmatched.OUTSIDE_WINDOW if exact else Unmatched.NO_ORDER
    return _fit(transfer, reached[0], policy)


def _needs_look(transfer: Transfer, policy: PaymentPolicy) -> bool:
    if transfer.caution is Caution.ACTION_FAILED:
        return transfer.units >= policy.two_of_two_from[transfer.asset]
    return transfer.caution is not None


def _fit(transfer: Transfer, order: Order, policy: PaymentPolicy) -> OrderId | Unmatched:
    if order.amount.asset is not transfer.asset:
        return Unmatched.WRONG_ASSET
    if order.deposit != transfer.receiver:
        return Unmatched.WRONG_ADDRESS
    if not in_window(order, transfer.block_time, policy):
        return Unmatched.OUTSIDE_WINDOW
    return Unmatched.ORDER_CLOSED if order.state in CLOSED and not _is_counted(transfer, order) else order.id


def _is_counted(transfer: Transfer, order: Order) -> bool:
    """Tell whether this transfer, or the numbered telling of the same transaction, was counted for the order."""
    if transfer.key is None:
        return transfer.tx in {credit.transfer.tx for credit in order.credits}
    return transfer.key in {credit.transfer for credit in order.credits}


class ClaimAnswer(StrEnum):
    """What becomes of "I paid, here is the hash"."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    REVIEW = "review"


def judge_claim(
    order: Order,
    transfers: Iterable[Transfer],
    *,
    orders: Iterable[Order],
    credited_to: Mapping[TransferKey, OrderId],
    policy: PaymentPolicy,
) -> ClaimAnswer:
    """Judge a claim by hash. Hashes are public, so knowing one proves nothing.

    Args:
        order: Whose buyer claims.
        transfers: What the transaction paid to our addresses; empty when no provider knows it yet.
        orders: All orders the transfers may belong to, this one included.
        credited_to: Orders that those of the transfers already counted were counted for.
        policy: Windows and thresholds.

    Returns:
        ACCEPTED: a transfer is this order's by code or exact amount (the ledger credits it as any other).
        PENDING: not known yet. REVIEW: it pays us, but not provably for this order.

    Raises:
        PaymentMismatch: every transfer was counted for another order, or is older than this one.
    """
    told = list(transfers)
    if not told:
        return ClaimAnswer.PENDING
    known = list(orders)
    owners = {None if one.key is None else credited_to.get(one.key) for one in told}
    if order.id in owners or any(match(one, known, policy=policy) == order.id for one in told):
        return ClaimAnswer.ACCEPTED
    if None not in owners:
        raise PaymentMismatch(order.id, "this transaction has already been used for another order")
    if all(one.block_time < order.created_at - policy.skew for one in told):
        raise PaymentMismatch(order.id, "this transaction is older than the order")
    return ClaimAnswer.REVIEW
