"""The words of getting paid: assets, money, transfers as they happened on a chain, orders and what they earned.

Rules live beside these words: `payment_rules` (is it a payment at all), `payment_quorum` (do the providers agree),
`payment_matching` (whose payment is it), `payment_state` (what becomes of the order).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType

from models.errors import PaymentInvalid
from models.payment_address import Address, Chain

OrderId = NewType("OrderId", str)

MOST_UNITS = 2**63 - 1
"""The largest amount a BIGINT column holds."""


class Asset(StrEnum):
    """What may be paid with. The same ticker on another chain is another asset."""

    USDT_TRON = "USDT_TRON"
    TON = "TON"
    USDT_TON = "USDT_TON"

    @property
    def chain(self) -> Chain:
        """Return the chain it lives on."""
        return Chain.TRON if self is Asset.USDT_TRON else Chain.TON

    @property
    def decimals(self) -> int:
        """Return the power of ten between a base unit and the unit people speak of. Pinned, never a provider's word."""
        return 9 if self is Asset.TON else 6

    @property
    def ticker(self) -> str:
        """Return what people call it."""
        return "TON" if self is Asset.TON else "USDT"


_ALIASES = {
    "USDT": Asset.USDT_TRON,
    "USDT-TRC20": Asset.USDT_TRON,
    "USDT_TRC20": Asset.USDT_TRON,
    "USDT-TRON": Asset.USDT_TRON,
    "USDT_TRON": Asset.USDT_TRON,
    "TRC20": Asset.USDT_TRON,
    "TON": Asset.TON,
    "GRAM": Asset.TON,
    "USDT-TON": Asset.USDT_TON,
    "USDT_TON": Asset.USDT_TON,
}


def parse_asset(text: str) -> Asset:
    """Return the asset that a caller's word means, in any case; plain USDT is the one on TRON.

    Raises:
        PaymentInvalid: we do not take it.
    """
    asset = _ALIASES.get(text.strip().upper())
    if asset is None:
        raise PaymentInvalid("the currency", "USDT (TRC-20) and TON are taken")
    return asset


_DECIMAL = re.compile(r"[0-9]{1,19}(\.[0-9]{1,18})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one asset in base units; never a float, never negative."""

    asset: Asset
    units: int

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, int) or not 0 <= self.units <= MOST_UNITS:
            raise PaymentInvalid("the amount", f"base units are whole, from 0 to {MOST_UNITS}")

    def __str__(self) -> str:
        whole, rest = divmod(self.units, 10**self.asset.decimals)
        fraction = f"{rest:0{self.asset.decimals}d}".rstrip("0")
        return f"{whole}{'.' + fraction if fraction else ''} {self.asset.ticker}"

    @classmethod
    def parse(cls, text: str, asset: Asset) -> Money:
        """Read a positive amount as people write it (`29.99`), exactly.

        Raises:
            PaymentInvalid: exponents, signs, NaN, zero, more places than the asset has, or more than a ledger holds.
        """
        if not _DECIMAL.fullmatch(text):
            raise PaymentInvalid("the amount", "write digits and at most one point, such as 29.99")
        scaled = Decimal(text).scaleb(asset.decimals)
        if scaled != scaled.to_integral_value():
            raise PaymentInvalid("the amount", f"{asset.ticker} has {asset.decimals} places")
        if scaled <= 0:
            raise PaymentInvalid("the amount", "it must be more than zero")
        return cls(asset, int(scaled))


class Provider(StrEnum):
    """A chain's window: an API that tells us what is on it."""

    TRONSCAN = "tronscan"
    TRONGRID = "trongrid"
    TONAPI = "tonapi"
    TONCENTER = "toncenter"

    @property
    def chain(self) -> Chain:
        """Return the chain it speaks of."""
        return Chain.TRON if self in {Provider.TRONSCAN, Provider.TRONGRID} else Chain.TON


class Caution(StrEnum):
    """Why a person should look although the money arrived."""

    OPAQUE_BODY = "opaque_body"
    ACTION_FAILED = "action_failed"
    CREDIT_DIFFERS = "credit_differs"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One on-chain event that moved an asset to an address of ours.

    Attributes:
        chain: Which ledger.
        tx: The transaction's hash, 32 bytes. On TON that of the transaction on our own account.
        event_index: The log's place in the solid receipt on TRON, 0 on TON; None while only a feed without log
            indices has shown it. A transfer without one is never credited.
        asset: What moved, known by contract and never by symbol.
        sender: Who paid; None where the chain does not say. Never used to attribute a payment.
        receiver: Our address.
        units: Base units received.
        position: Block height on TRON (0 while only a feed without heights has shown it), logical time on TON.
        block_time: The block's own time, aware UTC. Every window is judged by this.
        memo: The comment as it was written, None when there is none.
        caution: Why a person should look, if one should.
        final: The chain will not take it back, and as many providers as have spoken conclusively say so.
        vouched_by: Providers that say so.
        absent: Providers that could have spoken and are known to be unreachable.
        disputed: Two providers contradict each other over it.
    """

    chain: Chain
    tx: bytes
    event_index: int | None
    asset: Asset
    sender: Address | None
    receiver: Address
    units: int
    position: int
    block_time: datetime
    memo: str | None = None
    caution: Caution | None = None
    final: bool = False
    vouched_by: frozenset[Provider] = frozenset()
    absent: frozenset[Provider] = frozenset()
    disputed: bool = False

    @property
    def key(self) -> TransferKey | None:
        """Return what makes it unique for ever, once known."""
        return None if self.event_index is None else TransferKey(self.chain, self.tx, self.event_index)


@dataclass(frozen=True, slots=True, order=True)
class TransferKey:
    """The identity under which a transfer is counted at most once."""

    chain: Chain
    tx: bytes
    event_index: int

    def __str__(self) -> str:
        return f"{self.chain}:{self.tx.hex()}:{self.event_index}"


class OrderState(StrEnum):
    """Where an order stands. SETTLED is left only towards REFUNDED."""

    NEW = "NEW"
    PROCESSING = "PROCESSING"
    SETTLED = "SETTLED"
    EXPIRED = "EXPIRED"
    REVIEW = "REVIEW"
    HOLD = "HOLD"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"


CLOSED = frozenset({OrderState.SETTLED, OrderState.CANCELLED, OrderState.REFUNDED})
"""States in which no transfer changes an order any more."""


class Flag(StrEnum):
    """What was unusual. A set, since a payment may be late and too much at once."""

    PARTIAL = "partial"
    OVER = "over"
    LATE = "late"
    MANUAL = "manual"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True, order=True)
class Credit:
    """A transfer counted once toward one order."""

    transfer: TransferKey
    units: int


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer owes, and what has come in for it.

    Attributes:
        id: Unique.
        amount: Exact, with its unique tail; frozen when the order was made.
        deposit: The address of ours that it is to be paid to.
        code: The comment that names this order, in lower case; None on chains without comments.
        created_at: Aware UTC.
        expires_at: Last block time that is on time.
        watched_until: Last block time that can still reach this order; its exact amount stays reserved until then.
        state: Where it stands.
        flags: What was unusual.
        credits: What was counted, in key order.
    """

    id: OrderId
    amount: Money
    deposit: Address
    code: str | None
    created_at: datetime
    expires_at: datetime
    watched_until: datetime
    state: OrderState = OrderState.NEW
    flags: frozenset[Flag] = frozenset()
    credits: tuple[Credit, ...] = ()

    @property
    def paid(self) -> Money:
        """Return what was counted so far."""
        return Money(self.amount.asset, sum(credit.units for credit in self.credits))

    @property
    def remainder(self) -> Money:
        """Return what is still due."""
        return Money(self.amount.asset, max(0, self.amount.units - self.paid.units))
